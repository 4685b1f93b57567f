package main

import "github.com/spf13/cobra"

func heldCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "held",
		Short: "Take up orders that were held back after a defect",
		Long: `An order whose row cannot be read, or whose next step would break an invariant of the money, is
held back: nothing more happens to it, and all others go on. "mostro status" lists such orders
and why.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(decide("free ORDER", "Take an order up again; if the defect is still there it is held back anew", "", cobra.ExactArgs(1),
		func(args []string) (act, error) { return act{Do: "free", Order: args[0]}, nil }, "The order goes on."))
	return cmd
}
