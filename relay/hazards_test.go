package relay

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// Tests in this file are named after what ended, fooled or filled relays on these libraries:
// each sends the frames that did it.

// forged makes an event whose id fits its content but that nobody signed.
func forged(ev nostr.Event) nostr.Event {
	ev.ID = ev.GetID()
	if ev.Sig == "" {
		ev.Sig = strings.Repeat("0", 128)
	}
	return ev
}

// alive fails the test when the relay does not answer any more.
func alive(t *testing.T, url string) {
	t.Helper()
	w := dial(t, url)
	if ok, reason := w.publish(signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1})); !ok {
		t.Errorf("after the probe a good event is refused: %s", reason)
	}
}

func TestC1EmptyDTag(t *testing.T) {
	_, url := start(t, Config{})
	alice := nostr.GeneratePrivateKey()
	for _, kind := range []int{0, 3, 10_002, 20_001, 30_000} {
		ev := signed(t, alice, nostr.Event{Kind: kind, Tags: nostr.Tags{{"d"}}})
		if ok, reason := dial(t, url).publish(ev); ok || !strings.HasPrefix(reason, "invalid: ") {
			t.Errorf("kind %d with an empty d tag: %v %q", kind, ok, reason)
		}
	}
	alive(t, url)
}

func TestC1Shape(t *testing.T) {
	_, url := start(t, Config{})
	alice := nostr.GeneratePrivateKey()
	pubkey := publicKey(t, alice)
	now := nostr.Now()
	sign := func(ev nostr.Event) nostr.Event { return signed(t, alice, ev) }
	changed := func(change func(*nostr.Event)) nostr.Event {
		ev := sign(nostr.Event{Kind: 1})
		change(&ev)
		return ev
	}
	for name, ev := range map[string]nostr.Event{
		// This one ends a process in which khatru runs on go-nostr's libsecp256k1.
		"pubkey of 33 bytes":    forged(nostr.Event{Kind: 1, CreatedAt: now, PubKey: strings.Repeat("a", 66)}),
		"signature of 65 bytes": forged(nostr.Event{Kind: 1, CreatedAt: now, PubKey: pubkey, Sig: strings.Repeat("a", 130)}),
		"upper-case pubkey":     forged(nostr.Event{Kind: 1, CreatedAt: now, PubKey: strings.ToUpper(pubkey)}),
		"kind -1":               sign(nostr.Event{Kind: -1}),
		"kind 65536":            sign(nostr.Event{Kind: 65_536}),
		"kind 66595":            sign(nostr.Event{Kind: 65_536 + 1059}),
		"last second of 32 bit": sign(nostr.Event{Kind: 0, CreatedAt: math.MaxUint32}),
		"time of 33 bits":       sign(nostr.Event{Kind: 1, CreatedAt: math.MaxUint32 + 1}),
		"negative time":         sign(nostr.Event{Kind: 1, CreatedAt: -5}),
		"content of 70 kB":      sign(nostr.Event{Kind: 1, Content: strings.Repeat("x", 70_000)}),
		"tag without elements":  sign(nostr.Event{Kind: 1, Tags: nostr.Tags{{}}}),
		"2,001 tags":            sign(nostr.Event{Kind: 1, Tags: repeated(nostr.Tag{"t", "x"}, 2001)}),
		"expired":               sign(nostr.Event{Kind: 1, Tags: nostr.Tags{{"expiration", "1600000000"}}}),
		"seal":                  sign(nostr.Event{Kind: 13}),
		"zap request":           sign(nostr.Event{Kind: 9734}),
		"login":                 sign(nostr.Event{Kind: 22242}),
		"blob login":            sign(nostr.Event{Kind: 24242}),
		"http login":            sign(nostr.Event{Kind: 27235}),
		"wrong signature":       forged(nostr.Event{Kind: 1, CreatedAt: now, PubKey: pubkey}),
		"other content":         changed(func(ev *nostr.Event) { ev.Content = "other" }),
		"other id":              changed(func(ev *nostr.Event) { ev.ID = strings.Repeat("ab", 32) }),
	} {
		if ok, reason := dial(t, url).publish(ev); ok || !strings.HasPrefix(reason, "invalid: ") {
			t.Errorf("%s: %v %q", name, ok, reason)
		}
	}
	longest := sign(nostr.Event{Kind: 1, Content: strings.Repeat("x", 65_535)})
	w := dial(t, url)
	if ok, reason := w.publish(longest); !ok {
		t.Errorf("the longest content: %s", reason)
	}
	if found := w.query(`{}`); len(found) != 1 || found[0].ID != longest.ID {
		t.Errorf("stored %d events, want only the one that is in order", len(found))
	}
	alive(t, url)
}

func repeated(tag nostr.Tag, n int) nostr.Tags {
	tags := make(nostr.Tags, n)
	for i := range tags {
		tags[i] = tag
	}
	return tags
}

func TestC1Frames(t *testing.T) {
	_, url := start(t, Config{})
	w := dial(t, url)
	for _, c := range []struct{ frame, want string }{
		{`,"FOO"`, "NOTICE invalid: "},
		{`[,"FOO"`, "NOTICE invalid: "},
		{``, "NOTICE invalid: "},
		{`null`, "NOTICE invalid: "},
		{`["EVENT"]`, "NOTICE invalid: "},
		{`["EVENT",null]`, "NOTICE invalid: "},
		{`["EVENT",[]]`, "NOTICE invalid: "},
		{`["EVENT",{"kind":1e20}]`, "NOTICE invalid: "},
		{`["EVENT",{"kind":1059.0}]`, "NOTICE invalid: "},
		{`["EVENT",{"kind":1.059e3}]`, "NOTICE invalid: "},
		{`["EVENT",{"tags":[[1]]}]`, "NOTICE invalid: "},
		{strings.Repeat("[", 100_000), "NOTICE invalid: "},
		{`["NEG-OPEN","a",{},"6100FFFFFFFFFFFFFFFF7F"]`, "NEG-ERR a invalid: "},
		{`["NEG-OPEN","a"]`, "NEG-ERR a invalid: "},
		{`["NEG-MSG","a","61"]`, "NEG-ERR a closed: "},
		{`["NEG-OPEN","a",{},5]`, "NEG-ERR a invalid: "},
		{`["NEG-OPEN","a",{},""]`, "NEG-ERR a invalid: "},
		{`["NEG-OPEN","a",{},"60"]`, "NEG-MSG a 61"},
		{`["AUTH",{}]`, "NOTICE invalid: "},
		{`["COUNT","a",{}]`, `COUNT a {"count":0}`},
		{`["REQ",5,{}]`, "NOTICE invalid: "},
		{`["REQ","",{}]`, "NOTICE invalid: "},
		{`["REQ",null,{}]`, "NOTICE invalid: "},
		{`["REQ","` + strings.Repeat("s", 65) + `",{}]`, "NOTICE invalid: "},
		{`["REQ","a"]`, "CLOSED a invalid: "},
		{`["REQ","a",null]`, "CLOSED a invalid: "},
		{`["REQ","a",{"kinds":[1.5]}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"ids":["abc"]}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"authors":["` + strings.Repeat("AA", 32) + `"]}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"limit":-1}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"search":"x"}]`, "EOSE a"},
		{`["REQ","a",{"##e":["x"]}]`, "CLOSED a unsupported: "},
		{`["REQ","a",` + strings.Repeat(`{},`, 10) + `{}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"kinds":[` + strings.Repeat(`1,`, 500) + `1]}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"kinds":[` + strings.Repeat(`1,`, 499) + `1]}]`, "EOSE a"},
		{`["REQ","` + strings.Repeat("s", 64) + `",{"limit":0}]`, "EOSE " + strings.Repeat("s", 64)},
		{`["CLOSE","never opened"]`, ""},
		{`["REQ","b\"\\\u0001",{"limit":0}]`, `EOSE b\"\\\u0001`},
	} {
		w.write(c.frame)
		if c.want == "" {
			continue
		}
		if got := w.text(); !strings.HasPrefix(got, c.want) {
			t.Errorf("%.80s was answered with %q, want %q", c.frame, got, c.want)
		}
	}
	alive(t, url)
}

// TestC1EscapedSubscriptionID: events for a subscription id that needs escapes used to go out
// as empty frames.
func TestC1EscapedSubscriptionID(t *testing.T) {
	_, url := start(t, Config{})
	w := dial(t, url)
	w.publish(signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1}))
	w.write(`["REQ","a\"b\\\n",{}]`)
	parts := w.next()
	w.event(parts)
	if got := string(parts[1]); got != `"a\"b\\\n"` {
		t.Errorf("subscription id %s", got)
	}
}

func TestC1MessageSize(t *testing.T) {
	_, url := start(t, Config{})
	w := dial(t, url)
	w.write(`["REQ","` + strings.Repeat("x", 300_000) + `",{}]`)
	if err := w.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Errorf("a message of 300 kB was answered with %v, want close code 1009", err)
	}
}

func TestC1SameSubscriptionID(t *testing.T) {
	r, url := start(t, Config{})
	w := dial(t, url)
	for i := range 500 {
		w.write(fmt.Sprintf(`["REQ","same",{"kinds":[%d]},{"kinds":[7]}]`, i%2+1))
		if got := w.text(); got != "EOSE same" {
			t.Fatal(got)
		}
	}
	live := 0
	r.live.mu.Lock()
	live = len(r.live.subs)
	r.live.mu.Unlock()
	if live != 1 {
		t.Errorf("%d subscriptions are live, want 1", live)
	}
	alice := nostr.GeneratePrivateKey()
	for _, kind := range []int{1, 2} { // the last REQ asked for 2
		if ok, reason := dial(t, url).publish(signed(t, alice, nostr.Event{Kind: kind})); !ok {
			t.Fatal(reason)
		}
	}
	if got := w.event(w.next()); got.Kind != 2 {
		t.Errorf("got kind %d of a replaced subscription", got.Kind)
	}
	// A refused REQ ends the subscription that it was to replace, whole.
	w.write(`["REQ","same",{"kinds":[2]},{"limit":-1}]`)
	if got := w.text(); !strings.HasPrefix(got, "CLOSED same ") {
		t.Fatal(got)
	}
	r.live.mu.Lock()
	live = len(r.live.subs)
	r.live.mu.Unlock()
	if live != 0 {
		t.Errorf("%d subscriptions are live after a refused REQ, want 0", live)
	}
}

func TestC1SubscriptionCap(t *testing.T) {
	_, url := start(t, Config{})
	w := dial(t, url)
	for i := range DefaultLimits().Subscriptions {
		w.write(fmt.Sprintf(`["REQ","%d",{"limit":0}]`, i))
		if got := w.text(); got != fmt.Sprint("EOSE ", i) {
			t.Fatal(got)
		}
	}
	w.write(`["REQ","more",{"limit":0}]`)
	if got := w.text(); !strings.HasPrefix(got, "CLOSED more rate-limited: ") {
		t.Error(got)
	}
	w.write(`["REQ","0",{"limit":0}]`)
	if got := w.text(); got != "EOSE 0" {
		t.Error(got)
	}
	w.write(`["CLOSE","1"]`)
	w.write(`["REQ","more",{"limit":0}]`)
	if got := w.text(); got != "EOSE more" {
		t.Error(got)
	}
}

// TestC1PrivateReads: the ways around a gate on the kinds of a filter, and the filters that
// clients use.
func TestC1PrivateReads(t *testing.T) {
	r, url := start(t, Config{})
	nodePubkey := publicKey(t, nodeKey)
	alice, bob, carol := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	a, b, c := publicKey(t, alice), publicKey(t, bob), publicKey(t, carol)
	wrap := signed(t, alice, nostr.Event{Kind: 1059, Tags: nostr.Tags{{"p", b}, {"p", c}, {"t", "x"}}})
	chat := signed(t, bob, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", c}}})
	old := signed(t, bob, nostr.Event{Kind: 4, Tags: nostr.Tags{{"p", a}}})
	reply := signed(t, nodeKey, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", a}}})
	names := map[string]string{wrap.ID: "wrap", chat.ID: "chat", old.ID: "old", reply.ID: "reply"}

	cases := []struct{ filter, want string }{
		{`{}`, ""},
		{`{"kinds":[1059]}`, ""},
		{`{"kinds":[4,14,1059]}`, ""},
		{`{"kinds":[66595]}`, ""},
		{`{"ids":["` + wrap.ID + `","` + chat.ID + `","` + reply.ID + `"]}`, ""},
		{`{"ids":["` + wrap.ID + `"],"kinds":[1059]}`, ""},
		{`{"#t":["x"]}`, ""},
		{`{"kinds":[14],"authors":["` + nodePubkey + `"]}`, ""},
		{`{"authors":["` + nodePubkey + `","` + c + `"]}`, ""},
		{`{"since":1}`, ""},
		{`{"kinds":[1059],"#p":["` + b + `"]}`, "wrap"},
		{`{"#p":["` + c + `"]}`, "chat wrap"},
		{`{"kinds":[14],"authors":["` + b + `"]}`, "chat"},
		{`{"authors":["` + b + `"]}`, "chat old"},
		{`{"authors":["` + nodePubkey + `","` + b + `"]}`, "chat old"},
		{`{"kinds":[14],"authors":["` + nodePubkey + `"],"#p":["` + a + `"]}`, "reply"},
		{`{"ids":["` + wrap.ID + `"],"#p":["` + b + `"]}`, "wrap"},
		{`{"kinds":[1059],"#p":["` + a + `"]}`, ""},
	}
	live := make([]wire, len(cases))
	for i, c := range cases {
		live[i] = dial(t, url)
		none := strings.Replace(strings.Replace(c.filter, "{", `{"limit":0,`, 1), ",}", "}", 1)
		live[i].write(`["REQ","live",` + none + `]`)
		if got := live[i].text(); got != "EOSE live" {
			t.Fatalf("%s: %s", c.filter, got)
		}
	}
	w := dial(t, url)
	for _, ev := range []nostr.Event{wrap, chat, old} {
		if ok, reason := w.publish(ev); !ok {
			t.Fatal(reason)
		}
	}
	if err := r.Publish(t.Context(), reply); err != nil {
		t.Fatal(err)
	}
	// A mark that every client gets, after what it may see.
	mark := signed(t, alice, nostr.Event{Kind: 1})
	for i, c := range cases {
		var stored, seen []string
		for _, ev := range w.query(c.filter) {
			stored = append(stored, names[ev.ID])
		}
		if diff := cmp.Diff(c.want, sorted(stored)); diff != "" {
			t.Errorf("%s, stored:\n%s", c.filter, diff)
		}
		live[i].write(`["REQ","mark",{"ids":["` + mark.ID + `"]}]`)
		for {
			parts := live[i].next()
			if string(parts[0]) == `"EOSE"` {
				break
			}
			ev := live[i].event(parts)
			seen = append(seen, names[ev.ID])
		}
		if diff := cmp.Diff(c.want, sorted(seen)); diff != "" {
			t.Errorf("%s, live:\n%s", c.filter, diff)
		}
	}
}

// TestC1SlowReader: a client that does not read is cut off, whether it sends signs of life or nothing at all, and while its
// frames pile up all others are answered and get what they have subscribed to, also those of its own address.
func TestC1SlowReader(t *testing.T) {
	for _, pongs := range []bool{false, true} {
		t.Run(fmt.Sprintf("pongs %v", pongs), func(t *testing.T) {
			limits := DefaultLimits()
			limits.QueueBytes = 256 << 10
			limits.QueueTime = time.Hour // it is the bytes that end it, however slow this machine is
			r, url := start(t, Config{Limits: limits})
			slow := dial(t, url) // nobody reads from it, so that it does not answer pings either
			slow.write(`["REQ","all",{}]`)
			if pongs {
				go func() {
					for slow.WriteControl(websocket.PongMessage, nil, time.Time{}) == nil {
						time.Sleep(controlWindow / maxControls * 2)
					}
				}()
			}
			elsewhere := websocket.Dialer{NetDialContext: fromAttacker.DialContext}
			conn, _, err := elsewhere.Dial(url, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			alice := nostr.GeneratePrivateKey()
			reader := dial(t, url)
			reader.write(`["REQ","mine",{"authors":["` + publicKey(t, alice) + `"]}]`)
			if got := reader.text(); got != "EOSE mine" {
				t.Fatal(got)
			}
			publishers := []wire{dial(t, url), {t, conn}}
			// Far more than the queue and the sockets' buffers hold together.
			for i := range 5000 {
				ev := signed(t, alice, nostr.Event{Kind: 1, Content: fmt.Sprint(i, strings.Repeat("x", 60_000))})
				if ok, reason := publishers[i%2].publish(ev); !ok {
					t.Fatal(reason)
				}
				if got := reader.event(reader.next()); got.ID != ev.ID {
					t.Fatalf("live event %s, want %s", got.ID, ev.ID)
				}
				r.mu.Lock()
				left := len(r.sessions)
				r.mu.Unlock()
				if left == len(publishers)+1 {
					return // the slow one is gone, and nobody has waited for it
				}
			}
			t.Error("a client that does not read is still served")
		})
	}
}

// TestC1SlowReaderOfStored: one that reads its stored events slowly is waited for.
func TestC1SlowReaderOfStored(t *testing.T) {
	r, url := start(t, Config{Limits: func() Limits {
		l := DefaultLimits()
		l.QueueBytes = 128 << 10
		return l
	}()})
	for i := range 300 {
		ev := signed(t, nodeKey, nostr.Event{Kind: 1, Content: fmt.Sprint(i, strings.Repeat("x", 60_000))})
		if err := r.Publish(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	w := dial(t, url)
	w.write(`["REQ","all",{}]`)
	w.next()
	for range 200 { // while the buffers fill
		r.mu.Lock()
		for s := range r.sessions {
			s.mu.Lock()
			if most := r.cfg.Limits.QueueBytes; s.queued > most {
				t.Errorf("%d bytes are waiting, at most %d may", s.queued, most)
			}
			s.mu.Unlock()
		}
		r.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	if got := len(w.stored()) + 1; got < 250 || got >= 300 { // 16 MiB are 277 of these
		t.Errorf("got %d events", got)
	}
}

// TestC1Order: 2,000 events that are sent without waiting are answered in their order.
func TestC1Order(t *testing.T) {
	_, url := start(t, Config{})
	alice := nostr.GeneratePrivateKey()
	w := dial(t, url)
	const n = 2000
	events := make([]nostr.Event, n)
	for i := range events {
		events[i] = signed(t, alice, nostr.Event{Kind: 1, Content: fmt.Sprint(i)})
	}
	go func() {
		for _, ev := range events {
			if w.WriteMessage(websocket.TextMessage, []byte(`["EVENT",`+ev.String()+`]`)) != nil {
				return
			}
		}
	}()
	for i := range events {
		if parts := w.next(); string(parts[1]) != `"`+events[i].ID+`"` {
			t.Fatalf("answer %d is for another event", i)
		}
	}
}

func TestC1ForwardedHeaders(t *testing.T) {
	var seen []string
	_, url := start(t, Config{Policies: []Policy{remember(&seen)}})
	header := http.Header{"X-Forwarded-For": {"203.0.113.7"}, "X-Real-Ip": {"203.0.113.7"}, "X-Forwarded-Host": {"other.example"}}
	conn, _, err := websocket.DefaultDialer.Dial(url, header)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wire{t, conn}.publish(signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1}))
	if diff := cmp.Diff([]string{"127.0.0.1"}, seen); diff != "" {
		t.Error(diff)
	}
}
