package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// reviews are those on the relay, whoever they are by.
func (w *clientWorld) reviews() (events []*nostr.Event) {
	w.Helper()
	conn, err := nostr.RelayConnect(w.ctx, w.url)
	if err != nil {
		w.Fatal(err)
	}
	defer conn.Close()
	events, err = conn.QuerySync(w.ctx, nostr.Filter{Kinds: []int{mostro.KindReview}})
	if err != nil {
		w.Fatal(err)
	}
	return events
}

// TestClientReview: a trader reviews the node when his trade is over, however it ended; what is
// in public says nothing of the trade, and each side has one review of it.
func TestClientReview(t *testing.T) {
	w := newClientWorld(t, 0)
	alice, bob := w.user("alice"), w.user("bob")
	id := alice.message("new", "sell", "--sats", "100000", "--fiat", "USD", "--amount", "50", "--method", "bank").ID
	alice.refused(exitError, "not_allowed_by_status", "review", "1", "5")
	alice.refused(exitUsage, "0 to 5", "review", "1", "6")
	alice.refused(exitUsage, "0 to 5", "review", "1", "NaN")
	bob.ok("take", id, "--invoice", bob.invoice(99_700))
	alice.pay(alice.until("1", mostro.PayInvoice))
	bob.until("1", mostro.HoldInvoicePaymentAccepted)
	bob.refused(exitError, "a review must wait", "review", "1", "5")

	bob.ok("cancel", "1")
	alice.ok("cancel", "1")
	bob.until("1", mostro.CooperativeCancelAccepted)
	bob.says("published: 1.5 of 5 stars", "review", "1", "1.5", "nobody \x1b[31m answered")
	time.Sleep(time.Second + 10*time.Millisecond) // of two of one second, relays keep that of the lower id
	bob.ok("review", "1", "2")
	var shown shownReview
	if err := json.Unmarshal([]byte(alice.ok("review", id[:8], "5", "fast", "--json")), &shown); err != nil {
		t.Fatal(err)
	}
	if shown.Rating != 1 || shown.Text != "fast" || shown.Mostro != w.node.Public() {
		t.Errorf("%+v", shown)
	}
	events := w.reviews()
	if len(events) != 2 {
		t.Fatalf("%d reviews", len(events))
	}
	for _, ev := range events {
		r, err := mostro.ParseReview(ev, time.Now().Unix())
		if err != nil || r.Rating != 0.4 && r.Rating != 1 {
			t.Errorf("%+v: %v", r, err)
		}
		if text := ev.String(); strings.Contains(text, id) || strings.Contains(text, "99700") {
			t.Errorf("the review tells of the trade: %s", text)
		}
	}
}
