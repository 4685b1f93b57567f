package relay

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

func openTestStore(t testing.TB, dir string) *store {
	t.Helper()
	s, err := openStore(dir, slog.New(slog.DiscardHandler), time.Now, func(*nostr.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// restart builds the index anew from what is stored, as the next start would.
func (s *store) restart(t testing.TB) {
	t.Helper()
	s.index = newIndex()
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
}

func (s *store) ids(t testing.TB, f nostr.Filter) []string {
	t.Helper()
	compiled, err := compile(f, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	err = s.answer(t.Context(), &compiled, func(*record) bool { return true }, func(ev *nostr.Event) bool {
		ids = append(ids, ev.ID)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// model is a store that is too simple to be wrong: a list.
type model struct {
	events []nostr.Event
}

func (m *model) find(f nostr.Filter) []string {
	var found []nostr.Event
	for _, ev := range m.events {
		if f.Matches(&ev) {
			found = append(found, ev)
		}
	}
	slices.SortFunc(found, func(a, b nostr.Event) int {
		if a.CreatedAt != b.CreatedAt {
			return int(b.CreatedAt - a.CreatedAt)
		}
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	var ids []string
	for _, ev := range found[:min(len(found), DefaultLimits().results(f))] {
		ids = append(ids, ev.ID)
	}
	return ids
}

// add follows NIP-01 and NIP-09 by looking at everything.
func (m *model) add(ev nostr.Event) outcome {
	same := func(a nostr.Event) bool { return address(&a) != "" && address(&a) == address(&ev) }
	for _, old := range m.events {
		if old.ID == ev.ID {
			return duplicate
		}
	}
	for _, old := range m.events {
		if old.Kind == 5 && deletes(old, ev) {
			return deleted
		}
	}
	for _, old := range m.events {
		if same(old) && (old.CreatedAt > ev.CreatedAt || old.CreatedAt == ev.CreatedAt && old.ID < ev.ID) {
			return stale
		}
	}
	m.events = slices.DeleteFunc(m.events, func(old nostr.Event) bool {
		return same(old) || ev.Kind == 5 && deletes(ev, old)
	})
	m.events = append(m.events, ev)
	return stored
}

func deletes(deletion, ev nostr.Event) bool {
	if ev.Kind == 5 {
		return false
	}
	for _, tag := range deletion.Tags {
		byID := tag[0] == "e" && tag[1] == ev.ID &&
			(deletion.PubKey == ev.PubKey || ev.Kind == 1059 && ev.Tags.FindWithValue("p", deletion.PubKey) != nil)
		byAddress := tag[0] == "a" && address(&ev) == tag[1] && deletion.PubKey == ev.PubKey && ev.CreatedAt <= deletion.CreatedAt
		if byID || byAddress {
			return true
		}
	}
	return false
}

// chance makes events and filters from so few values that they meet often.
type chance struct {
	*rand.Rand
	authors []string
	events  []nostr.Event
}

func (c *chance) author() string { return c.authors[c.IntN(len(c.authors))] }

func (c *chance) kind() int { return []int{0, 1, 5, 7, 1059, 10_002, 30_023, 38_383}[c.IntN(8)] }

func (c *chance) value() string {
	return []string{"", "x", "xy", "xyz", c.author(), "order"}[c.IntN(6)]
}

func (c *chance) event() nostr.Event {
	ev := nostr.Event{
		Kind: c.kind(), PubKey: c.author(), CreatedAt: nostr.Timestamp(1_700_000_000 + c.IntN(40)),
		Content: strconv.Itoa(c.Int()), Sig: fmt.Sprintf("%0128x", c.Uint64()),
	}
	for range c.IntN(4) {
		ev.Tags = append(ev.Tags, nostr.Tag{[]string{"d", "t", "p", "word"}[c.IntN(4)], c.value()})
	}
	if ev.Kind == 5 && len(c.events) > 0 {
		target := c.events[c.IntN(len(c.events))]
		ev.Tags = append(ev.Tags, nostr.Tag{"e", target.ID})
		if a := address(&target); a != "" && c.IntN(2) == 0 {
			ev.Tags = append(ev.Tags, nostr.Tag{"a", a})
		}
	}
	ev.ID = ev.GetID()
	c.events = append(c.events, ev)
	return ev
}

func (c *chance) filter() nostr.Filter {
	f := nostr.Filter{Tags: nostr.TagMap{}}
	some := func() bool { return c.IntN(3) == 0 }
	if some() && len(c.events) > 0 {
		for range 1 + c.IntN(3) {
			f.IDs = append(f.IDs, c.events[c.IntN(len(c.events))].ID)
		}
	}
	if some() {
		for range 1 + c.IntN(4) {
			f.Kinds = append(f.Kinds, c.kind())
		}
	}
	if some() {
		for range 1 + c.IntN(2) {
			f.Authors = append(f.Authors, c.author())
		}
	}
	for _, name := range []string{"d", "t", "p", "e"} {
		if c.IntN(6) == 0 {
			for range 1 + c.IntN(3) {
				f.Tags[name] = append(f.Tags[name], c.value())
			}
		}
	}
	at := func() *nostr.Timestamp {
		second := nostr.Timestamp(1_700_000_000 + c.IntN(40))
		return &second
	}
	if some() {
		f.Since = at()
	}
	if some() {
		f.Until = at()
	}
	if some() {
		f.Limit = 1 + c.IntN(5)
	}
	return f
}

// TestStoreAgainstModel adds random events to a store and to a list, and asks both random
// questions; then again after a restart.
func TestStoreAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range uint64(20) {
		c := &chance{Rand: rand.New(rand.NewPCG(seed, round))}
		for range 4 {
			c.authors = append(c.authors, fmt.Sprintf("%016x%048x", c.Uint64(), 1))
		}
		s := openTestStore(t, "")
		var m model
		compareAll := func(when string) {
			t.Helper()
			for range 50 {
				f := c.filter()
				if diff := cmp.Diff(m.find(f), s.ids(t, f)); diff != "" {
					t.Fatalf("seed %d round %d %s, %s:\n%s", seed, round, when, f, diff)
				}
			}
			if len(m.events) != s.countBodies() {
				t.Fatalf("seed %d round %d %s: %d bodies on disk, want %d", seed, round, when, s.countBodies(), len(m.events))
			}
		}
		addSome := func() {
			t.Helper()
			for range 150 {
				ev := c.event()
				if c.IntN(10) == 0 {
					ev = c.events[c.IntN(len(c.events))] // again, or after its deletion
				}
				want := m.add(ev)
				if got, err := s.add(t.Context(), &ev); got != want || err != nil {
					t.Fatalf("seed %d round %d: event of kind %d: outcome %d, %v, want %d", seed, round, ev.Kind, got, err, want)
				}
			}
		}
		addSome()
		compareAll("running")
		s.restart(t)
		compareAll("restarted")
		addSome()
		compareAll("running again")
	}
}

// TestCrashLeavesNothing: what was to be removed when the process died is removed at the next
// start, and what was saved is there.
func TestCrashLeavesNothing(t *testing.T) {
	alice := nostr.GeneratePrivateKey()
	now := nostr.Now()
	sign := func(kind int, at nostr.Timestamp, tags ...nostr.Tag) nostr.Event {
		return signed(t, alice, nostr.Event{Kind: kind, CreatedAt: at, Tags: tags})
	}
	note := sign(1, now, nostr.Tag{"t", "x"}, nostr.Tag{"t", "x"})
	profile := sign(0, now)
	latest := sign(38_383, now, nostr.Tag{"d", "x"})
	deletion := sign(5, now, nostr.Tag{"e", note.ID}, nostr.Tag{"a", "0:" + note.PubKey + ":"})
	s := openTestStore(t, "")
	for _, ev := range []nostr.Event{
		sign(38_383, now-2, nostr.Tag{"d", "x"}), latest, sign(38_383, now-1, nostr.Tag{"d", "x"}),
		note, profile, deletion,
		sign(1, now, nostr.Tag{"expiration", "1600000000"}),
	} {
		if err := s.backend.SaveEvent(t.Context(), &ev); err != nil { // past the index: nothing is removed
			t.Fatal(err)
		}
	}
	s.restart(t)
	want := []string{latest.ID, deletion.ID}
	slices.Sort(want)
	if diff := cmp.Diff(want, s.ids(t, nostr.Filter{})); diff != "" {
		t.Error(diff)
	}
	if got := s.countBodies(); got != 2 {
		t.Errorf("%d bodies are on disk, want 2", got)
	}
	if left := s.index.byTag[newTagKey('t', "x")]; len(left) != 0 {
		t.Errorf("the index still has %d records of a removed event", len(left))
	}
	older := sign(38_383, now-1, nostr.Tag{"d", "x"}, nostr.Tag{"again"})
	if got, err := s.add(t.Context(), &older); got != stale || err != nil {
		t.Errorf("an older version after the start: outcome %d, %v", got, err)
	}
}

// TestDamagedBody: one body that cannot be read costs no other event.
func TestDamagedBody(t *testing.T) {
	s := openTestStore(t, "")
	var want []string
	for i := range 5 {
		ev := signed(t, nodeKey, nostr.Event{Kind: 1, CreatedAt: nostr.Timestamp(1_700_000_000 - i)})
		if _, err := s.add(t.Context(), &ev); err != nil {
			t.Fatal(err)
		}
		want = append(want, ev.ID)
	}
	damaged := []byte{0, 0, 0, 0, 3} // the third body, in eventstore's numbering
	if err := s.backend.Update(func(txn *badgerdb.Txn) error { return txn.Delete(damaged) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(slices.Delete(want, 2, 3), s.ids(t, nostr.Filter{})); diff != "" {
		t.Error(diff)
	}
}

// TestLongTagValues: the index holds no long texts.
func TestLongTagValues(t *testing.T) {
	short, long := strings.Repeat("x", 100), strings.Repeat("x", 60_000)
	if got := newTagKey('t', short).value; got != short {
		t.Errorf("a short value became %q", got)
	}
	if got := newTagKey('t', long).value; len(got) > 100 {
		t.Errorf("a long value takes %d bytes", len(got))
	}
}

// TestLoadPages: more events in one second than the first scan reads at once.
func TestLoadPages(t *testing.T) {
	s := openTestStore(t, "")
	const n = 3*loadPage + 500
	for i := range n {
		ev := nostr.Event{
			Kind: 1, PubKey: fmt.Sprintf("%064x", 7), Content: strconv.Itoa(i), Sig: fmt.Sprintf("%0128x", i),
			CreatedAt: 1_700_000_000 + nostr.Timestamp(max(0, i-2*loadPage-300)),
		}
		ev.ID = ev.GetID()
		if err := s.backend.SaveEvent(context.Background(), &ev); err != nil {
			t.Fatal(err)
		}
	}
	s.restart(t)
	if got := len(s.index.byID); got != n {
		t.Errorf("%d events after a restart, want %d", got, n)
	}
}

func TestRestartKeepsEvents(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, Pubkey: publicKey(t, nodeKey)}
	r, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ev := signed(t, nodeKey, nostr.Event{Kind: 38_383, Content: "\x00\t<é> \u2028", Tags: nostr.Tags{{"d", "x", ""}, {""}}})
	if err := r.Publish(t.Context(), ev); err != nil {
		t.Fatal(err)
	}
	if second, err := Open(cfg); err == nil {
		second.Close(t.Context())
		t.Error("two relays share a folder")
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	found, err := r.Query(t.Context(), nostr.Filter{IDs: []string{ev.ID}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]nostr.Event{ev}, found); diff != "" {
		t.Error(diff)
	}
}
