package store

import (
	"fmt"
	"math"
	"slices"

	"github.com/nbd-wtf/go-nostr"
)

// query is a filter in the terms of the index.
type query struct {
	ids     []Key
	authors set[Key]
	kinds   set[uint16]
	tags    []tagTest
	classes []uint16 // of the kinds asked for
	since   int64
	until   int64
	limit   int
	never   bool // nothing can match
}

// tagTest is one tag name of a filter: one of the values must occur. Keys are the lists of all
// values and classes.
type tagTest struct{ keys []listKey }

// noLimit stands for a filter that names none.
const noLimit = math.MaxInt

// CheckFilter reports what makes f impossible to answer: ids and authors that are not 64
// lower-case hex digits, tag names that are not single letters, a negative limit, a search.
func CheckFilter(f nostr.Filter) error {
	_, err := compile(f)
	return err
}

func compile(f nostr.Filter) (*query, error) {
	q := &query{since: math.MinInt64, until: math.MaxInt64 - 1, limit: noLimit}
	if f.Search != "" {
		return nil, fmt.Errorf("a filter with a search cannot be answered from the index")
	}
	switch {
	case f.Limit < 0:
		return nil, fmt.Errorf("limit %d is negative", f.Limit)
	case f.LimitZero:
		q.limit = 0
	case f.Limit > 0:
		q.limit = f.Limit
	}
	if f.Since != nil {
		q.since = int64(*f.Since)
	}
	if f.Until != nil {
		q.until = min(int64(*f.Until), q.until)
	}
	q.never = q.since > q.until || q.limit == 0 ||
		f.IDs != nil && len(f.IDs) == 0 || f.Authors != nil && len(f.Authors) == 0 || f.Kinds != nil && len(f.Kinds) == 0
	var err error
	if q.ids, err = parseKeys(f.IDs); err != nil {
		return nil, fmt.Errorf("ids: %w", err)
	}
	authors, err := parseKeys(f.Authors)
	if err != nil {
		return nil, fmt.Errorf("authors: %w", err)
	}
	q.authors = newSet(authors)
	kinds := make([]uint16, 0, len(f.Kinds))
	for _, kind := range f.Kinds {
		if kind < 0 || kind > math.MaxUint16 {
			continue // no stored event has it
		}
		kinds = append(kinds, uint16(kind))
		if of := class(uint16(kind)); !slices.Contains(q.classes, of) {
			q.classes = append(q.classes, of)
		}
	}
	q.never = q.never || len(kinds) == 0 && len(f.Kinds) > 0
	q.kinds = newSet(kinds)
	if len(q.classes) == 0 {
		q.classes = append(hotKinds[:len(hotKinds):len(hotKinds)], restClass)
	}
	for name, values := range f.Tags {
		if !isLetter(name) {
			return nil, fmt.Errorf("tag %q is not a single letter", name)
		}
		test := tagTest{make([]listKey, 0, len(values)*len(q.classes))}
		for _, value := range values {
			k := tagKey(name[0], value, restClass)
			for _, of := range q.classes {
				test.keys = append(test.keys, k.of(of))
			}
		}
		q.tags = append(q.tags, test)
		q.never = q.never || len(values) == 0
	}
	return q, nil
}

// canBeCold reports whether the filter asks for kinds of which old events are on disk only.
func (q *query) canBeCold() bool { return slices.Contains(q.classes, restClass) }

// parseKeys reads ids or public keys, each once.
func parseKeys(values []string) ([]Key, error) {
	keys := make([]Key, 0, len(values))
	for _, value := range values {
		k, err := ParseKey(value)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// set holds what a filter lists: a few values in a row, many in a map.
type set[T comparable] struct {
	list []T
	many map[T]struct{}
}

const fewValues = 8

// newSet makes a set of values, each once, in their order.
func newSet[T comparable](values []T) set[T] {
	if len(values) <= fewValues {
		var s set[T]
		for _, v := range values {
			if !slices.Contains(s.list, v) {
				s.list = append(s.list, v)
			}
		}
		return s
	}
	s := set[T]{list: make([]T, 0, len(values)), many: make(map[T]struct{}, len(values))}
	for _, v := range values {
		if _, twice := s.many[v]; !twice {
			s.many[v] = struct{}{}
			s.list = append(s.list, v)
		}
	}
	return s
}

func (s *set[T]) has(v T) bool {
	if s.many == nil {
		return slices.Contains(s.list, v)
	}
	_, ok := s.many[v]
	return ok
}

// plan is a query with the numbers of lists, which hold as long as the index is locked.
type plan struct {
	*query
	lists []uint32      // together they hold every match
	refs  []uint32      // or these do
	tests []set[uint32] // a record is in a list of each
}

// maxPairs is how many pairs of author and kind a plan looks up one by one; with more it goes
// through the authors or the kinds.
const maxPairs = 5000

// plan picks the lists to read: those with the fewest events.
func (x *index) plan(q *query) (p plan, ok bool) {
	p.query = q
	for _, tag := range q.tags {
		lists, _ := x.numbers(tag.keys)
		if len(lists) == 0 {
			return p, false
		}
		p.tests = append(p.tests, newSet(lists))
	}
	if len(q.ids) > 0 {
		for _, id := range q.ids {
			if ref, ok := x.find(id); ok {
				p.refs = append(p.refs, ref)
			}
		}
		return p, len(p.refs) > 0
	}
	least := x.len()
	all := true
	consider := func(lists []uint32, total int) {
		if total < least || all && total == least {
			p.lists, least, all = lists, total, false
		}
	}
	for i := range p.tests {
		consider(p.tests[i].list, x.total(p.tests[i].list))
	}
	if kinds := q.kinds.list; len(kinds) > 0 {
		keys := make([]listKey, 0, len(kinds))
		k := kindKey(0)
		for _, kind := range kinds {
			keys = append(keys, k.of(kind))
		}
		consider(x.numbers(keys))
	}
	if authors := q.authors.list; len(authors) > 0 && least > len(authors) {
		consider(x.numbers(q.authorKeys()))
	}
	if all {
		p.lists = nil
		return p, least > 0
	}
	return p, least > 0
}

// authorKeys lists the lists that hold everything by the authors of the kinds.
func (q *query) authorKeys() []listKey {
	authors, kinds := q.authors.list, q.kinds.list
	if len(kinds) == 0 || len(authors)*len(kinds) > maxPairs {
		keys := make([]listKey, 0, len(authors)*len(q.classes))
		for _, a := range authors {
			k := authorKindKey(a, 0)
			for _, of := range q.classes {
				if of == restClass {
					keys = append(keys, authorKey(a, restClass))
				} else {
					keys = append(keys, k.of(of))
				}
			}
		}
		return keys
	}
	keys := make([]listKey, 0, len(authors)*len(kinds))
	for _, a := range authors {
		k := authorKindKey(a, 0)
		for _, kind := range kinds {
			keys = append(keys, k.of(kind))
		}
	}
	return keys
}

// numbers looks up lists, and counts what they hold.
func (x *index) numbers(keys []listKey) (lists []uint32, total int) {
	for _, k := range keys {
		if n, ok := x.lookUp(k); ok {
			lists = append(lists, n)
			total += int(x.list(n).n)
		}
	}
	return lists, total
}

func (x *index) total(lists []uint32) (total int) {
	for _, n := range lists {
		total += int(x.list(n).n)
	}
	return total
}

// matches reports whether rec, whose time is in the range, matches the rest of the query.
func (p *plan) matches(x *index, rec *record) bool {
	if len(p.kinds.list) > 0 && !p.kinds.has(rec.kind) || len(p.authors.list) > 0 && !p.authors.has(rec.author) {
		return false
	}
	for i := range p.tests {
		if !slices.ContainsFunc(x.listsOf(rec), p.tests[i].has) {
			return false
		}
	}
	return true
}
