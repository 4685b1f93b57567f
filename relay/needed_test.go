package relay

import (
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestC3OldestNeeded: however many old messages trades need, a flood of others goes that is behind them.
func TestC3OldestNeeded(t *testing.T) {
	trade := publicKey(t, nostr.GeneratePrivateKey())
	limits := DefaultLimits()
	limits.Events = neededAtOnce + 500
	at := &clock{now: time.Now()}
	r, _ := startAt(t, Config{Limits: limits, Running: func(pubkey string) bool { return pubkey == trade }}, at.time)
	needed := put(t, r, neededAtOnce+400, 1059, at.time().Add(-20*day), nostr.Tag{"p", trade})
	junk := put(t, r, 300, 14, at.time().Add(-5*day))
	if err := r.makeRoom(t.Context(), r.store.opts.Now()); err != nil {
		t.Fatal(err)
	}
	if n := r.store.Len(); n != limits.Events {
		t.Errorf("%d events are left, want %d", n, limits.Events)
	}
	for id, want := range map[string]bool{needed[0]: true, needed[len(needed)-1]: true, junk[0]: false, junk[len(junk)-1]: true} {
		if has, err := r.Has(t.Context(), id); err != nil || has != want {
			t.Errorf("%s is left: %v, want %v (%v)", id, has, want, err)
		}
	}
}

// put stores events by n keys that are made for one each, which nobody has signed.
func put(t *testing.T, r *Relay, n, kind int, since time.Time, tags ...nostr.Tag) (ids []string) {
	t.Helper()
	var evs []nostr.Event
	for i := range n {
		ev := nostr.Event{Kind: kind, PubKey: key{byte(kind), byte(kind >> 8), byte(i), byte(i >> 8)}.String(), CreatedAt: nostr.Timestamp(since.Unix() + int64(i)/100),
			Tags: tags, Sig: strings.Repeat("0", 128)}
		ev.ID = ev.GetID()
		evs, ids = append(evs, ev), append(ids, ev.ID)
	}
	if err := r.Publish(t.Context(), evs...); err != nil {
		t.Fatal(err)
	}
	return ids
}

// TestC3NeededInVain: when all messages that are old enough turn out to be needed, the next look at them waits for as long as they
// are many.
func TestC3NeededInVain(t *testing.T) {
	trade, asked := publicKey(t, nostr.GeneratePrivateKey()), 0
	running := true
	limits := DefaultLimits()
	limits.Events = neededAtOnce
	at := &clock{now: time.Now()}
	r, _ := startAt(t, Config{Limits: limits, Running: func(pubkey string) bool { asked++; return running && pubkey == trade }}, at.time)
	put(t, r, neededAtOnce+400, 1059, at.time().Add(-20*day), nostr.Tag{"p", trade})
	for i, c := range []struct {
		later time.Duration
		looks bool
	}{{0, true}, {0, false}, {vainWait - time.Second, false}, {time.Second, true}, {-time.Hour, true}, {time.Second, false}} {
		at.add(c.later)
		asked = 0
		if err := r.makeRoom(t.Context(), at.time()); err != nil {
			t.Fatal(err)
		}
		if looked := asked > 0; looked != c.looks {
			t.Errorf("call %d: it looked %v", i, looked)
		}
	}
	running = false
	at.add(vainWait)
	if err := r.makeRoom(t.Context(), at.time()); err != nil {
		t.Fatal(err)
	}
	if n := r.store.Len(); n != limits.Events {
		t.Errorf("%d events are left, want %d", n, limits.Events)
	}
}
