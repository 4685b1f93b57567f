package store

import (
	"math"

	"github.com/nbd-wtf/go-nostr"
)

// Overtaken reports whether a newer version of an event is known to be stored, so that storing it would change
// nothing. Nothing of the event has to be true. It looks in memory only: false may be wrong.
func (s *Store) Overtaken(ev *nostr.Event) bool {
	if ev.Kind < 0 || ev.Kind > math.MaxUint16 {
		return false
	}
	d, ok := versioned(uint16(ev.Kind), ev.Tags)
	if !ok {
		return false
	}
	id, err := ParseKey(ev.ID)
	if err != nil {
		return false
	}
	author, err := ParseKey(ev.PubKey)
	if err != nil {
		return false
	}
	pos := position{int64(ev.CreatedAt), id}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, ref := range s.index.members(addressKey(uint16(ev.Kind), author, d)) {
		if pos.compare(&s.index.record(ref).position) < 0 {
			return true
		}
	}
	return false
}
