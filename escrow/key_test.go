package escrow

import (
	"context"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// TestAnotherKey: a money store stays with its node's key while something is under way in it,
// and can have another one when nothing is.
func TestAnotherKey(t *testing.T) {
	box := newPost()
	cfg := benchConfig(t, box.publish)
	other := cfg
	other.Key = secretFor("another node")

	run := func(use func(*trader)) {
		t.Helper()
		e, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- e.Run(ctx) }()
		use(&trader{t: t, post: box, node: cfg.Key.Public(), key: secretFor("maker"), send: func(ev *nostr.Event) error { return e.Receive(ctx, ev) }})
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	var id string
	run(func(maker *trader) {
		maker.say(mostro.NewOrder, "", &mostro.Payload{Order: &mostro.SmallOrder{
			Kind: mostro.Sell, Status: mostro.StatusPending, Amount: 100_000, FiatCode: "USD", FiatAmount: 50, PaymentMethod: "cash"}})
		id = maker.wait(mostro.NewOrder).ID
	})
	if _, err := Open(other); err == nil || !strings.Contains(err.Error(), cfg.Key.Public()) || !strings.Contains(err.Error(), other.Key.Public()) {
		t.Fatalf("another key with an order in the book: %v", err)
	}
	run(func(maker *trader) {
		maker.say(mostro.Cancel, id, nil)
		maker.wait(mostro.Canceled)
	})
	// What is told at the very end may still wait; only the node's own key can tell it.
	for e := (*Engine)(nil); e == nil; {
		var err error
		if e, err = Open(other); err != nil {
			if !strings.Contains(err.Error(), "under way") {
				t.Fatal(err)
			}
			run(func(*trader) {})
			continue
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	run(func(*trader) {}) // and back, since nothing was done with the new one
}
