package store

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// TestBudget: the index keeps to its budget by what is not hot, the oldest first, also at a start
// with a smaller budget, and hot events stay in it.
func TestBudget(t *testing.T) {
	const budget, events = 150_000, 3000
	opts := Options{Dir: t.TempDir(), Now: newClock().now}
	s := openTest(t, opts)
	r := rand.New(rand.NewPCG(1, 2))
	var items []Item
	for i := range events {
		kind := []int{1, 1059}[i%6/5]
		items = append(items, Item{Event: unsigned(person(i%7), kind, start-int64(r.IntN(5000)), strconv.Itoa(i), nostr.Tag{"p", person(i % 5).String()})})
	}
	s.Add(t.Context(), items[:events/2]...)
	if s.cold.count != 0 {
		t.Fatalf("%d events are cold with room for all", s.cold.count)
	}
	s.Close()
	opts.IndexBytes = budget
	s = openTest(t, opts)
	check := func(stored int) {
		t.Helper()
		s.mu.RLock()
		defer s.mu.RUnlock()
		if got := s.index.bytes(); got > budget {
			t.Errorf("the index takes %d bytes, its budget is %d", got, budget)
		}
		if hot := int(s.index.hot.n); hot != stored/6 {
			t.Errorf("%d hot events are in memory, want all %d", hot, stored/6)
		}
		if s.cold.count == 0 || s.index.rest.n == 0 || s.cold.count+s.index.len() != stored {
			t.Fatalf("%d events are cold and %d in memory of %d, in %d bytes", s.cold.count, s.index.len(), stored, s.index.bytes())
		}
	}
	check(events / 2)
	if oldest := s.index.record(s.index.oldest(1)[0]); oldest.compare(&s.cold.newest) < 0 {
		t.Errorf("memory has an event of %d, an event of %d is cold", oldest.created, s.cold.newest.created)
	}
	for i := events / 2; i < events; i += 6 {
		s.Add(t.Context(), items[i:i+6]...)
	}
	check(events)

	s.Close()
	opts.IndexBytes = 1
	s = openTest(t, opts)
	if s.index.rest.n != 0 || int(s.index.hot.n) != events/6 || s.Len() != events {
		t.Errorf("without a budget %d events are in memory, %d of them not hot", s.index.len(), s.index.rest.n)
	}
}

// TestBytes: what the index says of its size is near what it takes.
func TestBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 50,000 events")
	}
	x := newIndex()
	before := heapBytes()
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 50_000 {
		e, err := describe(loadEvent(r, i, 50_000))
		if err != nil {
			t.Fatal(err)
		}
		x.add(e, uint64(i+1))
	}
	took := int(heapBytes() - before)
	if said := x.bytes(); said < took*3/4 || said > took*4/3 {
		t.Errorf("the index says that it takes %d bytes, it takes %d", said, took)
	}
}

// TestColdCrash: cold events are found, known, replaced, deleted and expire after a crash as
// before it.
func TestColdCrash(t *testing.T) {
	clock := newClock()
	opts := Options{Dir: t.TempDir(), Now: clock.now, IndexBytes: 1, Vanishes: func(*nostr.Event) bool { return true }}
	s := openTest(t, opts)
	alice, bob := person(1), person(2)
	note := unsigned(alice, 1, start, "note", nostr.Tag{"t", "x"})
	gone := unsigned(alice, 1, start, "gone")
	article := unsigned(alice, 30023, start, "v2", nostr.Tag{"d", "x"})
	older := unsigned(alice, 30023, start-1, "v1", nostr.Tag{"d", "x"})
	dropped := unsigned(alice, 30023, start, "dropped", nostr.Tag{"d", "y"})
	brief := unsigned(alice, 1, start, "brief", nostr.Tag{"expiration", strconv.Itoa(start + 5)})
	vanished := unsigned(bob, 1, start, "vanished")
	deletion := unsigned(alice, 5, start, "", nostr.Tag{"e", gone.ID}, nostr.Tag{"e", vanished.ID}, nostr.Tag{"a", "30023:" + alice.String() + ":y"})
	crashed := func() {
		opts.Dir = crash(t, opts.Dir)
		s = openTest(t, opts)
		if s.index.len() != 0 {
			t.Fatalf("%d events are in memory", s.index.len())
		}
	}
	for _, ev := range []*nostr.Event{note, gone, older, article, dropped, brief, vanished} {
		mustAdd(t, s, ev, Stored)
	}
	crashed()
	mustAdd(t, s, note, Duplicate)
	mustAdd(t, s, older, Superseded)
	mustAdd(t, s, deletion, Stored)
	crashed()
	if diff := cmp.Diff(sortedIDs(note, article, brief, vanished, deletion), ids(t, s, nostr.Filter{})); diff != "" {
		t.Error(diff)
	}
	for _, ev := range []*nostr.Event{gone, dropped} {
		mustAdd(t, s, ev, Deleted)
	}
	request := unsigned(bob, 62, start, "", nostr.Tag{"relay", "ALL_RELAYS"})
	mustAdd(t, s, request, Stored)
	newest := unsigned(alice, 30023, start+1, "v3", nostr.Tag{"d", "x"})
	mustAdd(t, s, newest, Stored)
	clock.second.Add(5)
	if got := ids(t, s, nostr.Filter{IDs: []string{brief.ID}}); len(got) != 0 || !s.Has(mustKey(t, brief.ID)) {
		t.Error("an expired event is served, or gone before its sweep")
	}
	if more, err := s.Sweep(t.Context()); err != nil || more || s.Has(mustKey(t, brief.ID)) {
		t.Errorf("an expired event stays after a sweep: %v", err)
	}
	crashed()
	mustAdd(t, s, vanished, Deleted)
	if err := s.Remove(t.Context(), mustKey(t, note.ID)); err != nil {
		t.Error(err)
	}
	want := append([]string{newest.ID}, sortedIDs(deletion, request)...)
	if diff := cmp.Diff(want, ids(t, s, nostr.Filter{})); diff != "" {
		t.Error(diff)
	}
	if s.Len() != len(want) {
		t.Errorf("%d events, want %d", s.Len(), len(want))
	}
	if a, b := s.CountOf(alice), s.CountOf(bob); a != 2 || b != 1 {
		t.Errorf("%d and %d events are counted of the authors, want 2 and 1", a, b)
	}
	for _, row := range []byte{rowColdID, rowColdExpires, rowCold} {
		rows := 0
		if err := s.scan([]byte{row}, func(_, _ []byte) error { rows++; return nil }); err != nil {
			t.Fatal(err)
		}
		if most := len(want); rows > most || row == rowColdExpires && rows > 0 {
			t.Errorf("%d rows of sort %c for %d events", rows, row, most)
		}
	}
}

// TestReadWhileCooling: whoever asks while events become cold gets each of those that were stored
// before, once and in order.
func TestReadWhileCooling(t *testing.T) {
	const events = 3000
	seed := seed(t)
	s := openTest(t, Options{Now: newClock().now, IndexBytes: 100_000})
	r := rand.New(rand.NewPCG(seed, 0))
	var stored []string // by serial
	var mu sync.Mutex
	done := make(chan struct{})
	var readers sync.WaitGroup
	for reader := range 3 {
		f := []nostr.Filter{{}, {Kinds: []int{1}}, {Tags: nostr.TagMap{"t": {"a", "b"}}}}[reader]
		readers.Go(func() {
			for end := false; !end; {
				select {
				case <-done:
					end = true
				default:
				}
				mu.Lock()
				before := stored[:len(stored):len(stored)]
				mu.Unlock()
				seen := make(map[string]bool)
				last := int64(1 << 60)
				err := s.Query(t.Context(), []nostr.Filter{f}, QueryOptions{}, func(found Found) bool {
					if id := found.ID.String(); seen[id] || found.CreatedAt > last {
						t.Errorf("event %s comes twice or too late", id)
					} else {
						seen[id] = true
					}
					last = found.CreatedAt
					return true
				})
				if err != nil {
					t.Error(err)
				}
				for _, id := range before {
					if !seen[id] {
						t.Errorf("event %s is missing among %d", id, len(seen))
						return
					}
				}
			}
		})
	}
	for i := 0; i < events; {
		var items []Item
		for range 1 + r.IntN(40) {
			items = append(items, Item{Event: unsigned(person(i%9), 1, start-int64(r.IntN(3000)), strconv.Itoa(i), nostr.Tag{"t", fmt.Sprintf("%c", 'a'+i%2)})})
			i++
		}
		for k, out := range s.Add(t.Context(), items...) {
			if out.Status != Stored {
				t.Fatal(out)
			}
			mu.Lock()
			stored = append(stored, items[k].Event.ID)
			mu.Unlock()
		}
	}
	close(done)
	readers.Wait()
	if s.cold.count == 0 || s.index.rest.n == 0 {
		t.Errorf("%d events are cold, %d are in memory", s.cold.count, s.index.rest.n)
	}
}

// TestLargestBatch: what waits for the committer fits into one transaction, however many rows and
// tombstones it makes, and what it replaces may be cold and in very many lists.
func TestLargestBatch(t *testing.T) {
	s := openTest(t, Options{Dir: t.TempDir(), Now: newClock().now, IndexBytes: 1})
	var tags nostr.Tags
	for i := range 2000 {
		tags = append(tags, nostr.Tag{"t", strconv.Itoa(i)})
	}
	const replaced = 60
	var old, batch []Item
	for i := range replaced {
		old = append(old, Item{Event: unsigned(person(1), 30023, start, "", append(nostr.Tags{{"d", strconv.Itoa(i)}}, tags...)...)})
		batch = append(batch, Item{Event: unsigned(person(1), 30023, start+1, "", nostr.Tag{"d", strconv.Itoa(i)})})
	}
	for i := range 10 {
		var names nostr.Tags
		for n := range 2000 {
			names = append(names, nostr.Tag{"e", person(i*2000 + n).String()})
		}
		batch = append(batch, Item{Event: unsigned(person(1), 5, start, "", names...)})
	}
	batch = append(batch, Item{Event: unsigned(person(1), 1, start, strings.Repeat("x", maxEvent-1000))})
	for _, items := range [][]Item{old, batch} {
		for i, out := range s.Add(t.Context(), items...) {
			if out.Status != Stored {
				t.Fatalf("event %d of %d: %v %v", i, len(items), out.Status, out.Err)
			}
		}
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	if n := len(ids(t, s, nostr.Filter{Kinds: []int{30023}})); n != replaced || s.Len() != len(batch) {
		t.Errorf("%d of %d articles, %d of %d events", n, replaced, s.Len(), len(batch))
	}
	if n := len(ids(t, s, nostr.Filter{Tags: nostr.TagMap{"t": {"7"}}})); n != 0 {
		t.Errorf("%d replaced articles are found", n)
	}
}

// TestPlacesWithoutEvent: what a crash leaves of a removed cold event costs no other one.
func TestPlacesWithoutEvent(t *testing.T) {
	s := openTest(t, Options{Dir: t.TempDir(), Now: newClock().now, IndexBytes: 1})
	first, second := unsigned(person(1), 30023, start, "", nostr.Tag{"d", "x"}), unsigned(person(1), 1, start, "2")
	mustAdd(t, s, first, Stored)
	mustAdd(t, s, second, Stored)
	c, err := s.findCold(mustKey(t, first.ID))
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{db: s.db, txn: s.db.NewTransaction(true), cold: s.cold}
	if err := w.forget(c); err != nil {
		t.Fatal(err)
	}
	if err := w.commit(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{second.ID}, ids(t, s, nostr.Filter{Authors: []string{person(1).String()}})); diff != "" {
		t.Error(diff)
	}
	mustAdd(t, s, unsigned(person(1), 30023, start-1, "older", nostr.Tag{"d", "x"}), Stored)
	if old, err := s.Oldest(t.Context(), 10, func(*Meta) bool { return true }); err != nil || len(old) != 2 {
		t.Errorf("oldest: %v, %v", old, err)
	}
}
