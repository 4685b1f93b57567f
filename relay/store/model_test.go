package store

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// seed is of the environment's STORE_SEED, to replay a run, or new.
func seed(t *testing.T) uint64 {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("STORE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("replay with STORE_SEED=%d", seed)
	return seed
}

// indexBudgets of a few dozen small events: plenty, room for some, and for none that is not hot.
var indexBudgets = []int{1 << 20, 12_000, 6_000, 1}

// TestAgainstModel adds random events to a store and to a list, singly and in batches, with the
// clock running and the store started anew, and asks both random filters.
func TestAgainstModel(t *testing.T) {
	const rounds, events, filters = 12, 120, 60
	seed := seed(t)
	for round := range rounds {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		clock := newClock()
		w := &world{rand: r, now: clock.now}
		m := &model{now: clock.now, node: person(0)}
		opts := Options{
			Dir: t.TempDir(), Now: clock.now, Protected: m.protected, CacheBytes: []int{1, 1 << 20}[r.IntN(2)],
			IndexBytes: indexBudgets[r.IntN(len(indexBudgets))],
			Vanishes:   func(*nostr.Event) bool { return true },
		}
		var s *Store
		open := func() {
			var err error
			if s, err = Open(opts); err != nil {
				t.Fatal(err)
			}
			if r.IntN(2) == 0 { // steps are as short as they can be
				s.index.steps, s.coldSteps = 0, 0
			}
		}
		open()
		restart := func() {
			s.Close()
			open()
		}
		for left := events; left > 0; {
			items := make([]Item, 1+r.IntN(1+r.IntN(30)))
			want := make([]Status, len(items))
			for i := range items {
				items[i].Event = w.event()
				want[i] = m.add(items[i].Event)
				left--
			}
			got := s.Add(t.Context(), items...)
			for i, out := range got {
				if out.Status != want[i] || out.Err != nil {
					t.Fatalf("round %d, event %+v: %v, %v; want %v", round, items[i].Event, out.Status, out.Err, want[i])
				}
			}
			switch r.IntN(12) {
			case 0:
				clock.second.Add(int64(r.IntN(4)))
			case 1:
				if _, err := s.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
				m.sweep()
			case 2:
				restart()
			}
		}
		compareAll(t, s, m, w, filters)
		opts.IndexBytes = indexBudgets[r.IntN(len(indexBudgets))]
		restart()
		compareAll(t, s, m, w, filters)
		if got := s.Len(); got != len(m.events) {
			t.Errorf("round %d: %d events after a restart, want %d", round, got, len(m.events))
		}
		s.Close()
	}
}

func compareAll(t *testing.T, s *Store, m *model, w *world, filters int) {
	t.Helper()
	for range filters {
		asked := make([]nostr.Filter, 1+w.pick(3))
		unlimited := make([]nostr.Filter, len(asked))
		for i := range asked {
			asked[i] = w.filter()
			unlimited[i] = asked[i]
			unlimited[i].Limit, unlimited[i].LimitZero = 0, false
		}
		opts, want := QueryOptions{}, func(int, *nostr.Event) bool { return true }
		if w.pick(3) == 0 {
			me := w.author().String()
			opts.Visible = func(filter int, m *Meta) bool { return filter > 0 || m.Kind != 1059 || m.Tagged('p', me) }
			want = func(filter int, ev *nostr.Event) bool {
				return filter > 0 || ev.Kind != 1059 || ev.Tags.ContainsAny("p", []string{me})
			}
		}
		if diff := cmp.Diff(m.find(want, asked...), idsWith(t, s, opts, asked...)); diff != "" {
			t.Fatalf("filters %v:\n%s", asked, diff)
		}
		all := m.find(want, unlimited...)
		if n, err := s.Count(t.Context(), asked, opts); err != nil || n != len(all) {
			t.Fatalf("filters %v: count %d, %v; want %d", asked, n, err, len(all))
		}
		if w.pick(3) == 0 {
			one := m.find(want, unlimited[0])
			items, err := s.Items(t.Context(), asked[0], opts, len(one))
			got := []string{}
			for _, item := range items {
				got = append(got, item.ID.String())
			}
			if err != nil || !slices.Equal(got, one) {
				t.Fatalf("filter %v: items %v, %v; want %v", asked[0], got, err, one)
			}
			if _, err := s.Items(t.Context(), asked[0], opts, len(one)-1); len(one) > 0 && err != ErrTooMany {
				t.Fatalf("filter %v: %d items of at most %d: %v", asked[0], len(one), len(one)-1, err)
			}
		}
	}
}

// TestLongAnswers asks for more than fits into one step of the index, in lists of many parts, in
// memory and on disk.
func TestLongAnswers(t *testing.T) {
	for _, budget := range []int{0, 500_000, 200_000, 1} {
		t.Run(strconv.Itoa(budget), func(t *testing.T) { longAnswers(t, budget) })
	}
}

func longAnswers(t *testing.T, budget int) {
	r := rand.New(rand.NewPCG(seed(t), 0))
	clock := newClock()
	s := openTest(t, Options{Now: clock.now, IndexBytes: budget})
	s.index.steps, s.coldSteps = s.index.steps*spell(r.IntN(2)), s.coldSteps*spell(r.IntN(2)) // some are as short as they can be
	m := &model{now: clock.now}
	everything := func(int, *nostr.Event) bool { return true }
	var items []Item
	for i := range 3000 {
		ev := unsigned(person(i%3), []int{1, 7, 1059}[r.IntN(3)], start-int64(r.IntN(700)), strconv.Itoa(i), nostr.Tag{"t", strconv.Itoa(i % 2)})
		m.add(ev)
		items = append(items, Item{Event: ev})
	}
	s.Add(t.Context(), items...)
	for range 700 { // parts run empty
		at := r.IntN(len(m.events))
		if err := s.DeleteEvent(t.Context(), m.events[at]); err != nil {
			t.Fatal(err)
		}
		m.events = slices.Delete(m.events, at, at+1)
	}
	two := []string{person(0).String(), person(2).String()}
	until := nostr.Timestamp(start - 100)
	for _, f := range []nostr.Filter{
		{}, {Limit: 900}, {Authors: two}, {Authors: two, Kinds: []int{1, 1059}}, {Tags: nostr.TagMap{"t": {"1"}}},
		{Tags: nostr.TagMap{"t": {"0", "1"}}, Kinds: []int{7}, Until: &until}, {Until: &until},
	} {
		if diff := cmp.Diff(m.find(everything, f), ids(t, s, f)); diff != "" {
			t.Errorf("filter %v:\n%s", f, diff)
		}
	}
}

// TestC3StepsEnd: a search lets others have the index when it has had its time, however few events it has looked at: each can
// be in thousands of lists. Nothing is left out for it.
func TestC3StepsEnd(t *testing.T) {
	for _, budget := range []int{0, 1} { // in memory and on disk
		s := openTest(t, Options{Now: newClock().now, IndexBytes: budget})
		s.index.steps, s.coldSteps = 0, 0
		const events = 20 * stepLooks
		items := make([]Item, events)
		for i := range items {
			items[i].Event = unsigned(person(1), 1, start-int64(i), "", nostr.Tag{"t", "all"})
		}
		s.Add(t.Context(), items...)
		found, pauses := 0, 0
		f := nostr.Filter{Tags: nostr.TagMap{"t": {"all"}}}
		err := s.Query(t.Context(), []nostr.Filter{f}, QueryOptions{Pause: func() { pauses++ }}, func(Found) bool { found++; return true })
		if err != nil || found != events || pauses < events/stepLooks {
			t.Errorf("budget %d: %d events in %d steps, %v", budget, found, pauses, err)
		}
	}
}

// TestQueryEnds: a query ends with its context and when visit has enough.
func TestQueryEnds(t *testing.T) {
	s := openTest(t, Options{Now: newClock().now})
	for i := range 10 {
		mustAdd(t, s, unsigned(person(1), 1, start, strconv.Itoa(i)), Stored)
	}
	seen := 0
	err := s.Query(t.Context(), []nostr.Filter{{}}, QueryOptions{}, func(Found) bool { seen++; return seen < 3 })
	if err != nil || seen != 3 {
		t.Errorf("%d events, %v; want 3", seen, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Query(ctx, []nostr.Filter{{}}, QueryOptions{}, func(Found) bool { return true }); err != context.Canceled {
		t.Errorf("query that was canceled: %v", err)
	}
}
