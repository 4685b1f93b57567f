package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"mostro/escrow/client"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

const (
	heldPayoutCLTV = 40 // blocks, of a hold invoice that a buyer gives
	heldPayoutLife = 24 * time.Hour

	lookAgain = 50 * time.Millisecond
)

// labTrade is one trade on its way: a person with alice's node sells, one with bob's buys.
type labTrade struct {
	*lab
	t             *testing.T
	number        int // of the lab's trades
	seller, buyer *person
	order         mostro.SmallOrder // that the seller makes
	makes, takes  client.Mode
	sold, bought  *client.Trade
	shown         mostro.BookOrder
	// invoice makes the buyer's invoice; nil is an ordinary one.
	invoice func(ctx context.Context, amount order.Msat) (order.Invoice, error)
	payout  order.Invoice
	bolt11  string // the hold invoice
	hold    order.Hash

	asked, promised order.Sat
	refunded        bool // the escrow goes back to the seller
	// patient: the take is tried again while the node refuses it, since it looks only now and
	// then whether its Lightning node is back.
	patient  bool
	preimage order.Preimage
}

// step is one thing that has to happen in a trade.
type step struct {
	name string
	// nodes: the traders' Lightning nodes do it, and mostro need not run.
	nodes bool
	do    func(context.Context) error
}

// newTrade makes two new people.
func (l *lab) newTrade(t *testing.T, ctx context.Context) *labTrade {
	t.Helper()
	x := &labTrade{lab: l, t: t, order: mostro.SmallOrder{
		Kind: mostro.Sell, Amount: demoSats, FiatCode: "USD", FiatAmount: demoFiat, PaymentMethod: "bank transfer",
	}}
	l.mu.Lock()
	l.trades++
	x.number = l.trades
	l.mu.Unlock()
	for of, place := range map[*trader]**person{l.demo.alice: &x.seller, l.demo.bob: &x.buyer} {
		p, err := l.person(t, ctx, of, fmt.Sprintf("%d %s", x.number, of.name))
		if err != nil {
			t.Fatal(err)
		}
		*place = p
	}
	return x
}

// steps is the whole trade.
func (x *labTrade) steps() []step {
	return append(x.funding(), x.payingOut()...)
}

// funding is the trade until the sats are held.
func (x *labTrade) funding() []step {
	return []step{
		{"new-order", false, x.newOrder},
		{"take-sell", false, x.takeSell},
		{"add-invoice", false, x.addInvoice},
		{"pay", true, x.pay},
		{"active", false, x.active},
	}
}

// payingOut is the rest of it.
func (x *labTrade) payingOut() []step {
	return []step{
		{"fiat-sent", false, x.fiatSent},
		{"release", false, x.release},
		{"payout held", true, x.payoutHeld},
		{"payout settled", true, x.payoutSettled},
		{"completed", false, x.completed},
	}
}

// run does steps, and fails the test at the first that does not work.
func (x *labTrade) run(ctx context.Context, steps []step) {
	x.t.Helper()
	for _, s := range steps {
		if err := x.do(ctx, s); err != nil {
			x.t.Fatal(err)
		}
	}
}

func (x *labTrade) do(ctx context.Context, s step) error {
	x.t.Logf("%d -- %s", x.number, s.name)
	if err := s.do(ctx); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

func (x *labTrade) newOrder(ctx context.Context) error {
	var err error
	if x.sold, _, err = x.seller.client.NewOrder(ctx, x.order, x.makes); err != nil {
		return err
	}
	return x.look(ctx)
}

// look finds the order in the book.
func (x *labTrade) look(ctx context.Context) error {
	return waitUntil(ctx, "the order in the book", func() (bool, error) {
		var err error
		x.shown, err = x.buyer.client.Order(ctx, x.sold.OrderID())
		return err == nil, err
	})
}

func (x *labTrade) takeSell(ctx context.Context) error {
	for {
		var answer mostro.Message
		var err error
		x.bought, answer, err = x.buyer.client.Take(ctx, x.shown, "", x.takes)
		switch {
		case err == nil:
			return x.prepareInvoice(ctx, answer)
		case !x.patient || !refusedFor(err, mostro.NotAllowedByStatus):
			return err
		}
		time.Sleep(lookAgain)
	}
}

// prepareInvoice makes the invoice that an add-invoice of the node asks for.
func (x *labTrade) prepareInvoice(ctx context.Context, asked mostro.Message) error {
	if asked.Action != mostro.AddInvoice || asked.Payload == nil || asked.Payload.Order == nil {
		return fmt.Errorf("answered with %s", wordsOf(asked))
	}
	x.promised = order.Sat(asked.Payload.Order.Amount)
	var err error
	if x.invoice != nil {
		x.payout, err = x.invoice(ctx, x.promised.Msat())
	} else {
		x.payout, err = x.buyer.wallet.Invoice(ctx, x.promised.Msat(), "a trade")
	}
	return err
}

// heldInvoice makes the buyer's invoice a hold invoice of his own: the payout hangs until he
// settles it.
func (x *labTrade) heldInvoice(ctx context.Context, amount order.Msat) (order.Invoice, error) {
	secret, err := newKey()
	if err != nil {
		return order.Invoice{}, err
	}
	x.preimage = order.NewPreimage([32]byte([]byte(secret.Public())[:32]))
	hold, err := x.buyer.wallet.OpenHold(ctx, lightning.HoldRequest{
		Hash: x.preimage.Hash(), Amount: amount, CLTVDelta: heldPayoutCLTV, Expiry: heldPayoutLife,
	})
	if err != nil {
		return order.Invoice{}, err
	}
	return lightning.Decode(hold.Invoice)
}

func (x *labTrade) addInvoice(ctx context.Context) error {
	if _, err := x.bought.AddInvoice(ctx, x.payout.Text); err != nil {
		return err
	}
	return x.invoiceAsked(ctx)
}

// invoiceAsked waits until the seller is asked to pay.
func (x *labTrade) invoiceAsked(ctx context.Context) error {
	m, err := x.sold.Wait(ctx, mostro.PayInvoice)
	if err != nil {
		return err
	}
	if m.Payload == nil || m.Payload.PaymentRequest == nil {
		return fmt.Errorf("%s without an invoice", m.Action)
	}
	x.bolt11 = m.Payload.PaymentRequest.Invoice
	invoice, err := lightning.Decode(x.bolt11)
	x.hold = invoice.Hash
	return err
}

func (x *labTrade) pay(ctx context.Context) error { return x.seller.wallet.Pay(ctx, x.bolt11) }

func (x *labTrade) active(ctx context.Context) error {
	took, err := x.sold.Wait(ctx, mostro.BuyerTookOrder)
	if err != nil {
		return err
	}
	accepted, err := x.bought.Wait(ctx, mostro.HoldInvoicePaymentAccepted)
	if err != nil {
		return err
	}
	for _, m := range []mostro.Message{took, accepted} {
		if m.Payload == nil || m.Payload.Order == nil {
			return fmt.Errorf("%s without an order", m.Action)
		}
	}
	x.asked = order.Sat(took.Payload.Order.Amount)
	if got := order.Sat(accepted.Payload.Order.Amount); got != x.promised {
		return fmt.Errorf("the buyer was promised %d sat and now %d", x.promised, got)
	}
	return nil
}

func (x *labTrade) fiatSent(ctx context.Context) error {
	if _, err := x.bought.FiatSent(ctx); err != nil {
		return err
	}
	_, err := x.sold.Wait(ctx, mostro.FiatSentOk)
	return err
}

func (x *labTrade) release(ctx context.Context) error {
	answer, err := x.sold.Release(ctx)
	if err == nil && answer.Action == mostro.SendDM { // the node is slow, and said so
		answer, err = x.sold.Wait(ctx, mostro.HoldInvoicePaymentSettled)
	}
	if err == nil && answer.Action != mostro.HoldInvoicePaymentSettled {
		err = fmt.Errorf("answered with %s", wordsOf(answer))
	}
	return err
}

// payoutHeld waits until a payout to a hold invoice hangs at the buyer's node.
func (x *labTrade) payoutHeld(ctx context.Context) error {
	if x.invoice == nil {
		return nil
	}
	return waitUntil(ctx, "the payout at the buyer's node", func() (bool, error) {
		h, err := x.buyer.wallet.Lookup(ctx, x.payout.Hash)
		return h.State == lightning.Accepted, err
	})
}

// payoutSettled takes a payout that hangs.
func (x *labTrade) payoutSettled(ctx context.Context) error {
	if x.invoice == nil {
		return nil
	}
	return x.buyer.wallet.Settle(ctx, x.preimage)
}

// completed waits until both sides and the book say that it is done.
func (x *labTrade) completed(ctx context.Context) error {
	if _, err := x.bought.Wait(ctx, mostro.PurchaseCompleted); err != nil {
		return err
	}
	if _, err := x.sold.Wait(ctx, mostro.Rate); err != nil {
		return err
	}
	return x.inBook(ctx, mostro.StatusSuccess)
}

// inBook waits until the public status of the order is want.
func (x *labTrade) inBook(ctx context.Context, want mostro.Status) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := false
	err := x.buyer.client.WatchBook(ctx, func(o mostro.BookOrder) {
		if o.ID == x.sold.OrderID() && o.Status == want {
			found = true
			cancel()
		}
	})
	if found {
		err = nil
	}
	return err
}

// account asks the nodes what the trade moved, for settle.
func (x *labTrade) account(ctx context.Context) {
	x.t.Helper()
	d := &demoTrade{
		demo: x.demo, plan: demoPlan{cancel: x.refunded}, selling: x.seller.trader, buying: x.buyer.trader,
		hold: x.hold, payout: x.payout, asked: x.asked, promised: x.promised,
	}
	f, err := d.flow(ctx)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Logf("%d: the seller paid %s msat, the buyer got %s, the node's fee is %s, routing %s",
		x.number, thousands(f.SellerPaid+f.SellerRouting), thousands(f.BuyerGot), thousands(f.fee()), thousands(f.routing()))
	if f.SellerPaid != f.AskedOfSeller || f.BuyerGot != f.PromisedToBuyer || f.sum() != 0 {
		x.t.Errorf("the trade moved %+v", f)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.flows = append(x.flows, f)
}

// cantDo checks that a request was refused with a reason.
func cantDo(t *testing.T, what string, err error, want mostro.Reason) {
	t.Helper()
	if !refusedFor(err, want) {
		t.Errorf("%s: %v, want cant-do %s", what, err, want)
	}
}

func refusedFor(err error, reason mostro.Reason) bool {
	var refused *client.CantDoError
	return errors.As(err, &refused) && refused.Reason == reason
}
