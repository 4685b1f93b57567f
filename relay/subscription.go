package relay

import (
	"sync"

	"github.com/nbd-wtf/go-nostr"
)

// subscription is one REQ of a client.
type subscription struct {
	session *session
	prefix  []byte // what comes before an event in a frame of this subscription
	filters []ask
	size    int    // values of the filters, and places
	round   uint64 // of the last event that was looked at for it; guarded by the live index
}

// live finds the subscriptions that want a new event, without asking all of them. Each filter
// is filed under one of its parts, the most telling one, and an event looks under its own. Each sort
// of places has a map of its own: with small keys, and mostly empty for one sort or another.
type live struct {
	mu    sync.Mutex
	round uint64 // counts events
	subs  map[*subscription]struct{}

	ids     map[key]entries
	tags    map[tagPlace]entries
	authors map[authorPlace]entries
	kinds   map[int]entries // and those under nothing, as anyKind
}

type tagPlace struct {
	kind int
	tag  tagKey
}

type authorPlace struct {
	kind int
	by   key
}

// place is where filters are filed: under an id, a tag of events of a kind, an author of events
// of a kind, a kind, or under nothing (the zero value with anyKind).
type place struct {
	kind int
	id   key
	by   key // author
	tag  tagKey
}

// anyKind stands in a place for filters without kinds, or with too many.
const anyKind = -1

// maxPlaces is in how many places one filter is filed. With more it is filed without its kinds.
const maxPlaces = 2000

// entries are the filters that are filed in one place. They are compared by identity.
type entries map[*ask]*subscription

func newLive() *live {
	return &live{
		subs: make(map[*subscription]struct{}),
		ids:  make(map[key]entries), tags: make(map[tagPlace]entries), authors: make(map[authorPlace]entries), kinds: make(map[int]entries),
	}
}

func (l *live) add(sub *subscription) {
	l.subs[sub] = struct{}{}
	for i := range sub.filters {
		l.file(&sub.filters[i], sub)
	}
}

func (l *live) remove(sub *subscription) {
	delete(l.subs, sub)
	for i := range sub.filters {
		l.file(&sub.filters[i], nil)
	}
}

// file puts f of sub into all its places, or with nil takes it out of them.
func (l *live) file(f *ask, sub *subscription) {
	for _, at := range f.places() {
		switch {
		case at.tag.letter != 0:
			file(l.tags, tagPlace{at.kind, at.tag}, f, sub)
		case at.by != key{}:
			file(l.authors, authorPlace{at.kind, at.by}, f, sub)
		case at.id != key{}:
			file(l.ids, at.id, f, sub)
		default:
			file(l.kinds, at.kind, f, sub)
		}
	}
}

func file[K comparable](places map[K]entries, at K, f *ask, sub *subscription) {
	if sub == nil {
		if delete(places[at], f); len(places[at]) == 0 {
			delete(places, at)
		}
		return
	}
	if places[at] == nil {
		places[at] = make(entries)
	}
	places[at][f] = sub
}

// places lists where f is filed; they depend on f alone.
func (f *ask) places() []place {
	var tags []tagKey
	for _, values := range f.tags {
		// Ties must not be left to the order of a map.
		if tags == nil || len(values) < len(tags) || len(values) == len(tags) && values[0].letter < tags[0].letter {
			tags = values
		}
	}
	kinds := f.kinds
	if n := max(len(tags), len(f.authors)); len(kinds) == 0 || n*len(kinds) > maxPlaces {
		kinds = []int{anyKind}
	}
	var places []place
	switch {
	case f.never:
	case len(f.ids) > 0:
		for _, id := range f.ids {
			places = append(places, place{kind: anyKind, id: id})
		}
	case len(tags) > 0:
		for _, tag := range tags {
			for _, kind := range kinds {
				places = append(places, place{kind: kind, tag: tag})
			}
		}
	case len(f.authors) > 0:
		for _, author := range f.authors {
			for _, kind := range kinds {
				places = append(places, place{kind: kind, by: author})
			}
		}
	default:
		for _, kind := range kinds {
			places = append(places, place{kind: kind})
		}
	}
	return places
}

// match calls deliver for each subscription that has a filter for which wants is true, once; and
// refuse for those of an address that has more of them in question than most. A filter is in question once, under however many
// tags it lies that the event has: else its writer could have others cut off.
func (l *live) match(e *fresh, most int, wants func(*ask, *subscription) bool, deliver, refuse func(*subscription)) {
	l.round++
	try := func(filed entries) {
		for f, sub := range filed {
			switch {
			case sub.round == l.round, f.round == l.round:
			case !sub.session.compares(l.round, most, f.weight()):
				sub.round = l.round
				refuse(sub)
			case wants(f, sub):
				sub.round = l.round
				deliver(sub)
			default:
				f.round = l.round
			}
		}
	}
	try(l.ids[e.id])
	for _, kind := range [...]int{e.ev.Kind, anyKind} {
		try(l.kinds[kind])
		try(l.authors[authorPlace{kind, e.author}])
		for _, tag := range e.tags {
			try(l.tags[tagPlace{kind, tag}])
		}
	}
}

// weight is for how many comparisons one with f counts.
func (f *ask) weight() int {
	if f.words != nil {
		return searchWeight
	}
	return 1
}

// subscribe makes sub live in place of old, which may be nil, and returns the number of the
// last commit that it will not be told of.
func (r *Relay) subscribe(sub, old *subscription) uint64 {
	return r.store.sync(func() {
		r.live.mu.Lock()
		defer r.live.mu.Unlock()
		if old != nil {
			r.live.remove(old)
			r.places.add(sub.session.from, -old.size)
		}
		r.live.add(sub)
		r.places.add(sub.session.from, sub.size)
	})
}

func (r *Relay) unsubscribe(subs map[string]*subscription) {
	r.live.mu.Lock()
	defer r.live.mu.Unlock()
	for _, sub := range subs {
		r.live.remove(sub)
		r.places.give(sub.session.from, sub.size)
	}
}

// fanOut sends a new event to the live subscriptions that it matches. The store calls it
// between commits; it never waits for a client.
func (r *Relay) fanOut(ev *nostr.Event, raw []byte) {
	if r.cfg.Federation.Stored != nil {
		r.cfg.Federation.Stored(ev)
	}
	e, err := newFresh(ev)
	if err != nil {
		r.log.Error("send event to subscriptions", "error", err)
		return
	}
	r.live.mu.Lock()
	defer r.live.mu.Unlock()
	r.live.match(e, r.cfg.Limits.Comparisons,
		func(f *ask, sub *subscription) bool {
			return e.matches(f) && r.shows(f, ev.Kind, e.author, e.id, sub.session.keys.Load(), e.isFor)
		},
		func(sub *subscription) {
			sub.session.sendLive(outgoing{op: opText, prefix: sub.prefix, body: raw})
		},
		func(sub *subscription) {
			if s := sub.session; s.ctx.Err() == nil {
				s.dismiss("rate-limited: too many subscriptions of your address want the same events", "too many like subscriptions")
			}
		})
}
