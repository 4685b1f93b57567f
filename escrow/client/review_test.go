package client_test

import (
	"fmt"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// TestPublic: events are read page by page to the end, each once, also when a page ends within a
// second; and what cannot be read is not passed over in silence.
func TestPublic(t *testing.T) {
	w := newWorld(t, worldConfig{})
	p := w.person("reader", w.door())
	author, err := mostro.NewSecret([32]byte{31: 9})
	if err != nil {
		t.Fatal(err)
	}
	publish := func(kind, n int, second func(int) int64) {
		var events []nostr.Event
		for i := range n {
			ev := nostr.Event{Kind: kind, CreatedAt: nostr.Timestamp(second(i)), Content: fmt.Sprint(i)}
			if err := mostro.Sign(&ev, author); err != nil {
				t.Fatal(err)
			}
			events = append(events, ev)
		}
		if err := w.relay.Publish(w.ctx, events...); err != nil {
			t.Fatal(err)
		}
	}
	const base = 1_700_000_000
	publish(mostro.KindLabel, 1100, func(i int) int64 { return base + int64(i/300) })
	publish(mostro.KindDevFee, 700, func(int) int64 { return base })
	for kind, want := range map[int]struct {
		events int
		all    bool
	}{mostro.KindLabel: {1100, true}, mostro.KindDevFee: {500, false}, mostro.KindRecommendation: {0, true}} {
		seen := make(map[string]bool)
		all, err := p.Public(w.ctx, nostr.Filter{Kinds: []int{kind}, Authors: []string{author.Public()}}, func(ev *nostr.Event) {
			if seen[ev.ID] {
				t.Errorf("an event of kind %d comes twice", kind)
			}
			seen[ev.ID] = true
		})
		if err != nil || len(seen) != want.events || all != want.all {
			t.Errorf("kind %d: %d events, all %t, %v", kind, len(seen), all, err)
		}
	}
}
