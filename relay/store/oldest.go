package store

import "context"

// CountOf is how many events of an author are stored.
func (s *Store) CountOf(author Key) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.index.count(authorKey(author, restClass))
	for _, hot := range hotKinds {
		n += s.index.count(authorKindKey(author, hot))
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
// first. go must not wait, nor use the store.
func (s *Store) Oldest(ctx context.Context, most int, mayGo func(*Meta) bool) ([]Key, error) {
	var found []Key
	// Nothing is before the first position.
	for from := (position{created: -1}); len(found) < most; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.mu.RLock()
		batch := s.index.after(from, stepRecords)
		for i := range batch {
			if m := &batch[i]; mayGo(m) && len(found) < most {
				found = append(found, m.ID)
			}
		}
		s.mu.RUnlock()
		if len(batch) < stepRecords {
			break
		}
		last := &batch[len(batch)-1]
		from = position{last.CreatedAt, last.ID}
	}
	return found, nil
}

// after lists up to n records after a position, the oldest first.
func (x *index) after(from position, n int) []Meta {
	var rest [][]uint32
	switch x.all.n {
	case 0:
	case 1:
		rest = [][]uint32{{x.all.one}}
	default:
		p, i := x.search(x.all.many, &from)
		rest = append([][]uint32{x.all.many.of[p][i:]}, x.all.many.of[p+1:]...)
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
