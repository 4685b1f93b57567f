package escrow

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// orphansTold counts what the log says of hold invoices that hold sats, or can be paid, and belong to nothing.
func (w *world) orphansTold() (held, open int) {
	log := w.logged.String()
	return strings.Count(log, "alarm: a hold invoice of this escrow holds sats"), strings.Count(log, "alarm: a hold invoice of this escrow can be paid")
}

// round is one search, as Run makes it.
func (w *world) round() {
	w.t.Helper()
	w.check(w.e.findOrphans(context.Background()))
}

// M36: the store has called an order canceled, and the call that cancels its hold invoice is lost: as it is when the store is
// written first, and the node told without a row that stays until it has heard. The operator is told once, not at each
// look, and again when somebody has paid it; nothing is canceled for him. After he has done it, it is in status no more.
func TestM36CanceledInTheStoreAlone(t *testing.T) {
	for _, paid := range []bool{true, false} {
		w := newWorld(t)
		w.play(t, "alice new sell sats=100000\n bob take invoice=99700")
		if paid {
			w.play(t, "alice pay")
		}
		id := w.order(args{})
		o, _, err := w.e.Order(id)
		w.check(err)
		hash := o.Escrow.Hash
		w.round()
		w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
			if m == lightning.SimCancel {
				return lightning.ErrSimDropped
			}
			return nil
		}})
		w.play(t, "bob cancel order=A")
		if paid {
			w.play(t, "alice cancel order=A")
		}
		w.round()
		if held, open := w.orphansTold(); held+open != 0 {
			t.Fatalf("paid %v: a hold invoice that waits to be canceled counts as nobody's", paid)
		}
		w.node.SetFaults(lightning.Faults{})
		w.check(w.e.db.Update(func(txn *badger.Txn) error {
			var lost [][]byte
			w.check(scan(txn, []byte{tableOutbox, 0}, false, func(key, _ []byte) error { lost = append(lost, append([]byte(nil), key...)); return nil }))
			for _, key := range lost {
				w.check(txn.Delete(key))
			}
			return nil
		}))
		w.crash()
		w.settle()
		for range 3 {
			w.net.Advance(orphansEvery)
			w.round()
		}
		if held, open := w.orphansTold(); held+open != 1 || (held == 1) != paid {
			t.Errorf("paid %v: told %d times as held and %d times as open", paid, held, open)
		}
		h, _ := w.node.HoldState(hash)
		s, err := w.e.Status()
		w.check(err)
		if len(s.Orphans) != 1 || s.Orphans[0].Hash != hash || s.Orphans[0].Of != id || s.Orphans[0].State != h.State || h.State.Final() {
			t.Errorf("paid %v: the hold invoice is %s, and status has %+v", paid, h.State, s.Orphans)
		}
		if !paid {
			if _, err := w.person("alice").wallet.PayHold(w.person("alice").invoice); err != nil {
				t.Fatal(err)
			}
			w.round()
			w.round()
			if held, _ := w.orphansTold(); held != 1 {
				t.Errorf("told %d times after it was paid", held)
			}
		}
		w.check(w.node.Cancel(t.Context(), hash))
		w.round()
		if s, err := w.e.Status(); err != nil || len(s.Orphans) != 0 {
			t.Errorf("paid %v: status still has %+v, %v", paid, s.Orphans, err)
		}
		if held, _ := w.orphansTold(); held != 1 {
			t.Errorf("told %d times in the end", held)
		}
	}
}

// M36: whatever a trade is doing, its hold invoice and those of its bonds belong to it, also to one that is held back. Nor is what other
// software holds at the same node the escrow's, whatever its memo says.
func TestM36WhatBelongsIsNoOrphan(t *testing.T) {
	for name, play := range map[string]string{
		"to be paid":       "alice new sell sats=100000\n bob take invoice=99700",
		"held":             "alice new sell sats=100000\n bob take invoice=99700\n alice pay",
		"fiat sent":        "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent",
		"a dispute":        "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob dispute",
		"to be settled":    "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n node unsynced\n alice release",
		"an owed payout":   "bob route none\n alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n alice release",
		"a bond":           "bonds apply=take\n alice new buy sats=100000\n bob take",
		"a bond that is":   "bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay",
		"bond and escrow":  "bonds apply=take\n alice new sell sats=100000\n bob take\n bob pay\n bob add-invoice order=A invoice=99700\n alice pay order=A",
		"a canceled trade": "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob cancel\n alice cancel order=A",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.play(t, play)
			w.round()
			memo := "Mostro escrow " + w.order(args{}) + "/1: paying locks 1 sat."
			other := order.NewPreimage([32]byte{7})
			_, err := w.node.OpenHold(t.Context(), lightning.HoldRequest{Hash: other.Hash(), Amount: 1000, Memo: memo, CLTVDelta: 80, Expiry: time.Hour})
			w.check(err)
			w.round()
			w.crash()
			w.settle()
			w.round()
			w.check(w.e.db.Update(func(txn *badger.Txn) error { return txn.Set(rowKey(tableHeld, w.order(args{})), []byte("broken")) }))
			w.crash()
			w.settle()
			w.round()
			if s, err := w.e.Status(); err != nil || len(s.Orphans) != 0 {
				t.Errorf("%+v, %v", s.Orphans, err)
			}
			bonds, err := w.e.Bonds(w.order(args{}))
			w.check(err)
			w.check(w.e.db.Update(func(txn *badger.Txn) error { // nor is it known what rows want that cannot be read
				for _, b := range bonds {
					w.check(txn.Set(rowKey(tableBond, b.ID), []byte("broken")))
				}
				return txn.Set(rowKey(tableOrder, w.order(args{})), []byte("broken"))
			}))
			w.round()
			if held, open := w.orphansTold(); held+open != 0 {
				t.Errorf("told of %d that are held and %d that are open", held, open)
			}
		})
	}
}

// M36: an old copy of the store is put back, and a trade that was made since is not in it: its hold invoice is nobody's. However
// many invoices others have made at the node, a later round asks for no more than it must.
func TestM36ForgottenTrade(t *testing.T) {
	w := newWorld(t)
	w.round()
	for range 2 * oldEnough {
		w.node.AddInvoice(lightning.SimInvoiceRequest{Amount: 1000, Expiry: time.Minute})
	}
	w.net.Advance(2 * orphanMargin)
	id := "6c7fb3f8-0000-4000-8000-000000000001"
	hash := w.e.preimage(id, 3).Hash()
	w.round()
	_, err := w.node.OpenHold(t.Context(), lightning.HoldRequest{Hash: hash, Amount: 100_300_000, CLTVDelta: 288, Expiry: time.Hour,
		Memo: order.EscrowMemo(&order.Order{ID: id, Amount: 100_000, Fee: 300, FiatCode: "USD", Escrow: order.Escrow{Attempt: 3}})})
	w.check(err)
	w.round()
	if s, err := w.e.Status(); err != nil || len(s.Orphans) != 1 || s.Orphans[0].Of != id || s.Orphans[0].Attempt != 3 || s.Orphans[0].Hash != hash {
		t.Errorf("%+v, %v", s.Orphans, err)
	}
	w.net.Advance(2 * time.Hour)
	w.round()
	if s, err := w.e.Status(); err != nil || len(s.Orphans) != 0 {
		t.Errorf("after its time %+v, %v", s.Orphans, err)
	}
	w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
		if m == lightning.SimInvoices {
			return lightning.ErrSimDropped
		}
		return nil
	}})
	if err := w.e.findOrphans(t.Context()); err == nil {
		t.Error("a round that could not read counts as one")
	}
}

// M36: a running node looks by itself.
func TestM36RunLooks(t *testing.T) {
	net := lightning.NewSimNetwork(lightning.SimConfig{Now: time.Now})
	cfg := benchConfig(t, newPost().publish)
	node := net.Node("mostro")
	cfg.Node, cfg.Logger = node, slog.New(slog.DiscardHandler)
	e, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	id := "6c7fb3f8-0000-4000-8000-000000000001"
	if _, err := node.OpenHold(t.Context(), lightning.HoldRequest{Hash: e.preimage(id, 1).Hash(), Amount: 1000, CLTVDelta: 80, Expiry: 24 * time.Hour,
		Memo: order.EscrowMemo(&order.Order{ID: id, Amount: 1, Status: mostro.StatusActive, Escrow: order.Escrow{Attempt: 1}})}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	for len(e.orphans.all()) == 0 && node.Count(lightning.SimInfo) < 8 { // each after nodeEvery; the look comes after the first
		time.Sleep(time.Millisecond)
	}
	if found := e.orphans.all(); len(found) != 1 || found[0].Of != id {
		t.Errorf("found %+v", found)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
