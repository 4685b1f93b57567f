package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"mostro/escrow/lightning"
)

const (
	// Blocks that come at once: few, and now and then so many as after hours without the chain. All of a
	// long round together are fewer than an escrow lasts, so that nothing ends by its deadline unasked.
	chaosBlocks = 3
	burstLeast  = 6
	burstMost   = 30
	chaosCLTV   = 1008

	// The escrows of what both sides forget last for few blocks; the round waits for them.
	forgottenCLTV = 120
	forgottenMost = 6
	// lastSafe is how many blocks before its expiry an escrow has been given back: lnd does so by itself
	// 18 blocks later, and its peer goes to the chain 2 after that.
	lastSafe = 30
	lndGives = 12
)

// mine makes a few blocks at once.
func (x *chaos) mine(ctx context.Context) error {
	return x.mineAtOnce(ctx, 1+x.random.Uint32N(chaosBlocks))
}

// mineBurst makes many.
func (x *chaos) mineBurst(ctx context.Context) error { return x.mineAtOnce(ctx, x.burst()) }

func (x *chaos) burst() uint32 { return burstLeast + x.random.Uint32N(burstMost-burstLeast+1) }

func (x *chaos) mineAtOnce(ctx context.Context, n uint32) error {
	silent, cancel := context.WithTimeout(ctx, lndSilent)
	defer cancel()
	height, err := x.network.Mine(silent, n)
	if silent.Err() != nil && ctx.Err() == nil { // the blocks are there, and a node does not say that it has them
		err = x.operate(ctx)
	}
	x.t.Logf("!! %d blocks, up to %d", n, height)
	x.note(func() { x.blocks += n })
	return err
}

// passDeadlines lets things fail until the sats of what is forgotten are held, and then mines bursts of
// blocks, while now and then more fails, until the escrows are given back. No other trade is there; those that come
// are born with as many blocks as they need.
func (x *chaos) passDeadlines(ctx context.Context) error {
	for ctx.Err() == nil && !x.now(func() bool { return x.held == x.forgotten }) {
		if err := x.strike(ctx, x.pick()); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		left, err := x.blocksLeft(ctx)
		if err != nil {
			return err
		}
		if left == 0 {
			break
		}
		if err := x.strike(ctx, fault{name: "a burst of blocks, towards a deadline", do: func(x *chaos, ctx context.Context) error {
			return x.mineAtOnce(ctx, min(left, x.burst()))
		}}); err != nil {
			return err
		}
		if x.random.IntN(2) == 0 {
			continue
		}
		if err := x.strike(ctx, x.pick()); err != nil {
			return err
		}
	}
	if err := x.await(ctx, func() bool { return x.passed == x.forgotten }); err != nil {
		return err
	}
	x.cltv = chaosCLTV
	err := x.strike(ctx, chaosFaults()[0])
	x.note(func() { x.ready = true })
	return err
}

// blocksLeft is how many blocks there are up to the last of the deadlines.
func (x *chaos) blocksLeft(ctx context.Context) (uint32, error) {
	height, err := x.network.Height()
	if err != nil {
		return 0, err
	}
	first, last := uint32(0), uint32(0)
	for _, c := range x.forgets {
		c.mu.Lock()
		hashes := slices.Collect(maps.Keys(c.holds))
		c.mu.Unlock()
		for _, hash := range hashes {
			held, err := x.demo.escrow.Lookup(ctx, hash)
			if err != nil {
				return 0, err
			}
			if held.State == lightning.Accepted {
				first, last = min(cmp.Or(first, held.ExpiryHeight), held.ExpiryHeight), max(last, held.ExpiryHeight)
			}
		}
	}
	switch end := last - lastSafe + 1; {
	case last == 0 || height >= end:
		return 0, nil
	case end+lndGives >= first:
		return 0, fmt.Errorf("the escrows of what is forgotten expire at blocks %d to %d: too far apart", first, last)
	default:
		return end - height, nil
	}
}
