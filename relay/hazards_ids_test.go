package relay

import (
	"context"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestC1IDPrefixes: ids, keys and tag values are compared whole. The first 8 bytes with zeros behind them found what
// begins so, also messages.
func TestC1IDPrefixes(t *testing.T) {
	_, url := start(t, Config{})
	alice, bob := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	note := signed(t, alice, nostr.Event{Kind: 1, Tags: nostr.Tags{{"e", strings.Repeat("ab", 32)}}})
	wrap := signed(t, alice, nostr.Event{Kind: 1059, Tags: nostr.Tags{{"p", publicKey(t, bob)}}})
	w, live := dial(t, url), dial(t, url)
	zeros := func(hex string) string { return hex[:16] + strings.Repeat("0", 48) }
	var filters []string
	for _, filter := range []string{
		`{"ids":["` + note.ID + `","` + wrap.ID + `"]`, `{"authors":["` + note.PubKey + `"]`, `{"#p":["` + publicKey(t, bob) + `"]`,
		`{"#e":["` + strings.Repeat("ab", 32) + `"]`, `{"kinds":[1059],"ids":["` + wrap.ID + `"]`, `{"kinds":[1059],"authors":["` + wrap.PubKey + `"]`,
		`{"kinds":[1059],"#p":["` + publicKey(t, bob) + `"]`,
	} {
		for _, whole := range []string{note.ID, wrap.ID, note.PubKey, publicKey(t, bob), strings.Repeat("ab", 32)} {
			filter = strings.ReplaceAll(filter, whole, zeros(whole))
		}
		filters = append(filters, filter+`}`)
	}
	live.write(`["REQ","live",` + strings.Join(filters, ",") + `]`)
	if got := live.text(); got != "EOSE live" {
		t.Fatal(got)
	}
	for _, ev := range []nostr.Event{note, wrap} {
		if ok, reason := w.publish(ev); !ok {
			t.Fatal(reason)
		}
	}
	for _, filter := range filters {
		if found := w.query(filter); len(found) != 0 {
			t.Errorf("%s finds %d events", filter, len(found))
		}
		if n, _ := w.count(filter); n != 0 {
			t.Errorf("%s counts %d events", filter, n)
		}
		w.write(`["NEG-OPEN","n",` + filter + `,"6100000200"]`)
		if got := w.text(); got != "NEG-MSG n 6100000200" {
			t.Errorf("%s reconciles %s", filter, got)
		}
		// What is no whole id or key is refused.
		for _, change := range []func(string) string{strings.ToUpper, func(hex string) string { return hex[:16] }} {
			if bad := strings.NewReplacer(zeros(note.ID), change(note.ID), zeros(wrap.ID), change(wrap.ID), zeros(note.PubKey), change(note.PubKey)).Replace(filter); bad != filter {
				w.write(`["REQ","a",` + bad + `]`)
				if got := w.text(); !strings.HasPrefix(got, "CLOSED a invalid: ") {
					t.Errorf("%s: %s", bad, got)
				}
			}
		}
	}
	mark := signed(t, alice, nostr.Event{Kind: 7})
	live.write(`["REQ","mark",{"ids":["` + mark.ID + `"],"limit":0}]`)
	if got := live.text(); got != "EOSE mark" {
		t.Errorf("live: %s", got)
	}
}

// TestC1EscapedLabels: a message has one spelling of its name. Two would be a way past whoever looks at messages
// on their way.
func TestC1EscapedLabels(t *testing.T) {
	_, url := start(t, Config{})
	w := dial(t, url)
	note := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1})
	for _, frame := range []string{`["\u0052EQ","a",{}]`, `["R\u0045Q","a",{"limit":0}]`, `["\u0045VENT",` + note.String() + `]`, `["\u0043OUNT","a",{}]`, `["\u0052\u0045\u0051","a",{}]`} {
		w.write(frame)
		if got := w.text(); !strings.HasPrefix(got, "NOTICE invalid: ") {
			t.Errorf("%.40s was answered with %s", frame, got)
		}
	}
	if found := w.query(`{}`); len(found) != 0 {
		t.Error("an event came past its name")
	}
	// Nor does it take back or end anything.
	w.write(`["REQ","a",{"kinds":[1]}]`)
	w.next()
	w.write(`["CLOS\u0045","a"]`)
	if got := w.text(); !strings.HasPrefix(got, "NOTICE invalid: ") {
		t.Error(got)
	}
	if ok, reason := dial(t, url).publish(note); !ok {
		t.Fatal(reason)
	}
	if got := w.event(w.next()); got.ID != note.ID {
		t.Errorf("live: %s", got.ID)
	}
}

// TestC1LimitZeroIsAsked: rules for reading hold for subscriptions without stored events too.
func TestC1LimitZeroIsAsked(t *testing.T) {
	_, url := start(t, Config{ReadPolicies: []ReadPolicy{func(_ context.Context, f nostr.Filter) (bool, string) {
		return f.LimitZero, "not live only"
	}}})
	w := dial(t, url)
	w.write(`["REQ","a",{"kinds":[1059],"limit":0}]`)
	if got := w.text(); got != "CLOSED a blocked: not live only" {
		t.Error(got)
	}
	w.write(`["REQ","a",{"kinds":[1]},{"kinds":[1059],"limit":0}]`)
	if got := w.text(); got != "CLOSED a blocked: not live only" {
		t.Error(got)
	}
}

// Test2b5RefusedDeletions: bans, lists and rates hold for deletions and requests to vanish as for all events: what they
// name stays.
func Test2b5RefusedDeletions(t *testing.T) {
	admin, mallory := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	slow := Policy(func(_ context.Context, ev *nostr.Event) (bool, string) {
		return ev.Content == "too fast", "rate-limited: too many events from your address, slow down"
	})
	_, url := start(t, Config{ServiceURL: serviceURL, Admins: []string{publicKey(t, admin)}, Policies: []Policy{slow}})
	w, _ := greet(t, url)
	now := nostr.Now()
	note := signed(t, mallory, nostr.Event{Kind: 1, CreatedAt: now - 10})
	article := signed(t, mallory, nostr.Event{Kind: 30_023, CreatedAt: now - 10, Tags: nostr.Tags{{"d", "x"}}})
	for _, ev := range []nostr.Event{note, article} {
		if ok, reason := w.publish(ev); !ok {
			t.Fatal(reason)
		}
	}
	tags := nostr.Tags{{"e", note.ID}, {"a", "30023:" + note.PubKey + ":x"}, {"relay", "ALL_RELAYS"}}
	refused := func(why, content string) {
		t.Helper()
		for _, kind := range []int{5, 62} {
			if ok, reason := w.publish(signed(t, mallory, nostr.Event{Kind: kind, Content: content, Tags: tags})); ok || !strings.HasPrefix(reason, why) {
				t.Errorf("kind %d: %v %q, want %q", kind, ok, reason, why)
			}
		}
		if found := w.query(`{"ids":["` + note.ID + `","` + article.ID + `"]}`); len(found) != 2 {
			t.Errorf("%q: a deletion that was refused has left %d of 2 events", why, len(found))
		}
	}
	refused("rate-limited: ", "too fast")
	if status, _, fault := manage(t, url, admin, `{"method":"banpubkey","params":["`+note.PubKey+`"]}`, nil); status != 200 {
		t.Fatal(fault)
	}
	refused("blocked: events of this key are not taken here", "")
	if status, _, fault := manage(t, url, admin, `{"method":"unbanpubkey","params":["`+note.PubKey+`"]}`, nil); status != 200 {
		t.Fatal(fault)
	}
	// A deletion that was refused is not remembered: the same may come later.
	if ok, reason := w.publish(signed(t, mallory, nostr.Event{Kind: 5, Tags: tags})); !ok {
		t.Error(reason)
	}
	if found := w.query(`{"ids":["` + note.ID + `","` + article.ID + `"]}`); len(found) != 0 {
		t.Errorf("%d events are left after a deletion that was taken", len(found))
	}
}

// Test2b12HighKinds: kinds from 40,000 on are kept side by side, whatever their d tags say.
func Test2b12HighKinds(t *testing.T) {
	_, url := start(t, Config{})
	alice := nostr.GeneratePrivateKey()
	w := dial(t, url)
	now := nostr.Now()
	for _, kind := range []int{40_000, 65_535} {
		for i := range 3 {
			ev := signed(t, alice, nostr.Event{Kind: kind, CreatedAt: now + nostr.Timestamp(i), Tags: nostr.Tags{{"d", "x"}}})
			if ok, reason := w.publish(ev); !ok {
				t.Fatal(reason)
			}
		}
	}
	if found := w.query(`{"kinds":[40000,65535]}`); len(found) != 6 {
		t.Errorf("%d of 6 events are kept", len(found))
	}
}

// Test2b12LongTags: the longest tags that are taken are stored, found and served whole; longer ones are refused.
func Test2b12LongTags(t *testing.T) {
	_, url := start(t, Config{})
	alice := nostr.GeneratePrivateKey()
	w := dial(t, url)
	most := DefaultLimits().TagBytes
	longest := signed(t, alice, nostr.Event{Kind: 1, Tags: nostr.Tags{{"t", strings.Repeat("x", most-1)}}})
	if ok, reason := w.publish(longest); !ok {
		t.Fatal(reason)
	}
	if ok, reason := w.publish(signed(t, alice, nostr.Event{Kind: 1, Tags: nostr.Tags{{"t", strings.Repeat("x", most)}}})); ok || !strings.HasPrefix(reason, "invalid: tags have") {
		t.Errorf("longer tags: %v %q", ok, reason)
	}
	if found := w.query(`{"#t":["` + longest.Tags[0][1] + `"]}`); len(found) != 1 || found[0].ID != longest.ID {
		t.Errorf("found %d events by the longest value", len(found))
	}
}

// Test2b13RefusedCount: a COUNT that a policy refuses gets CLOSED with the reason, and no number.
func Test2b13RefusedCount(t *testing.T) {
	var ids []string
	_, url := start(t, Config{ReadPolicies: []ReadPolicy{rememberIDs(&ids)}})
	w := dial(t, url)
	for range 2 {
		for _, frame := range []string{`["COUNT","a",{"kinds":[7]}]`, `["COUNT","a",{"kinds":[1]},{"kinds":[7]}]`} {
			w.write(frame)
			if got := w.text(); got != "CLOSED a blocked: no kind 7" {
				t.Errorf("%s was answered with %s", frame, got)
			}
		}
		w.write(`["COUNT","a",{"kinds":[1]}]`)
		if got := w.text(); got != `COUNT a {"count":0}` {
			t.Error(got)
		}
	}
}
