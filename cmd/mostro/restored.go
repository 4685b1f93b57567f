package main

import (
	"errors"

	"github.com/spf13/cobra"

	"mostro/escrow/order"
)

func restoredCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restored",
		Short: "Explain payments that the money store does not know",
		Long: `A money store that was put back from a copy, alone or with the whole machine, has forgotten what
was paid since. So the node reads the payments of LND before it pays anything then, and at each
start with something owed. "mostro status" lists those that the store cannot explain; a payout
over the same amount waits until you have said what each was:

  mostro restored explain HASH --order ORDER --reason "the buyer confirms it"
  mostro restored explain HASH --own --reason "I paid for hosting"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var id string
	var own, yes bool
	explain := decide("explain HASH", "Say what a payment was: the payout of an order, or one of your own", "", cobra.ExactArgs(1),
		func(args []string) (act, error) {
			hash, err := order.ParseHash(args[0])
			if err == nil && own == (id != "") {
				err = errors.New("want either --order ORDER or --own")
			}
			return act{Do: "explain", Hash: hash, Order: id, Yes: yes}, err
		}, "Done.")
	explain.Flags().StringVar(&id, "order", "", "it was the payout of this order or its development fee, or the share of the bond of this id, which is booked as paid")
	explain.Flags().BoolVar(&own, "own", false, "it was yours, and no payout")
	explain.Flags().BoolVar(&yes, "yes", false, "with --own: also where an order owes just as much, which is paid then")
	cmd.AddCommand(explain)
	return cmd
}
