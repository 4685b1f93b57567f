package escrow

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

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

// M23: a call that cannot be read, or says nothing, holds its order back and is reported; others live. When the order is free the
// call is made, once.
func TestM23CallThatCannotBeRead(t *testing.T) {
	for _, c := range []struct {
		name, before, last string
		undone             lightning.SimMethod // is not done before its row breaks
		bond               bool                // it is the call of a bond
		after              string
		status             mostro.Status
	}{
		{"settle", "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent", "alice release",
			lightning.SimSettle, false, "", mostro.StatusSuccess},
		{"cancel", "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob cancel", "alice cancel",
			lightning.SimCancel, false, "", mostro.StatusCooperativelyCanceled},
		{"open", "alice new sell sats=100000", "bob take invoice=99700",
			lightning.SimOpenHold, false, "alice pay order=A\n bob fiat-sent order=A\n alice release order=A", mostro.StatusSuccess},
		{"pay", "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent", "alice release",
			lightning.SimSend, false, "", mostro.StatusSuccess},
		{"resolve", "alice new sell sats=100000\n bob take invoice=bob@ln.example\n alice pay\n bob fiat-sent", "alice release",
			"", false, "", mostro.StatusSuccess},
		{"slash", "bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay", "wait 15m",
			lightning.SimSettle, true, "alice claim order=A invoice=500", mostro.StatusPending},
	} {
		for _, broken := range []string{"\x00garbage", "", "null", "{}"} {
			t.Run(c.name+" "+broken, func(t *testing.T) {
				w := newWorld(t)
				w.play(t, c.before)
				id := w.order(args{})
				w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
					if m == c.undone {
						return lightning.ErrSimDropped
					}
					return nil
				}})
				if c.undone == "" { // the node has nothing to do with it
					w.e.guards.row.Latch = &Latch{}
				}
				w.play(t, c.last)
				broke := 0
				w.check(w.e.db.Update(func(txn *badger.Txn) error {
					var keys [][]byte
					w.check(scan(txn, []byte{tableOutbox, 0}, false, func(key, _ []byte) error { keys = append(keys, key); return nil }))
					for _, key := range keys {
						if isCalls(laneOfRow(key)) {
							broke++
							w.check(txn.Set(key, []byte(broken)))
						}
					}
					return nil
				}))
				if broke != 1 {
					t.Fatalf("%d calls are in the outbox", broke)
				}
				w.node.SetFaults(lightning.Faults{})
				w.crash()
				w.settle()
				s, err := w.e.Status()
				w.check(err)
				if !strings.Contains(s.Held[id], "cannot be read") || s.Bound == "" || s.Ended() {
					t.Errorf("held: %v, bound %q, ended %v", s.Held, s.Bound, s.Ended())
				}
				if c.bond {
					w.play(t, "bonds apply=none")
				}
				w.play(t, "carol new sell sats=50000\n dave take invoice=49850\n carol pay\n dave fiat-sent\n carol release")
				if got := w.statusOf(w.order(args{})); got != mostro.StatusSuccess {
					t.Errorf("another trade is %s", got)
				}
				w.check(w.e.FreeOrder(t.Context(), id, "its call is made anew"))
				w.crash() // what is made anew is on disk
				w.settle()
				w.play(t, c.after+"\n wait 2m")
				if got := w.statusOf(id); got != c.status {
					t.Errorf("afterwards the order is %s", got)
				}
				if s, err = w.e.Status(); err != nil || len(s.Held) != 0 || s.Waiting != 0 {
					t.Errorf("held: %v, %d calls wait, %v", s.Held, s.Waiting, err)
				}
				if r := w.audit(); len(r.Differences) != 0 || len(r.Owed) != 0 {
					t.Errorf("owed %+v, differences %+v", r.Owed, r.Differences)
				}
			})
		}
	}
}
