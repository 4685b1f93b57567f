package relay

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

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
