package escrow

import (
	"context"
	"strings"
	"testing"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// hollow is a node that calls hold invoices settled whose sats never came, as lnd once did
// when the HTLC had timed out.
type hollow struct{ lightning.Node }

func (h hollow) Lookup(ctx context.Context, hash order.Hash) (lightning.HoldInvoice, error) {
	inv, err := h.Node.Lookup(ctx, hash)
	if inv.State == lightning.Settled {
		inv.AmountPaid = 0
	}
	return inv, err
}

// M9: neither the answer to a settle nor the stream makes anything owed without the sats.
func TestM9SettledWithoutItsSats(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n streams off")
	w.cfg.Node = hollow{w.node}
	w.crash()
	w.play(t, "alice release")
	id := w.order(args{})
	for _, each := range w.watches {
		inv, err := w.cfg.Node.Lookup(context.Background(), each.hash)
		w.check(err)
		if err := w.e.sawHold(context.Background(), each, inv); err == nil || !strings.Contains(err.Error(), "alarm: ") {
			t.Errorf("the stream's word is taken: %v", err)
		}
	}
	w.advance(time.Minute)
	if got := w.statusOf(id); got != mostro.StatusSettling {
		t.Errorf("the order is %s", got)
	}
	if _, payments := w.paidOut(); payments != 0 {
		t.Errorf("%d payments were sent", payments)
	}
	if !strings.Contains(w.logged.String(), "ask it what became of the rest") {
		t.Error("the operator is not told")
	}
}

// pretender is a node that answers a settle with success and does nothing.
type pretender struct{ lightning.Node }

func (pretender) Settle(context.Context, order.Preimage) error { return nil }

// M9: the node's record makes an order settled, not the answer to the call.
func TestM9SettleThatDidNothing(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent")
	w.cfg.Node = pretender{w.node}
	w.crash()
	w.play(t, "alice release")
	if got := w.statusOf(w.order(args{})); got != mostro.StatusSettling {
		t.Errorf("the order is %s", got)
	}
	if r := w.audit(); !r.Agrees() || r.Total.Owed != 0 || r.Total.Conditional == 0 {
		t.Errorf("sums %+v, differences %+v", r.Total, r.Differences)
	}
}
