package store

import (
	"strconv"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestRemovedAndStoredAgain: an event that is removed without a tombstone and stored again by the same batch takes its own
// place in long lists, not one beside it.
func TestRemovedAndStoredAgain(t *testing.T) {
	for _, kind := range []int{1, 14, 30023} {
		s := openTest(t, Options{Now: newClock().now})
		const others = 2 * partSize
		var again []*nostr.Event
		for i := range others {
			ev := unsigned(person(1), kind, start+int64(i), "", nostr.Tag{"d", strconv.Itoa(i)})
			mustAdd(t, s, ev, Stored)
			if i%100 == 50 {
				again = append(again, ev)
			}
		}
		b := newBatch(s)
		for _, ev := range again {
			p, err := prepare(&Item{Event: ev})
			if err != nil {
				t.Fatal(err)
			}
			b.remove(mustFind(t, s, ev))
			if out := b.add(p); out.Status != Stored {
				t.Fatal(out.Status, out.Err)
			}
		}
		if err := b.write(); err != nil {
			t.Fatal(err)
		}
		b.show()
		f := nostr.Filter{Kinds: []int{kind}}
		if n := len(ids(t, s, f)); n != others || s.Len() != others || len(b.removed) != 0 {
			t.Errorf("kind %d: %d events are found, %d are there, want %d; %d are still to go", kind, n, s.Len(), others, len(b.removed))
		}
		for _, ev := range again {
			s.index.remove(mustFind(t, s, ev))
		}
		if n := len(ids(t, s, f)); n != others-len(again) {
			t.Errorf("kind %d: %d events are found after removing some again, want %d", kind, n, others-len(again))
		}
	}
}

func mustFind(t *testing.T, s *Store, ev *nostr.Event) uint32 {
	t.Helper()
	ref, ok := s.index.find(mustKey(t, ev.ID))
	if !ok {
		t.Fatalf("event %s is not there", ev.ID)
	}
	return ref
}

// TestLargestBatchOfTwo: a batch that has nearly no more room takes one more request, whatever that removes.
func TestLargestBatchOfTwo(t *testing.T) {
	s := openTest(t, Options{Dir: t.TempDir(), Now: newClock().now, IndexBytes: 1})
	var tags nostr.Tags
	for i := range 1980 {
		tags = append(tags, nostr.Tag{"t", strconv.Itoa(i)})
	}
	var cold nostr.Tags
	for i := range 8 {
		ev := unsigned(person(1), 1, start, strconv.Itoa(i), tags...)
		mustAdd(t, s, ev, Stored)
		cold = append(cold, nostr.Tag{"e", ev.ID})
	}
	named := 0
	deletion := func(n int, names nostr.Tags) Item {
		for range n {
			names = append(names, nostr.Tag{"e", person(1_000_000 + named).String()})
			named++
		}
		return Item{Event: unsigned(person(1), 5, start, "", names...)}
	}
	filler := func(bytes int) Item { return Item{Event: unsigned(person(2), 1, start, strings.Repeat("x", bytes))} }
	b := newBatch(s)
	for i, items := range [][]Item{
		{deletion(1999, nil), deletion(1999, nil), filler(160_000)},
		{deletion(2000-len(cold), cold), deletion(2000, nil), deletion(900, nil), filler(80_000), filler(maxEvent - 1000)},
	} {
		if !b.room() {
			t.Fatalf("request %d would not have been taken: %d bytes, %d tombstones", i, b.bytes, len(b.tombs))
		}
		bytes := 0
		for n := range items {
			p, err := prepare(&items[n])
			if err != nil {
				t.Fatal(err)
			}
			if bytes >= batchBytes {
				t.Fatalf("request %d would not have been so large: %d", i, bytes)
			}
			bytes += p.bytes()
			if out := b.add(p); out.Status != Stored {
				t.Fatal(out.Status, out.Err)
			}
		}
	}
	if len(b.cold) != len(cold) {
		t.Fatalf("%d cold events go, want %d", len(b.cold), len(cold))
	}
	var err error
	asCommitter(s, func() {
		if err = b.write(); err == nil {
			b.show()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(ids(t, s, nostr.Filter{Tags: nostr.TagMap{"t": {"7"}}})); n != 0 || s.Len() != 8 {
		t.Errorf("%d deleted events are found, %d are there", n, s.Len())
	}
}
