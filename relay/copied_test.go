package relay

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestC3Copied: what is not taken from clients here does not come in by way of other relays either, however often they
// give it out: keys and kinds that are banned, what would not be kept, gift wraps that are too old.
func TestC3Copied(t *testing.T) {
	denied, banned, anybody := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	r, _ := start(t, Config{
		Pubkey: publicKey(t, nodeKey), Kinds: []int{1, 7, 14, 1059, 38383}, Deny: []string{publicKey(t, denied)}, OnlyAllowed: true,
		Contents: map[int]int{7: 10}, Retention: []Retention{{Kinds: []int{38383}, For: 30 * day}, {For: 300 * day}},
	})
	if err := r.management.change(func(set *rules) {
		set.Pubkeys[publicKey(t, banned)], set.Kinds[14] = "", true
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, secret string
		ev           nostr.Event
		days         int
		want         string
	}{
		{"a note", anybody, nostr.Event{Kind: 1}, 299, ""},
		{"an old note", anybody, nostr.Event{Kind: 1}, 301, "invalid: created_at is too old"},
		{"an order", anybody, nostr.Event{Kind: 38383, Tags: nostr.Tags{{"d", "young"}}}, 29, ""},
		{"an old order", anybody, nostr.Event{Kind: 38383, Tags: nostr.Tags{{"d", "old"}}}, 31, "invalid: created_at is too old"},
		{"a gift wrap", anybody, nostr.Event{Kind: 1059}, 2, ""},
		{"an old gift wrap", anybody, nostr.Event{Kind: 1059}, 4, "invalid: created_at is"},
		{"of a key in the settings", denied, nostr.Event{Kind: 1}, 0, "blocked: events of this key"},
		{"of a key that an administrator banned", banned, nostr.Event{Kind: 1}, 0, "blocked: events of this key"},
		{"of a kind that is not taken", anybody, nostr.Event{Kind: 30_023, Tags: nostr.Tags{{"d", ""}}}, 0, "blocked: this relay does not take kind"},
		{"of a kind that an administrator banned", anybody, nostr.Event{Kind: 14}, 0, "blocked: this relay does not take kind"},
		{"too long for its kind", anybody, nostr.Event{Kind: 7, Content: "01234567890"}, 0, "invalid: "},
		{"of the node", nodeKey, nostr.Event{Kind: 1}, 0, "blocked: "},
	} {
		c.ev.CreatedAt = nostr.Now() - nostr.Timestamp(c.days*86_400)
		ev := signed(t, c.secret, c.ev)
		got := r.Take(t.Context(), "wss://elsewhere.example", []*nostr.Event{&ev})[0]
		if got.New != (c.want == "") || !strings.HasPrefix(got.Refused, c.want) {
			t.Errorf("%s: %+v, want %q", c.name, got, c.want)
		}
	}
}

// TestReplicaDeletions: a replica takes what its primary has also when it may remember fewer deletions itself.
func TestReplicaDeletions(t *testing.T) {
	limits := DefaultLimits()
	limits.Deletions = 5
	r, _ := start(t, Config{Limits: limits, Federation: Federation{Forward: func(context.Context, *nostr.Event) error { return nil }}})
	alice := nostr.GeneratePrivateKey()
	take := func(ev nostr.Event, daysAgo int) {
		t.Helper()
		ev.CreatedAt = nostr.Now() - nostr.Timestamp(daysAgo*86_400)
		ev = signed(t, alice, ev)
		if got := r.Take(t.Context(), "wss://primary.example", []*nostr.Event{&ev})[0]; !got.New {
			t.Errorf("kind %d, %d days old: %+v", ev.Kind, daysAgo, got)
		}
	}
	for days := range 5 {
		deletion := nostr.Event{Kind: nostr.KindDeletion}
		for i := range 4 {
			deletion.Tags = append(deletion.Tags, nostr.Tag{"a", fmt.Sprint("30023:", publicKey(t, alice), ":", days, i)})
		}
		take(deletion, 20+days)
	}
	if err := r.store.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := r.store.Tombstones(); n > limits.Deletions {
		t.Errorf("%d deletions are remembered, want %d", n, limits.Deletions)
	}
	take(nostr.Event{Kind: 1, Content: "older than all that was deleted"}, 40)
}
