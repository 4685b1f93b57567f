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

// hold holds an order back, as a defect does.
func (w *world) hold(id string) {
	failing := &op{done: make(chan error, 1), blame: id, plan: func(*badgerTxn, *writes) error { panic("boom") }}
	w.check(w.e.commit([]*op{failing}))
	<-failing.done
}

// What was decided before an order was held back still goes out to the node, once, and is booked
// when the order is free. No hold invoice is opened meanwhile.
func TestM23DecidedBeforeItWasHeld(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name, before, last string
		lost               lightning.SimMethod // the answer to it comes only after the order is held
		while              lightning.HoldState // at the node, while it is held; "" = there is none
		after              mostro.Status
	}{
		{"settle", "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent", "alice release",
			lightning.SimSettle, lightning.Settled, mostro.StatusSuccess},
		{"cancel", "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob cancel", "alice cancel",
			lightning.SimCancel, lightning.Canceled, mostro.StatusCooperativelyCanceled},
		{"open", "alice new sell sats=100000", "bob take invoice=99700",
			lightning.SimOpenHold, "", mostro.StatusWaitingPayment},
	} {
		w := newWorld(t)
		w.play(t, c.before)
		id := w.order(args{})
		w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
			if m == c.lost {
				return lightning.ErrSimDropped
			}
			return nil
		}})
		w.play(t, c.last)
		w.hold(id)
		w.node.SetFaults(lightning.Faults{})
		for range 3 {
			w.advance(2 * time.Minute)
		}
		o, _, err := w.e.Order(id)
		w.check(err)
		if h, there := w.node.HoldState(o.Escrow.Hash); there != (c.while != "") || h.State != c.while {
			t.Errorf("%s: while the order is held back its hold invoice is %q", c.name, h.State)
		}
		w.check(w.e.FreeOrder(ctx, id, "mended"))
		for range 3 {
			w.advance(10 * time.Second)
		}
		if got := w.statusOf(id); got != c.after {
			t.Errorf("%s: afterwards the order is %s", c.name, got)
		}
		if r := w.audit(); len(r.Differences) != 0 || len(r.Owed) != 0 {
			t.Errorf("%s: owed %+v, differences %+v", c.name, r.Owed, r.Differences)
		}
	}
}

// The operator sees what a held order keeps locked, and until when.
func TestM23StatusSaysWhatIsLocked(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay")
	id := w.order(args{})
	w.hold(id)
	s, err := w.e.Status()
	w.check(err)
	if got := s.Held[id]; !strings.Contains(got, "100300 sat are locked") || !strings.Contains(got, "before block ") {
		t.Errorf("held: %q", got)
	}
}
