package relay

import (
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
)

// TestC3Refusals: an address that sends much that is refused waits for each more, with all its connections together; and one that
// is refused now and then does not.
func TestC3Refusals(t *testing.T) {
	_, url := serveWhole(t, Config{})
	const more = 20
	bad := func(address string, messages int) {
		t.Helper()
		w, err := dialFrom(t, url, address)
		if err != nil {
			t.Fatal(err)
		}
		for i := range messages {
			w.write([]string{`nonsense`, `["REQ","a",{"kinds":["x"]}]`, `["EVENT",{"id":1}]`, `["NEG-OPEN","a"]`}[i%4])
			w.next()
		}
		w.write(`["REQ","a",{"limit":0}]`) // it comes behind the last pause
		if got := w.text(); got != "EOSE a" {
			t.Error(got)
		}
	}
	began := time.Now()
	bad("127.0.0.2", freeRefusals+more)
	if took, least := time.Since(began), more*refusalPause; took < least {
		t.Errorf("%d messages that are refused take %v, want %v at least", freeRefusals+more, took, least)
	}

	o, now := new(origin), time.Now()
	o.sessions.Store(3)
	for i := range freeRefusals {
		if wait := o.refused(now); wait != 0 {
			t.Fatalf("refusal %d costs %v", i, wait)
		}
	}
	if got := o.refused(now); got != 3*refusalPause {
		t.Errorf("one more costs %v with three connections", got)
	}
	o.sessions.Store(1000)
	if got := o.refused(now); got != maxRefusalPause {
		t.Errorf("one more costs %v with a thousand", got)
	}
	if got := o.refused(now.Add(refusalWindow + 1)); got != 0 {
		t.Errorf("the first of the next time costs %v", got)
	}
}

// TestRefusalsOfAReplica: one that brings what others send waits for nothing that is refused of it.
func TestRefusalsOfAReplica(t *testing.T) {
	replica, other := keyOf(t), keyOf(t)
	r := &Relay{cfg: Config{Federation: Federation{Peer: func(pubkey string) bool { return pubkey == replica.String() }}}}
	for who, want := range map[key]int{replica: 0, other: 50} {
		s := &session{relay: r, origin: new(origin), refusals: 50}
		s.keys.Store(&keys{who})
		s.penance()
		if s.origin.refusals != want || s.refusals != 0 {
			t.Errorf("%d of 50 refusals count, want %d", s.origin.refusals, want)
		}
	}
}

// TestCarriers: an address that is listed as that of another Mostro waits for nothing that is refused, repeats what it
// wants, and has its turn before others that were worked for as long.
func TestCarriers(t *testing.T) {
	listed := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::5/128")}
	r, _ := serveWhole(t, Config{Carriers: listed, Limits: func() Limits { l := DefaultLimits(); l.DuplicatesBurst = 1; return l }()})
	for from, want := range map[string]bool{
		"192.0.2.7": true, "192.0.3.7": false, "": false, "@": false, "2001:db8::/64": true, "2001:db8:0:1::/64": false,
	} {
		if got := r.carries(from); got != want {
			t.Errorf("%q carries: %v", from, got)
		}
		s := &session{relay: r, from: from, origin: new(origin), refusals: 50}
		s.penance()
		if waits := s.origin.refusals > 0; waits == want {
			t.Errorf("%q waits for what was refused: %v", from, waits)
		}
	}
	for address, want := range map[string]bool{"192.0.2.7": false, "198.51.100.7": true} {
		ctx := within(t.Context(), &khatru.WebSocket{Request: &http.Request{RemoteAddr: address + ":1"}})
		refused := false
		for range 5 {
			again, _ := r.repeated(ctx, &nostr.Event{})
			refused = refused || again
		}
		if refused != want {
			t.Errorf("%s may not repeat: %v", address, refused)
		}
	}
	// Both have worked for a second, and the listed one has waited less.
	turns := newTurns(1)
	turns.carries = r.carries
	for _, from := range []string{"192.0.2.7", "198.51.100.7"} {
		turns.take(from)
		turns.give(from, time.Second)
	}
	turns.take("first")
	served := make(chan string)
	for i, from := range []string{"198.51.100.7", "192.0.2.7"} {
		go func() {
			turns.take(from)
			served <- from
		}()
		for n := 0; n <= i; {
			turns.mu.Lock()
			n = len(turns.waiting)
			turns.mu.Unlock()
		}
	}
	turns.give("first", 0)
	next := <-served
	turns.give(next, 0)
	turns.give(<-served, 0)
	if next != "192.0.2.7" {
		t.Errorf("%s is next", next)
	}
}

func keyOf(t *testing.T) key {
	t.Helper()
	k, err := parseKey(publicKey(t, nostr.GeneratePrivateKey()))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestBacklogFor: what waits for the readers of one address delays its own publishers, and others only for their part.
// However many publishers wait, all addresses are looked at once in a while.
func TestBacklogFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Relay{origins: map[string]*origin{"a": new(origin), "b": new(origin), "c": new(origin)}}
		const part = backlogBytes / shareOfAll
		r.origins["a"].backlog.Store(10 * part)
		r.origins["b"].backlog.Store(part / 2)
		for from, want := range map[string]int64{"a": 10*part + part/2, "b": part + part/2, "d": part + part/2} {
			if got := r.backlogFor(from); got != want {
				t.Errorf("for %s: %d, want %d", from, got, want)
			}
		}
		r.origins["c"].backlog.Store(part)
		if got, want := r.backlogFor("d"), int64(part+part/2); got != want {
			t.Errorf("at the same moment all addresses were looked at again: %d, want %d", got, want)
		}
		time.Sleep(backlogPoll)
		if got, want := r.backlogFor("d"), int64(2*part+part/2); got != want {
			t.Errorf("a moment later: %d, want %d", got, want)
		}
	})
}
