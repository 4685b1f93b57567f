package relay

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

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

// secret is an event of a private kind as the oracle of the leak test sees it.
type secret struct {
	id, author string
	to         []string
}

// mayRead is the rule for private kinds, said once more in the plainest way.
func mayRead(mode PrivateReads, s secret, f nostr.Filter, authed []string, node, followed string, path string) bool {
	if mode == ReadsOpen || slices.Contains(authed, s.author) || slices.ContainsFunc(s.to, func(to string) bool { return slices.Contains(authed, to) }) {
		return true
	}
	if mode == ReadsStrict || path == "COUNT" || path == "NEG" {
		return false
	}
	for _, to := range s.to {
		if slices.Contains(f.Tags["p"], to) {
			return true
		}
	}
	return s.author != node && s.author != followed && slices.Contains(f.Authors, s.author)
}

// TestC3Leaks asks random filters on every path that answers, as random connections, and holds
// every private event that comes out, and every one that does not, against the rule.
//
//	MOSTRO_LEAKS_SEED=7 go test ./relay -run C3Leaks
//	MOSTRO_LEAKS_FILTERS=10000000 go test ./relay -run C3Leaks -timeout 0
func TestC3Leaks(t *testing.T) {
	filters := 120_000 // in all, a third for each mode
	if testing.Short() {
		filters = 12_000
	}
	filters = int(number("MOSTRO_LEAKS_FILTERS", uint64(filters)))
	each := min(filters/3, 10_000) // on one relay, then comes another in another mode
	seed := number("MOSTRO_LEAKS_SEED", uint64(time.Now().UnixNano()))
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	pick := func(from []string, n int) []string {
		var got []string
		for range 1 + random.IntN(n) {
			got = append(got, from[random.IntN(len(from))])
		}
		return got
	}
	names := make([]string, 8)
	for i := range names {
		names[i] = fmt.Sprintf("%064x", i+1)
	}
	node, followed := publicKey(t, nodeKey), names[7]
	names[6] = node
	now := nostr.Now()
	modes := []PrivateReads{ReadsNamed, ReadsOpen, ReadsStrict}
	for done := 0; done < filters; done += each {
		mode := modes[done/each%len(modes)]
		limits := DefaultLimits()
		limits.QueryTime = time.Hour // what is measured here is not the clock
		r, err := Open(Config{Pubkey: node, Limits: limits, PrivateReads: mode, Followed: func(k string) bool { return k == followed }})
		if err != nil {
			t.Fatal(err)
		}
		kinds := []int{1, 4, 14, 1059, 21059, 38383}
		var events []nostr.Event
		var secrets []secret
		var ids []string
		for i := range 60 {
			ev := nostr.Event{
				Kind: kinds[random.IntN(len(kinds))], PubKey: names[random.IntN(len(names))], Sig: strings.Repeat("0", 128),
				CreatedAt: now - nostr.Timestamp(random.IntN(20)), Content: fmt.Sprint("text ", i), Tags: nostr.Tags{{"d", fmt.Sprint(i)}},
			}
			for range random.IntN(3) {
				ev.Tags = append(ev.Tags, nostr.Tag{"p", names[random.IntN(len(names))]})
			}
			ev.ID = ev.GetID()
			ids = append(ids, ev.ID)
			events = append(events, ev)
			to := secret{id: ev.ID, author: ev.PubKey}
			for tag := range ev.Tags.FindAll("p") {
				to.to = append(to.to, tag[1])
			}
			secrets = append(secrets, to)
			if err := r.Publish(t.Context(), ev); err != nil {
				t.Fatal(err)
			}
		}
		for i := range each {
			var f nostr.Filter
			if random.IntN(2) == 0 {
				for range 1 + random.IntN(3) {
					f.Kinds = append(f.Kinds, kinds[random.IntN(len(kinds))])
				}
			}
			if random.IntN(3) == 0 {
				f.Authors = pick(names, 3)
			}
			if random.IntN(6) == 0 {
				f.IDs = pick(ids, 6)
			}
			if f.Tags = make(nostr.TagMap); random.IntN(3) == 0 {
				f.Tags["p"] = pick(names, 2)
			}
			if random.IntN(10) == 0 {
				f.Tags["d"] = pick([]string{"1", "2", "3", "4", "5", "6"}, 4)
			}
			if random.IntN(6) == 0 {
				at := now - nostr.Timestamp(random.IntN(20))
				f.Since = &at
			}
			if random.IntN(8) == 0 {
				f.Search = "text"
			}
			var authed []string
			s := &session{relay: r}
			s.ctx = t.Context()
			if random.IntN(2) == 0 {
				authed = pick(names, 2)
				var held keys
				for _, name := range authed {
					k, err := parseKey(name)
					if err != nil {
						t.Fatal(err)
					}
					held = append(held, k)
				}
				s.keys.Store(&held)
			}
			path := []string{"COUNT", "NEG"}[i%2]
			switch { // these read every event whole
			case i%50 == 0:
				path = "LIVE"
			case i%8 == 0:
				path = "REQ"
			}
			if err := ask1(r, s, f, path, func(got map[string]bool) error {
				plain := f
				plain.Search = ""
				for i := range events {
					ev, to := &events[i], secrets[i]
					want := plain.Matches(ev) && (path == "LIVE" || ev.Kind != 21059) && (!privateKind(ev.Kind) || mayRead(mode, to, f, authed, node, followed, path)) &&
						(f.Search == "" || ev.Kind == 1 || ev.Kind == 38383)
					if got[ev.ID] != want {
						return fmt.Errorf("event of kind %d by %s to %s: given out %v, want %v", ev.Kind, to.author, to.to, got[ev.ID], want)
					}
				}
				return nil
			}, events); err != nil {
				t.Fatalf("mode %d, %s %s, authed %s: %v", mode, path, f, authed, err)
			}
		}
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// ask1 answers f on one path and gives the ids that came out to check.
func ask1(r *Relay, s *session, f nostr.Filter, path string, check func(map[string]bool) error, events []nostr.Event) error {
	got := make(map[string]bool)
	a, err := r.ask(json.RawMessage(f.String()), path == "COUNT" || path == "NEG")
	if err != nil {
		return err
	}
	switch path {
	case "REQ":
		s.room.L = &s.mu
		s.writing = true // there is no connection to write to
		sub := &subscription{session: s, prefix: []byte("x"), filters: []ask{a}}
		if err := s.sendStored("x", sub, ^uint64(0)); err != nil {
			return err
		}
		for i := range s.queue {
			var ev nostr.Event
			if err := ev.UnmarshalJSON(s.queue[i].body); err != nil {
				return err
			}
			got[ev.ID] = true
		}
	case "LIVE":
		s.writing = true
		s.room.L = &s.mu
		sub := &subscription{session: s, prefix: []byte("x"), filters: []ask{a}}
		r.subscribe(sub, nil)
		for i := range events {
			r.store.sync(func() { r.fanOut(&events[i], encodeEvent(&events[i])) })
		}
		r.unsubscribe(map[string]*subscription{"": sub})
		for i := range s.queue {
			var ev nostr.Event
			if err := ev.UnmarshalJSON(s.queue[i].body); err != nil {
				return err
			}
			got[ev.ID] = true
		}
	default:
		if err := s.eachStored(s.budget("CLOSE", "x"), &a, len(events), func(rec *record) bool { got[rec.id.String()] = true; return true }); err != nil {
			return err
		}
	}
	return check(got)
}
