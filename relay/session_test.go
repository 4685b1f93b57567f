package relay

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// TestCloseFinishesWork: a message that is being handled when the relay closes is finished and
// answered, and the client is told goodbye.
func TestCloseFinishesWork(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	r, url := start(t, Config{Receive: func(ctx context.Context, _ *nostr.Event) error {
		close(began)
		<-finish
		return ctx.Err()
	}})
	w := dial(t, url)
	idle := dial(t, url)
	ev := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", publicKey(t, nodeKey)}}})
	w.write(`["EVENT",` + ev.String() + `]`)
	<-began
	closed := make(chan error)
	go func() { closed <- r.Close(t.Context()) }()
	if _, _, err := idle.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("an idle client was left with %v", err)
	}
	select {
	case err := <-closed:
		t.Errorf("Close did not wait: %v", err)
	default:
	}
	close(finish)
	if got := w.text(); got != "OK "+ev.ID+" true " {
		t.Errorf("answer %q", got)
	}
	if _, _, err := w.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("the client was left with %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestCloseGivesUp: Close ends with its context even when a message never gets done.
func TestCloseGivesUp(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	r, url := start(t, Config{Receive: func(context.Context, *nostr.Event) error {
		close(began)
		<-finish
		return nil
	}})
	w := dial(t, url)
	ev := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", publicKey(t, nodeKey)}}})
	w.write(`["EVENT",` + ev.String() + `]`)
	<-began
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	close(finish)
}

// TestReceiveOutlivesTheClient: a client that leaves does not take its message back.
func TestReceiveOutlivesTheClient(t *testing.T) {
	began, result := make(chan context.Context), make(chan error)
	r, url := start(t, Config{Receive: func(ctx context.Context, _ *nostr.Event) error {
		began <- ctx
		result <- ctx.Err()
		return nil
	}})
	w := dial(t, url)
	ev := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", publicKey(t, nodeKey)}}})
	w.write(`["EVENT",` + ev.String() + `]`)
	<-began
	r.mu.Lock()
	for s := range r.sessions {
		s.cut()
	}
	r.mu.Unlock()
	if err := <-result; err != nil {
		t.Errorf("the context of the message ended with the connection: %v", err)
	}
}

func TestConnectionCap(t *testing.T) {
	limits := DefaultLimits()
	limits.Connections = 2
	_, url := start(t, Config{Limits: limits})
	first := dial(t, url)
	dial(t, url)
	if _, response, err := websocket.DefaultDialer.Dial(url, nil); err == nil || response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a third connection: %v", err)
	}
	first.Close()
	for { // the place is free when the relay has noticed
		conn, _, err := websocket.DefaultDialer.Dial(url, nil)
		if err == nil {
			conn.Close()
			return
		}
	}
}

// TestDisconnectEndsSubscriptions: nothing is kept of a client that is gone.
func TestDisconnectEndsSubscriptions(t *testing.T) {
	r, url := start(t, Config{})
	w := dial(t, url)
	w.write(`["REQ","a",{}]`)
	w.next()
	w.Close()
	for {
		live, sessions := 0, 0
		r.live.mu.Lock()
		live = len(r.live.subs)
		r.live.mu.Unlock()
		r.mu.Lock()
		sessions = len(r.sessions)
		r.mu.Unlock()
		if live == 0 && sessions == 0 {
			return
		}
	}
}

// TestEphemeralEvents are sent on and not kept.
func TestEphemeralEvents(t *testing.T) {
	r, url := start(t, Config{})
	reader := dial(t, url)
	reader.write(`["REQ","live",{"kinds":[20001]}]`)
	reader.next()
	ev := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 20_001})
	if ok, reason := dial(t, url).publish(ev); !ok || reason != "" {
		t.Error(reason)
	}
	if got := reader.event(reader.next()); got.ID != ev.ID {
		t.Errorf("got event %s", got.ID)
	}
	if kept, err := r.Has(t.Context(), ev.ID); err != nil || kept {
		t.Errorf("the event was kept: %v %v", kept, err)
	}
}

// TestEphemeralGiftWraps: gift wraps that are not kept (kind 21059) go out live by the rule of those that are.
func TestEphemeralGiftWraps(t *testing.T) {
	alice, bob, carol := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	wrap := signed(t, alice, nostr.Event{Kind: 21059, Tags: nostr.Tags{{"p", publicKey(t, bob)}, {"t", "x"}}})
	mark := signed(t, alice, nostr.Event{Kind: 1})
	named := `{"#p":["` + publicKey(t, bob) + `"]}`
	for _, mode := range []PrivateReads{ReadsNamed, ReadsOpen, ReadsStrict} {
		_, url := start(t, Config{ServiceURL: serviceURL, PrivateReads: mode})
		type reader struct {
			wire
			filter, key string
			want        bool
		}
		var readers []reader
		for _, filter := range []string{`{}`, `{"kinds":[21059,1]}`, `{"ids":["` + wrap.ID + `"]}`, `{"#t":["x"]}`, `{"since":1}`, named, `{"authors":["` + wrap.PubKey + `"]}`} {
			for _, key := range []string{"", bob, carol} {
				w, challenge := greet(t, url)
				if key != "" {
					if ok, reason := w.auth(login(t, key, challenge, serviceURL, nil)); !ok {
						t.Fatal(reason)
					}
				}
				w.write(`["REQ","a",` + filter + `]`)
				if got := w.text(); got != "EOSE a" {
					t.Fatal(got)
				}
				names := filter == named || strings.Contains(filter, "authors")
				readers = append(readers, reader{w, filter, key, mode == ReadsOpen || key == bob || mode == ReadsNamed && names})
			}
		}
		w, _ := greet(t, url)
		for _, ev := range []nostr.Event{wrap, mark} {
			if ok, reason := w.publish(ev); !ok {
				t.Fatal(reason)
			}
		}
		for _, r := range readers {
			r.write(`["REQ","b",{"ids":["` + mark.ID + `","` + wrap.ID + `"]}]`)
			seen := 0
			for parts := r.next(); string(parts[0]) != `"EOSE"`; parts = r.next() {
				if r.event(parts).ID == wrap.ID {
					seen++
				}
			}
			if seen > 1 || (seen == 1) != r.want {
				t.Errorf("mode %d, %s, recipient %v: given out %d times, want %v", mode, r.filter, r.key == bob, seen, r.want)
			}
		}
		w.write(`["REQ","c",{"kinds":[21059]}]`)
		if got, want := w.text(), map[bool]string{true: "CLOSED c auth-required", false: "EOSE c"}[mode == ReadsStrict]; !strings.HasPrefix(got, want) {
			t.Errorf("mode %d: %s", mode, got)
		}
	}
}

// TestC3DeadSessions: a client of which nothing is heard, not even an answer to a ping, is gone after some time; one that
// says no more than that is there stays.
func TestC3DeadSessions(t *testing.T) {
	limits := DefaultLimits()
	limits.Silence = 3 * time.Second
	r, url := start(t, Config{Limits: limits})
	dead, quiet := dial(t, url), dial(t, url)
	dead.SetPingHandler(func(string) error { return nil })
	pings, last, longest := 0, time.Now(), time.Duration(0)
	quiet.SetPingHandler(func(text string) error {
		pings++
		longest, last = max(longest, time.Since(last)), time.Now()
		return quiet.WriteControl(websocket.PongMessage, []byte(text), time.Time{})
	})
	ended := make(chan error, 1)
	go func() {
		for {
			if _, _, err := quiet.ReadMessage(); err != nil {
				ended <- err
				return
			}
		}
	}()
	if err := dead.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := dead.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("the silent client was left with %v", err)
	}
	select {
	case err := <-ended:
		if longest < limits.Silence/2 { // else this machine has stood still
			t.Errorf("a client that answers pings was cut off: %v after %d pings", err, pings)
		}
	case <-time.After(limits.Silence):
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if left := len(r.sessions); left > 1 {
		t.Errorf("%d sessions are left", left)
	}
}
