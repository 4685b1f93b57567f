package escrow

import (
	"testing"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// An invoice to which there is no route is refused, unless it is the node that lacks the sats for any:
// then its buyer has done his part, and is not late.
func TestNoRouteForWantOfLocalBalance(t *testing.T) {
	for _, c := range []struct {
		local order.Msat
		want  mostro.Status
	}{{99_700_000, mostro.StatusWaitingBuyerInvoice}, {99_699_999, mostro.StatusWaitingPayment}} {
		w := newWorld(t)
		w.play(t, "alice new sell sats=100000\n bob take")
		w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
			if m == lightning.SimCanRoute {
				return lightning.ErrRefused
			}
			return nil
		}})
		w.e.node.balance.Local = c.local
		w.play(t, "bob add-invoice invoice=99700")
		if o, _, err := w.e.Order(w.order(args{})); err != nil || o.Status != c.want {
			t.Errorf("with %d msat the order is %s, want %s: %v", c.local, o.Status, c.want, err)
		}
	}
}
