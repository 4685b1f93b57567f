package mirror

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/time/rate"
)

// gathering is a duty: to subscribe at a relay to events for clients here, for ever more keys.
type gathering struct {
	from    *interest
	among   func() []string // Mostros whose clients it is for
	filters func(keys []string) []nostr.Filter
	past    time.Duration // how far back the subscription goes
	rate    *rate.Limiter // of what comes live; what comes faster is got a while later
	store   func(context.Context, []*nostr.Event) error
	// old gets for fresh keys what the subscription does not.
	old func(ctx context.Context, l *link, fresh []string, take func(*nostr.Event)) error
	// missed lets old get everything again.
	missed func()
}

// gather does it until an error or the end of the context.
func (p *peer) gather(ctx context.Context, l *link, g *gathering) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := newIntake(ctx)
	stored := make(chan error, 1)
	go func() {
		err := in.run(g.store)
		stored <- err
		if err != nil {
			cancel()
		}
	}()
	ended := make(chan error, 1)
	// Whoever waits here holds up everything that the relay sends, and strangers can write to the keys.
	again := make(chan struct{}, 1)
	var missing atomic.Bool
	take := func(ev *nostr.Event) {
		switch {
		case g.rate.Allow():
			in.take(ev)
		case missing.CompareAndSwap(false, true):
			time.AfterFunc(checkEvery, func() {
				missing.Store(false)
				select {
				case again <- struct{}{}:
				default:
				}
			})
		}
	}
	asked := make(map[string]struct{}) // keys that are subscribed
	var chunks []*chunk
	for {
		among := g.among()
		keys, changed := g.from.keys(among)
		if len(among) == 0 {
			keys = nil
		}
		fresh := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { _, ok := asked[key]; return ok })
		if len(asked)+len(fresh) > keysPerPeer+mailSlack {
			// Some of those that are subscribed have shown no sign of life for long: begin anew.
			for _, c := range chunks {
				if err := l.unsubscribe(c.sub); err != nil {
					return err
				}
			}
			clear(asked)
			chunks, fresh = nil, keys
		}
		for _, key := range fresh {
			asked[key] = struct{}{}
		}
		for rest := fresh; len(rest) > 0; {
			if len(chunks) == 0 || len(chunks[len(chunks)-1].keys) >= keysPerReq {
				chunks = append(chunks, newChunk(take, ended))
			}
			last := chunks[len(chunks)-1]
			n := min(len(rest), keysPerReq-len(last.keys))
			if err := last.extend(l, p, g, rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
		if err := g.old(ctx, l, fresh, in.take); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-again:
			if g.missed != nil {
				g.missed()
			}
			if err := g.old(ctx, l, keys, in.take); err != nil {
				return err
			}
		case err := <-ended:
			return err
		case err := <-stored:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// chunk is one subscription for some keys.
type chunk struct {
	sub  *sub
	keys []string
}

func newChunk(take func(*nostr.Event), ended chan<- error) *chunk {
	return &chunk{sub: &sub{
		event: take,
		end: func(err error) {
			if err != nil {
				select {
				case ended <- err:
				default:
				}
			}
		},
	}}
}

// extend adds keys to the subscription.
func (c *chunk) extend(l *link, p *peer, g *gathering, keys []string) error {
	c.keys = append(c.keys, keys...)
	since := nostr.Timestamp(p.m.cfg.Now().Add(-g.past).Unix())
	filters := g.filters(c.keys)
	for i := range filters {
		filters[i].Since = &since
	}
	if c.sub.id == "" {
		return l.subscribe(c.sub, filters...)
	}
	return l.ask(c.sub, filters...)
}
