package escrow

import (
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/audit"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// seedOnly makes the node one that was put back from its seed: it knows no hold invoice.
func (w *world) seedOnly(yes bool) {
	w.amnesia = yes
	w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
		if yes && (m == lightning.SimLookup || m == lightning.SimSettle || m == lightning.SimCancel) {
			return lightning.ErrNotFound
		}
		return nil
	}})
}

// releasedWhileAway is a world in which alice has released while the node was away, so that it was
// never asked to settle; then it comes back and knows no hold invoice.
func releasedWhileAway(t *testing.T) (w *world, id string) {
	w = newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n node down\n alice release")
	id = w.order(args{})
	w.seedOnly(true)
	w.play(t, "node up\n wait 10m")
	return w, id
}

// pastExpiry mines until so many blocks after the expiry of the order's HTLC.
func (w *world) pastExpiry(t *testing.T, id string, blocks int) {
	t.Helper()
	o, _, err := w.e.Order(id)
	w.check(err)
	w.mine(o.Escrow.ExpiryHeight + uint32(blocks) - w.e.node.tip())
	w.advance(time.Hour)
	w.retry()
}

// An escrow that was released, never asked for, and lost by the node: before its HTLC is gone there is
// but the alarm; after that it ends as when the node cancels.
func TestGoneForGood(t *testing.T) {
	w, id := releasedWhileAway(t)
	// Nobody's word brings sats in that the node was never asked for.
	if _, err := w.e.TellEscrow(t.Context(), Escrow{ID: id, Settled: true, Reason: "the seller says so"}); err == nil || !strings.Contains(err.Error(), "never asked to settle") {
		t.Errorf("it is called settled: %v", err)
	}
	w.pastExpiry(t, id, goneMargin-1)
	if got := w.statusOf(id); got != mostro.StatusSettling {
		t.Fatalf("a block before it is gone for good the order is %s", got)
	}
	if got := w.logged.String(); !strings.Contains(got, "then mostro escrow "+id+" --settled, or --gone") {
		t.Error("the alarm of the hour names no command")
	}
	w.out.Reset()
	w.pastExpiry(t, id, goneMargin)
	o, _, err := w.e.Order(id)
	w.check(err)
	if owed, conditional := o.Ledger.Owes(); o.Status != mostro.StatusCanceled || owed+conditional != 0 {
		t.Errorf("the order is %s, and owes %+v", o.Status, o.Ledger)
	}
	if got := w.out.String(); !strings.Contains(got, "alarm: order order A: the escrow HASH was released, and the node has lost it") || !strings.Contains(got, "bob <- canceled") {
		t.Errorf("it is said so: %s", got)
	}
	w.crash()
	if n := w.node.Count(lightning.SimSettle) + w.node.Count(lightning.SimSend); n != 0 {
		t.Errorf("%d settles and payments", n)
	}
}

// A settled one that the node shows late wins, however late.
func TestGoneButSettled(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent")
	id := w.order(args{})
	w.node.SetFaults(lightning.Faults{After: func(m lightning.SimMethod, _ order.Hash) error {
		if m == lightning.SimSettle {
			return lightning.ErrSimDropped
		}
		return nil
	}})
	w.unheard = true
	w.play(t, "alice release")
	w.seedOnly(true)
	w.pastExpiry(t, id, 2*goneMargin)
	if got := w.statusOf(id); got != mostro.StatusSettling {
		t.Fatalf("the node was asked to settle it, and without its answer the order is %s", got)
	}
	if got := w.logged.String(); !strings.Contains(got, "it may have settled it before") {
		t.Error("the log does not say what is to be found out")
	}
	w.seedOnly(false)
	w.advance(2 * time.Minute)
	w.retry()
	if r := w.audit(); w.statusOf(id) != mostro.StatusSettledHoldInvoice || len(r.Owed) != 1 || r.Owed[0].Conditional {
		t.Errorf("the node knows it again, settled, and the order is %s: %+v", w.statusOf(id), r.Owed)
	}
}

// A store that was put back from a copy since the order was made may have forgotten a settle.
func TestM40GoneInAnOldStore(t *testing.T) {
	w, id := releasedWhileAway(t)
	w.check(w.e.db.Update(func(txn *badger.Txn) error {
		var ws writes
		return first(markRestored(txn, &ws, "a test", w.e.now()), set(txn, &ws))
	}))
	w.pastExpiry(t, id, 2*goneMargin)
	if got := w.statusOf(id); got != mostro.StatusSettling {
		t.Errorf("the order is %s", got)
	}
}

// The operator knows from the seller's wallet what became of it.
func TestGoneAsTheOperatorSays(t *testing.T) {
	for name, settled := range map[string]bool{"settled": true, "gone": false} {
		t.Run(name, func(t *testing.T) {
			w, id := releasedWhileAway(t)
			w.check(w.e.db.Update(func(txn *badger.Txn) error {
				var ws writes
				return first(ws.set([]byte{tableOld}, w.e.now()), set(txn, &ws))
			}))
			say := func(s Escrow) string {
				t.Helper()
				said, err := w.e.TellEscrow(t.Context(), s)
				if err != nil {
					said = err.Error()
				}
				return said
			}
			if got := say(Escrow{ID: id, Reason: "x"}); !strings.Contains(got, "is gone for good at block") {
				t.Errorf("before its end: %s", got)
			}
			w.pastExpiry(t, id, goneMargin)
			w.seedOnly(false)
			if got := say(Escrow{ID: id, Reason: "x"}); !strings.Contains(got, "the Lightning node knows hold invoice") {
				t.Errorf("the node knows it: %s", got)
			}
			w.seedOnly(true)
			if got := say(Escrow{ID: id, Settled: settled, Reason: " "}); !strings.Contains(got, "a reason is needed") {
				t.Errorf("without a reason: %s", got)
			}
			if got := say(Escrow{ID: id, Settled: settled, Reason: "her wallet says so"}); !strings.Contains(got, map[bool]string{true: "booked as settled", false: "canceled"}[settled]) {
				t.Errorf("answered with %s", got)
			}
			if got := say(Escrow{ID: id, Settled: !settled, Reason: "no"}); !strings.Contains(got, "no settle of") {
				t.Errorf("said twice: %s", got)
			}
			w.settle()
			if w.e.guards.restored != nil { // what the node has settled unasked shows that the store is old
				w.examine(false)
			}
			w.advance(10 * time.Minute)
			want, paid := mostro.StatusCanceled, 0
			if settled {
				want, paid = mostro.StatusSuccess, 1
			}
			if _, count := w.paidOut(); w.statusOf(id) != want || count != paid {
				t.Errorf("the order is %s after %d payments", w.statusOf(id), count)
			}
			r := w.audit()
			if len(r.Owed) != 0 || kinds(r.News)[audit.WordNews] != paid || kinds(r.Differences)[audit.InMissing] != 0 {
				t.Errorf("owed %+v, news %+v, differences %+v", r.Owed, r.News, r.Differences)
			}
		})
	}
}

// So it ends for a slashed bond.
func TestGoneBond(t *testing.T) {
	w := newWorld(t)
	w.play(t, "bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay")
	bonds, err := w.e.Bonds(w.order(args{}))
	w.check(err)
	w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, h order.Hash) error {
		if m == lightning.SimLookup && h == bonds[0].Hold.Hash {
			return lightning.ErrSimDropped // the slash is decided, and nothing is asked yet
		}
		return nil
	}})
	w.play(t, "wait 15m")
	if bonds, err = w.e.Bonds(bonds[0].Order); err != nil || bonds[0].State != order.BondSettling {
		t.Fatalf("the bond is %s, %v", bonds[0].State, err)
	}
	w.seedOnly(true)
	w.mine(bonds[0].Hold.ExpiryHeight + goneMargin - 1 - w.e.node.tip())
	w.advance(time.Hour)
	if bonds, err = w.e.Bonds(bonds[0].Order); err != nil || bonds[0].State != order.BondSettling {
		t.Fatalf("too early the bond is %s, %v", bonds[0].State, err)
	}
	w.mine(1)
	w.retry()
	if bonds, err = w.e.Bonds(bonds[0].Order); err != nil || bonds[0].State != order.BondReleased {
		t.Errorf("in the end the bond is %s, %v", bonds[0].State, err)
	}
}
