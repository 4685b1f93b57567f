package store

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// TestOldest lists events from the oldest, over many steps and parts of lists.
func TestOldest(t *testing.T) {
	for _, budget := range []int{0, 300_000, 1} {
		t.Run(strconv.Itoa(budget), func(t *testing.T) { oldestOf(t, openTest(t, Options{IndexBytes: budget})) })
	}
}

func oldestOf(t *testing.T, s *Store) {
	key := func(id string) Key {
		k, err := ParseKey(id)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	random := rand.New(rand.NewPCG(1, 1))
	if got, err := s.Oldest(t.Context(), 10, func(*Meta) bool { return true }); err != nil || len(got) != 0 {
		t.Errorf("of an empty store: %v %v", got, err)
	}
	var evs []*nostr.Event
	const n = 3*stepRecords + 5
	for i := range n {
		kind := []int{1, 14, 30_000}[i%3]
		evs = append(evs, unsigned(person(i%2), kind, start-int64(random.IntN(n/2)), "", nostr.Tag{"d", nostr.GeneratePrivateKey()}))
	}
	for _, ev := range evs {
		mustAdd(t, s, ev, Stored)
	}
	slices.SortFunc(evs, func(a, b *nostr.Event) int {
		x, y := position{int64(a.CreatedAt), key(a.ID)}, position{int64(b.CreatedAt), key(b.ID)}
		return x.compare(&y)
	})
	for _, most := range []int{1, 7, stepRecords, n, n + 1} {
		var want []Key
		for _, ev := range evs {
			if ev.Kind != 14 && len(want) < most {
				want = append(want, key(ev.ID))
			}
		}
		got, err := s.Oldest(t.Context(), most, func(m *Meta) bool { return m.Kind != 14 })
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d: %s", most, diff[:min(len(diff), 500)])
		}
	}
	if a, b := s.CountOf(person(0)), s.CountOf(person(1)); a+b != n || a != (n+1)/2 {
		t.Errorf("%d and %d events of two people, want %d together", a, b, n)
	}
}
