package mirror

import (
	"context"
	"errors"
	"slices"
	"strings"
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
	rate    *rate.Limiter // of what comes live; what comes faster is got a while later
	store   func(context.Context, []*nostr.Event) error
	// old gets what is stored for keys that have just been subscribed, or of which something was missed. A relay for
	// which that is too much is asked again only when patient.
	old func(ctx context.Context, l *link, keys []string, patient bool, take func(*nostr.Event)) error
	of  func(*nostr.Event) []string // keys that an event is for
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
	missed := newMissed()
	s := &subscribed{p: p, l: l, g: g, room: keysPerPeer + mailSlack, keys: make(map[string]bool), ended: make(chan error, 1)}
	defer s.end()
	// Whoever waits here holds up everything that the relay sends, and strangers can write to the keys.
	s.take = func(ev *nostr.Event) {
		if g.rate.Allow() {
			in.take(ev)
		} else {
			missed.add(g.of(ev))
		}
	}
	pause := rate.NewLimiter(widenRate, widenBurst)
	patient := false
	for {
		among := g.among()
		keys, changed := g.from.keys(among)
		if len(among) == 0 {
			keys = nil
		}
		room := s.room
		wanted := keys[:min(len(keys), room)]
		if err := s.extend(ctx, wanted); err != nil {
			return err
		}
		if s.room < room {
			continue // with fewer keys
		}
		rest := s.lacking(wanted)
		switch err := g.old(ctx, l, rest, patient, in.take); {
		case err == nil:
			patient = false
		case patient || !s.isTooMuch(err) || !s.shrink():
			return err
		default: // beside fewer subscriptions it may be taken; when it still is not, the relay wants it slower
			patient = true
			continue
		}
		for _, key := range rest {
			s.keys[key] = true
		}
		select {
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
		case err := <-stored:
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
}

func newMissed() *missed {
	return &missed{keys: make(map[string]struct{}), due: make(chan struct{}, 1)}
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
		time.AfterFunc(checkEvery, func() {
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
	return keys
}

// subscribed are the subscriptions of a gathering.
type subscribed struct {
	p      *peer
	l      *link
	g      *gathering
	take   func(*nostr.Event)
	ended  chan error
	room   int             // keys at most: the relay takes no more
	keys   map[string]bool // whether what was stored has come too
	chunks []*chunk
}

// chunk is one subscription for some keys.
type chunk struct {
	sub  *sub
	keys []string
}

// extend subscribes those of some keys that are not subscribed. When there are too many, keys that are not among
// them go. When the relay does not take that many, there is less room than before.
func (s *subscribed) extend(ctx context.Context, keys []string) error {
	var fresh []string
	for _, key := range keys {
		if _, ok := s.keys[key]; !ok {
			fresh = append(fresh, key)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	changed := make(map[*chunk][]string) // what they were
	change := func(c *chunk) {
		if _, twice := changed[c]; !twice {
			changed[c] = slices.Clone(c.keys)
		}
	}
	if len(s.keys)+len(fresh) > s.room {
		wanted := make(map[string]struct{}, len(keys))
		for _, key := range keys {
			wanted[key] = struct{}{}
		}
		goes := func(key string) bool { _, stays := wanted[key]; return !stays }
		s.leave(goes)
		for _, c := range s.chunks {
			if slices.ContainsFunc(c.keys, goes) {
				change(c)
				c.keys = slices.DeleteFunc(c.keys, goes)
			}
		}
	}
	rest := fresh
	for i := 0; len(rest) > 0; i++ {
		if i == len(s.chunks) {
			s.chunks = append(s.chunks, new(chunk))
		}
		c := s.chunks[i]
		if n := min(len(rest), s.l.keysAtOnce()-len(c.keys)); n > 0 {
			change(c)
			c.keys, rest = append(c.keys, rest[:n]...), rest[n:]
		}
	}
	var full error
	for _, c := range s.chunks {
		before, ok := changed[c]
		if !ok {
			continue
		}
		if full == nil {
			err := s.renew(ctx, c)
			if err != nil && !s.isTooMuch(err) {
				return err
			}
			full = err
		}
		if full != nil {
			c.keys = before
		}
		for _, key := range c.keys {
			if _, is := s.keys[key]; !is {
				s.keys[key] = false
			}
		}
	}
	if full != nil && !s.shrink() {
		return full
	}
	return nil
}

// shrink makes the room smaller than what is subscribed, and reports whether there is any left: a subscription that
// changes is there twice for a moment, and what is stored has to be asked for. Whole subscriptions end, since to
// change one would need the room that is not there; keys that keep their place are subscribed anew.
func (s *subscribed) shrink() bool {
	s.room = min(s.room, len(s.keys)) - keysPerReq
	for len(s.keys) > s.room && len(s.chunks) > 0 {
		c := s.chunks[0]
		s.chunks = s.chunks[1:]
		s.leave(func(key string) bool { return slices.Contains(c.keys, key) })
		if c.sub != nil {
			_ = s.l.unsubscribe(c.sub) // fails only when the connection has ended
		}
	}
	return s.room > 0
}

// lacking are those of some keys of which what was stored has not come.
func (s *subscribed) lacking(keys []string) (rest []string) {
	for _, key := range keys {
		if all, ok := s.keys[key]; ok && !all {
			rest = append(rest, key)
		}
	}
	return rest
}

// isTooMuch reports whether a relay has refused to subscribe more, while what it has granted stands.
func (s *subscribed) isTooMuch(err error) bool {
	var closed *ClosedError
	if !errors.As(err, &closed) || strings.HasPrefix(closed.Reason, "auth-required") || strings.HasPrefix(closed.Reason, "restricted") {
		return false
	}
	s.p.cause(there + closed.Reason)
	s.p.refusal(closed.Error())
	return true
}

// leave gives some keys up.
func (s *subscribed) leave(goes func(key string) bool) {
	var had []string
	for key, all := range s.keys {
		if goes(key) {
			delete(s.keys, key)
			if all {
				had = append(had, key)
			}
		}
	}
	if s.g.left != nil {
		s.g.left(had)
	}
}

// end gives all keys up.
func (s *subscribed) end() {
	s.leave(func(string) bool { return true })
	for _, c := range s.chunks {
		if c.sub != nil {
			_ = s.l.unsubscribe(c.sub) // fails only when the connection has ended
		}
	}
}

// renew subscribes the keys of a chunk, and ends the subscription that it had when the new one stands, so that
// nothing is missed in between. When there is an error the old one is still there.
func (s *subscribed) renew(ctx context.Context, c *chunk) error {
	var fresh *sub
	if len(c.keys) > 0 {
		stands, spoken := make(chan error, 1), false
		fresh = &sub{event: s.take, end: func(err error) {
			switch {
			case !spoken:
				spoken = true
				stands <- err // which has room for it
			case err != nil:
				select {
				case s.ended <- err:
				default:
				}
			}
		}}
		since := nostr.Timestamp(s.p.m.cfg.Now().Add(-s.g.past).Unix())
		filters := s.g.filters(c.keys)
		for i := range filters {
			filters[i].Since, filters[i].Limit = &since, 1 // some relays take 0 for no limit
		}
		if err := s.l.subscribe(fresh, filters...); err != nil {
			return err
		}
		err := first(ctx, stands)
		if errors.Is(err, errNoAnswer) {
			// Of one question too many some relays say so in a notice, and go on with the others.
			return errors.Join(&ClosedError{Reason: s.l.noAnswer().Error()}, s.l.unsubscribe(fresh))
		}
		if err != nil {
			return err
		}
	}
	old := c.sub
	if c.sub = fresh; old == nil {
		return nil
	}
	return s.l.unsubscribe(old)
}

// first is a relay's first word about a subscription.
func first(ctx context.Context, word <-chan error) error {
	select {
	case err := <-word:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(answerTime):
		return errNoAnswer
	}
}

// keysAtOnce is for how many keys one question can be: two lists of them fit into what the relay
// takes at once, and into half a frame of those that do not say.
func (l *link) keysAtOnce() int {
	const each, rest = 2 * 67, 2 << 10 // bytes of a key in both lists, and of everything else
	most := keysPerReq
	if largest := l.largest.Load(); largest > 0 {
		most = min(most, max(int(largest-rest)/each, fewestKeys))
	}
	return most
}
