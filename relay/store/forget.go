package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"
)

// Tombstones are kept for as long as there is room for them: keys are free, and each can delete what was never here.
// When there are too many, those of the oldest events go; and from then on nothing that is as old as the
// youngest of these is taken from outside, so that nothing of what they named comes back. That is a bound for old
// events and not for what people send now: tombstones of young ones stay. When there are twice as many as there should
// be, and all are young, deletions are refused until they are older.

const (
	defaultTombstones = 2_000_000 // about 100 bytes of disk each
	tombstonesStay    = 4 * 24 * time.Hour
	tombstonesLeft    = 4  // parts of five that stay when some go, so that it is not for a few each time
	tombstonesWorth   = 20 // part of the limit that must be able to go, or be new, until all are looked through again
	// inAdvance is how much younger an event may be than the deletion that came before it, seconds. Who deletes what
	// there is does not meet it.
	inAdvance   = 24 * 60 * 60
	forgetBatch = 2000 // rows removed in one go, fewer than the committer takes at once
)

// ErrTombstones is the answer to deletions when there are too many of them.
var ErrTombstones = errors.New("too many deletions are remembered")

// Tombstones is how many deletions and requests to vanish are remembered, each id, address and key once.
func (s *Store) Tombstones() int { return int(s.buried.Load()) }

// looked is what the last look through all tombstones has shown. While they are too many and too young it would be for
// nothing, and there are millions.
type looked struct {
	due int64 // second of the youngest of those that are to be old enough before the next one
	had int   // tombstones that it left
}

// Forget removes the oldest tombstones when there are too many. What it cannot do now, since they are too young, a later
// call does. Only one runs at a time.
func (s *Store) Forget(ctx context.Context) error {
	worth, young := max(s.opts.MaxTombstones/tombstonesWorth, 1), s.now().Add(-s.opts.TombstonesStay).Unix()
	switch n := s.Tombstones(); {
	case n <= s.opts.MaxTombstones:
		return nil
	case s.looked.due > young && n < s.looked.had+worth:
		return nil
	}
	seconds := make([]int64, 0, s.Tombstones())
	err := s.eachTombstone(func(_ []byte, second int64) error {
		seconds = append(seconds, second)
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("list tombstones: %w", err)
	}
	slices.Sort(seconds)
	many := len(seconds) - s.opts.MaxTombstones*tombstonesLeft/5
	if many <= 0 {
		return nil
	}
	floor := min(seconds[many-1], young)
	left := seconds[sort.Search(len(seconds), func(i int) bool { return seconds[i] > floor }):]
	s.log.Info("looked through the deletions that are remembered", "remembered", len(seconds), "old_enough", len(seconds)-len(left))
	shown := looked{had: len(left)}
	if len(left) > 0 {
		shown.due = left[min(worth, len(left))-1]
	}
	if len(left) == len(seconds) {
		s.looked = shown
		return nil // all of them are young
	}
	s.log.Warn("deletions are forgotten: no event of that time or before is taken from outside any more",
		"until", time.Unix(floor, 0).UTC(), "remembered", len(seconds), "limit", s.opts.MaxTombstones)
	// First the floor: after a crash between, rows are left that mean nothing any more.
	if err := s.do(ctx, &request{floor: floor}); err != nil {
		return fmt.Errorf("refuse events that are too old: %w", err)
	}
	for _, sort := range tombstoneSorts {
		for from := []byte{sort}; from != nil; {
			var rows [][]byte
			if rows, from, err = s.tombstonesUpTo(floor, sort, from); err == nil && len(rows) > 0 {
				err = s.do(ctx, &request{rows: rows})
			}
			if err != nil {
				return fmt.Errorf("remove tombstones: %w", err)
			}
		}
	}
	s.looked = shown
	return nil
}

var errEnough = errors.New("enough rows")

// tombstonesUpTo lists tombstones of a sort from a row on, of events up to a second, a batch at a time: there can be
// millions. next is where to go on, nil at the end.
func (s *Store) tombstonesUpTo(floor int64, sort byte, from []byte) (rows [][]byte, next []byte, err error) {
	s.alive.RLock()
	defer s.alive.RUnlock()
	if !s.open {
		return nil, nil, ErrClosed
	}
	err = s.scanFrom([]byte{sort}, from, func(row, value []byte) error {
		if len(rows) == forgetBatch {
			next = slices.Clone(row)
			return errEnough
		}
		second, err := readSecond(value)
		if err == nil && second <= floor {
			rows = append(rows, slices.Clone(row))
		}
		return err
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return rows, next, err
}

var tombstoneSorts = [...]byte{rowDeleted, rowAddress, rowVanished}

// eachTombstone calls f with each tombstone on disk, and the second up to which events are meant by it.
func (s *Store) eachTombstone(f func(row []byte, second int64) error) error {
	s.alive.RLock()
	defer s.alive.RUnlock()
	if !s.open {
		return ErrClosed
	}
	for _, sort := range tombstoneSorts {
		err := s.scan([]byte{sort}, func(row, value []byte) error {
			second, err := readSecond(value)
			if err != nil {
				return err
			}
			return f(row, second)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// loadFloor reads the g row.
func (s *Store) loadFloor() (err error) {
	floor, ok, err := s.get([]byte{rowFloor})
	if ok {
		s.floor = floor
	}
	return err
}

// raise makes floor the time up to which no events are taken.
func (b *batch) raise(floor int64) { b.floor = max(b.floor, floor) }

// forget marks tombstones for removal, unless they are for younger events by now.
func (b *batch) forget(rows [][]byte) error {
	for _, row := range rows {
		second, ok, err := b.s.get(row)
		if err != nil {
			return err
		}
		if _, again := b.tombs[string(row)]; ok && !again && second <= b.floor {
			b.forgotten[string(row)] = struct{}{}
		}
	}
	return nil
}

// writeTombstones writes what of them is new and what goes.
func (b *batch) writeTombstones(w *writer) error {
	if b.floor > b.s.floor {
		if err := w.txn.Set([]byte{rowFloor}, secondValue(b.floor)); err != nil {
			return err
		}
	}
	for row, second := range b.tombs {
		if err := w.txn.Set([]byte(row), secondValue(second)); err != nil {
			return err
		}
	}
	for row := range b.forgotten {
		if err := w.remove([]byte(row)); err != nil {
			return err
		}
	}
	return nil
}

// tombstonesFull reports whether one more deletion is one too many.
func (b *batch) tombstonesFull() bool {
	return b.s.Tombstones()+b.fresh >= 2*b.s.opts.MaxTombstones
}
