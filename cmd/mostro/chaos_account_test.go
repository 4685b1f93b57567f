package main

import (
	"context"
	"errors"
	"fmt"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// account waits until the book says how the trade has ended, and asks the nodes what it moved.
func (c *chaosTrade) account(ctx context.Context) error {
	id, want := c.maker.trade.OrderID(), mostro.StatusCanceled
	if c.course.success() {
		want = mostro.StatusSuccess
	}
	var shown mostro.BookOrder
	err := waitUntil(ctx, "the end of order "+id, func() (bool, error) {
		var err error
		shown, err = c.user.Order(ctx, id)
		return shown.Status == mostro.StatusSuccess || shown.Status == mostro.StatusCanceled, err
	})
	if err != nil {
		return err
	}
	f, err := c.moved(ctx, c.seller, c.holds, c.buyer, c.payouts, nil)
	if err != nil {
		return err
	}
	if shown.Status == mostro.StatusSuccess {
		f.AskedOfSeller, f.PromisedToBuyer = c.asked.Msat(), c.promised.Msat()
	}
	c.book(f, string(shown.Status))
	if shown.Status != want || f.SellerPaid != f.AskedOfSeller || f.BuyerGot != f.PromisedToBuyer || f.sum() != 0 {
		return fmt.Errorf("order %s, which %s, is %s and has moved %+v", id, c.course, shown.Status, f)
	}
	fee := order.Sat(c.sats*chaosFeePPM+500_000) / 1_000_000
	if want == mostro.StatusSuccess && (c.asked != order.Sat(c.sats)+fee || c.promised != order.Sat(c.sats)-fee) {
		return fmt.Errorf("order %s of %d sat: the seller was asked for %d and the buyer promised %d, want a fee of %d each", id, c.sats, c.asked, c.promised, fee)
	}
	err = c.accountBonds(ctx)
	c.right = err == nil
	return err
}

// book notes how a trade has ended, and what it moved.
func (c *chaosTrade) book(f flow, how string) {
	c.counted, c.how, c.became, c.moves = true, how, nil, nil
	c.move(f)
	c.note(func() {})
}

// move notes a flow.
func (c *chaosTrade) move(f flow) {
	c.moves = append(c.moves, f)
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	c.flows = append(c.flows, f)
}

// moved adds up what the three nodes say of hold invoices that a side was asked to pay and of invoices
// that a side gave, but for those that are still in flight.
func (c *chaosTrade) moved(ctx context.Context, payer *chaosSide, holds map[order.Hash]bool, payee *chaosSide, payouts map[order.Hash]bool, flying map[order.Hash]order.Msat) (f flow, err error) {
	f.seller, f.buyer = payer.wallet.name, payee.wallet.name
	for hash := range holds {
		paid, err := payer.wallet.wallet.Paid(ctx, hash)
		if err != nil && !errors.Is(err, lightning.ErrNotFound) { // not found: he never paid
			return f, err
		}
		if paid.State == lightning.Succeeded {
			f.SellerPaid, f.SellerRouting = f.SellerPaid+paid.Amount, f.SellerRouting+paid.RoutingFee
		}
		held, err := c.demo.escrow.Lookup(ctx, hash)
		if err != nil {
			return f, err
		}
		if held.State == lightning.Settled {
			f.EscrowGot += held.AmountPaid
		}
	}
	for hash := range payouts {
		if _, flies := flying[hash]; flies {
			continue
		}
		paid, err := c.demo.escrow.Paid(ctx, hash)
		if err != nil && !errors.Is(err, lightning.ErrNotFound) { // not found: never tried
			return f, err
		}
		if paid.State == lightning.Succeeded {
			f.EscrowPaid, f.EscrowRouting = f.EscrowPaid+paid.Amount, f.EscrowRouting+paid.RoutingFee
		}
		got, err := payee.wallet.wallet.Lookup(ctx, hash)
		if err != nil {
			return f, err
		}
		if got.State == lightning.Settled {
			f.BuyerGot += got.AmountPaid
		}
	}
	return f, nil
}
