package client_test

import (
	"fmt"
	"strings"
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

// TestPublicSince: however much somebody publishes now, or at one time in the past, what others have said before is read,
// each once.
func TestPublicSince(t *testing.T) {
	w := newWorld(t, worldConfig{})
	p := w.person("reader", w.door())
	const from, day = 1_700_000_000, 86400
	author := strings.Repeat("7", 64)
	publish := func(n int, kind int, second func(int) int64) {
		events := make([]nostr.Event, n)
		for i := range events {
			events[i] = nostr.Event{PubKey: author, Kind: kind, CreatedAt: nostr.Timestamp(second(i)), Content: fmt.Sprint(kind, i), Sig: strings.Repeat("0", 128)}
			events[i].ID = events[i].GetID()
		}
		if err := w.relay.Publish(w.ctx, events...); err != nil {
			t.Fatal(err)
		}
	}
	publish(1100, 1001, func(i int) int64 { return from + int64(i) })
	publish(1, 1001, func(int) int64 { return from - 1 })
	for kind, at := range map[int]int64{1002: 180, 1003: 90} {
		publish(180, kind, func(i int) int64 { return from + int64(i)*day })
		publish(60_000, kind, func(i int) int64 { return from + at*day + 1 + int64(i) })
	}
	for kind, want := range map[int]struct {
		old int // that must be among those that are read
		all bool
	}{1001: {1100, true}, 1002: {178, false}, 1003: {178, false}} {
		seen, old := make(map[string]bool), 0
		all, err := p.PublicSinceOf(w.ctx, nostr.Filter{Kinds: []int{kind}}, from, 120, func(ev *nostr.Event) {
			if seen[ev.ID] {
				t.Errorf("an event of kind %d comes twice", kind)
			}
			seen[ev.ID] = true
			if kind == 1001 || (ev.CreatedAt-from)%day == 0 {
				old++
			}
		})
		if err != nil || all != want.all || old < want.old || len(seen) > 120*500 {
			t.Errorf("kind %d: %d events, %d of those of before, all %t, %v", kind, len(seen), old, all, err)
		}
	}
}
