package mirror

import (
	"context"
	"slices"
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
	rate    *rate.Limiter // of what comes live
	store   func(context.Context, []*nostr.Event) error
	// old gets for fresh keys what the subscription does not.
	old func(ctx context.Context, l *link, fresh []string, take func(*nostr.Event)) error
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
	take := func(ev *nostr.Event) {
		if g.rate.Wait(ctx) == nil {
			in.take(ev)
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
