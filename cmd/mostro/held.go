package main

import "github.com/spf13/cobra"

func heldCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "held",
		Short: "Take up orders that were held back after a defect",
		Long: `An order whose row cannot be read, or whose next step would break an invariant of the money, is
held back: nothing more happens to it, and all others go on. "mostro status" lists such orders
and why, and until when sats are locked for one.

Nothing is paid for such an order, no hold invoice is opened, and its deadlines rest. A settle or
a cancel that was decided before still goes out to LND; it is booked once the order is free. If
you leave an order whose sats are locked as it is, LND gives them back to the seller by itself a
little before the block that is shown, whether the buyer has sent his money or not. So look
soon: ask both parties how it stands, run "mostro audit", and free the order when the program or
the row is mended. Where it was a call to LND that could not be read, freeing the order is all it takes: the
call is made anew, as the order has it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(decide("free ORDER", "Take an order up again; if the defect is still there it is held back anew", "", cobra.ExactArgs(1),
		func(args []string) (act, error) { return act{Do: "free", Order: args[0]}, nil }, "The order goes on."))
	return cmd
}
