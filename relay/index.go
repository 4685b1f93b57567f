package relay

import (
	"container/heap"
	"slices"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// index answers from memory which stored events a filter matches, exactly and newest first. It
// holds about half a kilobyte an event, and is rebuilt from the event store at every start. It
// also knows what deletions (NIP-09) forbid to come back. It does no locking.
type index struct {
	seq      uint64 // of the newest record
	all      list
	byID     map[key]*record
	byKind   map[int]list
	byAuthor map[key]list
	byBoth   map[authorKind]list
	byTag    map[tagKey]list
	current  map[string]*record // by address
	expiring expiring

	deletedIDs       map[key][]key    // event id -> who asked for its deletion
	deletedAddresses map[string]int64 // address -> versions up to this second are deleted
}

type authorKind struct {
	author key
	kind   int
}

func newIndex() *index {
	return &index{
		byID:             make(map[key]*record),
		byKind:           make(map[int]list),
		byAuthor:         make(map[key]list),
		byBoth:           make(map[authorKind]list),
		byTag:            make(map[tagKey]list),
		current:          make(map[string]*record),
		deletedIDs:       make(map[key][]key),
		deletedAddresses: make(map[string]int64),
	}
}

// add takes in the event that rec describes. The caller has looked at current and deleted.
func (x *index) add(rec *record, ev *nostr.Event) { x.insert(rec, ev, list.with) }

// insert is add with a way to put a record into a list. When it is not list.with, sort must
// follow, and a record that a newer one has replaced may become current.
func (x *index) insert(rec *record, ev *nostr.Event, put func(list, *record) list) {
	x.seq++
	rec.seq = x.seq
	x.all = put(x.all, rec)
	x.byID[rec.id] = rec
	x.byKind[rec.kind] = put(x.byKind[rec.kind], rec)
	x.byAuthor[rec.author] = put(x.byAuthor[rec.author], rec)
	both := authorKind{rec.author, rec.kind}
	x.byBoth[both] = put(x.byBoth[both], rec)
	for _, tag := range tagKeys(ev) {
		x.byTag[tag] = put(x.byTag[tag], rec)
	}
	if a := address(ev); a != "" {
		x.current[a] = rec
	}
	if rec.expires != 0 {
		heap.Push(&x.expiring, rec)
	}
	if rec.kind == nostr.KindDeletion {
		x.noteDeletion(rec, ev)
	}
}

// sort puts all lists in order.
func (x *index) sort() {
	slices.SortFunc(x.all, compare)
	sortEach(x.byKind)
	sortEach(x.byAuthor)
	sortEach(x.byBoth)
	sortEach(x.byTag)
}

func sortEach[K comparable](m map[K]list) {
	for _, l := range m {
		slices.SortFunc(l, compare)
	}
}

// remove takes out the event that rec describes. What a deletion forbade stays forbidden until
// the next start.
func (x *index) remove(rec *record, ev *nostr.Event) {
	x.all = x.all.without(rec)
	delete(x.byID, rec.id)
	shrink(x.byKind, rec.kind, rec)
	shrink(x.byAuthor, rec.author, rec)
	shrink(x.byBoth, authorKind{rec.author, rec.kind}, rec)
	for _, tag := range tagKeys(ev) {
		shrink(x.byTag, tag, rec)
	}
	if a := address(ev); a != "" && x.current[a] == rec {
		delete(x.current, a)
	}
}

func shrink[K comparable](m map[K]list, k K, rec *record) {
	if rest := m[k].without(rec); len(rest) > 0 {
		m[k] = rest
	} else {
		delete(m, k)
	}
}

// noteDeletion remembers what the kind 5 event ev asks for, whether or not the events are
// here: they may arrive later.
func (x *index) noteDeletion(rec *record, ev *nostr.Event) {
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		switch tag[0] {
		case "e":
			if id, err := parseKey(tag[1]); err == nil && !slices.Contains(x.deletedIDs[id], rec.author) {
				x.deletedIDs[id] = append(x.deletedIDs[id], rec.author)
			}
		case "a":
			if ownAddress(tag[1], ev.PubKey) {
				x.deletedAddresses[tag[1]] = max(x.deletedAddresses[tag[1]], rec.created)
			}
		}
	}
}

// ownAddress reports whether a is the address of an event by pubkey.
func ownAddress(a, pubkey string) bool {
	_, rest, ok := strings.Cut(a, ":")
	return ok && strings.HasPrefix(rest, pubkey+":")
}

// deleted reports whether ev was deleted by someone who may: its author, or a recipient of a
// gift wrap, whose author is a throw-away key (NIP-59). A deletion cannot be deleted.
func (x *index) deleted(rec *record, ev *nostr.Event) bool {
	if rec.kind == nostr.KindDeletion {
		return false
	}
	if a := address(ev); a != "" {
		if until, ok := x.deletedAddresses[a]; ok && rec.created <= until {
			return true
		}
	}
	for _, by := range x.deletedIDs[rec.id] {
		if by == rec.author {
			return true
		}
		if rec.kind == nostr.KindGiftWrap && ev.Tags.FindWithValue("p", by.String()) != nil {
			return true
		}
	}
	return false
}

// expiring is a heap of records, the next to expire on top. Removed ones stay until their time.
type expiring []*record

func (h expiring) Len() int           { return len(h) }
func (h expiring) Less(i, j int) bool { return h[i].expires < h[j].expires }
func (h expiring) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiring) Push(x any)        { *h = append(*h, x.(*record)) }
func (h *expiring) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	return last
}

// popExpired takes up to limit records off the heap whose time has come and that are still in
// the index.
func (x *index) popExpired(now int64, limit int) []*record {
	var due []*record
	for len(x.expiring) > 0 && len(due) < limit && x.expiring[0].expired(now) {
		rec := heap.Pop(&x.expiring).(*record)
		if x.byID[rec.id] == rec {
			due = append(due, rec)
		}
	}
	return due
}
