package escrow

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// TestM3HangingPayeesDelayNobody: 200 buyers never take their payouts, and the servers of 200
// others' addresses never answer. Everybody else trades on, from the order to the payout, by
// invoice and by address, before any of them moves.
func TestM3HangingPayeesDelayNobody(t *testing.T) {
	hanging, others := 200, 20
	if testing.Short() {
		hanging, others = 80, 10 // more than there are workers
	}
	net := lightning.NewSimNetwork(lightning.SimConfig{Now: time.Now})
	box := newPost()
	cfg := benchConfig(t, box.publish)
	cfg.Node = net.Node("mostro")
	cfg.EscrowSecret = NewEscrowSecret([32]byte{'h', 'a', 'n', 'g'})
	var log logBook
	cfg.Logger = log.logger()
	release := make(chan struct{})
	var asked, given atomic.Int32
	cfg.IsAddress = func(text string) bool { return strings.HasSuffix(text, ".example") }
	cfg.Resolve = func(_ context.Context, address string, amount order.Msat) (string, error) {
		if address == "bob@well.example" {
			given.Add(1)
			return net.Node("bob").AddInvoice(lightning.SimInvoiceRequest{Amount: amount, Expiry: 3 * time.Hour}), nil
		}
		asked.Add(1)
		<-release
		return "", context.DeadlineExceeded
	}
	e, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	e.awaitNode(t.Context())

	var mu sync.Mutex
	var traders []*trader
	// trade plays a trade until the escrow is settled, and returns its buyer.
	trade := func(name string, payout func(order.Sat) string) *trader {
		receive := func(ev *nostr.Event) error { return e.Receive(context.Background(), ev) }
		seller := &trader{t: t, post: box, node: cfg.Key.Public(), key: secretFor("seller " + name), send: receive}
		buyer := &trader{t: t, post: box, node: cfg.Key.Public(), key: secretFor("buyer " + name), send: receive}
		mu.Lock()
		traders = append(traders, seller, buyer)
		mu.Unlock()
		seller.say(mostro.NewOrder, "", &mostro.Payload{Order: &mostro.SmallOrder{
			Kind: mostro.Sell, Status: mostro.StatusPending, Amount: 1000, FiatCode: "USD", FiatAmount: 5, PaymentMethod: "cash"}})
		id := seller.wait(mostro.NewOrder).ID
		buyer.say(mostro.TakeSell, id, &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: payout(997)}})
		asked := seller.wait(mostro.PayInvoice)
		for asked.Payload.PaymentRequest == nil { // the taker's reputation
			asked = seller.wait(mostro.PayInvoice)
		}
		if _, err := net.Node("alice").PayHold(asked.Payload.PaymentRequest.Invoice); err != nil {
			t.Error(err)
		}
		buyer.wait(mostro.HoldInvoicePaymentAccepted)
		buyer.say(mostro.FiatSent, id, nil)
		seller.wait(mostro.FiatSentOk)
		seller.say(mostro.Release, id, nil)
		seller.wait(mostro.HoldInvoicePaymentSettled)
		return buyer
	}
	var all sync.WaitGroup
	slots := make(chan struct{}, 16)
	each := func(n int, f func(i int)) {
		for i := range n {
			all.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				f(i)
			})
		}
		all.Wait()
	}
	holds := make([]order.Preimage, hanging)
	each(hanging, func(i int) {
		trade(fmt.Sprint("hold ", i), func(amount order.Sat) (text string) {
			text, holds[i] = net.Node("bob").AddHoldInvoice(amount.Msat())
			return text
		})
	})
	each(hanging, func(i int) {
		trade(fmt.Sprint("slow ", i), func(order.Sat) string { return fmt.Sprintf("p%d@slow.example", i) })
	})
	for asked.Load() < int32(hanging) {
		time.Sleep(time.Millisecond)
	}
	each(others, func(i int) {
		trade(fmt.Sprint("invoice ", i), func(amount order.Sat) string {
			return net.Node("bob").AddInvoice(lightning.SimInvoiceRequest{Amount: amount.Msat(), Expiry: 3 * time.Hour})
		}).wait(mostro.PurchaseCompleted)
	})
	each(others, func(i int) {
		trade(fmt.Sprint("address ", i), func(order.Sat) string { return "bob@well.example" }).wait(mostro.PurchaseCompleted)
	})
	for i, preimage := range holds {
		if h, ok := net.Node("bob").HoldState(preimage.Hash()); !ok || h.State != lightning.Accepted {
			t.Errorf("payout %d, which its payee does not take, is %s", i, h.State)
		}
	}
	if asked.Load() != int32(hanging) || given.Load() != int32(others) {
		t.Errorf("%d of %d slow servers were asked, and %d of %d others", asked.Load(), hanging, given.Load(), others)
	}
	close(release)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	log.keepsSecrets(t, cfg, net, traders, holds...)
}
