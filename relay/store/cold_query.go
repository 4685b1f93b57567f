package store

import (
	"container/heap"
	"math"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// coldReader answers one filter from what is on disk and what is in memory, once its answer has come
// down to where cold events begin.
type coldReader struct {
	s       *Store
	query   *query
	reached bool

	// Made when first needed.
	lists []listKey      // together they hold every cold match
	tests []set[listKey] // a match is in a list of each
}

const (
	coldLooked  = 2048                  // places looked at for them
	coldTime    = 10 * time.Millisecond // for them, behind the seeking
	coldTries   = 3                     // readings while events keep becoming cold; the next one holds that off
	coldChunk   = 32                    // places of a list read at once, at most
	coldPart    = 3                     // the same, at least: with many lists few of each are wanted
	probeLists  = 8                     // of those that could be read, to guess how long they are
	probePlaces = 64
)

// step is Store.step below the newest cold event. What is on disk is read before the index in memory
// is locked. An event that becomes cold in between would be found in neither, so then the disk is
// read again.
func (r *coldReader) step(from *position, want func(*Meta) bool, limit int, batch []Meta) (found []Meta, end bool, err error) {
	s := r.s
	s.alive.RLock()
	defer s.alive.RUnlock()
	if !s.open {
		return nil, false, ErrClosed
	}
	for try := 1; ; try++ {
		s.mu.RLock()
		changes := s.cold.changes
		if try <= coldTries {
			s.mu.RUnlock()
		}
		disk, downTo, err := r.read(from, limit)
		if try <= coldTries {
			s.mu.RLock()
		}
		if err != nil || s.cold.changes == changes {
			if err == nil {
				batch, end = r.merge(disk, downTo, from, want, limit, batch)
			}
			s.mu.RUnlock()
			return batch, end, err
		}
		s.mu.RUnlock()
	}
}

// merge joins matches on disk, which are all down to a position or all that there are (nil), with
// those in memory, and moves from behind what it has been through.
func (r *coldReader) merge(disk []Meta, downTo, from *position, want func(*Meta) bool, limit int, batch []Meta) (found []Meta, end bool) {
	var memory []Meta
	at := *from
	_, done, below := r.s.index.step(r.query, &at, downTo, func(m *Meta) bool {
		memory = append(memory, *m)
		return false
	}, 1, nil)
	if !done && !below {
		// Memory has been looked at down to here only.
		downTo = &at
	}
	var last uint64 // serial; an event may be found in both
	for len(memory)+len(disk) > 0 {
		next := &disk
		if len(disk) == 0 || len(memory) > 0 && memory[0].position().compare(disk[0].position()) >= 0 {
			next = &memory
		}
		m := (*next)[0]
		pos := m.position()
		if downTo != nil && pos.compare(downTo) < 0 {
			break
		}
		if len(batch) == limit {
			return batch, false
		}
		*next = (*next)[1:]
		*from = *pos
		if m.Serial == last {
			continue
		}
		last = m.Serial
		if want(&m) {
			m.index, m.keys = nil, nil
			batch = append(batch, m)
		}
	}
	if downTo == nil {
		return batch, true
	}
	*from = *downTo
	return batch, false
}

func (m *Meta) position() *position { return &position{m.CreatedAt, m.ID} }

// read finds up to limit matches on disk before from, newest first: all down to a position, or all that there
// are.
func (r *coldReader) read(from *position, limit int) (found []Meta, downTo *position, err error) {
	err = r.s.db.View(func(txn *badger.Txn) error {
		if len(r.query.ids) > 0 {
			found, err = r.byID(txn, from)
			return err
		}
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{rowColdList}})
		defer it.Close()
		if r.lists == nil {
			if r.lists, err = r.choose(it, from); err != nil {
				return err
			}
		}
		places, err := newPlaces(it, r.lists, from, limit)
		if err != nil {
			return err
		}
		var last place
		began := time.Now()
		for looked := 0; len(places.heap) > 0; looked++ {
			if looked == coldLooked || len(found) == limit || r.s.coldSteps.over(looked, began) {
				downTo = &last.position
				return nil
			}
			next := places.heap[0].chunk[0]
			if next.created < r.query.since {
				return nil
			}
			if next.serial != last.serial { // else it is in several lists
				c, err := coldAt(txn, &next)
				if err != nil {
					return err
				}
				if c != nil && r.matches(c) {
					found = append(found, c.meta())
				}
			}
			last = next
			if err := places.advance(); err != nil {
				return err
			}
		}
		return nil
	})
	return found, downTo, err
}

func (c *cooled) meta() Meta {
	return Meta{
		Serial: c.serial, ID: c.id, Author: c.author, Kind: int(c.kind), CreatedAt: c.created,
		ExpiresAt: int64(c.expires), Size: int(c.size), keys: c.keys,
	}
}

func (r *coldReader) byID(txn *badger.Txn, from *position) (found []Meta, err error) {
	for _, id := range r.query.ids {
		c, err := coldByID(txn, id)
		if err != nil {
			return nil, err
		}
		if c != nil && c.created >= r.query.since && (&position{c.created, c.id}).compare(from) < 0 && r.matches(c) {
			found = append(found, c.meta())
		}
	}
	slices.SortFunc(found, func(a, b Meta) int { return b.position().compare(a.position()) })
	return slices.CompactFunc(found, func(a, b Meta) bool { return a.Serial == b.Serial }), nil
}

// matches reports whether c, whose time is in the range, matches the rest of the query.
func (r *coldReader) matches(c *cooled) bool {
	q := r.query
	if len(q.kinds.list) > 0 && !q.kinds.has(c.kind) || len(q.authors.list) > 0 && !q.authors.has(c.author) {
		return false
	}
	if r.tests == nil {
		for _, tag := range q.tags {
			r.tests = append(r.tests, newSet(coldOnly(tag.keys)))
		}
	}
	for i := range r.tests {
		if !slices.ContainsFunc(c.keys, r.tests[i].has) {
			return false
		}
	}
	return true
}

// coldOnly picks the lists of kinds that are not hot.
func coldOnly(keys []listKey) []listKey {
	return slices.DeleteFunc(slices.Clone(keys), func(k listKey) bool { return k != k.of(restClass) })
}

// choose picks the lists to read: by a few probes, those with the fewest events in the time asked
// for.
func (r *coldReader) choose(it *badger.Iterator, from *position) ([]listKey, error) {
	q := r.query
	var options [][]listKey
	for _, tag := range q.tags {
		options = append(options, coldOnly(tag.keys))
	}
	var kinds []listKey
	for _, kind := range q.kinds.list {
		if class(kind) == restClass {
			kinds = append(kinds, kindKey(kind))
		}
	}
	switch authors := q.authors.list; {
	case len(authors) > 0:
		options = append(options, q.coldAuthorKeys())
	case len(kinds) > 0:
		options = append(options, kinds)
	}
	switch len(options) {
	case 0:
		return []listKey{allCold}, nil
	case 1:
		return options[0], nil
	}
	best, least := 0, math.Inf(1)
	for i, lists := range options {
		n, err := r.guess(it, lists, from)
		if err != nil {
			return nil, err
		}
		if n < least {
			best, least = i, n
		}
	}
	return options[best], nil
}

func (q *query) coldAuthorKeys() (keys []listKey) {
	for _, a := range q.authors.list {
		if len(q.kinds.list) == 0 || len(q.authors.list)*len(q.kinds.list) > maxPairs {
			keys = append(keys, authorKey(a, restClass))
			continue
		}
		k := authorKindKey(a, 0)
		for _, kind := range q.kinds.list {
			if class(kind) == restClass {
				keys = append(keys, k.of(kind))
			}
		}
	}
	return keys
}

// guess is about how many events there are in lists in the time asked for, by looking into a few.
func (r *coldReader) guess(it *badger.Iterator, lists []listKey, from *position) (events float64, err error) {
	probed := lists[:min(len(lists), probeLists)]
	for _, k := range probed {
		l := placeList{prefix: coldListPrefix(k)}
		if err := l.fill(it, from, probePlaces); err != nil {
			return 0, err
		}
		n := float64(len(l.chunk))
		if l.more {
			newest, oldest := l.chunk[0].created, l.chunk[len(l.chunk)-1].created
			span := newest - max(r.query.since, 0)
			n *= max(float64(span)/float64(newest-oldest+1), 1)
		}
		events += n
	}
	return events * float64(len(lists)) / float64(max(len(probed), 1)), nil
}

// placeList reads a list on disk, a chunk at a time.
type placeList struct {
	prefix []byte
	chunk  []place // what comes next
	more   bool    // behind it
}

// fill reads the next places before from.
func (l *placeList) fill(it *badger.Iterator, from *position, n int) error {
	seek := l.prefix
	if from.created <= math.MaxUint32 {
		seek = append(appendPlace(slices.Clone(l.prefix), from), 0) // what comes behind that key
	}
	l.chunk = make([]place, 0, n)
	for it.Seek(seek); it.ValidForPrefix(l.prefix); it.Next() {
		if len(l.chunk) == n {
			l.more = true
			return nil
		}
		next, err := readPlace(it.Item())
		if err != nil {
			return err
		}
		l.chunk = append(l.chunk, next)
	}
	l.more = false
	return nil
}

// places merges lists on disk, the newest place on top.
type places struct {
	it    *badger.Iterator
	heap  placeHeap
	chunk int // of a list read at once
}

// newPlaces begins where limit places are wanted.
func newPlaces(it *badger.Iterator, lists []listKey, from *position, limit int) (*places, error) {
	p := &places{it: it, chunk: min(limit/max(len(lists), 1)+coldPart, coldChunk)}
	for _, k := range lists {
		l := &placeList{prefix: coldListPrefix(k)}
		if err := l.fill(it, from, p.chunk); err != nil {
			return nil, err
		}
		if len(l.chunk) > 0 {
			p.heap = append(p.heap, l)
		}
	}
	heap.Init(&p.heap)
	return p, nil
}

// advance goes behind the newest place.
func (p *places) advance() error {
	top := p.heap[0]
	last := top.chunk[0].position
	if top.chunk = top.chunk[1:]; len(top.chunk) == 0 && top.more {
		if err := top.fill(p.it, &last, p.chunk); err != nil {
			return err
		}
	}
	if len(top.chunk) == 0 {
		heap.Pop(&p.heap)
	} else {
		heap.Fix(&p.heap, 0)
	}
	return nil
}

type placeHeap []*placeList

func (h placeHeap) Len() int           { return len(h) }
func (h placeHeap) Less(i, j int) bool { return h[i].chunk[0].compare(&h[j].chunk[0].position) > 0 }
func (h placeHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *placeHeap) Push(l any)        { *h = append(*h, l.(*placeList)) }
func (h *placeHeap) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	*h = (*h)[:last]
	return l
}
