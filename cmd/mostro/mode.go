package main

import (
	"github.com/spf13/cobra"

	"mostro/escrow"
)

func modeCommand() *cobra.Command {
	cmd := decide("mode open|maintenance|drain", "Close a running node for new orders and takes, or open it again",
		`Close a running node for new orders and takes, or open it again. What is running goes on in
every mode, and what you say lasts over a restart.

  maintenance  for a while: offers stay in the book, and whoever takes one is told to come back
  drain        before you close the node or move it to another Lightning node: offers leave the
               book, their makers are told, bonds go back; "mostro status" counts what still runs

  mostro mode drain --reason "moves to another machine"`,
		cobra.ExactArgs(1), func(args []string) (act, error) {
			mode, err := escrow.ParseMode(args[0])
			if err != nil {
				return act{}, err
			}
			return act{Do: "mode", Mode: mode}, nil
		}, "Done. `mostro status` shows how many trades are running.")
	cmd.SuggestFor = []string{"open", "maintenance", "drain"}
	return cmd
}
