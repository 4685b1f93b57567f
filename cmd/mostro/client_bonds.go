package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

func clientBondInvoiceCommand(o *clientOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "bond-invoice ORDER BOLT11",
		Short: "Give the invoice to which the node pays your share of the other side's bond",
		Args:  usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.onTrade(cmd, args[0], func(s *clientSession, _ *clientTrade, trade *client.Trade) (mostro.Message, error) {
				return trade.ClaimBond(s.ctx, args[1])
			})
		},
	}
}

// resolve reads whose bonds a solver slashes, nil for nobody's.
func resolve(slash []string) (*mostro.BondResolution, error) {
	if len(slash) == 0 {
		return nil, nil
	}
	r := &mostro.BondResolution{}
	for _, side := range slash {
		switch side {
		case sideBuyer:
			r.SlashBuyer = true
		case sideSeller:
			r.SlashSeller = true
		default:
			return nil, badUsage(fmt.Sprintf("--slash %q", side), "--slash buyer, --slash seller, or --slash buyer,seller")
		}
	}
	return r, nil
}

// explainBond is about bonds, and about what has no words of its own.
func explainBond(m mostro.Message, t clientTrade, wait string) (what, next string) {
	if o := orderOf(m); o != nil {
		switch m.Action {
		case mostro.PayBondInvoice:
			if m.Payload.PaymentRequest != nil {
				return fmt.Sprintf("Pay a bond of %s. It comes back when the trade ends, unless you break its rules:\n%s", sats(o.Amount), m.Payload.PaymentRequest.Invoice),
					"pay it with your wallet, then wait: " + wait
			}
		case mostro.BondSlashed:
			return fmt.Sprintf("You have lost %s of your bond.", sats(o.Amount)), ""
		case mostro.AddBondInvoice:
			return fmt.Sprintf("The other side has lost its bond, or you get back what is left of yours: %s are for you.", sats(o.Amount)),
				fmt.Sprintf("make an invoice for exactly %s and give it: %s", sats(o.Amount), clientCall("bond-invoice", t, "BOLT11"))
		case mostro.BondInvoiceAccepted:
			return fmt.Sprintf("The node pays %s of a bond to your invoice.", sats(o.Amount)), "wait: " + wait
		case mostro.BondPayoutCompleted:
			return fmt.Sprintf("You have got %s of a bond.", sats(o.Amount)), ""
		}
	}
	return "The node says: " + string(m.Action) + ".", ""
}
