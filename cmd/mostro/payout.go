package main

import (
	"errors"

	"github.com/spf13/cobra"

	"mostro/escrow/order"
)

func payoutCommand() *cobra.Command {
	var paid string
	var unpaid, yes bool
	cmd := decide("payout ORDER", "Say what became of a payout that LND has forgotten, or what you have paid back by hand",
		`Say what the node cannot find out by itself. "mostro audit" lists what waits for it; ORDER is the
order, or the bond, that it names.

LND has forgotten a payment that it had taken over. Nothing more is paid for it until you have
asked the payee whether it has arrived:

  mostro payout ORDER --paid HASH --reason "the buyer shows the preimage"
  mostro payout ORDER --unpaid --reason "its HTLC went back, says the channel's peer"

LND is asked first: if it knows the payment again, its answer counts. After --unpaid that payment
is never sent again, and the payee is asked for another invoice. A payee could still take the old
one while it is on its way, so for as long as that may be --unpaid wants --yes.

Somebody paid in too much. Give it back with a payment of your own, over just what is owed (or a
fraction of a sat more), and book it:

  mostro payout ORDER --paid HASH --reason "given back to the seller"`,
		cobra.ExactArgs(1), func(args []string) (act, error) {
			a := act{Do: "payout", Order: args[0], Yes: yes}
			if unpaid == (paid != "") {
				return a, errors.New("want either --paid HASH or --unpaid")
			}
			var err error
			if paid != "" {
				a.Hash, err = order.ParseHash(paid)
			}
			if err == nil && !unpaid && a.Hash.IsZero() {
				err = errors.New("want the hash of a payment with --paid")
			}
			return a, err
		}, "Done.")
	cmd.Flags().StringVar(&paid, "paid", "", "the payment of this hash has arrived")
	cmd.Flags().BoolVar(&unpaid, "unpaid", false, "the payment that LND has forgotten has not arrived")
	cmd.Flags().BoolVar(&yes, "yes", false, "with --unpaid: no HTLC of it is left in any channel")
	return cmd
}
