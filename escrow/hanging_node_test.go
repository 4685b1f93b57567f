package escrow

import (
	"context"
	"testing"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// hurried is a node that is never asked about a payment without an end in sight.
type hurried struct {
	lightning.Node
	t testing.TB
}

func (n hurried) Track(ctx context.Context, _ order.Hash, _ func(lightning.Payment)) error {
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > callTimeout {
		n.t.Errorf("the node may hang for ever: a deadline is %v", ok)
	}
	return lightning.ErrNotFound
}

// M38: who asks what became of a payment does not wait for a node that hangs. Workers ask so, before
// each payout that a stray may have been, and operators who explain one.
func TestM38TrackHasADeadline(t *testing.T) {
	w := newWorld(t)
	w.e.cfg.Node = hurried{w.node, t}
	stray := Stray{Hash: order.Hash{1}, Amount: 1000, Found: w.e.now()}
	w.check(w.e.keepStrays(t.Context(), []Stray{stray}))
	if err := w.e.notPaidBefore(context.Background(), "an order", 1000); err == nil {
		t.Error("a payout goes out that a stray may have been")
	}
	if err := w.e.ExplainStray(context.Background(), stray.Hash, "an order", "a test"); err == nil {
		t.Error("a payment is booked that the node does not know")
	}
}

// M38: a node that hangs when it is asked before somebody loses his bond holds the clock up once, and
// not for each such order.
func TestM38LooksBeforeBlameHangOnce(t *testing.T) {
	w := newWorld(t)
	w.play(t, "bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay\n carol new buy sats=100000\n dave take\n dave pay")
	looks := 0
	w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
		if m != lightning.SimLookup {
			return nil
		}
		looks++
		return context.DeadlineExceeded
	}})
	w.net.Advance(16 * time.Minute)
	for _, letter := range []string{"A", "B"} {
		_ = w.e.tick(context.Background(), w.order(args{named: map[string]string{"order": letter}}))
	}
	if looks != 1 {
		t.Errorf("the clock hung %d times", looks)
	}
	w.node.SetFaults(lightning.Faults{})
	w.e.lookHung = time.Time{}
	w.settle()
}
