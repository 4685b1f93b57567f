package client_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

const (
	sats       = 100_000
	sellerPays = 100_300
	buyerGets  = 99_700
)

func sell() mostro.SmallOrder {
	return mostro.SmallOrder{Kind: mostro.Sell, Amount: sats, FiatCode: "USD", FiatAmount: 50, PaymentMethod: "bank transfer"}
}

func buy() mostro.SmallOrder {
	o := sell()
	o.Kind = mostro.Buy
	return o
}

// must ends the test on an error and returns the message.
func (w *world) must(m mostro.Message, err error) mostro.Message {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
	return m
}

// offer makes an order and returns it as the book shows it.
func (p *person) offer(o mostro.SmallOrder, mode client.Mode) (*client.Trade, mostro.BookOrder) {
	p.w.Helper()
	t, _, err := p.NewOrder(p.w.ctx, o, mode)
	if err != nil {
		p.w.Fatal(err)
	}
	var shown mostro.BookOrder
	p.w.until("the order is in the book", func() bool { // on another relay it is a moment later
		shown, err = p.Order(p.w.ctx, t.OrderID())
		return err == nil
	})
	return t, shown
}

func (p *person) take(o mostro.BookOrder, invoice string, mode client.Mode) (*client.Trade, mostro.Message) {
	p.w.Helper()
	t, answer, err := p.Take(p.w.ctx, o, invoice, mode)
	if err != nil {
		p.w.Fatal(err)
	}
	return t, answer
}

// finish brings a trade whose escrow is held to its end.
func (w *world) finish(seller, buyer *client.Trade) {
	w.Helper()
	w.must(buyer.FiatSent(w.ctx))
	w.must(seller.Wait(w.ctx, mostro.FiatSentOk))
	w.must(seller.Release(w.ctx))
	w.must(buyer.Wait(w.ctx, mostro.PurchaseCompleted))
	w.must(buyer.Wait(w.ctx, mostro.Rate))
	w.must(seller.Wait(w.ctx, mostro.Rate))
}

func TestTrade(t *testing.T) {
	v1 := client.Mode{Transport: mostro.GiftWrap}
	v2 := client.Mode{Transport: mostro.NIP44}
	private := client.Mode{FullPrivacy: true}
	privateV1 := client.Mode{FullPrivacy: true, Transport: mostro.GiftWrap}

	ending := []mostro.Action{mostro.FiatSentOk, mostro.Released, mostro.PurchaseCompleted, mostro.Rate}
	released := []mostro.Action{mostro.BuyerTookOrder, mostro.FiatSentOk, mostro.HoldInvoicePaymentSettled, mostro.Rate}
	sellMaker := append([]mostro.Action{mostro.NewOrder, mostro.WaitingBuyerInvoice, mostro.PayInvoice}, released...)
	sellTaker := append([]mostro.Action{mostro.AddInvoice, mostro.WaitingSellerToPay, mostro.HoldInvoicePaymentAccepted}, ending...)
	buyTaker := append([]mostro.Action{mostro.PayInvoice, mostro.WaitingBuyerInvoice}, released...)
	buyMaker := append([]mostro.Action{mostro.NewOrder, mostro.WaitingSellerToPay, mostro.AddInvoice, mostro.HoldInvoicePaymentAccepted}, ending...)

	tests := []struct {
		name          string
		order         mostro.SmallOrder
		maker, taker  client.Mode
		invoice       bool // given with the take
		pow           int
		seller, buyer []mostro.Action // what each is told
	}{
		{name: "sell-v1", order: sell(), maker: v1, taker: v1, seller: sellMaker, buyer: sellTaker},
		{name: "sell-v2-pow", order: sell(), maker: v2, taker: v2, pow: 8, seller: sellMaker, buyer: sellTaker},
		{name: "sell-with-invoice", order: sell(), maker: v1, taker: v2, invoice: true,
			seller: append([]mostro.Action{mostro.NewOrder, mostro.PayInvoice}, released...), buyer: sellTaker[1:]},
		{name: "sell-full-privacy", order: sell(), maker: privateV1, taker: private, seller: sellMaker, buyer: sellTaker},
		{name: "buy", order: buy(), maker: client.Mode{}, taker: v1, seller: buyTaker, buyer: buyMaker},
		{name: "buy-full-privacy", order: buy(), maker: private, taker: v2, seller: buyTaker, buyer: buyMaker},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, worldConfig{pow: test.pow})
			seller, buyer := w.person("alice", w.door()), w.person("bob", w.door())
			var sold, bought *client.Trade
			var toPay mostro.Message
			if test.order.Kind == mostro.Sell {
				offer, shown := seller.offer(test.order, test.maker)
				invoice := ""
				if test.invoice {
					invoice = buyer.invoice(buyerGets)
				}
				sold = offer
				bought, _ = buyer.take(shown, invoice, test.taker)
				if !test.invoice {
					w.must(bought.AddInvoice(w.ctx, buyer.invoice(buyerGets)))
				}
				toPay = w.must(sold.Wait(w.ctx, mostro.PayInvoice))
				seller.pay(toPay)
				w.must(bought.Wait(w.ctx, mostro.HoldInvoicePaymentAccepted))
			} else {
				offer, shown := buyer.offer(test.order, test.maker)
				bought = offer
				sold, toPay = seller.take(shown, "", test.taker)
				seller.pay(toPay)
				w.must(bought.Wait(w.ctx, mostro.AddInvoice))
				w.must(bought.AddInvoice(w.ctx, buyer.invoice(buyerGets)))
			}
			w.finish(sold, bought)

			if got := seller.gain(); got != -sellerPays*1000 {
				t.Errorf("the seller has %d msat more, want %d", got, -sellerPays*1000)
			}
			if got := buyer.gain(); got != buyerGets*1000 {
				t.Errorf("the buyer has %d msat more, want %d", got, buyerGets*1000)
			}
			if diff := cmp.Diff(test.seller, seller.actions()); diff != "" {
				t.Errorf("the seller was told (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.buyer, buyer.actions()); diff != "" {
				t.Errorf("the buyer was told (-want +got):\n%s", diff)
			}
			if bought.Status() != mostro.StatusSuccess || sold.Status() != mostro.StatusSettledHoldInvoice {
				t.Errorf("the buyer sees %q, the seller %q", bought.Status(), sold.Status())
			}
		})
	}
}

func TestBook(t *testing.T) {
	w := newWorld(t, worldConfig{})
	bobDoor := w.door()
	alice, bob := w.person("alice", w.door()), w.person("bob", bobDoor)
	changes := make(chan mostro.BookOrder, 10)
	watching, stop := context.WithCancel(w.ctx)
	watched := make(chan error, 1)
	go func() { watched <- bob.WatchBook(watching, func(o mostro.BookOrder) { changes <- o }) }()

	trade, shown := alice.offer(sell(), client.Mode{})
	want := mostro.BookOrder{
		ID: trade.OrderID(), Kind: mostro.Sell, Status: mostro.StatusPending, Amount: sats,
		FiatCode: "USD", FiatAmount: 50, PaymentMethod: "bank transfer",
		ExpiresAt: shown.ExpiresAt, Expiration: shown.Expiration,
	}
	if diff := cmp.Diff(want, shown); diff != "" || shown.ExpiresAt == 0 || shown.Expiration == 0 {
		t.Errorf("the order in the book (-want +got):\n%s", diff)
	}
	book, err := bob.Book(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]mostro.BookOrder{want}, book); diff != "" {
		t.Errorf("the book (-want +got):\n%s", diff)
	}
	bobDoor.cut(false) // what he has seen is not shown again
	if book, err = bob.Book(w.ctx); err != nil || len(book) != 1 {
		t.Errorf("after a reconnect the book has %v, %v", book, err)
	}
	w.must(trade.Cancel(w.ctx))
	for _, status := range []mostro.Status{mostro.StatusPending, mostro.StatusCanceled} {
		select {
		case o := <-changes:
			if o.ID != trade.OrderID() || o.Status != status {
				t.Errorf("the book shows order %s as %s, want %s", o.ID, o.Status, status)
			}
		case <-w.ctx.Done():
			t.Fatalf("the book never shows %s", status)
		}
	}
	if book, err = bob.Book(w.ctx); err != nil || len(book) != 0 {
		t.Errorf("the book has %v, %v, want nothing", book, err)
	}
	if _, err := bob.Order(w.ctx, "00000000-0000-4000-8000-000000000000"); !errors.Is(err, client.ErrNotInBook) {
		t.Errorf("an order that there is not: %v", err)
	}
	stop()
	if err := <-watched; !errors.Is(err, context.Canceled) {
		t.Errorf("watching ended with %v", err)
	}
}

func TestCooperativeCancel(t *testing.T) {
	w := newWorld(t, worldConfig{})
	alice, bob := w.person("alice", w.door()), w.person("bob", w.door())
	sold, shown := alice.offer(sell(), client.Mode{Transport: mostro.GiftWrap})
	bought, _ := bob.take(shown, bob.invoice(buyerGets), client.Mode{})
	alice.pay(w.must(sold.Wait(w.ctx, mostro.PayInvoice)))
	w.must(bought.Wait(w.ctx, mostro.HoldInvoicePaymentAccepted))

	if m := w.must(bought.Cancel(w.ctx)); m.Action != mostro.CooperativeCancelInitiatedByYou {
		t.Errorf("the first to cancel is answered %s", m.Action)
	}
	w.must(sold.Wait(w.ctx, mostro.CooperativeCancelInitiatedByPeer))
	if m := w.must(sold.Cancel(w.ctx)); m.Action != mostro.CooperativeCancelAccepted {
		t.Errorf("the second to cancel is answered %s", m.Action)
	}
	w.must(bought.Wait(w.ctx, mostro.CooperativeCancelAccepted))
	if _, err := bought.Wait(w.ctx, mostro.PurchaseCompleted); !errors.Is(err, client.ErrOver) {
		t.Errorf("waiting for more after the end: %v", err)
	}
	var cantDo *client.CantDoError
	if _, err := bought.FiatSent(w.ctx); !errors.As(err, &cantDo) || cantDo.Reason != mostro.InvalidOrderStatus {
		t.Errorf("fiat-sent after the end: %v", err)
	}
	if sold.Status() != mostro.StatusCooperativelyCanceled || bought.Status() != mostro.StatusCooperativelyCanceled {
		t.Errorf("the seller sees %q, the buyer %q", sold.Status(), bought.Status())
	}
	w.until("the seller has his sats back", func() bool { return alice.gain() == 0 })
}

func TestNodeRefuses(t *testing.T) {
	w := newWorld(t, worldConfig{})
	alice := w.person("alice", w.door())
	dear := sell()
	dear.Amount = 1_000_001
	trade, _, err := alice.NewOrder(w.ctx, dear, client.Mode{})
	var cantDo *client.CantDoError
	if trade != nil || !errors.As(err, &cantDo) || *cantDo != (client.CantDoError{Action: mostro.NewOrder, Reason: mostro.OutOfRangeSatsAmount}) {
		t.Errorf("an order above the limit: trade %v, %v", trade, err)
	}
	if client.Hint(err) == "" {
		t.Errorf("no hint for %v", err)
	}
	// The index that the refused order had does no harm.
	alice.offer(sell(), client.Mode{})
	// Words that were used elsewhere do.
	again := alice.dial(w.door().url, 0)
	if _, _, err := again.NewOrder(w.ctx, sell(), client.Mode{}); !errors.As(err, &cantDo) || cantDo.Reason != mostro.InvalidTradeIndex {
		t.Errorf("a trade index a second time: %v", err)
	}
}

func TestRelayRefuses(t *testing.T) {
	w := newWorld(t, worldConfig{relayPow: 20})
	alice := w.person("alice", w.door())
	trade, _, err := alice.NewOrder(w.ctx, sell(), client.Mode{})
	var refused *client.RefusedError
	if trade != nil || !errors.As(err, &refused) || !strings.HasPrefix(refused.Words, "pow: ") {
		t.Errorf("a message without work: trade %v, %v", trade, err)
	}
}

// TestRelayUnsure: a relay that brings messages to a node elsewhere, of which it hears nothing, fails and may have brought one
// all the same. The order is the user's then, whatever the relay has said.
func TestRelayUnsure(t *testing.T) {
	var unsure atomic.Bool
	w := newWorld(t, worldConfig{received: func() error {
		if unsure.Load() {
			return errors.New("error: the relay of this Mostro has not answered and may have the message or not")
		}
		return nil
	}})
	alice := w.person("alice", w.door())
	unsure.Store(true)
	trade, _, err := alice.NewOrder(w.ctx, sell(), client.Mode{})
	var refused *client.RefusedError
	if trade == nil || !errors.As(err, &refused) {
		t.Fatalf("an order that may have arrived: trade %v, %v", trade, err)
	}
	unsure.Store(false)
	w.must(trade.Wait(w.ctx, mostro.NewOrder))
	w.must(trade.Cancel(w.ctx))
}

// TestStrangers: anybody may write to a trade key, and nobody but the node is heard.
func TestStrangers(t *testing.T) {
	w := newWorld(t, worldConfig{})
	alice := w.person("alice", w.door())
	sold, _ := alice.offer(sell(), client.Mode{})
	stranger, err := mostro.NewSecret(sha256.Sum256([]byte("stranger")))
	if err != nil {
		t.Fatal(err)
	}
	m := mostro.Message{Wrapper: mostro.WrapOrder, Version: 2, ID: sold.OrderID(), Action: mostro.Canceled}
	plain, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, transport := range []mostro.Transport{mostro.GiftWrap, mostro.NIP44} {
		ev, err := mostro.NewSealer(stranger).Seal(mostro.Outgoing{
			Transport: transport, To: sold.Pubkey(), Plaintext: plain, CreatedAt: time.Now().Unix(), Seed: [32]byte{1},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.relay.Publish(w.ctx, ev); err != nil {
			t.Fatal(err)
		}
	}
	w.must(sold.Cancel(w.ctx))
	if diff := cmp.Diff([]mostro.Action{mostro.NewOrder, mostro.Canceled}, alice.actions()); diff != "" {
		t.Errorf("the maker was told (-want +got):\n%s", diff)
	}
}

func TestInfo(t *testing.T) {
	w := newWorld(t, worldConfig{pow: 3})
	alice := w.person("alice", w.door())
	info, err := alice.Info(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	lnd, err := w.net.Node("mostro").Info(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := client.Info{NodeInfo: testSettings(3).Info, Name: "Test", Transport: mostro.NIP44, At: info.At}
	want.LNDVersion, want.LNDPubkey, want.LNDCommitHash, want.LNDAlias, want.LNDURIs = lnd.Version, lnd.Pubkey, lnd.CommitHash, lnd.Alias, lnd.URIs
	want.LNDChains, want.LNDNetworks = []string{"bitcoin"}, []string{lnd.Network}
	if diff := cmp.Diff(want, info, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the terms (-want +got):\n%s", diff)
	}
}

func TestDialErrors(t *testing.T) {
	w := newWorld(t, worldConfig{})
	door := w.door()
	words, err := mostro.NewMnemonic()
	if err != nil {
		t.Fatal(err)
	}
	good := client.Config{RelayURL: door.url, Node: w.key.Public(), Keys: client.Keys{Mnemonic: words}}
	tests := []struct {
		name   string
		change func(*client.Config)
		want   string
	}{
		{"http address", func(c *client.Config) { c.RelayURL = "http://127.0.0.1:1" }, "want ws://host:port"},
		{"no address", func(c *client.Config) { c.RelayURL = "" }, "want ws://host:port"},
		{"bad key", func(c *client.Config) { c.Node = "npub1" }, "key of the node"},
		{"bad words", func(c *client.Config) { c.Keys.Mnemonic = "one two" }, "derive key"},
		{"nobody there", func(c *client.Config) { c.RelayURL = "ws://127.0.0.1:1" }, "connect to ws://127.0.0.1:1"},
	}
	for _, test := range tests {
		cfg := good
		test.change(&cfg)
		if _, err := client.Dial(w.ctx, cfg); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}

	other := good
	stranger, err := mostro.DeriveKey(words, 7)
	if err != nil {
		t.Fatal(err)
	}
	other.Node = stranger.Public()
	c, err := client.Dial(w.ctx, other)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if trade, _, err := c.NewOrder(w.ctx, sell(), client.Mode{}); trade != nil || !errors.Is(err, client.ErrNoInfo) {
		t.Errorf("an order at a node that is not there: %v", err)
	}
}
