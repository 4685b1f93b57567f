package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lightningnetwork/lnd/lnrpc"

	"mostro/escrow/audit"
	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

const (
	lostAnswers  = 10 * time.Second // of lnd; one that takes longer is frozen, or does not run
	lostPatience = 2 * time.Minute  // for the trades that were over; payments that are stuck are waited for so long
)

// judgeLost judges what a round did that lnd has ended. Trades that were over are accounted; those that were under
// way are cut, and no HTLC in the lost channel comes to an end. But the books must agree with the node, and nobody
// may have got more than was promised to him.
func (x *chaos) judgeLost(t *testing.T) {
	t.Helper()
	t.Logf("!! %v", x.lost)
	ctx, cancel := context.WithTimeout(t.Context(), 2*labTime)
	defer cancel()
	if err := x.revive(ctx); err != nil {
		t.Errorf("after lnd was lost: %v", err)
		return
	}
	wrong := x.accountLost(ctx)
	stuck, paid, err := x.lostPayments(ctx)
	if err != nil {
		t.Error(err)
		return
	}
	for _, c := range x.trades {
		switch err := wrong[c]; {
		case err == nil: // right, or cut
		case c.has(stuck):
			x.left++
			t.Logf("trade %s is left on the lost channel: %v", c.label, err)
		default:
			c.fails(t, err)
		}
		for _, part := range c.parts() {
			if err := part.overpaid(ctx, paid); err != nil {
				x.differences++
				c.fails(t, err)
			}
		}
	}
	r := x.report(t, ctx)
	x.differences += len(r.Differences)
	for _, f := range r.Differences {
		t.Errorf("the auditor, after lnd has lost a channel: %+v", f)
	}
	if r.OthersPaid.Count > 0 {
		x.differences++
		t.Errorf("the escrow's node has paid %d invoices that no order has", r.OthersPaid.Count)
	}
	for hash, amount := range x.owed {
		if !slices.ContainsFunc(r.Owed, func(l audit.Liability) bool { return l.Hash == hash && l.Amount == amount && !l.Conditional }) {
			x.differences++
			t.Errorf("payment %s: %s msat are owed, which the auditor does not say", hash, thousands(amount))
		}
	}
	right := 0
	for _, c := range x.trades {
		if c.isRight() {
			right++
		}
	}
	t.Logf("after %d kills and %v: of %d trades %d are right, %d are left on the lost channel, %d were cut; %d payments are stuck",
		x.kills, x.took.Round(time.Second), len(x.trades), right, x.left, len(x.trades)-right-x.left, len(stuck))
	x.keepsSecrets(t)
}

// revive brings back what was down or frozen when the round ended.
func (x *chaos) revive(ctx context.Context) error {
	asks, cancel := context.WithTimeout(ctx, lostAnswers)
	defer cancel()
	if _, err := x.network.Client(escrowNode).GetInfo(asks, &lnrpc.GetInfoRequest{}); err != nil {
		x.network.Thaw(escrowNode) // fails when it does not run
		if err := x.network.StartNode(ctx, escrowNode); err != nil {
			return err
		}
	}
	select {
	case <-x.drained:
		if !x.down {
			return fmt.Errorf("mostro has ended by itself:\n%s", x.lastWords())
		}
		return x.start(ctx)
	default:
		return x.waitLog(ctx, 0, "msg=serving")
	}
}

// accountLost accounts the trades that were over and are not accounted yet, and says what of each is wrong.
func (x *chaos) accountLost(ctx context.Context) map[*chaosTrade]error {
	ctx, cancel := context.WithTimeout(ctx, lostPatience)
	defer cancel()
	wrong := map[*chaosTrade]error{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, c := range x.trades {
		all.Go(func() {
			for _, part := range c.parts() {
				var err error
				switch {
				case part.right:
				case part.played:
					err = part.account(ctx)
				case part.course == pinnedDown: // it comes no further than to a payout in flight
					var flying map[order.Hash]order.Msat
					if flying, err = part.flying(ctx, part.payouts); err == nil && len(flying) > 0 {
						err = part.owes(ctx, errStands)
					}
				}
				mu.Lock()
				if err != nil {
					wrong[c] = errors.Join(wrong[c], err)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return wrong
}

// lostPayments are those that a node has in flight, and what the escrow's has paid.
func (x *chaos) lostPayments(ctx context.Context) (stuck map[order.Hash]bool, paid map[order.Hash]order.Msat, err error) {
	stuck, paid = map[order.Hash]bool{}, map[order.Hash]order.Msat{}
	for _, name := range []string{escrowNode, x.demo.alice.name, x.demo.bob.name} {
		list, err := x.network.Client(name).ListPayments(ctx, &lnrpc.ListPaymentsRequest{IncludeIncomplete: true, MaxPayments: 100_000})
		if err != nil {
			return nil, nil, fmt.Errorf("list the payments of %s: %w", name, err)
		}
		for _, p := range list.Payments {
			hash, err := order.ParseHash(p.PaymentHash)
			switch {
			case err != nil:
				return nil, nil, err
			case p.Status == lnrpc.Payment_IN_FLIGHT:
				stuck[hash] = true
			case p.Status == lnrpc.Payment_SUCCEEDED && name == escrowNode:
				paid[hash] += order.Msat(p.ValueMsat)
			}
		}
	}
	return stuck, paid, nil
}

// has tells whether one of the payments is the trade's, and does not belong where it is.
func (c *chaosTrade) has(payments map[order.Hash]bool) bool {
	for _, part := range c.parts() {
		lists := []map[order.Hash]bool{part.holds, part.seller.bonds, part.buyer.bonds, part.seller.claims, part.buyer.claims}
		if part.course != pinnedDown {
			lists = append(lists, part.payouts)
		}
		for _, list := range lists {
			for hash := range list {
				if payments[hash] {
					return true
				}
			}
		}
	}
	return false
}

// isRight tells that the trade was accounted and is right, and so is the rest of its range.
func (c *chaosTrade) isRight() bool {
	return !slices.ContainsFunc(c.parts(), func(part *chaosTrade) bool { return !part.right })
}

// overpaid says who got more of a trade than was promised to him, however far it has come, by what the payee's node
// says and by what the escrow's node has paid. Nor is more taken of anybody than one escrow, and the bond that he lost.
func (c *chaosTrade) overpaid(ctx context.Context, paid map[order.Hash]order.Msat) error {
	var wrong []error
	for _, due := range []struct {
		what   string
		to     *chaosSide
		hashes map[order.Hash]bool
		most   order.Msat
	}{
		{"payouts", c.buyer, c.payouts, c.promised.Msat()},
		{"shares of bonds", c.seller, c.seller.claims, c.seller.due.Msat()},
		{"shares of bonds", c.buyer, c.buyer.claims, c.buyer.due.Msat()},
	} {
		var got, sent order.Msat
		for hash := range due.hashes {
			invoice, err := due.to.wallet.wallet.Lookup(ctx, hash)
			if err != nil {
				return err
			}
			if invoice.State == lightning.Settled {
				got += invoice.AmountPaid
			}
			sent += paid[hash]
		}
		if got > due.most || sent > due.most {
			wrong = append(wrong, fmt.Errorf("%s: the %s has got %s msat, and the escrow has paid %s, of %s", due.what, due.to.name, thousands(got), thousands(sent), thousands(due.most)))
		}
	}
	for _, taken := range []struct {
		what   string
		hashes map[order.Hash]bool
		most   int
	}{
		{"escrows", c.holds, 1},
		{"bonds of the seller", c.seller.bonds, int(min(1, c.seller.lost))},
		{"bonds of the buyer", c.buyer.bonds, int(min(1, c.buyer.lost))},
	} {
		n := 0
		for hash := range taken.hashes {
			held, err := c.demo.escrow.Lookup(ctx, hash)
			if err != nil {
				return err
			}
			if held.State == lightning.Settled {
				n++
			}
		}
		if n > taken.most {
			wrong = append(wrong, fmt.Errorf("%d %s are settled, of %d", n, taken.what, taken.most))
		}
	}
	return errors.Join(wrong...)
}

// loseChannel has lnd lose the channel with the most in it, once there is anything, by closing it by force: no block
// comes that would end that. It is done where kills of both may end as well, while mostro is down.
func (x *chaos) loseChannel(ctx context.Context) error {
	open, err := x.network.Client(escrowNode).ListChannels(ctx, &lnrpc.ListChannelsRequest{})
	if err != nil {
		return err
	}
	channel := slices.MaxFunc(open.Channels, func(a, b *lnrpc.Channel) int { return cmp.Compare(len(a.PendingHtlcs), len(b.PendingHtlcs)) })
	if len(channel.PendingHtlcs) == 0 {
		return nil
	}
	if err := x.kill(); err != nil {
		return err
	}
	txid, index, _ := strings.Cut(channel.ChannelPoint, ":")
	output, err := strconv.ParseUint(index, 10, 32)
	if err != nil {
		return err
	}
	stream, err := x.network.Client(escrowNode).CloseChannel(ctx, &lnrpc.CloseChannelRequest{
		ChannelPoint: &lnrpc.ChannelPoint{
			FundingTxid: &lnrpc.ChannelPoint_FundingTxidStr{FundingTxidStr: txid}, OutputIndex: uint32(output),
		},
		Force: true,
	})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		return fmt.Errorf("close channel %s: %w", channel.ChannelPoint, err)
	}
	return fmt.Errorf("%w: -lose, with %d HTLCs in it", errLNDBroken, len(channel.PendingHtlcs))
}
