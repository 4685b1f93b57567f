package relay

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

func (w wire) count(filters string) (count int, registers string) {
	w.Helper()
	w.write(`["COUNT","c",` + filters + `]`)
	parts := w.next()
	var answer struct {
		Count *int
		HLL   string
	}
	if err := json.Unmarshal(parts[2], &answer); err != nil || string(parts[0]) != `"COUNT"` || answer.Count == nil {
		w.Fatalf("COUNT was answered with %s", parts)
	}
	return *answer.Count, answer.HLL
}

func TestCount(t *testing.T) {
	_, url := start(t, Config{ServiceURL: serviceURL})
	w, challenge := greet(t, url)
	alice, bob := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	a, b := publicKey(t, alice), publicKey(t, bob)
	for _, ev := range []nostr.Event{
		{Kind: 1, Content: "apples", Tags: nostr.Tags{{"t", "x"}, {"t", "y"}}}, {Kind: 1, Content: "pears"},
		{Kind: 30_023, Tags: nostr.Tags{{"d", "1"}, {"title", "Apples and pears"}}},
		{Kind: 1059, Tags: nostr.Tags{{"p", b}}}, {Kind: 14, Tags: nostr.Tags{{"p", b}}}, {Kind: 14, Tags: nostr.Tags{{"p", a}}},
	} {
		if ok, reason := w.publish(signed(t, alice, ev)); !ok {
			t.Fatal(reason)
		}
	}
	check := func(wants map[string]int) {
		t.Helper()
		for filters, want := range wants {
			if got, _ := w.count(filters); got != want {
				t.Errorf("%s: %d, want %d", filters, got, want)
			}
		}
	}
	check(map[string]int{
		`{}`:            3,
		`{"kinds":[1]}`: 2,
		`{"kinds":[1]},{"#t":["x"]},{"#t":["y"]}`: 2,
		`{"#t":["x","y"]}`:                        1,
		`{"kinds":[7]}`:                           0,
		`{"search":"apples"}`:                     2,
		`{"kinds":[1059],"#p":["` + b + `"]}`:     0, // whoever counts learns who talks to whom
		`{"authors":["` + a + `"]}`:               3,
		`{"kinds":[14],"authors":["` + a + `"]}`:  0,
	})
	if ok, reason := w.auth(login(t, bob, challenge, serviceURL, nil)); !ok {
		t.Fatal(reason)
	}
	check(map[string]int{`{}`: 5, `{"kinds":[1059],"#p":["` + b + `"]}`: 1, `{"kinds":[14]}`: 1})
}

func TestSearch(t *testing.T) {
	_, url := start(t, Config{})
	alice := nostr.GeneratePrivateKey()
	names := make(map[string]string)
	w := dial(t, url)
	live := dial(t, url)
	live.write(`["REQ","live",{"search":"ZELLE","limit":0}]`)
	live.next()
	for name, ev := range map[string]nostr.Event{
		"note":    {Kind: 1, Content: "I pay with Zelle or cash"},
		"cash":    {Kind: 1, Content: "only Cash"},
		"order":   {Kind: 38383, Tags: nostr.Tags{{"d", "1"}, {"pm", "Zelle", "Face to face"}, {"f", "USD"}}},
		"article": {Kind: 30_023, Content: "text", Tags: nostr.Tags{{"d", "1"}, {"title", "On zelle"}}},
		"message": {Kind: 14, Content: "zelle", Tags: nostr.Tags{{"p", publicKey(t, alice)}}},
		"list":    {Kind: 30_000, Content: "zelle", Tags: nostr.Tags{{"d", "1"}}},
	} {
		ev = signed(t, alice, ev)
		names[ev.ID] = name
		if ok, reason := w.publish(ev); !ok {
			t.Fatal(reason)
		}
	}
	for filter, want := range map[string]string{
		`{"search":"zelle"}`:                                             "article note order",
		`{"search":"Zelle CASH"}`:                                        "note",
		`{"search":"face usd"}`:                                          "order",
		`{"search":"zelle language:en"}`:                                 "article note order",
		`{"search":"zelle","kinds":[38383]}`:                             "order",
		`{"search":"zelle","kinds":[14,30000]}`:                          "",
		`{"search":"zelle","authors":["` + publicKey(t, nodeKey) + `"]}`: "",
		`{"search":"nothing"}`:                                           "",
	} {
		var got []string
		for _, ev := range w.query(filter) {
			got = append(got, names[ev.ID])
		}
		if diff := cmp.Diff(want, sorted(got)); diff != "" {
			t.Errorf("%s:\n%s", filter, diff)
		}
	}
	if got := len(w.query(`{"search":"zelle","limit":2}`)); got != 2 {
		t.Errorf("limit 2 gave %d", got)
	}
	w.write(`["REQ","a",{"search":"` + strings.Repeat("x", 300) + `"}]`)
	if got := w.text(); !strings.HasPrefix(got, "CLOSED a invalid: ") {
		t.Error(got)
	}
	var seen []string
	for range 3 {
		seen = append(seen, names[live.event(live.next()).ID])
	}
	if diff := cmp.Diff("article note order", sorted(seen)); diff != "" {
		t.Errorf("live:\n%s", diff)
	}
}

func TestVanish(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, ServiceURL: serviceURL, Pubkey: publicKey(t, nodeKey)}
	r, url := start(t, cfg)
	alice := nostr.GeneratePrivateKey()
	now := nostr.Now()
	note := signed(t, alice, nostr.Event{Kind: 1, CreatedAt: now - 10})
	wrap := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1059, CreatedAt: now - 10, Tags: nostr.Tags{{"p", publicKey(t, alice)}}})
	others := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1, CreatedAt: now - 10, Tags: nostr.Tags{{"p", publicKey(t, alice)}}})
	w, _ := greet(t, url)
	publish := func(ev nostr.Event, want string) {
		t.Helper()
		if _, reason := w.publish(ev); !strings.HasPrefix(reason, want) || (reason == "") != (want == "") {
			t.Errorf("kind %d: %q, want %q", ev.Kind, reason, want)
		}
	}
	for _, ev := range []nostr.Event{note, wrap, others} {
		publish(ev, "")
	}
	for _, tags := range []nostr.Tags{nil, {{"relay"}}, {{"relay", "wss://other.example"}}, {{"relay", "all_relays"}}} {
		publish(signed(t, alice, nostr.Event{Kind: 62, CreatedAt: now - 5, Tags: tags}), "invalid: ")
	}
	publish(signed(t, alice, nostr.Event{Kind: 62, CreatedAt: now - 5, Tags: nostr.Tags{{"relay", serviceURL + "/"}}}), "")
	check := func() {
		t.Helper()
		for ev, want := range map[*nostr.Event]bool{&note: false, &wrap: false, &others: true} {
			if kept, err := r.Has(t.Context(), ev.ID); err != nil || kept != want {
				t.Errorf("event of kind %d is kept: %v %v, want %v", ev.Kind, kept, err, want)
			}
		}
		publish(note, "blocked: ")
		publish(wrap, "blocked: ")
	}
	check()
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, url = start(t, cfg)
	w, _ = greet(t, url)
	check()
	publish(signed(t, alice, nostr.Event{Kind: 1, CreatedAt: now, Content: "back"}), "")
	publish(signed(t, alice, nostr.Event{Kind: 62, CreatedAt: now, Tags: nostr.Tags{{"relay", "ALL_RELAYS"}}}), "")
}

func TestRetention(t *testing.T) {
	alice := nostr.GeneratePrivateKey()
	trade := publicKey(t, alice)
	at := &clock{now: time.Now()}
	r, _ := startAt(t, Config{
		Pubkey:    publicKey(t, nodeKey),
		Retention: []Retention{{Kinds: []int{1, 14, 38383}, For: 10 * day}, {Kinds: []int{7}, For: day}, {For: 300 * day}},
		Running:   func(pubkey string) bool { return pubkey == trade },
	}, at.time)
	var kept []string
	names := make(map[string]string)
	for _, c := range []struct {
		name, secret string
		days         int
		ev           nostr.Event
	}{
		{"new note", alice, 9, nostr.Event{Kind: 1}},
		{"old note", alice, 11, nostr.Event{Kind: 1}},
		{"old note of the node", nodeKey, 11, nostr.Event{Kind: 1}},
		{"old message of a trade", nostr.GeneratePrivateKey(), 11, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", trade}}}},
		{"old message by a trade", alice, 11, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", trade[1:] + "0"}}}},
		{"old message", nostr.GeneratePrivateKey(), 11, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", trade[1:] + "0"}}}},
		{"old reaction", alice, 2, nostr.Event{Kind: 7}},
		{"old article", alice, 299, nostr.Event{Kind: 30_023, Tags: nostr.Tags{{"d", ""}}}},
		{"older article", alice, 301, nostr.Event{Kind: 30_023, Tags: nostr.Tags{{"d", "2"}}}},
		{"old order of the node", nodeKey, 301, nostr.Event{Kind: 38383, Tags: nostr.Tags{{"d", ""}}}},
	} {
		c.ev.CreatedAt = nostr.Timestamp(at.time().Add(-time.Duration(c.days) * day).Unix())
		ev := signed(t, c.secret, c.ev)
		names[ev.ID] = c.name
		if err := r.Publish(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.retain(t.Context()); err != nil {
		t.Fatal(err)
	}
	found, err := r.Query(t.Context(), nostr.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range found {
		kept = append(kept, strings.ReplaceAll(names[ev.ID], " ", "-"))
	}
	if diff := cmp.Diff("new-note old-article old-message-by-a-trade old-message-of-a-trade old-note-of-the-node old-order-of-the-node", sorted(kept)); diff != "" {
		t.Error(diff)
	}
}

// TestOutlived: what would not be kept is not taken.
func TestOutlived(t *testing.T) {
	r, _ := start(t, Config{Retention: []Retention{{Kinds: []int{7}, For: day}, {For: 300 * day}}})
	alice := nostr.GeneratePrivateKey()
	for _, c := range []struct {
		kind, days int
		want       string
	}{{7, 0, ""}, {7, 2, "invalid: created_at is too old, events of kind 7 are kept 86400 seconds"}, {1, 2, ""}, {1, 299, ""}, {1, 301, "invalid: created_at is too old"}} {
		ev := signed(t, alice, nostr.Event{Kind: c.kind, CreatedAt: nostr.Now() - nostr.Timestamp(c.days)*86_400})
		if _, reason := r.ingest(t.Context(), &ev); !strings.HasPrefix(reason, c.want) || (reason == "") != (c.want == "") {
			t.Errorf("kind %d, %d days old: %q", c.kind, c.days, reason)
		}
	}
}

// TestVerifiedPolicies come after the signature, so that nobody uses up another's rate.
func TestVerifiedPolicies(t *testing.T) {
	asked := 0
	_, url := start(t, Config{Verified: []Policy{refuseAll(&asked)}})
	w := dial(t, url)
	if ok, reason := w.publish(forged(nostr.Event{Kind: 1, CreatedAt: nostr.Now(), PubKey: publicKey(t, nodeKey)[:63] + "0"})); ok || asked != 0 {
		t.Errorf("%v %q, asked %d times", ok, reason, asked)
	}
	if ok, reason := w.publish(signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1})); ok || reason != "blocked: no" || asked != 1 {
		t.Errorf("%v %q, asked %d times", ok, reason, asked)
	}
}
