package client_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

func rangeOf(o mostro.SmallOrder, least, most int64) mostro.SmallOrder {
	o.Amount, o.FiatAmount, o.MinAmount, o.MaxAmount = 0, 0, &least, &most
	return o
}

// held makes an order, takes it and pays the escrow; the seller is the maker of a sell order.
func (w *world) held(seller, buyer *person, o mostro.SmallOrder, fiat int64) (sold, bought *client.Trade) {
	w.Helper()
	maker, taker := seller, buyer
	if o.Kind == mostro.Buy {
		maker, taker = buyer, seller
	}
	made, shown := maker.offer(o, client.Mode{})
	var took *client.Trade
	var answer mostro.Message
	var err error
	invoice := ""
	if o.Kind == mostro.Sell && o.Amount > 0 {
		invoice = buyer.invoice(buyerGets)
	}
	if fiat > 0 {
		took, answer, err = taker.TakeRange(w.ctx, shown, fiat, invoice, client.Mode{})
	} else {
		took, answer, err = taker.Take(w.ctx, shown, invoice, client.Mode{})
	}
	if err != nil {
		w.Fatal(err)
	}
	if o.Kind == mostro.Buy {
		seller.pay(answer)
		asked := w.must(made.Wait(w.ctx, mostro.AddInvoice))
		w.must(made.AddInvoice(w.ctx, buyer.invoice(order.Sat(asked.Payload.Order.Amount))))
		return took, made
	}
	if invoice == "" {
		w.must(took.AddInvoice(w.ctx, buyer.invoice(order.Sat(answer.Payload.Order.Amount))))
	}
	seller.pay(w.must(made.Wait(w.ctx, mostro.PayInvoice)))
	w.must(took.Wait(w.ctx, mostro.HoldInvoicePaymentAccepted))
	return made, took
}

// TestRange: the maker names the key for the rest, with the release or with fiat-sent, and is told of it where he reads, be
// that another relay.
func TestRange(t *testing.T) {
	for _, test := range []struct {
		name    string
		order   mostro.SmallOrder
		outside bool
	}{{"sell", sell(), false}, {"buy", buy(), false}, {"sell outside", sell(), true}, {"buy outside", buy(), true}} {
		t.Run(test.name, func(t *testing.T) {
			var w *world
			var d *door
			if test.outside {
				e := newElsewhere(t)
				w, d = newWorld(t, worldConfig{outside: []string{e.door.url}}), e.door
				e.waitInfo(w)
			} else {
				w = newWorld(t, worldConfig{})
				d = w.door()
			}
			seller, buyer := w.person("alice", d), w.person("bob", d)
			sold, bought := w.held(seller, buyer, rangeOf(test.order, 20, 100), 30)
			var next *client.Trade
			var err error
			if test.order.Kind == mostro.Buy {
				next, _, err = bought.FiatSentNext(w.ctx)
				if err != nil {
					t.Fatal(err)
				}
				w.must(sold.Release(w.ctx))
			} else {
				w.must(bought.FiatSent(w.ctx))
				if next, _, err = sold.ReleaseNext(w.ctx); err != nil {
					t.Fatal(err)
				}
			}
			child := w.must(next.Wait(w.ctx, mostro.NewOrder))
			if o := child.Payload.Order; *o.MinAmount != 20 || *o.MaxAmount != 70 || o.Kind != test.order.Kind || next.OrderID() != o.ID {
				t.Errorf("the rest is %+v, of the trade %s", o, next.OrderID())
			}
			w.must(next.Cancel(w.ctx))
		})
	}
}

// TestNextRefused: what the node does not take leaves no trade behind.
func TestNextRefused(t *testing.T) {
	w := newWorld(t, worldConfig{})
	alice := w.person("alice", w.door())
	trade, _ := alice.offer(rangeOf(sell(), 20, 100), client.Mode{})
	next, _, err := trade.ReleaseNext(w.ctx)
	var cantDo *client.CantDoError
	if next != nil || !errors.As(err, &cantDo) || cantDo.Reason != mostro.NotAllowedByStatus {
		t.Errorf("release of a pending order: %v, %v", next, err)
	}
}

// TestRefusalInWords: what the node says beside a reason that fits much else is in the error.
func TestRefusalInWords(t *testing.T) {
	w := newWorld(t, worldConfig{closed: true})
	alice := w.person("alice", w.door())
	for {
		trade, _, err := alice.NewOrder(w.ctx, sell(), client.Mode{})
		var cantDo *client.CantDoError
		if trade != nil || !errors.As(err, &cantDo) {
			t.Fatalf("%v, %v", trade, err)
		}
		if cantDo.Words == "" {
			continue // on a busy machine they come too late
		}
		if !strings.HasSuffix(err.Error(), `the node refuses new-order: not_allowed_by_status: "`+cantDo.Words+`"`) ||
			!strings.HasPrefix(cantDo.Words, "This node takes no new orders") || client.Hint(err) != "" {
			t.Errorf("%v, hint %q", err, client.Hint(err))
		}
		return
	}
}

// TestDispute: a solver, made by an administrator, takes a dispute, talks to a party, and
// decides it.
func TestDispute(t *testing.T) {
	w := newWorld(t, worldConfig{})
	alice, bob, dave := w.person("alice", w.door()), w.person("bob", w.door()), w.person("dave", w.door())
	operator, solver := dave.Admin(w.key, 0), dave.Admin(mostro.Secret{}, mostro.GiftWrap)
	identity, err := mostro.DeriveKey(dave.words, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := solver.AddSolver(w.ctx, identity.Public(), false); err == nil {
		t.Error("a stranger makes solvers")
	}
	w.must(operator.AddSolver(w.ctx, identity.Public(), false))

	sold, bought := w.held(alice, bob, sell(), 0)
	opened := w.must(bought.Dispute(w.ctx))
	if bought.Solver() != "" {
		t.Error("there is a solver already")
	}
	took := w.must(solver.TakeDispute(w.ctx, opened.Payload.Dispute.ID))
	if info := took.Payload.Dispute.Info; info == nil || info.BuyerPubkey != bought.Pubkey() || info.SellerPubkey != sold.Pubkey() {
		t.Errorf("the solver is told %+v", took.Payload.Dispute.Info)
	}
	w.must(bought.Wait(w.ctx, mostro.AdminTookDispute))
	if bought.Solver() != identity.Public() {
		t.Errorf("the solver is %s", bought.Solver())
	}

	said, err := bought.Chat(bought.Solver())
	if err != nil {
		t.Fatal(err)
	}
	if err := said.Say(w.ctx, "he has the money"); err != nil {
		t.Fatal(err)
	}
	read, err := solver.Chat(bought.Pubkey())
	if err != nil {
		t.Fatal(err)
	}
	if texts := w.texts(read, 1); !cmp.Equal(texts, []string{bought.Pubkey() + ": he has the money"}) {
		t.Errorf("the solver reads %q", texts)
	}

	w.must(solver.Settle(w.ctx, sold.OrderID(), nil))
	w.must(bought.Wait(w.ctx, mostro.PurchaseCompleted))
	if _, err := solver.Cancel(w.ctx, sold.OrderID(), nil); err == nil {
		t.Error("a settled dispute is canceled")
	}
}

// texts reads a chat until it has count messages.
func (w *world) texts(c *client.Chat, count int) (texts []string) {
	w.Helper()
	ctx, stop := context.WithCancel(w.ctx)
	err := c.Watch(ctx, func(messages []mostro.ChatMessage) {
		for _, m := range messages {
			texts = append(texts, m.From+": "+m.Text)
		}
		if len(texts) >= count {
			stop()
		}
	})
	if w.ctx.Err() != nil {
		w.Fatal(err)
	}
	return texts
}

// TestChat: the two sides find each other's keys in what the node says, and read each other,
// and nobody else.
func TestChat(t *testing.T) {
	w := newWorld(t, worldConfig{})
	alice, bob := w.person("alice", w.door()), w.person("bob", w.door())
	sold, bought := w.held(alice, bob, buy(), 0)
	w.must(sold.Wait(w.ctx, mostro.BuyerTookOrder))
	if sold.Peer() != bought.Pubkey() || bought.Peer() != sold.Pubkey() {
		t.Fatalf("the peers are %s and %s", sold.Peer(), bought.Peer())
	}
	hers, err := sold.Chat(sold.Peer())
	if err != nil {
		t.Fatal(err)
	}
	his, err := bought.Chat(bought.Peer())
	if err != nil {
		t.Fatal(err)
	}
	if err := hers.Say(w.ctx, "IBAN ES00"); err != nil {
		t.Fatal(err)
	}
	if err := his.Say(w.ctx, "thank you"); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{sold.Pubkey() + ": IBAN ES00": true, bought.Pubkey() + ": thank you": true}
	for name, c := range map[string]*client.Chat{"alice": hers, "bob": his} {
		got := map[string]bool{}
		for _, text := range w.texts(c, 2) {
			got[text] = true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s reads (-want +got):\n%s", name, diff)
		}
	}
	if err := hers.Say(w.ctx, strings.Repeat("x", 5000)); err == nil {
		t.Error("a novel is sent")
	}
}

// TestRestore: from the words alone a user gets his trades back, those under way first, and what
// he is asked to do.
func TestRestore(t *testing.T) {
	w := newWorld(t, worldConfig{})
	d := w.door()
	alice, bob := w.person("alice", d), w.person("bob", d)
	if last, err := alice.LastIndex(w.ctx, 0); err != nil || last != 0 {
		t.Errorf("before the first trade the last index is %d, %v", last, err)
	}
	if data, last, err := alice.Restore(w.ctx, 0); err != nil || last != 0 || len(data.Orders) != 0 {
		t.Errorf("before the first trade %v, %d, %v are restored", data, last, err)
	}
	sold, shown := alice.offer(sell(), client.Mode{})
	second, _ := alice.offer(buy(), client.Mode{})
	bob.take(shown, bob.invoice(buyerGets), client.Mode{})
	w.must(sold.Wait(w.ctx, mostro.PayInvoice))

	for _, transport := range []mostro.Transport{0, mostro.GiftWrap} {
		found := alice.dial(d.url, 0)
		data, last, err := found.Restore(w.ctx, transport)
		want := mostro.RestoreData{Orders: []mostro.RestoredOrder{
			{OrderID: sold.OrderID(), TradeIndex: 1, Status: mostro.StatusWaitingPayment},
			{OrderID: second.OrderID(), TradeIndex: 2, Status: mostro.StatusPending},
		}}
		if diff := cmp.Diff(want, data); diff != "" || last != 2 || err != nil {
			t.Errorf("restored up to %d, %v (-want +got):\n%s", last, err, diff)
		}
		orders, err := found.OrdersByID(w.ctx, transport, sold.OrderID(), second.OrderID())
		if err != nil || len(orders) != 2 || orders[0].ID != sold.OrderID() || orders[1].Kind != mostro.Buy {
			t.Errorf("the orders are %v, %v", orders, err)
		}
		again, err := found.Resume(sold.OrderID(), 1, client.Mode{})
		if err != nil {
			t.Fatal(err)
		}
		if err := again.CaughtUp(w.ctx); err != nil {
			t.Fatal(err)
		}
		for _, m := range again.Messages() {
			if m.ID != sold.OrderID() {
				t.Errorf("the trade has the message %s, which is not about it", m.Action)
			}
		}
		if count := len(again.Messages()); count < 3 {
			t.Errorf("the trade has %d messages", count)
		}
	}
}

// TestRestoreLong: what a node splits into several messages is one answer.
func TestRestoreLong(t *testing.T) {
	w := newWorld(t, worldConfig{})
	alice := w.person("alice", w.door())
	const count = 201 // one more than our node puts into a message
	var all sync.WaitGroup
	for range count {
		all.Go(func() {
			if _, _, err := alice.NewOrder(w.ctx, sell(), client.Mode{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	data, last, err := alice.Restore(w.ctx, 0)
	if err != nil || len(data.Orders) != count || last != count {
		t.Errorf("%d orders up to %d are restored, %v", len(data.Orders), last, err)
	}
}

// TestChatReconnect: after a reconnect the relay sends the whole chat again, and each message
// is heard once.
func TestChatReconnect(t *testing.T) {
	w := newWorld(t, worldConfig{})
	d := w.door()
	alice, bob := w.person("alice", d), w.person("bob", w.door())
	sold, bought := w.held(alice, bob, buy(), 0)
	w.must(sold.Wait(w.ctx, mostro.BuyerTookOrder))
	hears, err := sold.Chat(sold.Peer())
	if err != nil {
		t.Fatal(err)
	}
	says, err := bought.Chat(bought.Peer())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(w.ctx)
	heard := make(chan string, 10)
	ended := make(chan error, 1)
	go func() {
		ended <- hears.Watch(ctx, func(messages []mostro.ChatMessage) {
			for _, m := range messages {
				heard <- m.Text
			}
		})
	}()
	var got []string
	for _, text := range []string{"one", "two", "three"} {
		if err := says.Say(w.ctx, text); err != nil {
			t.Fatal(err)
		}
		select {
		case text := <-heard:
			got = append(got, text)
		case <-w.ctx.Done():
			t.Fatal("it is never heard")
		}
		d.cut(false)
	}
	if diff := cmp.Diff([]string{"one", "two", "three"}, got); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the end is %v", err)
	}
}

// TestRate: each side rates the other once.
func TestRate(t *testing.T) {
	w := newWorld(t, worldConfig{})
	alice, bob := w.person("alice", w.door()), w.person("bob", w.door())
	sold, bought := w.held(alice, bob, sell(), 0)
	if _, err := sold.Rate(w.ctx, 5); err == nil {
		t.Error("an unfinished trade is rated")
	}
	w.must(sold.Wait(w.ctx, mostro.BuyerTookOrder))
	w.finish(sold, bought)
	for _, trade := range []*client.Trade{sold, bought} {
		if m := w.must(trade.Rate(w.ctx, 4)); m.Action != mostro.RateReceived || *m.Payload.RatingUser != 4 {
			t.Errorf("the answer is %v", m)
		}
	}
}
