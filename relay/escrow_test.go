package relay

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"

	events "mostro/relay/store"
)

// inbox is an escrow that writes down what it gets.
type inbox struct {
	mu   sync.Mutex
	got  []string
	fail error
}

func (i *inbox) receive(_ context.Context, ev *nostr.Event) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.got = append(i.got, ev.ID)
	return i.fail
}

// TestMessagesToTheEscrow: what goes to the escrow, what is stored, what is refused.
func TestMessagesToTheEscrow(t *testing.T) {
	node := publicKey(t, nodeKey)
	alice := nostr.GeneratePrivateKey()
	bob := publicKey(t, nostr.GeneratePrivateKey())
	const toEscrow, toStore, refused = "escrow", "store", "refused"
	for _, c := range []struct {
		name   string
		secret string
		ev     nostr.Event
		want   string
		reason string
	}{
		{"v2", alice, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", node}}}, toEscrow, ""},
		{"v1", alice, nostr.Event{Kind: 1059, Tags: nostr.Tags{{"p", node}}}, toEscrow, ""},
		{"v1 of two days ago", alice, nostr.Event{Kind: 1059, CreatedAt: nostr.Now() - 48*hour, Tags: nostr.Tags{{"p", node}}}, toEscrow, ""},
		{"with more tags", alice, nostr.Event{Kind: 14, Tags: nostr.Tags{{"x"}, {"p", node, "wss://relay.example"}, {"p"}, {"e", node}}}, toEscrow, ""},
		{"to us and another", alice, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", bob}, {"p", node}}}, refused, "invalid: "},
		{"to us first", alice, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", node}, {"p", bob}}}, refused, "invalid: "},
		{"to us twice", alice, nostr.Event{Kind: 1059, Tags: nostr.Tags{{"p", node}, {"p", node}}}, refused, "invalid: "},
		{"administrator with the node's key", nodeKey, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", node}}}, toEscrow, ""},
		{"node's key to another", nodeKey, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", bob}}}, refused, "blocked: "},
		{"node's key, wrap to itself", nodeKey, nostr.Event{Kind: 1059, Tags: nostr.Tags{{"p", node}}}, refused, "blocked: "},
		{"order by the node's key", nodeKey, nostr.Event{Kind: 38383, Tags: nostr.Tags{{"d", "x"}}}, refused, "blocked: "},
		{"deletion by the node's key", nodeKey, nostr.Event{Kind: 5}, refused, "blocked: "},
		{"ephemeral by the node's key", nodeKey, nostr.Event{Kind: 20_001}, refused, "blocked: "},
		{"chat", alice, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", bob}}}, toStore, ""},
		{"wrap to another, nearly three days old", alice, nostr.Event{Kind: 1059, CreatedAt: nostr.Now() - 71*hour, Tags: nostr.Tags{{"p", bob}}}, toStore, ""},
		{"wrap to two others", alice, nostr.Event{Kind: 1059, Tags: nostr.Tags{{"p", bob}, {"p", publicKey(t, alice)}}}, toStore, ""},
		{"without recipient", alice, nostr.Event{Kind: 14}, toStore, ""},
		{"another kind that names us", alice, nostr.Event{Kind: 1, Tags: nostr.Tags{{"p", node}}}, toStore, ""},
		{"old message kind that names us", alice, nostr.Event{Kind: 4, Tags: nostr.Tags{{"p", node}}}, toStore, ""},
		{"protected", alice, nostr.Event{Kind: 1, Tags: nostr.Tags{{"-"}}}, refused, "restricted: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			var in inbox
			r, url := start(t, Config{Receive: in.receive})
			reader := dial(t, url)
			reader.write(`["REQ","live",{"#p":["` + node + `","` + bob + `"]}]`)
			reader.next()
			ev := signed(t, c.secret, c.ev)
			ok, reason := dial(t, url).publish(ev)
			if ok != (c.want != refused) || !strings.HasPrefix(reason, c.reason) || ok && reason != "" {
				t.Errorf("answer %v %q", ok, reason)
			}
			kept, err := r.Has(t.Context(), ev.ID)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(in.got) == 1; got != (c.want == toEscrow) || kept != (c.want == toStore) {
				t.Errorf("escrow %v, store %v; want %s", got, kept, c.want)
			}
			// What is not stored was not sent on either.
			reader.write(`["REQ","mark",{"limit":0}]`)
			sent := false
			for parts := reader.next(); string(parts[0]) == `"EVENT"`; parts = reader.next() {
				sent = true
			}
			named := ev.Tags.Find("p") != nil
			if sent != (c.want == toStore && named) {
				t.Errorf("sent to subscriptions: %v", sent)
			}
		})
	}
}

func TestAnswersOfTheEscrow(t *testing.T) {
	for text, want := range map[string]string{
		"pow: 16 bits needed, 4 found":         "pow: 16 bits needed, 4 found",
		"rate-limited: the queue is full":      "rate-limited: the queue is full",
		"open inbox: disk full":                "error: open inbox: disk full",
		"inbox: closed":                        "error: inbox: closed",
		"invalid":                              "error: invalid",
		"":                                     "error: no reason given",
		"invalid: \"quoted\"\n and a new line": "invalid: \"quoted\"\n and a new line",
	} {
		_, url := start(t, Config{Receive: (&inbox{fail: errors.New(text)}).receive})
		ev := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", publicKey(t, nodeKey)}}})
		if ok, reason := dial(t, url).publish(ev); ok || reason != want {
			t.Errorf("error %q was answered with %v %q", text, ok, reason)
		}
	}
}

// TestPanicInTheEscrow: the client gets an answer, and the process goes on.
func TestPanicInTheEscrow(t *testing.T) {
	_, url := start(t, Config{Receive: func(context.Context, *nostr.Event) error { panic("broken") }})
	w := dial(t, url)
	ev := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", publicKey(t, nodeKey)}}})
	if ok, reason := w.publish(ev); ok || !strings.HasPrefix(reason, "error: ") {
		t.Errorf("answer %v %q", ok, reason)
	}
	if ok, reason := w.publish(signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1})); !ok {
		t.Error(reason)
	}
}

// TestPolicies: they run in order, after the relay's own, before the signature is verified.
func TestPolicies(t *testing.T) {
	var asked []string
	policy := func(name string, reject bool, msg string) Policy {
		return func(context.Context, *nostr.Event) (bool, string) {
			asked = append(asked, name)
			return reject, msg
		}
	}
	_, url := start(t, Config{Policies: []Policy{
		policy("first", false, ""), policy("second", true, "not today"), policy("third", true, "never"),
	}})
	unsigned := forged(nostr.Event{Kind: 1, CreatedAt: nostr.Now(), PubKey: publicKey(t, nodeKey)[:63] + "0"})
	w := dial(t, url)
	if ok, reason := w.publish(unsigned); ok || reason != "blocked: not today" {
		t.Errorf("answer %v %q", ok, reason)
	}
	unsigned.Kind = -1
	if ok, reason := w.publish(unsigned); ok || !strings.HasPrefix(reason, "invalid: kind") {
		t.Errorf("answer %v %q", ok, reason)
	}
	if diff := cmp.Diff([]string{"first", "second"}, asked); diff != "" {
		t.Error(diff)
	}
}

// TestNarrowLimitsLetTheNodeSpeak: what the settings take of clients does not bound what the node itself has to say.
func TestNarrowLimitsLetTheNodeSpeak(t *testing.T) {
	limits := DefaultLimits()
	limits.ContentLength, limits.TagBytes, limits.EventTags = 100, 1024, 10
	r, _ := start(t, Config{Dir: t.TempDir(), Limits: limits})
	answer := nostr.Event{Kind: 14, CreatedAt: nostr.Now(), Content: strings.Repeat("x", 2000)}
	for range 20 {
		answer.Tags = append(answer.Tags, nostr.Tag{"x", strings.Repeat("y", 100)})
	}
	if err := r.Publish(t.Context(), signed(t, nodeKey, answer)); err != nil {
		t.Error(err)
	}
}

func TestPublishFromInside(t *testing.T) {
	r, url := start(t, Config{Dir: t.TempDir()})
	now := nostr.Now()
	order := func(at nostr.Timestamp, tags ...nostr.Tag) nostr.Event {
		return signed(t, nodeKey, nostr.Event{Kind: 38383, CreatedAt: at, Tags: append(nostr.Tags{{"d", "x"}}, tags...)})
	}
	reader := dial(t, url)
	reader.write(`["REQ","live",{}]`)
	reader.next()
	first, second := order(now), order(now+1)
	gone := signed(t, nodeKey, nostr.Event{Kind: 1})
	mark := signed(t, nodeKey, nostr.Event{Kind: 7})
	deletion := signed(t, nodeKey, nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", gone.ID}}})
	past := signed(t, nodeKey, nostr.Event{Kind: 1, Tags: nostr.Tags{{"expiration", "1600000000"}}})
	// Each is repeated, as an outbox does that did not see the end of its last try.
	for _, evs := range [][]nostr.Event{{first, first}, {second}, {first, second}, {gone, deletion}, {gone, deletion}, {past}, {mark}} {
		if err := r.Publish(t.Context(), evs...); err != nil {
			t.Error(err)
		}
	}
	for _, want := range []nostr.Event{first, second, gone, deletion, mark} { // what has expired goes nowhere
		if got := reader.event(reader.next()); got.ID != want.ID {
			t.Errorf("live: kind %d, want kind %d", got.Kind, want.Kind)
		}
	}
	found, err := r.Query(t.Context(), nostr.Filter{Authors: []string{first.PubKey}})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, ev := range found {
		ids = append(ids, ev.ID)
	}
	if diff := cmp.Diff(sorted([]string{second.ID, deletion.ID, mark.ID}), sorted(ids)); diff != "" {
		t.Error(diff)
	}

	broken := order(now + 5)
	broken.Content = "changed after signing"
	if err := r.Publish(t.Context(), broken); err == nil {
		t.Error("an event whose id does not fit was published")
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Publish(canceled, order(now+6)); !errors.Is(err, context.Canceled) {
		t.Errorf("publishing with a canceled context: %v", err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Publish(t.Context(), order(now+7)); !errors.Is(err, events.ErrClosed) {
		t.Errorf("publishing after Close: %v", err)
	}
	if _, err := r.Query(t.Context(), nostr.Filter{}); !errors.Is(err, events.ErrClosed) {
		t.Errorf("reading after Close: %v", err)
	}
}
