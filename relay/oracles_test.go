package relay

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// TestC3WhoTalksToWhom: who has no part in a message cannot tell whether somebody gets mail, and
// the log does not say so either.
func TestC3WhoTalksToWhom(t *testing.T) {
	var log bytes.Buffer
	r, err := Open(Config{Pubkey: publicKey(t, nodeKey), Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	url := serveRelay(t, r)
	sender, stranger := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	has, hasNot := publicKey(t, nostr.GeneratePrivateKey()), publicKey(t, nostr.GeneratePrivateKey())
	outside := dial(t, url)
	var mail, never []string
	for i := range 5 {
		for _, kind := range []int{4, 14, 1059} {
			ev := signed(t, sender, nostr.Event{Kind: kind, Content: fmt.Sprint(i), Tags: nostr.Tags{{"p", has}}})
			if ok, reason := outside.publish(ev); !ok {
				t.Fatal(reason)
			}
			mail = append(mail, ev.ID)
			never = append(never, signed(t, sender, nostr.Event{Kind: kind, Content: fmt.Sprint("never", i), Tags: nostr.Tags{{"p", has}}}).ID)
		}
	}
	// answers are what a stranger is told about a recipient and ids of messages, without them.
	answers := func(recipient string, ids []string) (told []string) {
		w := dial(t, url)
		list := `"` + strings.Join(ids, `","`) + `"`
		ask := func(message string) {
			w.write(message)
			told = append(told, strings.ReplaceAll(w.text(), recipient, "recipient"))
		}
		ask(`["REQ","a",{"ids":[` + list + `]}]`)
		ask(`["REQ","a",{"ids":[` + list + `],"kinds":[1059]}]`)
		ask(`["COUNT","a",{"kinds":[4,14,1059],"#p":["` + recipient + `"]}]`)
		ask(`["COUNT","a",{"#p":["` + recipient + `"]}]`)
		ask(`["COUNT","a",{"ids":[` + list + `]}]`)
		ask(`["COUNT","a",{"kinds":[1059],"#p":["` + recipient + `"],"limit":1}]`)
		ask(`["NEG-OPEN","a",{"kinds":[4,14,1059],"#p":["` + recipient + `"]},"6100000200"]`)
		ask(`["NEG-OPEN","a",{"ids":[` + list + `]},"6100000200"]`)
		ask(`["REQ","a",{"search":"0","#p":["` + recipient + `"]}]`)
		for _, id := range ids {
			ok, reason := w.publish(signed(t, stranger, nostr.Event{Kind: 5, Content: nostr.GeneratePrivateKey(), Tags: nostr.Tags{{"e", id}}}))
			told = append(told, fmt.Sprint(ok, reason))
			ok, reason = w.publish(signed(t, stranger, nostr.Event{Kind: 1059, Content: nostr.GeneratePrivateKey(), Tags: nostr.Tags{{"p", recipient}}}))
			told = append(told, fmt.Sprint(ok, reason))
			guess := signed(t, stranger, nostr.Event{Kind: 1059, Content: "a guess", Tags: nostr.Tags{{"p", recipient}}})
			guess.ID = id
			ok, reason = w.publish(guess)
			told = append(told, fmt.Sprint(ok, reason))
		}
		return told
	}
	if diff := cmp.Diff(answers(hasNot, never), answers(has, mail)); diff != "" {
		t.Error(diff)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, secret := range append(mail, has, hasNot, publicKey(t, sender)) {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log names %s: %s", secret, log.String())
		}
	}
}

// TestC3FilterExplosion: thousands of filters are refused at once, and start nothing.
func TestC3FilterExplosion(t *testing.T) {
	_, url := start(t, Config{})
	w := dial(t, url)
	before := runtime.NumGoroutine()
	for range 20 {
		w.write(`["REQ","a"` + strings.Repeat(`,{}`, 20_000) + `]`)
		if got := w.text(); !strings.HasPrefix(got, "CLOSED a invalid: there are 20000 filters") {
			t.Fatal(got)
		}
		if now := runtime.NumGoroutine(); now > before+20 {
			t.Fatalf("%d goroutines, %d before", now, before)
		}
	}
}

// Test2b4OnceEach: an event that matches by several values is found and counted once.
func Test2b4OnceEach(t *testing.T) {
	_, url := start(t, Config{})
	w := dial(t, url)
	ev := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1, Tags: nostr.Tags{{"t", "a"}, {"t", "b"}, {"t", "a"}, {"e", "a"}}})
	w.publish(ev)
	for _, filter := range []string{`{"#t":["a","b"]}`, `{"#t":["a","b","a"],"#e":["a"]}`, `{"#t":["a"]},{"#t":["b"]},{"ids":["` + ev.ID + `","` + ev.ID + `"]}`, `{"kinds":[1,1],"authors":["` + ev.PubKey + `","` + ev.PubKey + `"]}`} {
		if found := w.query(filter); len(found) != 1 {
			t.Errorf("%s: found %d times", filter, len(found))
		}
		w.write(`["COUNT","a",` + filter + `]`)
		if got := w.text(); !strings.HasPrefix(got, `COUNT a {"count":1`) {
			t.Errorf("%s: %s", filter, got)
		}
	}
}

// Test2b6ManyDeletions: what an event costs does not grow with the deletions that are stored.
func Test2b6ManyDeletions(t *testing.T) {
	r, _ := start(t, Config{})
	alice := publicKey(t, nostr.GeneratePrivateKey())
	add := func(kind, n int) float64 {
		var evs []nostr.Event
		for i := range n + 1 { // AllocsPerRun runs once before it counts
			ev := nostr.Event{Kind: kind, PubKey: alice, CreatedAt: nostr.Now(), Content: nostr.GeneratePrivateKey(), Sig: strings.Repeat("0", 128),
				Tags: nostr.Tags{{"e", fmt.Sprintf("%064x", i)}, {"a", fmt.Sprintf("30000:%s:%d", alice, i)}, {"d", nostr.GeneratePrivateKey()}}}
			ev.ID = ev.GetID()
			evs = append(evs, ev)
		}
		return testing.AllocsPerRun(n, func() {
			if err := r.Publish(t.Context(), evs[0]); err != nil {
				t.Error(err)
			}
			evs = evs[1:]
		})
	}
	before := add(30_001, 200)
	add(5, 2000)
	after := add(30_001, 200)
	t.Logf("%.0f allocations an event, %.0f with 2,000 deletions stored", before, after)
	if after > 2*before {
		t.Errorf("%.0f allocations an event, %.0f with 2,000 deletions stored", before, after)
	}
}

// Test2b17BrokenAnswers: an answer that cannot be given whole ends with CLOSED and not with EOSE.
func Test2b17BrokenAnswers(t *testing.T) {
	r, url := start(t, Config{})
	w := dial(t, url)
	w.publish(signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1}))
	r.store.Close()
	w.write(`["REQ","a",{}]`)
	if got := w.text(); !strings.HasPrefix(got, "CLOSED a error: ") {
		t.Error(got)
	}
	if ok, reason := w.publish(signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1})); ok || !strings.HasPrefix(reason, "error: ") {
		t.Errorf("%v %q", ok, reason)
	}
}
