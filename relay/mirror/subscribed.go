package mirror

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// subscribed are the subscriptions of a gathering.
type subscribed struct {
	p      *peer
	l      *link
	g      *gathering
	take   func(*nostr.Event)
	ended  chan error
	room   int             // keys at most: the relay takes no more
	cut    time.Time       // when it took no more
	keys   map[string]bool // whether what was stored has come too
	chunks []*chunk

	patience time.Duration // until it is asked for more again
}

// fullRoom is the room of a relay that takes as many keys as it is asked for.
const fullRoom = keysPerPeer + mailSlack

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
	full := false
	for _, c := range s.chunks {
		before, ok := changed[c]
		if !ok {
			continue
		}
		if !full {
			granted, err := s.renew(ctx, c, before)
			if err != nil {
				return err
			}
			full = !granted
		}
		if full {
			c.keys = before
		}
		for _, key := range c.keys {
			if _, is := s.keys[key]; !is {
				s.keys[key] = false
			}
		}
	}
	if full {
		s.room, s.cut = min(s.room, len(s.keys)), time.Now()
	}
	return nil
}

// widen asks for all again after a while, ever more rarely: what the relay has refused for want of room it may have
// refused because it was busy.
func (s *subscribed) widen() {
	if s.room < fullRoom && time.Since(s.cut) >= s.patience {
		s.room, s.patience = fullRoom, min(2*s.patience, mostMissed)
	}
}

// wider says when it is time for that, if ever.
func (s *subscribed) wider() <-chan time.Time {
	if s.room == fullRoom {
		return nil
	}
	return time.After(time.Until(s.cut.Add(s.patience)))
}

// shrink makes the room smaller than what is subscribed, as far as one question needs: what is stored has to be asked
// for beside it. Whole subscriptions end; keys that keep their place are subscribed anew.
func (s *subscribed) shrink() {
	s.room, s.cut = min(s.room, len(s.keys))-keysPerReq, time.Now()
	for len(s.keys) > s.room && len(s.chunks) > 0 {
		c := s.chunks[0]
		s.chunks = s.chunks[1:]
		s.drop(c)
		s.leave(func(key string) bool { return slices.Contains(c.keys, key) })
	}
}

// drop ends the subscription of a chunk.
func (s *subscribed) drop(c *chunk) {
	if c.sub != nil {
		_ = s.l.unsubscribe(c.sub) // fails only when the connection has ended
		c.sub = nil
	}
}

// stood makes of a refusal one of a relay that has granted something: it is no refusal of the whole.
func (s *subscribed) stood(err error) error {
	var closed *ClosedError
	if errors.As(err, &closed) && len(s.keys) > 0 {
		return &ClosedError{Reason: closed.Reason, Stood: true}
	}
	return err
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
		s.drop(c)
	}
}

// renew subscribes the keys of a chunk, and ends the subscription that it had when the new one stands, so that
// nothing is missed in between. A relay that has no room for both gets them one after the other, and is asked for what
// came meanwhile. false: the new one is too much for it, and there is one for the keys of before.
func (s *subscribed) renew(ctx context.Context, c *chunk, before []string) (granted bool, err error) {
	fresh, err := s.subscribe(ctx, c.keys)
	switch {
	case err == nil:
		s.drop(c)
		c.sub = fresh
		return true, nil
	case !s.isTooMuch(err), len(s.keys) == 0:
		return false, err
	case c.sub == nil:
		return false, nil
	}
	s.drop(c)
	for _, key := range before {
		if s.keys[key] {
			s.keys[key] = false
		}
	}
	if c.sub, err = s.subscribe(ctx, c.keys); err == nil {
		return true, nil
	}
	if s.isTooMuch(err) {
		c.sub, err = s.subscribe(ctx, before)
	}
	return false, err
}

// subscribe makes a subscription for some keys; nil for none.
func (s *subscribed) subscribe(ctx context.Context, keys []string) (*sub, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	stands := make(chan error, 1)
	var spoken atomic.Bool
	fresh := &sub{event: s.take, end: func(err error) {
		switch {
		case spoken.CompareAndSwap(false, true):
			stands <- err // which has room for it
		case err != nil:
			select {
			case s.ended <- err:
			default:
			}
		}
	}}
	since := nostr.Timestamp(s.p.m.cfg.Now().Add(-s.g.past).Unix())
	filters := s.g.filters(slices.Clone(keys)) // the question may be asked again when other keys are in their place
	for i := range filters {
		filters[i].Since, filters[i].Limit = &since, 1 // some relays take 0 for no limit
	}
	if err := s.l.subscribe(fresh, filters...); err != nil {
		return nil, err
	}
	err := first(ctx, stands)
	if errors.Is(err, errNoAnswer) {
		// Of one question too many some relays say so in a notice, and go on with the others.
		return nil, errors.Join(&ClosedError{Reason: s.l.noAnswer().Error()}, s.l.unsubscribe(fresh))
	}
	if err != nil {
		return nil, err
	}
	return fresh, nil
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
