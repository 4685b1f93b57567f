package store

import (
	"context"
	"slices"
	"sort"

	"github.com/dgraph-io/badger/v4"
)

// CountOf is how many events of an author are stored.
func (s *Store) CountOf(author Key) int {
	s.mu.RLock()
	n, list := s.index.count(authorKey(author, restClass)), authorKindKey(author, 0) // hashed once: each event asks
	for _, hot := range hotKinds {
		n += s.index.count(list.of(hot))
	}
	s.mu.RUnlock()
	err := s.look(func(txn *badger.Txn) error {
		cold, err := coldOf(txn, author)
		n += cold
		return err
	})
	if err != nil {
		s.log.Error("count events of an author", "author", author, "error", err)
	}
	return n
}

// CountOfKinds is how many events of some of the kinds of AlwaysInMemory are stored; others count as none.
func (s *Store) CountOfKinds(kinds ...int) (n int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := kindKey(0)
	for _, kind := range kinds {
		if k := uint16(kind); class(k) != restClass {
			n += s.index.count(list.of(k))
		}
	}
	return n
}

// count is the length of a list.
func (x *index) count(k listKey) int {
	n, ok := x.lookUp(k)
	if !ok {
		return 0
	}
	return int(x.list(n).n)
}

// Oldest lists the oldest events that go may have removed, at most as many as that, the oldest
// first. go must not wait, nor use the store. An event that becomes cold meanwhile may be left out.
func (s *Store) Oldest(ctx context.Context, most int, mayGo func(*Meta) bool) ([]Key, error) {
	var found []Key
	// Nothing is before the first position.
	for from, end := (position{created: -1}), false; len(found) < most && !end; {
		err := ctx.Err()
		var cold []Meta
		if err == nil {
			err = s.look(func(txn *badger.Txn) error {
				cold, err = coldAfter(txn, from, stepRecords)
				return err
			})
		}
		if err != nil {
			return nil, err
		}
		s.mu.RLock()
		var batch []Meta
		batch, end = older(cold, s.index.after(&s.index.hot, from, stepRecords), s.index.after(&s.index.rest, from, stepRecords))
		for i := range batch {
			if m := &batch[i]; mayGo(m) && len(found) < most {
				found = append(found, m.ID)
			}
		}
		s.mu.RUnlock()
		if !end {
			from = *batch[len(batch)-1].position()
		}
	}
	return found, nil
}

// older joins lists of events, each the oldest first, as far as all of them are known: one with
// stepRecords may go on.
func older(lists ...[]Meta) (joined []Meta, end bool) {
	var upTo *position
	for _, l := range lists {
		if len(l) < stepRecords {
			continue
		}
		if last := l[len(l)-1].position(); upTo == nil || last.compare(upTo) < 0 {
			upTo = last
		}
	}
	joined = slices.Concat(lists...)
	slices.SortFunc(joined, func(a, b Meta) int { return a.position().compare(b.position()) })
	joined = slices.CompactFunc(joined, func(a, b Meta) bool { return a.Serial == b.Serial })
	if upTo == nil {
		return joined, true
	}
	n := sort.Search(len(joined), func(i int) bool { return joined[i].position().compare(upTo) > 0 })
	return joined[:n], false
}

// after lists up to n records of a list after a position, the oldest first.
func (x *index) after(l *list, from position, n int) []Meta {
	var rest [][]uint32
	switch l.n {
	case 0:
	case 1:
		rest = [][]uint32{{l.one}}
	default:
		p, i := x.search(l.many, &from)
		rest = append([][]uint32{l.many.of[p][i:]}, l.many.of[p+1:]...)
	}
	metas := make([]Meta, 0, n)
	for _, refs := range rest {
		for _, ref := range refs {
			rec := x.record(ref)
			if rec.compare(&from) <= 0 {
				continue
			}
			metas = append(metas, Meta{
				Serial: rec.serial, ID: rec.id, Author: rec.author, Kind: int(rec.kind), CreatedAt: rec.created,
				ExpiresAt: int64(rec.expires), Size: int(rec.size), index: x, ref: ref,
			})
			if len(metas) == n {
				return metas
			}
		}
	}
	return metas
}
