package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func escrowCommand() *cobra.Command {
	var settled, gone bool
	cmd := decide("escrow ORDER", "Say what became of a hold invoice that LND has lost while it was to be settled",
		`Say what became of the escrow of an order that was released (or of a slashed bond, by its id) when
LND does not know its hold invoice any more: it was put back from its seed, or deletes invoices.

Where nobody can have settled it, the node ends it by itself, a day after its HTLC has expired. It
needs you where LND may have settled it before it lost it. The wallet of the seller (or of the
bond's owner) knows: either it shows the preimage, or it has its sats back.

  mostro escrow ORDER --settled --reason "the seller's wallet shows the preimage"
  mostro escrow ORDER --gone --reason "the seller has the sats back"

After --settled the buyer is owed, and is paid from what LND's channels hold. After --gone the
order is canceled and nothing is owed; until its HTLC is gone for good that is refused.`,
		cobra.ExactArgs(1), func(args []string) (act, error) {
			if settled == gone {
				return act{}, errors.New("want either --settled or --gone")
			}
			return act{Do: "escrow", Order: args[0], Yes: settled}, nil
		}, "Done.")
	cmd.Flags().BoolVar(&settled, "settled", false, "its sats have come in")
	cmd.Flags().BoolVar(&gone, "gone", false, "they have not, and never will")
	return cmd
}
