package store

import (
	"bytes"
	"slices"
	"sort"
)

// list holds references to records in the order of position. Most lists hold a single one, so
// that one lies in the list itself; longer ones are in parts, so that an event with an old time
// moves at most a part.
type list struct {
	key  listKey
	n    uint32
	one  uint32 // when n is 1
	many *parts // when n is more
}

type parts struct{ of [][]uint32 } // each part has at least one reference

const (
	partSize = 512
	fewSpare = 8 // places of a part that may be free, beside four for each that is not
)

// position is a place in all lists: oldest first, and within a second the highest id first, so
// that answers read from the end (NIP-01: newest first, then lowest id).
type position struct {
	created int64
	id      Key
}

func (p *position) compare(o *position) int {
	switch {
	case p.created < o.created:
		return -1
	case p.created > o.created:
		return 1
	}
	return bytes.Compare(o.id[:], p.id[:])
}

func (x *index) before(a, b uint32) bool {
	return x.record(a).compare(&x.record(b).position) < 0
}

// put adds a reference that is not in l.
func (x *index) put(l *list, ref uint32) {
	switch l.n {
	case 0:
		l.one = ref
	case 1:
		pair := []uint32{l.one, ref}
		if x.before(ref, l.one) {
			pair[0], pair[1] = ref, l.one
		}
		l.many = &parts{[][]uint32{pair}}
	default:
		x.insert(l.many, ref)
	}
	l.n++
}

func (x *index) insert(m *parts, ref uint32) {
	last := len(m.of) - 1
	if tail := m.of[last]; x.before(tail[len(tail)-1], ref) { // the newest: nearly always
		if len(tail) < partSize {
			m.of[last] = append(tail, ref)
		} else {
			m.of = append(m.of, append(make([]uint32, 0, partSize/8), ref))
		}
		return
	}
	p, i := x.search(m, &x.record(ref).position)
	part := slices.Insert(m.of[p], i, ref)
	if m.of[p] = part; len(part) > partSize {
		m.of[p] = slices.Clone(part[:partSize/2])
		m.of = slices.Insert(m.of, p+1, slices.Clone(part[partSize/2:]))
	}
}

// search finds the first reference that is at pos or after it. When there is none, it is the end
// of the last part.
func (x *index) search(m *parts, pos *position) (part, i int) {
	part = sort.Search(len(m.of)-1, func(p int) bool {
		return x.record(m.of[p][len(m.of[p])-1]).compare(pos) >= 0
	})
	i = sort.Search(len(m.of[part]), func(i int) bool {
		return x.record(m.of[part][i]).compare(pos) >= 0
	})
	return part, i
}

// take removes a reference that is in l.
func (x *index) take(l *list, ref uint32) {
	l.n--
	if l.n == 0 {
		return
	}
	m := l.many
	p, i := x.search(m, &x.record(ref).position)
	switch part := slices.Delete(m.of[p], i, i+1); {
	case len(part) == 0:
		m.of = slices.Delete(m.of, p, p+1)
	case cap(part) > 4*len(part)+fewSpare: // else lists that were long once would keep what they took
		m.of[p] = slices.Clone(part)
	default:
		m.of[p] = part
	}
	if l.n == 1 {
		l.one, l.many = m.of[0][0], nil
	}
}

// cursor reads a list from its end.
type cursor struct {
	rest [][]uint32 // parts before the current one
	part []uint32   // what is left of the current one
	ref  uint32
	rec  *record
}

// seek makes a cursor on the newest reference before pos.
func (x *index) seek(l *list, pos *position) (c cursor, ok bool) {
	switch l.n {
	case 0:
		return c, false
	case 1:
		return x.single(l.one, pos)
	}
	p, i := x.search(l.many, pos)
	c.rest, c.part = l.many.of[:p], l.many.of[p][:i]
	ok = x.next(&c)
	return c, ok
}

func (x *index) single(ref uint32, pos *position) (cursor, bool) {
	c := cursor{ref: ref, rec: x.record(ref)}
	return c, c.rec.compare(pos) < 0
}

// next moves c to the next older reference; false is the end.
func (x *index) next(c *cursor) bool {
	if len(c.part) == 0 {
		if len(c.rest) == 0 {
			return false
		}
		last := len(c.rest) - 1
		c.rest, c.part = c.rest[:last], c.rest[last]
	}
	last := len(c.part) - 1
	c.ref, c.part = c.part[last], c.part[:last]
	c.rec = x.record(c.ref)
	return true
}

// merge is a heap of cursors, the newest on top.
type merge []cursor

func (m merge) init() {
	for i := len(m)/2 - 1; i >= 0; i-- {
		m.sink(i)
	}
}

// sink restores the heap below i.
func (m merge) sink(i int) {
	for {
		newest := 2*i + 1
		if newest >= len(m) {
			return
		}
		if right := newest + 1; right < len(m) && m[right].rec.compare(&m[newest].rec.position) > 0 {
			newest = right
		}
		if m[newest].rec.compare(&m[i].rec.position) <= 0 {
			return
		}
		m[i], m[newest] = m[newest], m[i]
		i = newest
	}
}

// advance moves the top to its next reference, or drops it at its end.
func (m *merge) advance(x *index) {
	h := *m
	if !x.next(&h[0]) {
		last := len(h) - 1
		h[0] = h[last]
		h = h[:last]
		*m = h
	}
	h.sink(0)
}
