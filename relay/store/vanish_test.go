package store

import (
	"slices"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestVanishLate: a request to vanish that was stored, or moved from the first format, by somebody who did not know the
// address of the relay is carried out by who knows it, once, and holds as if it had been at once.
func TestVanishLate(t *testing.T) {
	for _, budget := range []int{1, 1 << 20} { // on disk and in memory
		clock := newClock()
		opts := Options{Dir: t.TempDir(), Now: clock.now, IndexBytes: budget}
		alice, bob := person(1), person(2)
		request := func(author Key) *nostr.Event {
			return unsigned(author, kindVanish, start-5, "", nostr.Tag{"relay", "wss://this.example"})
		}
		before, after := unsigned(alice, 1, start-10, "before"), unsigned(alice, 1, start-1, "after")
		wrap := unsigned(person(3), kindGiftWrap, start-9, "", nostr.Tag{"p", alice.String()})
		other := unsigned(bob, 1, start-10, "of another")
		s, err := Open(opts)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range []*nostr.Event{before, wrap, request(alice), after, other, request(bob)} {
			mustAdd(t, s, ev, Stored)
		}
		s.Close()
		opts.Vanishes = func(ev *nostr.Event) bool { return ev.PubKey == alice.String() }
		for range 2 {
			if s, err = Open(opts); err != nil {
				t.Fatal(err)
			}
			want := []string{after.ID, request(alice).ID, request(bob).ID, other.ID}
			slices.Sort(want)
			if got := ids(t, s, nostr.Filter{}); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
				t.Errorf("budget %d: %d events, want %d", budget, len(got), len(want))
			}
			mustAdd(t, s, before, Deleted)
			mustAdd(t, s, wrap, Deleted)
			if n := s.Tombstones(); n != 1 {
				t.Errorf("%d tombstones, want 1", n)
			}
			s.Close()
		}
	}
}
