package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lightningnetwork/lnd/lnrpc"

	"mostro/escrow/audit"
	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

const (
	pinnedCLTV  = 1008           // blocks, the most that the settings let an invoice ask for
	pinnedLife  = 24 * time.Hour // of the invoice
	inFlight    = "the payment is in flight"
	payoutFlies = "the payout is in flight" // how a trade has ended whose buyer is owed
	lndSilent   = time.Minute               // after which it is started anew: it may be slow as well, and loses nothing by it
)

// errStands ends a trade whose payout lnd has in flight and does not bring to an end.
var errStands = errors.New("nothing happens to it any more")

// pinnedInvoice is one that the buyer never takes the money for, though it reaches him. The escrow
// can do nothing but wait and say what it owes.
func (s *chaosSide) pinnedInvoice(ctx context.Context, amount order.Msat) (order.Invoice, error) {
	var hash order.Hash
	rand.Read(hash[:])
	held, err := s.wallet.wallet.OpenHold(ctx, lightning.HoldRequest{
		Hash: hash, Amount: amount, Memo: "chaos", CLTVDelta: pinnedCLTV, Expiry: pinnedLife,
	})
	if err != nil {
		return order.Invoice{}, err
	}
	return lightning.Decode(held.Invoice)
}

// untilItStands is ctx, and ends with errStands when the trade is as far as it gets: when nothing happens
// any more to any trade, or when nothing fails any more and the payout that the buyer does not take has
// come to him.
func (c *chaosTrade) untilItStands(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	pinned := make(chan struct{})
	if c.course == pinnedDown {
		go func() {
			select {
			case <-c.calm:
			case <-ctx.Done():
				return
			}
			err := waitUntil(ctx, "the payout", func() (bool, error) {
				flying, err := c.flying(ctx, c.payouts)
				return len(flying) == 1, err
			})
			if err == nil {
				close(pinned)
			}
		}()
	}
	go func() {
		select {
		case <-pinned:
		case <-c.stands:
		case <-ctx.Done():
		}
		end(errStands)
	}()
	return ctx, func() { end(nil) }
}

// flying are those of the trade's payments that lnd calls in flight, and how much of each is in a channel.
func (c *chaosTrade) flying(ctx context.Context, payments map[order.Hash]bool) (map[order.Hash]order.Msat, error) {
	lnd := c.network.Client(escrowNode)
	list, err := lnd.ListPayments(ctx, &lnrpc.ListPaymentsRequest{IncludeIncomplete: true, MaxPayments: 10_000})
	if err != nil {
		return nil, err
	}
	channels, err := lnd.ListChannels(ctx, &lnrpc.ListChannelsRequest{})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[order.Hash]order.Msat{}
	for hash := range payments {
		if !slices.ContainsFunc(list.Payments, func(p *lnrpc.Payment) bool {
			return p.PaymentHash == hash.String() && p.Status == lnrpc.Payment_IN_FLIGHT
		}) {
			continue
		}
		found[hash] = 0
		for _, channel := range channels.Channels {
			for _, htlc := range channel.PendingHtlcs {
				if hex.EncodeToString(htlc.HashLock) == hash.String() {
					found[hash] += order.Sat(htlc.Amount).Msat()
				}
			}
		}
	}
	return found, nil
}

// owes books a trade that stands. Nothing else may be wrong with it than that lnd has its payout, or shares of its
// bonds, in flight: then the escrow owes what it has promised. That may be the buyer's doing, or lnd's, which sometimes
// calls a payment in flight for ever after it was killed or ended while it sent it.
func (c *chaosTrade) owes(ctx context.Context, stands error) error {
	flying, err := c.flying(ctx, c.payouts)
	if err != nil {
		return err
	}
	shares, err := c.flyingShares(ctx)
	switch {
	case err != nil:
		return err
	case len(flying) == 0 && len(shares) > 0:
		return c.account(ctx)
	case len(flying) != 1 || !c.course.success():
		return fmt.Errorf("it %s, %w; payouts in flight: %d, shares of bonds: %d", c.course, stands, len(flying), len(shares))
	}
	f, err := c.moved(ctx, c.seller, c.holds, c.buyer, c.payouts, flying)
	if err != nil {
		return err
	}
	f.AskedOfSeller = c.asked.Msat()
	if f.SellerPaid != f.AskedOfSeller || f.SellerPaid == 0 || f.BuyerGot != 0 || f.sum() != 0 {
		return fmt.Errorf("its payout is in flight, and it has moved %+v", f)
	}
	c.book(f, payoutFlies)
	c.fly(flying, map[order.Hash]order.Msat{slices.Collect(maps.Keys(flying))[0]: c.promised.Msat()})
	err = c.accountBonds(ctx)
	c.right = err == nil
	return err
}

// flyingShares are the shares and rests of bonds that lnd calls in flight.
func (c *chaosTrade) flyingShares(ctx context.Context) (map[order.Hash]order.Msat, error) {
	all := maps.Clone(c.seller.claims)
	maps.Copy(all, c.buyer.claims)
	return c.flying(ctx, all)
}

// fly notes payments that stay in flight: how much of each is in a channel, and how much is owed by it.
func (c *chaosTrade) fly(flying, owed map[order.Hash]order.Msat) {
	c.note(func() { maps.Copy(c.owed, owed) })
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	maps.Copy(c.lab.flying, flying)
}

// owes says of each thing that the auditor calls owed and is not, or the other way round, what is wrong.
func (x *chaos) owes(r audit.Report) (wrong []error) {
	left := maps.Clone(x.owed)
	for _, due := range r.Owed {
		if due.Amount != left[due.Hash] || due.Why != inFlight || due.Conditional {
			wrong = append(wrong, fmt.Errorf("the auditor calls owed: %+v; it should be %s msat", due, thousands(left[due.Hash])))
		}
		delete(left, due.Hash)
	}
	for hash, amount := range left {
		wrong = append(wrong, fmt.Errorf("payment %s: %s msat are owed, which the auditor does not say", hash, thousands(amount)))
	}
	return wrong
}

// operate does what an operator would when nothing happens any more: he starts lnd anew.
func (x *chaos) operate(ctx context.Context) error {
	x.t.Logf("!! lnd is started anew, since nothing happens")
	x.stopLND(ctx)
	err := x.startLND(ctx)
	x.note(func() { x.faults["lnd was started anew, since nothing happened"]++ })
	return err
}
