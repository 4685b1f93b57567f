package escrow

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// M22, M23: a bond whose step would break the books holds its order back, by the order's name.
// When that is freed the bond is watched and goes on, and nothing is counted twice.
func TestM23BrokenBondHoldsItsOrder(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := newWorld(t)
		w.play(t, "bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay\n streams off")
		id := w.order(args{})
		w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
			if m == lightning.SimSettle {
				return lightning.ErrSimDropped
			}
			return nil
		}})
		w.play(t, "wait 15m")
		change := func(f func(*order.Bond)) {
			w.check(w.e.db.Update(func(txn *badger.Txn) error {
				bonds, err := liveBonds(txn, id)
				w.check(err)
				if len(bonds) != 1 || bonds[0].State != order.BondSettling {
					t.Fatalf("bonds: %+v", bonds)
				}
				f(&bonds[0])
				var change writes
				w.check(change.set(rowKey(tableBond, bonds[0].ID), bonds[0]))
				return set(txn, &change)
			}))
		}
		change(func(b *order.Bond) {
			b.Ledger = append(b.Ledger, order.Entry{Kind: order.SettledIn, State: order.Booked, Amount: 1})
		})
		_, holds := w.e.live.load()
		w.node.SetFaults(lightning.Faults{})
		w.retry()
		s, err := w.e.Status()
		w.check(err)
		if len(s.Held) != 1 || !strings.Contains(s.Held[id], "does not add up") {
			t.Fatalf("held back: %q, and not order %s", s.Held, id)
		}
		if restart {
			w.crash()
			w.settle()
		}
		change(func(b *order.Bond) { b.Ledger = b.Ledger[:len(b.Ledger)-1] })
		w.check(w.e.FreeOrder(context.Background(), id, "mended"))
		if _, now := w.e.live.load(); now != holds {
			t.Errorf("restart %v: %d hold invoices are counted, before it was held back %d", restart, now, holds)
		}
		w.play(t, "streams on")
		w.retry()
		w.out.Reset()
		w.play(t, "wait 6m\n alice claim invoice=500\n bond A")
		if got := w.out.String(); !strings.Contains(got, "slashed, hold invoice settled, payout paid") {
			t.Errorf("restart %v: the bond does not go on:\n%s", restart, got)
		}
	}
}

// M23: no payment is sent for an order, or for a bond of one, that is held back.
func TestM23NothingIsPaidForAHeldOrder(t *testing.T) {
	for name, story := range map[string]string{
		"order": "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent",
		"bond":  "bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay\n wait 15m",
	} {
		w := newWorld(t)
		w.play(t, story)
		id := w.order(args{})
		w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
			if m == lightning.SimSend {
				return lightning.ErrSimDropped
			}
			return nil
		}})
		if name == "bond" {
			w.play(t, "alice claim invoice=500")
		} else {
			w.play(t, "alice release")
		}
		failing := &op{done: make(chan error, 1), blame: id, plan: func(*badgerTxn, *writes) error { panic("boom") }}
		w.check(w.e.commit([]*op{failing}))
		w.node.SetFaults(lightning.Faults{})
		for range 3 {
			w.advance(5 * time.Minute)
			w.retry()
		}
		if _, n := w.paidOut(); n != 0 {
			t.Errorf("%s: %d payments were sent while the order was held back", name, n)
		}
		w.check(w.e.FreeOrder(context.Background(), id, "mended"))
		for range 3 {
			w.advance(5 * time.Minute)
			w.retry()
		}
		if _, n := w.paidOut(); n != 1 {
			t.Errorf("%s: %d payments were sent after it was freed", name, n)
		}
		if r := w.audit(); len(r.Owed) != 0 || !r.Agrees() {
			t.Errorf("%s: owed %+v, differences %+v", name, r.Owed, r.Differences)
		}
	}
}

// M23: what the node says of a bond is held against the order that it stands for.
func TestM23NewsOfABondBlamesItsOrder(t *testing.T) {
	w := newWorld(t)
	w.play(t, "bonds apply=take\n alice new sell sats=100000\n bob take invoice=99700\n bob pay")
	id := w.order(args{})
	bonds, err := w.e.Bonds(id)
	w.check(err)
	w.check(w.e.db.Update(func(txn *badgerTxn) error { return txn.Set(rowKey(tableOrder, id), []byte(`{"status":17}`)) }))
	ev := w.e.holdEvent(order.HoldCanceled, lightning.HoldInvoice{Hash: bonds[0].Hold.Hash})
	ev.Bond = bonds[0].ID
	if err := w.e.apply(context.Background(), *ev); !errors.Is(err, errHeld) {
		t.Errorf("the news is answered with %v", err)
	}
	s, err := w.e.Status()
	w.check(err)
	if s.Held[id] == "" || len(s.Held) != 1 {
		t.Errorf("held back: %v", s.Held)
	}
}
