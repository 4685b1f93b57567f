package main

import (
	"context"
	"fmt"
	"math/rand/v2"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

const (
	rangeLeast  = 10   // fiat
	satsPerFiat = 1000 // at the price of the tests
)

// ranges makes the order one over a range, of which the taker takes a part. When that completes, the
// rest is offered again: but for a payout that is never taken, whose seller does not name a key for it.
func (c *chaosTrade) ranges(random *rand.Rand) {
	c.least, c.most = rangeLeast, 2*rangeLeast+random.Int64N(31)
	c.part(rangeLeast + random.Int64N(c.most-2*rangeLeast+1))
	if c.course != completes {
		return
	}
	rest := c.emptyTrade(c.label+" rest", completes)
	if random.IntN(2) == 0 {
		rest.course = withdrawn
	}
	rest.parent, rest.kind = c, c.kind
	if left := c.most - c.fiat; left > c.least {
		rest.least, rest.most = c.least, left
	}
	rest.part(c.most - c.fiat)
	for of, s := range map[*chaosSide]*chaosSide{c.seller: rest.seller, c.buyer: rest.buyer} {
		s.wallet, s.mode = of.wallet, of.mode
		if of == c.maker {
			rest.maker = s
		} else {
			rest.taker = s
		}
	}
	c.rest = rest
}

// part is how much of a range is taken.
func (c *chaosTrade) part(fiat int64) { c.fiat, c.sats = fiat, fiat*satsPerFiat }

// rangeText says what of a range the trade is.
func (c *chaosTrade) rangeText() string {
	switch {
	case c.parent != nil:
		return "rest of a range: "
	case c.most > 0:
		return "part of a range: "
	}
	return ""
}

// parts are the trade and the rest of its range.
func (c *chaosTrade) parts() []*chaosTrade {
	if c.rest == nil {
		return []*chaosTrade{c}
	}
	return []*chaosTrade{c, c.rest}
}

// small is the order as its maker makes it.
func (c *chaosTrade) small() mostro.SmallOrder {
	o := mostro.SmallOrder{Kind: c.kind, Amount: c.sats, FiatCode: "USD", FiatAmount: c.fiat, PaymentMethod: "bank transfer"}
	if c.most > 0 {
		o.Amount, o.FiatAmount, o.MinAmount, o.MaxAmount = 0, 0, &c.least, &c.most
	}
	return o
}

// request is one of a client's.
type request func(context.Context) (mostro.Message, error)

// naming names the key for the rest of a range along with a request, where that is this side's to do.
func (s *chaosSide) naming(plain request, named func(context.Context) (*client.Trade, mostro.Message, error)) request {
	if s.rest == nil || s != s.maker {
		return plain
	}
	return func(ctx context.Context) (mostro.Message, error) {
		next, answer, err := named(ctx)
		if err == nil {
			s.next <- next // once: nobody asks again for what he has been granted
		}
		return answer, err
	}
}

// offerRest waits until the node offers the rest of a range.
func (c *chaosTrade) offerRest(ctx context.Context) (m mostro.Message, err error) {
	select {
	case c.maker.trade = <-c.parent.next:
	case <-ctx.Done():
		return m, fmt.Errorf("wait for the rest of a range: %w", context.Cause(ctx))
	}
	return c.maker.trade.Wait(ctx, mostro.NewOrder)
}
