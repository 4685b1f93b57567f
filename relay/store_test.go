package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// TestRestartKeepsExpiry: what expires while the relay is away is not served when it is back, is
// removed, and does not come in again; ephemeral events are not there at all.
func TestRestartKeepsExpiry(t *testing.T) {
	dir := t.TempDir()
	at := &clock{now: time.Now()}
	cfg := Config{Dir: dir, Pubkey: publicKey(t, nodeKey)}
	r, err := open(cfg, at.time)
	if err != nil {
		t.Fatal(err)
	}
	alice := nostr.GeneratePrivateKey()
	expiring := func(kind int, in time.Duration) nostr.Event {
		return signed(t, alice, nostr.Event{Kind: kind, CreatedAt: nostr.Timestamp(at.time().Unix()), Tags: nostr.Tags{{"d", ""}, {"expiration", fmt.Sprint(at.time().Add(in).Unix())}}})
	}
	soon, version, later := expiring(1, time.Minute), expiring(30_000, time.Minute), expiring(1, time.Hour)
	passing := signed(t, alice, nostr.Event{Kind: 20_001})
	for _, ev := range []nostr.Event{soon, version, later, passing} {
		if ok, reason := r.ingest(t.Context(), &ev); !ok {
			t.Fatal(reason)
		}
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	at.add(2 * time.Minute)
	if r, err = open(cfg, at.time); err != nil {
		t.Fatal(err)
	}
	defer func() { r.Close(t.Context()) }()
	check := func() {
		t.Helper()
		found, err := r.Query(t.Context(), nostr.Filter{})
		if err != nil || len(found) != 1 || found[0].ID != later.ID {
			t.Errorf("served %v, %v, want what has not expired", found, err)
		}
	}
	check()
	if _, err := r.store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	check()
	if got := r.store.Len(); got != 1 {
		t.Errorf("%d events are on disk, want 1", got)
	}
	for _, ev := range []nostr.Event{soon, version} {
		if ok, reason := r.ingest(t.Context(), &ev); ok || reason != "invalid: the event has expired" {
			t.Errorf("an expired event comes in again: %v %q", ok, reason)
		}
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

// TestImportable: an import is no way around the rules that keep readers and clients safe.
func TestImportable(t *testing.T) {
	alice := nostr.GeneratePrivateKey()
	upper := signed(t, alice, nostr.Event{Kind: 1})
	upper.Sig = strings.ToUpper(upper.Sig)
	for name, ev := range map[string]nostr.Event{
		"empty tag":         signed(t, alice, nostr.Event{Kind: 1, Tags: nostr.Tags{{}}}),
		"d tag of nothing":  signed(t, alice, nostr.Event{Kind: 30_000, Tags: nostr.Tags{{"d"}}}),
		"login":             signed(t, alice, nostr.Event{Kind: 22242}),
		"HTTP login":        signed(t, alice, nostr.Event{Kind: 27235}),
		"seal":              signed(t, alice, nostr.Event{Kind: 13}),
		"kind 65536":        signed(t, alice, nostr.Event{Kind: 65_536}),
		"upper-case digits": upper,
	} {
		if err := Importable(&ev); err == nil || !strings.HasPrefix(err.Error(), "invalid: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, ev := range []nostr.Event{
		signed(t, alice, nostr.Event{Kind: 1}), signed(t, alice, nostr.Event{Kind: 1059, Content: strings.Repeat("x", 100_000), Tags: nostr.Tags{{"p", ""}}}),
	} {
		if err := Importable(&ev); err != nil {
			t.Error(err)
		}
	}
}
