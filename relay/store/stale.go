package store

import "fmt"

// A cold event that is gone leaves its places in lists, which mean nothing without it (coldAt). They are thousands for one event
// that has as many tags, and a deletion can name thousands of those: all publishers would wait for many seconds. So they
// are removed a few at a time, between other work. What a crash or the end leaves of them takes room and does nothing.

const (
	cleanAtOnce = 2000       // places, and those of one event
	mostStale   = 10_000_000 // places that wait, above which the committer does nothing else
	cleanAtEnd  = 200_000
)

// leave notes the places of an event that is gone. Only the committer calls it.
func (s *Store) leave(c *cooled) {
	s.stale = append(s.stale, c)
	s.stalePlaces += len(c.keys) + 1
}

// clean removes about so many places.
func (s *Store) clean(most int) error {
	if len(s.stale) == 0 {
		return nil
	}
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	for most > 0 && len(s.stale) > 0 {
		last := len(s.stale) - 1
		c := s.stale[last]
		s.stale[last] = nil
		s.stale = s.stale[:last]
		s.stalePlaces -= len(c.keys) + 1
		most -= len(c.keys) + 1
		again, err := coldByID(txn, c.id)
		if err == nil && again == nil { // else it is here again, in the same places
			err = c.places(func(key, _ []byte) error { return txn.Delete(key) })
		}
		if err != nil {
			return fmt.Errorf("remove places of event %s: %w", c.id, err)
		}
	}
	if err := txn.Commit(); err != nil {
		return fmt.Errorf("remove places of events: %w", err)
	}
	return nil
}

// fail is for an error after which nothing more is taken.
func (s *Store) fail(err error) {
	if err != nil && s.Err() == nil {
		s.log.Error("the event store takes nothing more", "error", err)
		s.fatal.Store(&err)
		close(s.failed)
	}
}
