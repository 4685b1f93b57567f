package relay

import "sync/atomic"

// origin is an address with open sessions. All that one has open is not to hold up an event for all
// others: an event waits until it has been compared with the subscriptions that could want it, and one
// address can open hundreds of thousands that want everything.
type origin struct {
	sessions atomic.Int64
	comparisons
}

// comparisons counts with how many subscriptions an event was compared. The live index guards it.
type comparisons struct {
	round uint64 // of the last event
	count int
}

func (c *comparisons) next(round uint64) (count int) {
	if c.round != round {
		c.round, c.count = round, 0
	}
	c.count++
	return c.count
}

// compares counts a comparison of an event with a subscription, and reports whether it is to be made:
// while there are not too many of the address, and with what would be the session's part of them.
func (s *session) compares(round uint64, most int) bool {
	if s.origin == nil {
		return true
	}
	mine := s.compared.next(round)
	return s.origin.next(round) <= most || mine <= max(most/int(max(s.origin.sessions.Load(), 1)), 1)
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
