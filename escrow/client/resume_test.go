package client_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/client"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

func TestReconnect(t *testing.T) {
	w := newWorld(t, worldConfig{})
	aliceDoor, bobDoor := w.door(), w.door()
	alice, bob := w.person("alice", aliceDoor), w.person("bob", bobDoor)
	sold, shown := alice.offer(sell(), client.Mode{Transport: mostro.GiftWrap})
	bought, _ := bob.take(shown, bob.invoice(buyerGets), client.Mode{})

	// What is said while the buyer is away is there when he is back.
	bobDoor.cut(true)
	alice.pay(w.must(sold.Wait(w.ctx, mostro.PayInvoice)))
	w.must(sold.Wait(w.ctx, mostro.BuyerTookOrder))
	bobDoor.open()
	w.must(bought.Wait(w.ctx, mostro.HoldInvoicePaymentAccepted))

	// A request whose answer is lost together with the connection is sent again, and counts once.
	bobDoor.setTrap()
	w.must(bought.FiatSent(w.ctx))
	if !bobDoor.sprung() {
		t.Error("the connection was not broken")
	}
	aliceDoor.cut(false)
	w.must(sold.Wait(w.ctx, mostro.FiatSentOk))
	w.must(sold.Release(w.ctx))
	w.must(bought.Wait(w.ctx, mostro.Rate))

	want := []mostro.Action{mostro.WaitingSellerToPay, mostro.HoldInvoicePaymentAccepted, mostro.FiatSentOk,
		mostro.Released, mostro.PurchaseCompleted, mostro.Rate}
	if diff := cmp.Diff(want, bob.actions()); diff != "" {
		t.Errorf("the buyer was told (-want +got):\n%s", diff)
	}
}

func TestResume(t *testing.T) {
	w := newWorld(t, worldConfig{})
	door := w.door()
	alice, bob := w.person("alice", w.door()), w.person("bob", door)
	sold, shown := alice.offer(sell(), client.Mode{})
	bought, _ := bob.take(shown, bob.invoice(buyerGets), client.Mode{})
	if _, err := bob.Resume(bought.OrderID(), bought.Index(), client.Mode{}); err == nil {
		t.Error("a trade can be open twice")
	}
	bob.Close()
	if _, err := bought.Wait(w.ctx, mostro.Rate); !errors.Is(err, client.ErrClosed) {
		t.Errorf("waiting at a closed client: %v", err)
	}
	if _, err := bought.Cancel(w.ctx); !errors.Is(err, client.ErrClosed) {
		t.Errorf("a request of a closed client: %v", err)
	}
	alice.pay(w.must(sold.Wait(w.ctx, mostro.PayInvoice)))

	bob.Client = bob.dial(door.url, bought.Index())
	bought, err := bob.Resume(bought.OrderID(), bought.Index(), client.Mode{})
	if err != nil {
		t.Fatal(err)
	}
	w.must(bought.Wait(w.ctx, mostro.HoldInvoicePaymentAccepted))
	w.finish(sold, bought)
	if got := bob.gain(); got != buyerGets*1000 {
		t.Errorf("the buyer has %d msat more, want %d", got, buyerGets*1000)
	}
	// The next trade goes on after the resumed one.
	next, _ := bob.offer(buy(), client.Mode{})
	if next.Index() != bought.Index()+1 {
		t.Errorf("after trade %d comes %d", bought.Index(), next.Index())
	}
}

// TestNoAnswerYet: a release is taken while the Lightning node is away, and carried out when
// it is back. The node says so, unless the person does not wait for as long as that.
func TestNoAnswerYet(t *testing.T) {
	taken := make(chan struct{}, 100)
	w := newWorld(t, worldConfig{received: func() error { taken <- struct{}{}; return nil }})
	alice, bob := w.person("alice", w.door()), w.person("bob", w.door())
	sold, shown := alice.offer(sell(), client.Mode{})
	bought, _ := bob.take(shown, bob.invoice(buyerGets), client.Mode{})
	alice.pay(w.must(sold.Wait(w.ctx, mostro.PayInvoice)))
	w.must(bought.Wait(w.ctx, mostro.HoldInvoicePaymentAccepted))
	w.must(bought.FiatSent(w.ctx))

	hangs := make(chan struct{})
	w.net.Node("mostro").SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
		if m == lightning.SimSettle {
			<-hangs
		}
		return nil
	}})
	for len(taken) > 0 {
		<-taken
	}
	ctx, giveUp := context.WithCancel(w.ctx)
	result := make(chan error, 1)
	go func() {
		_, err := sold.Release(ctx)
		result <- err
	}()
	<-taken
	w.until("the relay has answered", func() bool { return client.Unanswered(alice.Client) == 0 })
	giveUp()
	if err := <-result; !errors.Is(err, client.ErrNoAnswer) || !errors.Is(err, context.Canceled) || client.Hint(err) == "" {
		t.Errorf("release while the Lightning node is away: %v", err)
	}
	w.must(sold.Wait(w.ctx, mostro.SendDM))
	close(hangs)
	w.must(sold.Wait(w.ctx, mostro.HoldInvoicePaymentSettled))
	w.must(bought.Wait(w.ctx, mostro.PurchaseCompleted))
}

// TestManyTrades: one client with more trades at once than one subscription holds, begun at
// the same time, so that the indices would come out of order if they could.
func TestManyTrades(t *testing.T) {
	w := newWorld(t, worldConfig{})
	alice := w.person("alice", w.door())
	const count = 60
	trades := make([]*client.Trade, count)
	var all sync.WaitGroup
	for i := range trades {
		all.Go(func() {
			var err error
			if trades[i], _, err = alice.NewOrder(w.ctx, sell(), client.Mode{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	seen := map[uint32]bool{}
	for i, trade := range trades {
		if trade.Index() < 1 || trade.Index() > count || seen[trade.Index()] {
			t.Errorf("a trade has the index %d", trade.Index())
		}
		seen[trade.Index()] = true
		if i%2 == 0 {
			trade.Close()
		}
	}
	for i, trade := range trades {
		if i%2 == 1 {
			w.must(trade.Cancel(w.ctx))
			trade.Close()
		}
	}
	book, err := alice.Book(w.ctx)
	if err != nil || len(book) != count/2 {
		t.Errorf("%d orders are left, %v, want %d", len(book), err, count/2)
	}
	if open := client.Subscriptions(alice.Client); open != 1 {
		t.Errorf("%d subscriptions are open, want that of the terms", open)
	}
}
