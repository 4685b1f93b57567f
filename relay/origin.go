package relay

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// origin is an address with open sessions. All that one has open is not to hold up an event for all
// others: an event waits until it has been compared with the subscriptions that could want it, and one
// address can open hundreds of thousands that want everything.
type origin struct {
	sessions atomic.Int64
	backlog  atomic.Int64 // bytes of live events that wait in the queues of its sessions
	held     atomic.Int64 // the same of stored events, and what of them is being written
	comparisons

	mu       sync.Mutex // guards the following
	since    time.Time  // the window
	refusals int        // in it
}

// refused counts a message that was refused, and says how long the address is to wait for it: who sends
// nothing else is to cost nobody anything.
func (o *origin) refused(now time.Time) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now.Sub(o.since) > refusalWindow {
		o.since, o.refusals = now, 0
	}
	if o.refusals++; o.refusals <= freeRefusals {
		return 0
	}
	return min(refusalPause*time.Duration(o.sessions.Load()), maxRefusalPause)
}

// refuse answers a message with what is wrong with it.
func (s *session) refuse(answer []byte) {
	s.refusals++
	s.send(answer)
}

// penance waits for what of the last message was refused, without a turn. A replica and another Mostro bring messages
// of many people, and do not wait for one of them.
func (s *session) penance() {
	if s.refusals > 0 && (s.relay.isPeer(s.keys.Load()) || s.relay.carries(s.from)) {
		s.refusals = 0
	}
	var wait time.Duration
	for ; s.refusals > 0; s.refusals-- {
		wait += s.origin.refused(time.Now())
	}
	if wait == 0 {
		return
	}
	select {
	case <-s.ctx.Done():
	case <-s.relay.ctx.Done():
	case <-time.After(wait):
	}
}

// carries reports whether a subscriber is in one of Config.Carriers.
func (r *Relay) carries(from string) bool {
	if len(r.cfg.Carriers) == 0 {
		return false
	}
	network, err := netip.ParsePrefix(from)
	if err != nil {
		address, err := netip.ParseAddr(from)
		if err != nil {
			return false
		}
		network = netip.PrefixFrom(address, address.BitLen())
	}
	return slices.ContainsFunc(r.cfg.Carriers, network.Overlaps)
}

// comparisons counts with how many subscriptions an event was compared. The live index guards it.
type comparisons struct {
	round uint64 // of the last event
	count int
}

func (c *comparisons) next(round uint64, weight int) (count int) {
	if c.round != round {
		c.round, c.count = round, 0
	}
	c.count += weight
	return c.count
}

// compares counts a comparison of an event with a subscription, or so many, and reports whether it is to be made:
// while there are not too many of the address, and with what would be the session's part of them.
func (s *session) compares(round uint64, most, weight int) bool {
	if s.origin == nil {
		return true
	}
	mine := s.compared.next(round, weight)
	return s.origin.next(round, weight) <= most || mine <= max(most/int(max(s.origin.sessions.Load(), 1)), weight)
}

// join counts a session at its address; the caller holds mu.
func (r *Relay) join(s *session) {
	if s.origin = r.origins[s.from]; s.origin == nil {
		s.origin = new(origin)
		r.origins[s.from] = s.origin
	}
	s.origin.sessions.Add(1)
}

// part is the opposite of join.
func (r *Relay) part(s *session) {
	if s.origin.sessions.Add(-1) == 0 {
		delete(r.origins, s.from)
	}
}
