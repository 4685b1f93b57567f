package relay

import (
	"github.com/nbd-wtf/go-nostr"
)

// subscription is one REQ of a client.
type subscription struct {
	session *session
	prefix  []byte // what comes before an event in a frame of this subscription
	filters []filter
}

// subscribe makes sub live in place of old, which may be nil, and returns the number of the
// last commit that it will not be told of.
func (r *Relay) subscribe(sub, old *subscription) uint64 {
	return r.store.sync(func() {
		delete(r.live, old)
		r.live[sub] = struct{}{}
	})
}

func (r *Relay) unsubscribe(subs map[string]*subscription) {
	r.store.sync(func() {
		for _, sub := range subs {
			delete(r.live, sub)
		}
	})
}

// fanOut sends a new event to the live subscriptions that it matches. The store calls it
// between commits; it never waits for a client.
func (r *Relay) fanOut(ev *nostr.Event) {
	author, err := parseKey(ev.PubKey)
	if err != nil {
		r.log.Error("send event to subscriptions", "error", err)
		return
	}
	var encoded []byte
	for sub := range r.live {
		if !sub.wants(ev, author, r.node) {
			continue
		}
		if encoded == nil {
			encoded = encodeEvent(ev)
		}
		sub.session.sendLive(eventFrame(sub.prefix, encoded))
	}
}

func (s *subscription) wants(ev *nostr.Event, author, node key) bool {
	for i := range s.filters {
		f := &s.filters[i]
		if f.plain.Matches(ev) && f.reveals(ev.Kind, author, node) {
			return true
		}
	}
	return false
}
