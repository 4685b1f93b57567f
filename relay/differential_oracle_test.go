package relay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// oracle is what a relay must do, said in the plainest way: all events in one slice, every
// question answered by walking over it. It shares no code with the relay.
type oracle struct {
	node   string // public key
	now    int64
	events []nostr.Event // stored, in no order
	// asked are the deletions ever taken: what they name stays forbidden.
	asked []nostr.Event
}

// verdict is what must become of an event.
type verdict string

const (
	verdictKept      verdict = "kept"
	verdictSentOn    verdict = "sent on without being kept"
	verdictKnown     verdict = "known already"
	verdictOvertaken verdict = "overtaken by a newer version"
	verdictForbidden verdict = "deleted before"
	verdictExpired   verdict = "expired"
)

// take is what a relay does with a valid event.
func (m *oracle) take(ev nostr.Event) verdict {
	address := oracleAddress(ev)
	switch {
	case m.gone(ev):
		return verdictExpired
	case m.find(ev.ID) >= 0:
		return verdictKnown
	case ev.Kind >= 20000 && ev.Kind < 30000:
		return verdictSentOn
	}
	for _, deletion := range m.asked {
		if m.deletes(deletion, ev) {
			return verdictForbidden
		}
	}
	if address != "" {
		at := slices.IndexFunc(m.events, func(old nostr.Event) bool { return oracleAddress(old) == address })
		if at >= 0 && newestFirst(m.events[at], ev) < 0 {
			return verdictOvertaken
		}
		if at >= 0 {
			m.events = slices.Delete(m.events, at, at+1)
		}
	}
	m.events = append(m.events, ev)
	if ev.Kind == 5 {
		m.asked = append(m.asked, ev)
		m.events = slices.DeleteFunc(m.events, func(old nostr.Event) bool { return m.deletes(ev, old) })
	}
	return verdictKept
}

func (m *oracle) find(id string) int {
	return slices.IndexFunc(m.events, func(ev nostr.Event) bool { return ev.ID == id })
}

// newestFirst is the order of NIP-01: the newest first, in one second the lowest id.
func newestFirst(a, b nostr.Event) int {
	return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(a.ID, b.ID))
}

// gone reports whether ev has expired (NIP-40).
func (m *oracle) gone(ev nostr.Event) bool {
	for _, tag := range ev.Tags {
		if tag[0] == "expiration" && len(tag) > 1 {
			at, err := strconv.ParseInt(tag[1], 10, 64)
			return err == nil && at <= m.now
		}
	}
	return false
}

// deletes reports whether the kind 5 event d removes ev (NIP-09): its author can, and the
// recipient of a gift wrap. What the node says of its trades stays.
func (m *oracle) deletes(d, ev nostr.Event) bool {
	if ev.Kind == 5 || ev.PubKey == m.node && slices.Contains([]int{8383, 38383, 38384, 38385, 38386}, ev.Kind) {
		return false
	}
	for _, tag := range d.Tags {
		if len(tag) < 2 {
			continue
		}
		mine := ev.PubKey == d.PubKey
		received := ev.Kind == 1059 && slices.ContainsFunc(ev.Tags, func(t nostr.Tag) bool {
			return len(t) > 1 && t[0] == "p" && t[1] == d.PubKey
		})
		if tag[0] == "e" && tag[1] == ev.ID && (mine || received) ||
			tag[0] == "a" && tag[1] == oracleAddress(ev) && mine && ev.CreatedAt <= d.CreatedAt {
			return true
		}
	}
	return false
}

// oracleAddress is what the versions of an event share, "" when it has no versions (NIP-01).
func oracleAddress(ev nostr.Event) string {
	switch {
	case ev.Kind == 0 || ev.Kind == 3 || ev.Kind >= 10000 && ev.Kind < 20000:
		return fmt.Sprintf("%d:%s:", ev.Kind, ev.PubKey)
	case ev.Kind >= 30000 && ev.Kind < 40000:
		for _, tag := range ev.Tags {
			if tag[0] == "d" && len(tag) > 1 {
				return fmt.Sprintf("%d:%s:%s", ev.Kind, ev.PubKey, tag[1])
			}
		}
		return fmt.Sprintf("%d:%s:", ev.Kind, ev.PubKey)
	}
	return ""
}

// probe is a filter. A list that is nil is not asked for; an empty one matches nothing.
type probe struct {
	ids, authors []string
	kinds        []int
	tags         map[string][]string // by letter
	since, until *int64
	limit        *int
}

func (q probe) MarshalJSON() ([]byte, error) {
	fields := make(map[string]any)
	put := func(name string, ask bool, value any) {
		if ask {
			fields[name] = value
		}
	}
	put("ids", q.ids != nil, q.ids)
	put("authors", q.authors != nil, q.authors)
	put("kinds", q.kinds != nil, q.kinds)
	put("since", q.since != nil, q.since)
	put("until", q.until != nil, q.until)
	put("limit", q.limit != nil, q.limit)
	for letter, values := range q.tags {
		put("#"+letter, true, values)
	}
	return json.Marshal(fields)
}

func (q probe) matches(ev nostr.Event) bool {
	if q.ids != nil && !slices.Contains(q.ids, ev.ID) ||
		q.authors != nil && !slices.Contains(q.authors, ev.PubKey) ||
		q.kinds != nil && !slices.Contains(q.kinds, ev.Kind) ||
		q.since != nil && int64(ev.CreatedAt) < *q.since ||
		q.until != nil && int64(ev.CreatedAt) > *q.until {
		return false
	}
	for letter, values := range q.tags {
		if !slices.ContainsFunc(ev.Tags, func(tag nostr.Tag) bool {
			return len(tag) > 1 && tag[0] == letter && slices.Contains(values, tag[1])
		}) {
			return false
		}
	}
	return true
}

func privateKind(kind int) bool { return kind == 4 || kind == 14 || kind == 1059 || kind == 21059 }

// shows reports whether ev may be given to someone who asks q and has not authenticated:
// private kinds only when q names a recipient, or an author that is not the node.
func (m *oracle) shows(q probe, ev nostr.Event) bool {
	return q.matches(ev) && (!privateKind(ev.Kind) ||
		len(q.tags["p"]) > 0 || len(q.authors) > 0 && ev.PubKey != m.node)
}

// stored answers one filter of a REQ, newest first.
func (m *oracle) stored(q probe) []nostr.Event {
	var found []nostr.Event
	for _, ev := range m.events {
		if m.shows(q, ev) && !m.gone(ev) {
			found = append(found, ev)
		}
	}
	slices.SortFunc(found, newestFirst)
	if q.limit != nil {
		found = found[:min(len(found), *q.limit)]
	}
	return found
}

// public lists the ids that COUNT and negentropy know of: no private events at all.
func (m *oracle) public(probes []probe) []nostr.Event {
	found := make(map[string]nostr.Event)
	for _, q := range probes {
		for _, ev := range m.stored(q) {
			if !privateKind(ev.Kind) {
				found[ev.ID] = ev
			}
		}
	}
	return slices.SortedFunc(maps.Values(found), newestFirst)
}

// fits checks the answer to an event.
func (v verdict) fits(ok bool, reason string) bool {
	duplicate := strings.HasPrefix(reason, "duplicate:")
	switch v {
	case verdictKept, verdictSentOn:
		return ok && !duplicate
	case verdictKnown:
		return ok && duplicate
	case verdictOvertaken:
		return duplicate
	case verdictExpired:
		return !ok && strings.HasPrefix(reason, "invalid:")
	case verdictForbidden:
		return !ok && strings.HasPrefix(reason, "blocked:")
	}
	return false
}
