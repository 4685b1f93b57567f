package mirror

import (
	"context"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/time/rate"
)

// gathering is a duty: to subscribe at a relay to events for clients here, for ever more keys.
type gathering struct {
	from    *interest
	among   func() []string // Mostros whose clients it is for
	filters func(keys []string) []nostr.Filter
	past    time.Duration // how old what comes live may say it is
	rate    *rations      // what comes faster is got a while later
	store   func(context.Context, []*nostr.Event) error
	// old gets what is stored for keys that have just been subscribed, or of which something was missed.
	old func(ctx context.Context, l *link, keys []string, take func(*nostr.Event)) error
	// missed are keys of which something was missed, also before this connection; nil: there were none.
	missed *missed
	// left is told of keys for which, up to now, everything has come. nil: nobody wants to know.
	left func(keys []string)
}

// gather does it until an error or the end of the context. Each key is subscribed first, and then what is stored
// for it is fetched, once: a subscription itself asks for nothing stored, or each new key would bring again
// what all others have got.
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
	err := p.gatherInto(ctx, l, g, in)
	cancel()
	return because(<-stored, err)
}

func (p *peer) gatherInto(ctx context.Context, l *link, g *gathering, in *intake) error {
	missed := g.missed
	if missed == nil {
		missed = newMissed()
	}
	s := &subscribed{p: p, l: l, g: g, room: fullRoom, patience: steadyTime, keys: make(map[string]bool), ended: make(chan error, 1)}
	defer s.end()
	// Whoever waits here holds up everything that the relay sends, and strangers can write to the keys.
	s.take = func(ev *nostr.Event) {
		if g.rate.allow(ev) {
			in.take(ev)
		} else {
			missed.add(g.rate.of(ev))
		}
	}
	old := func(ev *nostr.Event) {
		if has, err := p.m.relay.Has(ctx, ev.ID); err == nil && has {
			p.known.Add(1)
		} else {
			s.take(ev)
		}
	}
	pause := rate.NewLimiter(widenRate, widenBurst)
	shrunk := false
	var busy time.Time // since when the relay does not give out what is stored
	for {
		among := g.among()
		keys, changed := g.from.keys(among)
		if len(among) == 0 {
			keys = nil
		}
		s.widen()
		room := s.room
		wanted := keys[:min(len(keys), room)]
		if err := s.extend(ctx, wanted); err != nil {
			return s.stood(err)
		}
		if s.room < room {
			continue // with fewer keys
		}
		rest := s.lacking(wanted)
		var retry <-chan time.Time
		switch err := g.old(ctx, l, rest, old); {
		case err == nil:
			busy, shrunk = time.Time{}, false
			for _, key := range rest {
				s.keys[key] = true
			}
			if s.room == fullRoom {
				s.patience = steadyTime
			}
		case !s.isTooMuch(err):
			return s.stood(err)
		case busy.IsZero(): // it may be so for a moment only
			busy = time.Now()
			retry = time.After(firstSlow)
		case time.Since(busy) < firstSlow:
			retry = time.After(time.Until(busy.Add(firstSlow)))
		case !shrunk && len(s.keys) > keysPerReq: // beside fewer subscriptions it may be taken
			shrunk = true
			s.shrink()
			continue
		default:
			missed.add(rest)
		}
		select {
		case <-retry:
		case <-s.wider():
		case <-changed:
			if pause.Wait(ctx) != nil { // meanwhile more may come
				return nil
			}
		case <-missed.due:
			for _, key := range missed.all() {
				if s.keys[key] {
					s.keys[key] = false
				}
			}
		case err := <-s.ended:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// missed are keys for which something came that was not taken. It is looked for again after a while.
type missed struct {
	mu   sync.Mutex
	keys map[string]struct{}
	due  chan struct{}
	wait time.Duration // longer while more is missed each time
	last time.Time     // that it was looked for
}

func newMissed() *missed {
	return &missed{keys: make(map[string]struct{}), due: make(chan struct{}, 1), wait: checkEvery}
}

func (m *missed) add(keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := len(m.keys) == 0
	for _, key := range keys {
		if len(m.keys) < maxKeys {
			m.keys[key] = struct{}{}
		}
	}
	if first && len(m.keys) > 0 {
		if m.wait = min(2*m.wait, mostMissed); time.Since(m.last) > 2*m.wait {
			m.wait = checkEvery
		}
		time.AfterFunc(m.wait, func() {
			select {
			case m.due <- struct{}{}:
			default:
			}
		})
	}
}

func (m *missed) all() (keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.keys {
		keys = append(keys, key)
	}
	clear(m.keys)
	m.last = time.Now()
	return keys
}
