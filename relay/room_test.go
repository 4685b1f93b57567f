package relay

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/policies"
	events "mostro/relay/store"
)

// TestC3DeletionsAndRoom: what deletes is taken from a key that has its share and by a store that is full, for it makes room.
// What only looks like it is not, and nothing is taken when the disk is nearly full, so that no flood of deletions fills it.
func TestC3DeletionsAndRoom(t *testing.T) {
	limits := DefaultLimits()
	limits.Events, limits.EventsPerKey = 40, 5
	var free atomic.Uint64
	free.Store(10 << 30)
	r, _ := start(t, Config{Dir: t.TempDir(), Limits: limits, Space: events.Space{Rule: policies.FreeSpace(1<<30, 0, 0, events.CriticalFree), Free: func(string) (uint64, uint64, error) { return free.Load(), 100 << 30, nil }}})
	alice, bob := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	wants := func(what, secret string, ev nostr.Event, want string) {
		t.Helper()
		ev = signed(t, secret, ev)
		if _, reason := r.ingest(t.Context(), &ev); !strings.HasPrefix(reason, want) || (reason == "") != (want == "") {
			t.Errorf("%s: %q, want %q", what, reason, want)
		}
	}
	deletion := nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", strings.Repeat("ab", 32)}}}
	vanish := nostr.Event{Kind: 62, Tags: nostr.Tags{{"relay", "ALL_RELAYS"}}}
	nothing := map[string]nostr.Event{
		"a deletion of nothing": {Kind: 5, Content: strings.Repeat("x", 60_000)},
		"one with other tags":   {Kind: 5, Tags: nostr.Tags{{"k", "1"}, {"e"}, {"p", strings.Repeat("ab", 32)}}},
	}
	for i := range 5 {
		wants("note", alice, nostr.Event{Kind: 1, Content: fmt.Sprint(i)}, "")
	}
	for what, ev := range nothing {
		wants(what+" of a key that has its share", alice, ev, "rate-limited: 5 events of this key")
	}
	wants("deletion of a key that has its share", alice, deletion, "")
	for i := 0; !r.full(); i++ {
		wants("note", nostr.GeneratePrivateKey(), nostr.Event{Kind: 1, Content: fmt.Sprint(i)}, "")
	}
	wants("note in a full store", bob, nostr.Event{Kind: 1}, "error: this relay is full")
	for what, ev := range nothing {
		wants(what+" in a full store", bob, ev, "error: this relay is full")
	}
	wants("deletion in a full store", bob, deletion, "")
	wants("request to vanish in a full store", bob, vanish, "")
	free.Store(900 << 20)
	time.Sleep(1100 * time.Millisecond) // the store looks at the disk once a second at most
	wants("deletion on a full disk", nostr.GeneratePrivateKey(), deletion, "error: the disk of this relay is nearly full")
	wants("request to vanish on a full disk", nostr.GeneratePrivateKey(), vanish, "error: the disk of this relay is nearly full")
}
