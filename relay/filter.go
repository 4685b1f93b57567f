package relay

import (
	"container/heap"
	"fmt"
	"math"
	"slices"

	"github.com/nbd-wtf/go-nostr"
)

// filter is a client's filter, checked and in the index's terms.
type filter struct {
	plain   nostr.Filter
	ids     []key
	authors []key
	kinds   []int
	tags    [][]tagKey // one list per tag name; one value of each must occur
	since   int64
	until   int64
	limit   int // stored events to answer with
	never   bool
	private bool // may give out events of private kinds, whatever their author
}

// compile checks f against the limits. The error is for the client, with a prefix of NIP-01.
//
// Which private events a filter may give out is the default rule for clients that do not
// authenticate: one that names a recipient exactly, or an author, knows what it asks for.
// The node's own key does not count as naming an author: it writes to everybody.
func compile(f nostr.Filter, limits Limits) (filter, error) {
	c := filter{
		plain: f, kinds: f.Kinds, limit: limits.results(f),
		since: math.MinInt64, until: math.MaxInt64,
		private: len(f.Tags["p"]) > 0,
	}
	if f.Search != "" {
		return c, fmt.Errorf("unsupported: this relay does not search")
	}
	if f.Limit < 0 {
		return c, fmt.Errorf("invalid: limit is negative")
	}
	if len(f.Tags) > limits.FilterTags {
		return c, fmt.Errorf("invalid: filter has %d tag names, at most %d are taken", len(f.Tags), limits.FilterTags)
	}
	longest := max(len(f.IDs), len(f.Authors), len(f.Kinds))
	for _, values := range f.Tags {
		longest = max(longest, len(values))
	}
	if longest > limits.FilterValues {
		return c, fmt.Errorf("invalid: filter has a list of %d values, at most %d are taken", longest, limits.FilterValues)
	}
	var err error
	if c.ids, err = parseKeys(f.IDs); err != nil {
		return c, fmt.Errorf("invalid: ids: %w", err)
	}
	if c.authors, err = parseKeys(f.Authors); err != nil {
		return c, fmt.Errorf("invalid: authors: %w", err)
	}
	for name, values := range f.Tags {
		if !isLetter(name) {
			return c, fmt.Errorf("unsupported: only tags of one letter can be asked for")
		}
		var keys []tagKey
		for _, value := range values {
			keys = append(keys, newTagKey(name[0], value))
		}
		c.tags = append(c.tags, keys)
		c.never = c.never || len(values) == 0
	}
	if f.Since != nil {
		c.since = int64(*f.Since)
	}
	if f.Until != nil {
		c.until = int64(*f.Until)
	}
	c.never = c.never || c.since > c.until ||
		f.IDs != nil && len(f.IDs) == 0 || f.Authors != nil && len(f.Authors) == 0 || f.Kinds != nil && len(f.Kinds) == 0
	return c, nil
}

func parseKeys(values []string) ([]key, error) {
	var keys []key
	for _, value := range values {
		k, err := parseKey(value)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// isPrivate reports whether events of this kind are read only by those who know a party.
func isPrivate(kind int) bool {
	return kind == nostr.KindEncryptedDirectMessage || kind == nostr.KindDirectMessage || kind == nostr.KindGiftWrap
}

// reveals reports whether an event that f matches may be given out for f. node is the node's
// own key.
func (f *filter) reveals(kind int, author, node key) bool {
	return !isPrivate(kind) || f.private || len(f.authors) > 0 && author != node
}

// source is where a query starts: lists of the index that together hold every match.
func (x *index) source(f *filter) []list {
	var best []list
	least := math.MaxInt
	consider := func(lists []list) {
		total := 0
		for _, l := range lists {
			total += len(l)
		}
		if total < least {
			best, least = lists, total
		}
	}
	if len(f.ids) > 0 {
		lists := make([]list, 0, len(f.ids))
		for _, id := range f.ids {
			if rec, ok := x.byID[id]; ok {
				lists = append(lists, list{rec})
			}
		}
		return lists
	}
	consider([]list{x.all})
	for _, keys := range f.tags {
		consider(lookUp(x.byTag, keys))
	}
	if len(f.kinds) > 0 {
		consider(lookUp(x.byKind, f.kinds))
	}
	if len(f.authors) > 0 {
		consider(lookUp(x.byAuthor, f.authors))
	}
	if pairs := len(f.kinds) * len(f.authors); pairs > 0 && pairs <= maxPairs {
		both := make([]authorKind, 0, pairs)
		for _, author := range f.authors {
			for _, kind := range f.kinds {
				both = append(both, authorKind{author, kind})
			}
		}
		consider(lookUp(x.byBoth, both))
	}
	return best
}

// maxPairs is how many author and kind pairs a query looks up one by one; with more it goes
// through the authors or the kinds.
const maxPairs = 1000

func lookUp[K comparable](m map[K]list, keys []K) []list {
	lists := make([]list, 0, len(keys))
	for _, k := range keys {
		if l := m[k]; len(l) > 0 {
			lists = append(lists, l)
		}
	}
	return lists
}

// matches reports whether rec, whose time is in the range, matches the rest of f.
func (x *index) matches(f *filter, rec *record) bool {
	if len(f.ids) > 0 && !slices.Contains(f.ids, rec.id) ||
		len(f.kinds) > 0 && !slices.Contains(f.kinds, rec.kind) ||
		len(f.authors) > 0 && !slices.Contains(f.authors, rec.author) {
		return false
	}
	for _, keys := range f.tags {
		if !slices.ContainsFunc(keys, func(k tagKey) bool { return x.byTag[k].has(rec) }) {
			return false
		}
	}
	return true
}

// find lists the records that f matches and want accepts, newest first, each once, at most
// f.limit.
func (x *index) find(f *filter, want func(*record) bool) []*record {
	if f.never || f.limit == 0 {
		return nil
	}
	var cursors cursors
	for _, l := range x.source(f) {
		if l = l[:l.until(f.until)]; len(l) > 0 {
			cursors = append(cursors, l)
		}
	}
	heap.Init(&cursors)
	var found []*record
	var last *record
	for len(cursors) > 0 && len(found) < f.limit {
		top := cursors[0]
		rec := top[len(top)-1]
		if rec.created < f.since {
			break
		}
		if cursors[0] = top[:len(top)-1]; len(cursors[0]) > 0 {
			heap.Fix(&cursors, 0)
		} else {
			heap.Pop(&cursors)
		}
		// One record in several lists comes out several times in a row.
		if rec != last && x.matches(f, rec) && want(rec) {
			found = append(found, rec)
		}
		last = rec
	}
	return found
}

// cursors is a heap of lists that are read from the end, the one with the newest record on top.
type cursors []list

func (h cursors) Len() int { return len(h) }
func (h cursors) Less(i, j int) bool {
	return compare(h[i][len(h[i])-1], h[j][len(h[j])-1]) > 0
}
func (h cursors) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *cursors) Push(x any)   { *h = append(*h, x.(list)) }
func (h *cursors) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
