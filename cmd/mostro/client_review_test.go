package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
	"mostro/escrow/reviews"
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
	alice.refused(exitError, "not_allowed_by_status\n    -> the node proves only trades whose sats it has held", "review", "1", "5")
	alice.refused(exitUsage, "0 to 5", "review", "1", "6")
	alice.refused(exitUsage, "0 to 5", "review", "1", "NaN")
	alice.refused(exitUsage, "at most 2000", "review", "1", "1", strings.Repeat("x", 2001))
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

// TestClientReviewLeft: a seller who has paid, whose buyer gives no invoice, leaves the trade. Both review the node, whether or
// not they asked in the trade; when the node is gone, the proof that it gave before is as good.
func TestClientReviewLeft(t *testing.T) {
	w := newClientWorld(t, 0)
	alice, bob := w.user("alice"), w.user("bob")
	leave := func(trade string, before ...func()) {
		alice.ok("take", bob.message("new", "buy", "--sats", "100000", "--fiat", "USD", "--amount", "50", "--method", "bank").ID)
		alice.pay(alice.until(trade, mostro.PayInvoice))
		alice.until(trade, mostro.WaitingBuyerInvoice)
		for _, do := range before {
			do()
		}
		alice.ok("cancel", trade)
	}
	leave("1", func() { alice.refused(exitError, "a review must wait", "review", "1", "1") })
	w.gone.Store(true)
	alice.says("published: 1 of 5 stars", "review", "1", "1", "no invoice")
	bob.refused(exitError, "the node is gone", "review", "1", "5")
	w.gone.Store(false)
	bob.says("published: 5 of 5 stars", "review", "1", "5", "fast")

	leave("2")
	alice.says("published: 0 of 5 stars", "review", "2", "0", "no invoice again")
	if events := w.reviews(); len(events) != 3 {
		t.Errorf("%d reviews", len(events))
	}
}

// publish sends an event of somebody who is no user of the commands.
func (w *clientWorld) publish(by mostro.Secret, ev nostr.Event) {
	w.Helper()
	conn, err := nostr.RelayConnect(w.ctx, w.url)
	if err != nil {
		w.Fatal(err)
	}
	defer conn.Close()
	ev.CreatedAt = nostr.Now()
	if err := mostro.Sign(&ev, by); err != nil {
		w.Fatal(err)
	}
	if err := conn.Publish(w.ctx, ev); err != nil {
		w.Fatal(err)
	}
}

// TestClientMostros: the list shows facts and what people say apart, and no score from a few.
func TestClientMostros(t *testing.T) {
	w := newClientWorld(t, 0)
	alice, bob := w.user("alice"), w.user("bob")
	alice.says("no reviews", "mostros")
	w.hold(alice, bob, "1", "1")
	bob.ok("fiat-sent", "1")
	alice.ok("release", "1")
	bob.until("1", mostro.PurchaseCompleted)
	alice.ok("review", "1", "5", "fast")
	bob.ok("review", "1", "0", "\x1b[2Jawful\n  reviews      5.0 of 5 stars")

	fan, err := mostro.NewSecret([32]byte{31: 7})
	if err != nil {
		t.Fatal(err)
	}
	node := w.node.Public()
	w.publish(fan, nostr.Event{Kind: mostro.KindRecommendation, Content: "I know them", Tags: nostr.Tags{
		{"k", "38385"}, {"d", node}, {"a", reviews.Address(node)}}})
	w.publish(fan, nostr.Event{Kind: mostro.KindLabel, Tags: nostr.Tags{{"L", "trust"}, {"l", "good", "trust"}, {"p", node}}})
	w.publish(fan, nostr.Event{Kind: mostro.KindReview, Tags: nostr.Tags{{"d", node + ":1"}, {"p", node}, {"rating", "1"}}})

	out := w.user("carol").ok("mostros")
	t.Log("\n" + out)
	for _, want := range []string{
		"Test npub1", "1 order ended well, 0 disputes (0.0 for 100 orders)", "few reviews; 2 from 1 week,", "1 without a proof do not count",
		"5.0 of 5 stars: fast", "0.0 of 5 stars: \ufffd[2Jawful reviews 5.0 of 5 stars", "recommended  by 1", "I know them", "good (trust) by 1",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("mostros prints this, without %q:\n%s", want, out)
		}
	}
	var s reviews.Summary
	if err := json.Unmarshal([]byte(alice.ok("mostros", "--json")), &s); err != nil {
		t.Fatal(err)
	}
	if s.Mostro != node || s.Reviews.Count != 2 || s.Reviews.Score != nil || s.Facts.Success != 1 || s.Recommendations.Count != 1 {
		t.Errorf("%+v", s)
	}
}

// TestClientMostrosCoordinators: coordinators of other platforms are listed behind the Mostros and marked as none.
func TestClientMostrosCoordinators(t *testing.T) {
	w := newClientWorld(t, 0)
	lake, err := mostro.NewSecret([32]byte{31: 8})
	if err != nil {
		t.Fatal(err)
	}
	fan, err := mostro.NewSecret([32]byte{31: 7})
	if err != nil {
		t.Fatal(err)
	}
	alice := w.user("alice")
	if out := alice.ok("mostros"); strings.Contains(out, "NO MOSTROS") {
		t.Errorf("there is no coordinator:\n%s", out)
	}
	w.publish(lake, nostr.Event{Kind: mostro.KindOrder, Tags: nostr.Tags{
		{"d", "a"}, {"k", "sell"}, {"s", "pending"}, {"y", "robosats\x1b[2J", "The Lake"}, {"z", "order"}}})
	w.publish(fan, nostr.Event{Kind: mostro.KindReview, Tags: nostr.Tags{{"d", "lake:1"}, {"p", lake.Public()}, {"rating", "1"}}})
	w.publish(fan, nostr.Event{Kind: mostro.KindLabel, Tags: nostr.Tags{{"L", "trust"}, {"l", "good", "trust"}, {"p", lake.Public()}}})
	out := alice.ok("mostros")
	t.Log("\n" + out)
	mostros, others, apart := strings.Cut(out, "NO MOSTROS: ")
	if !apart || !strings.Contains(mostros, "Test npub1") || strings.Contains(mostros, "robosats") || strings.Contains(others, "Test npub1") {
		t.Errorf("mostros prints this:\n%s", out)
	}
	for _, want := range []string{
		"cannot trade with them", "The Lake npub1", "platform     robosats\ufffd[2J, by its own word", "1 offer now; 0 orders", "1 without a proof do not count", "good (trust) by 1",
	} {
		if !strings.Contains(others, want) {
			t.Errorf("of coordinators it prints this, without %q:\n%s", want, others)
		}
	}
	var platforms []string
	for line := range strings.Lines(alice.ok("mostros", "--json")) {
		var s reviews.Summary
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		platforms = append(platforms, s.Platform)
	}
	if len(platforms) != 2 || platforms[0] != "" || platforms[1] != "robosats\x1b[2J" {
		t.Errorf("platforms %q", platforms)
	}
}
