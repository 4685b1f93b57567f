//go:build !race

// The client of go-nostr races with itself when its connection ends.

package relay

import (
	"context"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestClientLibrary: a client library in wide use works with this relay.
func TestClientLibrary(t *testing.T) {
	_, url := start(t, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err := nostr.RelayConnect(ctx, url, nostr.WithNoticeHandler(func(notice string) { t.Error("NOTICE", notice) }))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	alice := nostr.GeneratePrivateKey()
	filter := nostr.Filter{Kinds: []int{1}, Authors: []string{publicKey(t, alice)}}
	live, err := client.Subscribe(ctx, nostr.Filters{filter})
	if err != nil {
		t.Fatal(err)
	}
	<-live.EndOfStoredEvents
	ev := signed(t, alice, nostr.Event{Kind: 1, Content: "hello"})
	if err := client.Publish(ctx, ev); err != nil {
		t.Fatal(err)
	}
	if got := <-live.Events; got == nil || got.ID != ev.ID {
		t.Errorf("live: %v", got)
	}
	found, err := client.QuerySync(ctx, filter)
	if err != nil || len(found) != 1 || found[0].ID != ev.ID {
		t.Errorf("stored: %v, %v", found, err)
	}
	old := signed(t, alice, nostr.Event{Kind: 1, CreatedAt: 5})
	if err := client.Publish(ctx, old); err == nil || err.Error() != "msg: invalid: created_at is too old, at most 315360000 seconds are taken" {
		t.Errorf("an old event: %v", err)
	}
}
