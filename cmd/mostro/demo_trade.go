package main

import (
	"context"
	"errors"
	"fmt"

	"mostro/escrow/client"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// flow is what one trade moved, each number read from the node that it is about. Sellers,
// buyers and the escrow are separate witnesses of the same payments.
type flow struct {
	seller, buyer string     // names
	SellerPaid    order.Msat // by the seller's node, without routing
	SellerRouting order.Msat
	EscrowGot     order.Msat // by the escrow's node
	EscrowPaid    order.Msat
	EscrowRouting order.Msat
	BuyerGot      order.Msat // by the buyer's node

	// What the node's messages have said: both are 0 for a trade that was canceled.
	AskedOfSeller   order.Msat
	PromisedToBuyer order.Msat
}

// play brings one trade to its end.
func (d *demo) play(ctx context.Context, plan demoPlan) (flow, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.screen.does(plan.maker.name, "new-order "+string(plan.order.Kind))
	made, _, err := plan.maker.client.NewOrder(ctx, plan.order, plan.makes)
	if err != nil {
		return flow{}, err
	}
	booked := d.watchBook(ctx, plan, made.OrderID())
	shown, err := plan.taker.client.Order(ctx, made.OrderID())
	if err != nil {
		return flow{}, err
	}
	t := &demoTrade{demo: d, plan: plan, selling: plan.maker, buying: plan.taker, sold: made}
	if plan.order.Kind == mostro.Buy {
		t.selling, t.buying, t.sold, t.bought = plan.taker, plan.maker, nil, made
	}
	if err := t.fund(ctx, shown); err != nil {
		return flow{}, err
	}
	if plan.cancel {
		err = t.cancelBoth(ctx)
	} else {
		err = t.complete(ctx)
	}
	if err != nil {
		return flow{}, err
	}
	for _, ended := range []<-chan error{t.holdEnded, booked} {
		if err := <-ended; err != nil {
			return flow{}, err
		}
	}
	return t.flow(ctx)
}

// watchBook prints each public status of an order until the last one.
func (d *demo) watchBook(ctx context.Context, plan demoPlan, id string) <-chan error {
	ended, last := make(chan error, 1), make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		err := plan.taker.client.WatchBook(ctx, func(o mostro.BookOrder) {
			if o.ID != id {
				return
			}
			d.screen.book(o)
			if o.Status == mostro.StatusSuccess || o.Status == mostro.StatusCanceled {
				close(last)
				cancel() // nothing is seen after it
			}
		})
		select {
		case <-last:
			err = nil
		default:
		}
		ended <- err
	}()
	return ended
}

// demoTrade is a trade on its way.
type demoTrade struct {
	*demo
	plan            demoPlan
	selling, buying *trader
	sold, bought    *client.Trade
	holdEnded       <-chan error
	hold            order.Hash
	payout          order.Invoice
	asked, promised order.Sat
}

// fund takes the order and brings it to where the sats are held.
func (t *demoTrade) fund(ctx context.Context, shown mostro.BookOrder) error {
	var toPay mostro.Message
	var err error
	if t.sold == nil {
		t.screen.does(t.selling.name, "take-buy")
		t.sold, toPay, err = t.selling.client.Take(ctx, shown, "", t.plan.takes)
		if err == nil && toPay.Action == mostro.SendDM { // the node is slow, and said so
			toPay, err = t.sold.Wait(ctx, mostro.PayInvoice)
		}
	} else {
		if err = t.takeSell(ctx, shown); err == nil {
			toPay, err = t.sold.Wait(ctx, mostro.PayInvoice)
		}
	}
	if err != nil {
		return err
	}
	if err := t.pay(ctx, toPay); err != nil {
		return err
	}
	if t.plan.order.Kind == mostro.Buy {
		asked, err := t.bought.Wait(ctx, mostro.AddInvoice)
		if err != nil {
			return err
		}
		accepted, err := t.giveInvoice(ctx, asked)
		if err != nil {
			return err
		}
		return t.active(ctx, accepted)
	}
	accepted, err := t.bought.Wait(ctx, mostro.HoldInvoicePaymentAccepted)
	if err != nil {
		return err
	}
	return t.active(ctx, accepted)
}

// takeSell is the buyer's take of a sell order.
func (t *demoTrade) takeSell(ctx context.Context, shown mostro.BookOrder) error {
	var err error
	if t.plan.invoice {
		// Without an amount: what the node pays follows from its fee.
		if t.payout, err = t.makeInvoice(ctx, 0); err != nil {
			return err
		}
	}
	t.screen.does(t.buying.name, "take-sell")
	var answer mostro.Message
	if t.bought, answer, err = t.buying.client.Take(ctx, shown, t.payout.Text, t.plan.takes); err != nil || t.plan.invoice {
		return err
	}
	_, err = t.giveInvoice(ctx, answer)
	return err
}

// makeInvoice makes the buyer's invoice.
func (t *demoTrade) makeInvoice(ctx context.Context, amount order.Sat) (order.Invoice, error) {
	return t.buying.wallet.Invoice(ctx, amount.Msat(), "mostro demo")
}

// giveInvoice answers the node's add-invoice.
func (t *demoTrade) giveInvoice(ctx context.Context, asked mostro.Message) (mostro.Message, error) {
	if asked.Payload == nil || asked.Payload.Order == nil {
		return asked, fmt.Errorf("%s without an order", asked.Action)
	}
	var err error
	if t.payout, err = t.makeInvoice(ctx, order.Sat(asked.Payload.Order.Amount)); err != nil {
		return asked, err
	}
	t.screen.does(t.buying.name, "add-invoice")
	return t.bought.AddInvoice(ctx, t.payout.Text)
}

// pay pays the hold invoice and watches it at the escrow's node from now on.
func (t *demoTrade) pay(ctx context.Context, toPay mostro.Message) error {
	if toPay.Payload == nil || toPay.Payload.PaymentRequest == nil {
		return fmt.Errorf("%s without an invoice", toPay.Action)
	}
	text := toPay.Payload.PaymentRequest.Invoice
	invoice, err := lightning.Decode(text)
	if err != nil {
		return err
	}
	t.hold = invoice.Hash
	ended := make(chan error, 1)
	t.holdEnded = ended
	watched := make(chan struct{}, 1)
	go func() {
		ended <- t.escrow.WatchHold(ctx, invoice.Hash, func(h lightning.HoldInvoice) {
			t.screen.hold(h)
			select {
			case watched <- struct{}{}:
			default:
			}
		})
	}()
	select {
	case <-watched: // also "open" is worth seeing
	case err := <-ended:
		return err
	}
	t.screen.does(t.selling.name, "pays the hold invoice")
	return t.selling.wallet.Pay(ctx, text)
}

// active notes what both sides have been told that the trade costs and brings.
func (t *demoTrade) active(ctx context.Context, accepted mostro.Message) error {
	took, err := t.sold.Wait(ctx, mostro.BuyerTookOrder)
	if err != nil {
		return err
	}
	for _, m := range []mostro.Message{took, accepted} {
		if m.Payload == nil || m.Payload.Order == nil {
			return fmt.Errorf("%s without an order", m.Action)
		}
	}
	t.asked, t.promised = order.Sat(took.Payload.Order.Amount), order.Sat(accepted.Payload.Order.Amount)
	return nil
}

func (t *demoTrade) complete(ctx context.Context) error {
	t.screen.does(t.buying.name, "fiat-sent")
	if _, err := t.bought.FiatSent(ctx); err != nil {
		return err
	}
	if _, err := t.sold.Wait(ctx, mostro.FiatSentOk); err != nil {
		return err
	}
	t.screen.does(t.selling.name, "release")
	if _, err := t.sold.Release(ctx); err != nil {
		return err
	}
	_, err := t.bought.Wait(ctx, mostro.PurchaseCompleted)
	return err
}

func (t *demoTrade) cancelBoth(ctx context.Context) error {
	t.screen.does(t.buying.name, "cancel")
	if _, err := t.bought.Cancel(ctx); err != nil {
		return err
	}
	if _, err := t.sold.Wait(ctx, mostro.CooperativeCancelInitiatedByPeer); err != nil {
		return err
	}
	t.screen.does(t.selling.name, "cancel")
	if _, err := t.sold.Cancel(ctx); err != nil {
		return err
	}
	_, err := t.bought.Wait(ctx, mostro.CooperativeCancelAccepted)
	return err
}

// flow asks the three nodes what the trade moved.
func (t *demoTrade) flow(ctx context.Context) (flow, error) {
	f := flow{seller: t.selling.name, buyer: t.buying.name}
	if !t.plan.cancel {
		f.AskedOfSeller, f.PromisedToBuyer = t.asked.Msat(), t.promised.Msat()
	}
	paid, err := t.selling.wallet.Paid(ctx, t.hold)
	if err != nil {
		return f, err
	}
	if paid.State == lightning.Succeeded {
		f.SellerPaid, f.SellerRouting = paid.Amount, paid.RoutingFee
	}
	held, err := t.escrow.Lookup(ctx, t.hold)
	if err != nil {
		return f, err
	}
	if held.State == lightning.Settled {
		f.EscrowGot = held.AmountPaid
	}
	payout, err := t.escrow.Paid(ctx, t.payout.Hash)
	if err != nil && !errors.Is(err, lightning.ErrNotFound) { // not found: nothing was paid out
		return f, err
	}
	if payout.State == lightning.Succeeded {
		f.EscrowPaid, f.EscrowRouting = payout.Amount, payout.RoutingFee
	}
	got, err := t.buying.wallet.Lookup(ctx, t.payout.Hash)
	if err != nil {
		return f, err
	}
	if got.State == lightning.Settled {
		f.BuyerGot = got.AmountPaid
	}
	return f, nil
}
