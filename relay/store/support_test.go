package store

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// clock is the time of a test.
type clock struct{ second atomic.Int64 }

const start = 1_700_000_000

func newClock() *clock {
	c := new(clock)
	c.second.Store(start)
	return c
}

func (c *clock) now() time.Time { return time.Unix(c.second.Load(), 0) }

func openTest(t testing.TB, opts Options) *Store {
	t.Helper()
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// asCommitter runs f in the place of the committer, which may look at what is its own at any time.
func asCommitter(s *Store, f func()) {
	close(s.quit)
	<-s.ended
	f()
	s.quit, s.ended = make(chan struct{}), make(chan struct{})
	go s.commit()
}

// unsigned makes an event with a true id. The store does not look at signatures.
func unsigned(author Key, kind int, created int64, content string, tags ...nostr.Tag) *nostr.Event {
	ev := &nostr.Event{
		PubKey: author.String(), Kind: kind, CreatedAt: nostr.Timestamp(created), Content: content,
		Tags: append(nostr.Tags{}, tags...), Sig: strings.Repeat("5", 128),
	}
	ev.ID = ev.GetID()
	return ev
}

func person(n int) Key {
	var k Key
	copy(k[:], fmt.Sprintf("person %d", n))
	return k
}

func mustAdd(t testing.TB, s *Store, ev *nostr.Event, want Status) {
	t.Helper()
	if out := s.Add(t.Context(), Item{Event: ev})[0]; out.Status != want || out.Err != nil {
		t.Fatalf("kind %d: %v, %v; want %v", ev.Kind, out.Status, out.Err, want)
	}
}

func ids(t testing.TB, s *Store, filters ...nostr.Filter) []string {
	t.Helper()
	return idsWith(t, s, QueryOptions{}, filters...)
}

func idsWith(t testing.TB, s *Store, opts QueryOptions, filters ...nostr.Filter) []string {
	t.Helper()
	found := []string{}
	err := s.Query(context.Background(), filters, opts, func(f Found) bool {
		ev, err := f.Event()
		if err != nil {
			t.Fatal(err)
		}
		if !ev.CheckID() {
			t.Errorf("event %s comes back changed", ev.ID)
		}
		found = append(found, ev.ID)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// model is a store that is too simple to be wrong: a list.
type model struct {
	now    func() time.Time
	node   Key
	events []*nostr.Event
	gone   []*nostr.Event // deletions and requests to vanish that ever came
}

func (m *model) protected(kind int, author Key) bool { return author == m.node && kind == 38383 }

func newer(a, b *nostr.Event) bool {
	return a.CreatedAt > b.CreatedAt || a.CreatedAt == b.CreatedAt && a.ID < b.ID
}

func modelAddress(ev *nostr.Event) string {
	switch {
	case nostr.IsReplaceableKind(ev.Kind):
		return fmt.Sprintf("%d:%s:", ev.Kind, ev.PubKey)
	case nostr.IsAddressableKind(ev.Kind):
		return fmt.Sprintf("%d:%s:%s", ev.Kind, ev.PubKey, ev.Tags.GetD())
	}
	return ""
}

// removes reports whether the deletion or request by removes ev.
func (m *model) removes(by, ev *nostr.Event) bool {
	author, _ := ParseKey(ev.PubKey)
	if ev.Kind == 62 || m.protected(ev.Kind, author) {
		return false
	}
	mine := ev.PubKey == by.PubKey || ev.Kind == 1059 && ev.Tags.ContainsAny("p", []string{by.PubKey})
	if by.Kind == 62 {
		return mine && ev.CreatedAt <= by.CreatedAt
	}
	if ev.Kind == 5 {
		return false
	}
	for _, tag := range by.Tags {
		switch {
		case len(tag) < 2:
		case tag[0] == "e" && tag[1] == ev.ID && mine,
			tag[0] == "a" && tag[1] != "" && tag[1] == modelAddress(ev) && ev.PubKey == by.PubKey && ev.CreatedAt <= by.CreatedAt:
			return true
		}
	}
	return false
}

func expiration(ev *nostr.Event) int64 {
	if tag := ev.Tags.Find("expiration"); tag != nil {
		at, _ := strconv.ParseInt(tag[1], 10, 64)
		return at
	}
	return 1 << 62
}

func (m *model) add(ev *nostr.Event) Status {
	a := modelAddress(ev)
	for _, old := range m.events {
		if old.ID == ev.ID {
			return Duplicate
		}
	}
	if expiration(ev) <= m.now().Unix() {
		return Expired
	}
	for _, by := range m.gone {
		if m.removes(by, ev) {
			return Deleted
		}
	}
	for _, old := range m.events {
		if a != "" && modelAddress(old) == a && newer(old, ev) {
			return Superseded
		}
	}
	m.events = slices.DeleteFunc(m.events, func(old *nostr.Event) bool {
		return a != "" && modelAddress(old) == a || (ev.Kind == 5 || ev.Kind == 62) && m.removes(ev, old)
	})
	m.events = append(m.events, ev)
	if ev.Kind == 5 || ev.Kind == 62 {
		m.gone = append(m.gone, ev)
	}
	return Stored
}

// sweep removes what has expired, as the store does.
func (m *model) sweep() {
	m.events = slices.DeleteFunc(m.events, func(ev *nostr.Event) bool { return expiration(ev) <= m.now().Unix() })
}

func (m *model) find(want func(int, *nostr.Event) bool, filters ...nostr.Filter) []string {
	found := []string{}
	for i, f := range filters {
		var matching []*nostr.Event
		for _, ev := range m.events {
			if f.Matches(ev) && !f.LimitZero && expiration(ev) > m.now().Unix() && !slices.Contains(found, ev.ID) && want(i, ev) {
				matching = append(matching, ev)
			}
		}
		slices.SortFunc(matching, func(a, b *nostr.Event) int {
			if newer(a, b) {
				return -1
			}
			return 1
		})
		if f.Limit > 0 {
			matching = matching[:min(f.Limit, len(matching))]
		}
		for _, ev := range matching {
			found = append(found, ev.ID)
		}
	}
	return found
}

// world makes random events and filters that have much to do with each other.
type world struct {
	rand *rand.Rand
	made []*nostr.Event
	now  func() time.Time
}

var worldKinds = []int{0, 1, 1, 1, 3, 4, 14, 1059, 1059, 10002, 30000, 38383, 38383, 38384, 7}

func (w *world) pick(n int) int { return w.rand.IntN(n) }
func (w *world) author() Key    { return person(w.pick(6)) }
func (w *world) second() int64  { return start - 20 + int64(w.pick(20)) }
func (w *world) value() string {
	return []string{"", "a", "ab", "usd", "usdt", strings.Repeat("x", 200)}[w.pick(6)]
}
func (w *world) letter() string      { return []string{"d", "t", "p", "e", "f", "s"}[w.pick(6)] }
func (w *world) known() *nostr.Event { return w.made[w.pick(len(w.made))] }

func (w *world) tagValue(letter string) string {
	switch {
	case letter == "p":
		return w.author().String()
	case letter == "e" && len(w.made) > 0:
		return w.known().ID
	}
	return w.value()
}

func (w *world) event() *nostr.Event {
	if len(w.made) > 0 && w.pick(10) == 0 {
		return w.known()
	}
	author, kind := w.author(), worldKinds[w.pick(len(worldKinds))]
	var tags nostr.Tags
	for range w.pick(5) {
		letter := w.letter()
		tags = append(tags, nostr.Tag{letter, w.tagValue(letter)})
	}
	if w.pick(12) == 0 {
		tags = append(tags, nostr.Tag{"expiration", strconv.FormatInt(w.now().Unix()-2+int64(w.pick(20)), 10)})
	}
	if len(w.made) > 0 {
		switch target := w.known(); w.pick(25) {
		case 0:
			kind, tags = 5, nostr.Tags{{"e", target.ID}, {"e", "bad"}, {"e"}}
		case 1:
			kind, tags = 5, nostr.Tags{{"a", modelAddress(target)}, {"a", "1:x:y"}}
		case 2:
			if w.pick(4) == 0 {
				kind, tags = 62, nostr.Tags{{"relay", "ALL_RELAYS"}}
			}
		}
	}
	ev := unsigned(author, kind, w.second(), strconv.Itoa(len(w.made)), tags...)
	w.made = append(w.made, ev)
	return ev
}

func some[T any](w *world, one func() T) []T {
	values := []T{}
	for range w.pick(3) + w.pick(2)*w.pick(14) + w.pick(20)/19 {
		values = append(values, one())
	}
	if len(values) == 0 && w.pick(10) > 0 {
		values = append(values, one())
	}
	return values
}

func (w *world) filter() nostr.Filter {
	var f nostr.Filter
	if w.pick(6) == 0 && len(w.made) > 0 {
		f.IDs = some(w, func() string { return w.known().ID })
	}
	if w.pick(3) == 0 {
		f.Authors = some(w, func() string { return w.author().String() })
	}
	if w.pick(3) == 0 {
		f.Kinds = some(w, func() int { return append(worldKinds, 5, 62)[w.pick(len(worldKinds)+2)] })
	}
	for w.pick(2) == 0 {
		if f.Tags == nil {
			f.Tags = nostr.TagMap{}
		}
		letter := w.letter()
		f.Tags[letter] = some(w, func() string { return w.tagValue(letter) })
	}
	if w.pick(4) == 0 {
		since := nostr.Timestamp(w.second())
		f.Since = &since
	}
	if w.pick(4) == 0 {
		until := nostr.Timestamp(w.second())
		f.Until = &until
	}
	if w.pick(2) == 0 {
		f.Limit = w.pick(8)
		f.LimitZero = f.Limit == 0 && w.pick(4) == 0
	}
	return f
}

func sortedIDs(evs ...*nostr.Event) []string {
	var all []string
	for _, ev := range evs {
		all = append(all, ev.ID)
	}
	slices.Sort(all)
	return all
}
