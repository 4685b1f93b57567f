package relay

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/fasthttp/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

const serviceURL = "wss://relay.example.com"

// greet dials a relay that has an address and returns its challenge.
func greet(t testing.TB, url string) (wire, string) {
	t.Helper()
	w := dial(t, url)
	parts := w.next()
	var challenge string
	if err := json.Unmarshal(parts[1], &challenge); err != nil || string(parts[0]) != `"AUTH"` || len(challenge) != 64 {
		t.Fatalf("greeting %s: %v", parts, err)
	}
	return w, challenge
}

func login(t testing.TB, secret, challenge, relay string, change func(*nostr.Event)) nostr.Event {
	t.Helper()
	ev := nostr.Event{Kind: 22242, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"relay", relay}, {"challenge", challenge}}}
	if change != nil {
		change(&ev)
	}
	return signed(t, secret, ev)
}

func (w wire) auth(ev nostr.Event) (ok bool, reason string) {
	w.Helper()
	w.write(`["AUTH",` + ev.String() + `]`)
	parts := w.next()
	if len(parts) != 4 || string(parts[1]) != `"`+ev.ID+`"` {
		w.Fatalf("AUTH was answered with %s", parts)
	}
	if err := json.Unmarshal(parts[3], &reason); err != nil {
		w.Fatal(err)
	}
	return string(parts[2]) == "true", reason
}

func TestC3Auth(t *testing.T) {
	var seen []string
	_, url := start(t, Config{ServiceURL: serviceURL, Policies: []Policy{rememberAuthed(&seen)}})
	alice, bob := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	_, other := greet(t, url)
	header := http.Header{"X-Forwarded-Host": {"evil.example"}, "Host": {"evil.example"}}
	conn, _, err := websocket.DefaultDialer.Dial(url, header)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w := wire{t, conn}
	var challenge string
	if err := json.Unmarshal(w.next()[1], &challenge); err != nil || challenge == other {
		t.Fatalf("challenge %q, %v", challenge, err)
	}
	none := func(*nostr.Event) {}
	for _, c := range []struct {
		name, challenge, relay string
		change                 func(*nostr.Event)
		want                   string
	}{
		{"challenge of another connection", other, serviceURL, none, "invalid: the challenge"},
		{"another relay", challenge, "wss://evil.example", none, "invalid: the relay tag"},
		{"another path", challenge, serviceURL + "/x", none, "invalid: the relay tag"},
		{"without encryption", challenge, "ws://relay.example.com", none, "invalid: the relay tag"},
		{"no tags", challenge, serviceURL, func(ev *nostr.Event) { ev.Tags = nil }, "invalid: the challenge"},
		{"tags without values", challenge, serviceURL, func(ev *nostr.Event) { ev.Tags = nostr.Tags{{"relay"}, {"challenge"}} }, "invalid: the challenge"},
		{"two challenges", challenge, serviceURL, func(ev *nostr.Event) { ev.Tags = append(ev.Tags, nostr.Tag{"challenge", other}) }, "invalid: the challenge"},
		{"another kind", challenge, serviceURL, func(ev *nostr.Event) { ev.Kind = 1 }, "invalid: authentication is kind"},
		{"old", challenge, serviceURL, func(ev *nostr.Event) { ev.CreatedAt -= 700 }, "invalid: created_at"},
		{"from the future", challenge, serviceURL, func(ev *nostr.Event) { ev.CreatedAt += 700 }, "invalid: created_at"},
	} {
		if ok, reason := w.auth(login(t, alice, c.challenge, c.relay, c.change)); ok || !strings.HasPrefix(reason, c.want) {
			t.Errorf("%s: %v %q", c.name, ok, reason)
		}
	}
	stolen := login(t, alice, challenge, serviceURL, nil)
	stolen.PubKey = publicKey(t, bob)
	stolen.ID = stolen.GetID()
	if ok, reason := w.auth(stolen); ok || !strings.HasPrefix(reason, "invalid: the signature") {
		t.Errorf("another's key: %v %q", ok, reason)
	}
	good := login(t, alice, challenge, "WSS://Relay.example.com:443/", nil)
	if ok, reason := w.publish(good); ok {
		t.Errorf("a login was stored: %q", reason)
	}
	for range 2 {
		if ok, reason := w.auth(good); !ok || reason != "" {
			t.Errorf("%v %q", ok, reason)
		}
	}
	w.publish(signed(t, bob, nostr.Event{Kind: 1}))
	if ok, reason := w.auth(login(t, bob, challenge, serviceURL, nil)); !ok {
		t.Error(reason)
	}
	w.publish(signed(t, alice, nostr.Event{Kind: 1, Content: "2"}))
	if diff := cmp.Diff([]string{publicKey(t, alice), publicKey(t, bob)}, seen); diff != "" {
		t.Errorf("khatru.GetAuthed:\n%s", diff)
	}
	for i := 2; i < 64; i++ {
		if ok, reason := w.auth(login(t, nostr.GeneratePrivateKey(), challenge, serviceURL, nil)); !ok {
			t.Fatal(i, reason)
		}
	}
	if ok, reason := w.auth(login(t, nostr.GeneratePrivateKey(), challenge, serviceURL, nil)); ok || !strings.HasPrefix(reason, "rate-limited: ") {
		t.Errorf("key 65: %v %q", ok, reason)
	}
	// Without an address there is nothing that a login could be for.
	_, plain := start(t, Config{})
	if ok, reason := dial(t, plain).auth(good); ok || !strings.HasPrefix(reason, "error: ") {
		t.Errorf("%v %q", ok, reason)
	}
}

func TestSubscriptionIDInPolicies(t *testing.T) {
	var ids []string
	_, url := start(t, Config{ReadPolicies: []ReadPolicy{rememberIDs(&ids)}})
	w := dial(t, url)
	w.write(`["REQ","abc",{"kinds":[1]}]`)
	w.next()
	w.write(`["COUNT","def",{"kinds":[1]}]`)
	w.next()
	w.write(`["REQ","abc",{"kinds":[7]}]`)
	if got := w.text(); got != "CLOSED abc blocked: no kind 7" {
		t.Error(got)
	}
	if diff := cmp.Diff([]string{"abc", "def", "abc"}, ids); diff != "" {
		t.Error(diff)
	}
}

func TestProtectedEvents(t *testing.T) {
	_, url := start(t, Config{ServiceURL: serviceURL})
	alice := nostr.GeneratePrivateKey()
	w, challenge := greet(t, url)
	ev := signed(t, alice, nostr.Event{Kind: 1, Tags: nostr.Tags{{"-"}}})
	if ok, reason := w.publish(ev); ok || !strings.HasPrefix(reason, "auth-required: ") {
		t.Errorf("unknown client: %v %q", ok, reason)
	}
	for content, want := range map[string]string{ev.String(): "restricted: ", "": "", "{}": "", "[]": "", signed(t, alice, nostr.Event{Kind: 1}).String(): ""} {
		for _, kind := range []int{6, 16} {
			if _, reason := w.publish(signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: kind, Content: content})); !strings.HasPrefix(reason, want) || (reason == "") != (want == "") {
				t.Errorf("repost of %.60s: %q", content, reason)
			}
		}
	}
	w.auth(login(t, nostr.GeneratePrivateKey(), challenge, serviceURL, nil))
	if ok, reason := w.publish(ev); ok || !strings.HasPrefix(reason, "restricted: ") {
		t.Errorf("another: %v %q", ok, reason)
	}
	w.auth(login(t, alice, challenge, serviceURL, nil))
	if ok, reason := w.publish(ev); !ok {
		t.Error(reason)
	}
}
