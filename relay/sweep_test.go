package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestM42WrongYear: a start with a wrong year, and another one after it, remove nothing for good. What they hide is served
// again when the clock is right, and removed when it turns out to have been.
func TestM42WrongYear(t *testing.T) {
	at := &clock{now: time.Now()}
	trader := nostr.GeneratePrivateKey()
	cfg := Config{Dir: t.TempDir(), Retention: []Retention{{Kinds: []int{14}, For: 90 * day}}}
	message := signed(t, trader, nostr.Event{Kind: 14, CreatedAt: nostr.Timestamp(at.now.Unix()), Tags: nostr.Tags{{"p", publicKey(t, trader)}}})
	offer := signed(t, trader, nostr.Event{Kind: 1, CreatedAt: nostr.Timestamp(at.now.Unix()), Tags: nostr.Tags{{"expiration", fmt.Sprint(at.now.Unix() + 86400)}}})
	var r *Relay
	run := func(what string, ahead, up time.Duration, agreed, stay bool) {
		t.Helper()
		at.add(ahead)
		var err error
		if r, err = open(cfg, at.time); err != nil {
			t.Fatal(err)
		}
		if what == "a good start" {
			if err := r.Publish(t.Context(), message, offer); err != nil {
				t.Fatal(err)
			}
		}
		c := r.openClock()
		c.believes() // the first look
		c.started = c.started.Add(-up)
		at.add(up)
		if agreed {
			r.agrees(&nostr.Event{CreatedAt: nostr.Timestamp(at.time().Unix())})
		}
		for range 2 {
			if err := r.removeExpired(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if err := r.removeOld(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			c.at -= 2 * clockEvery // it is saved each time
		}
		for _, ev := range []nostr.Event{message, offer} {
			if kept, err := r.Has(t.Context(), ev.ID); err != nil || kept != stay {
				t.Errorf("%s: kind %d is here: %v, %v", what, ev.Kind, kept, err)
			}
		}
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		at.add(-up)
	}
	const years = 10 * 365 * day
	run("a good start", 0, time.Minute, true, true)
	run("a wrong year", years, 30*time.Minute, false, true)
	run("the same once more", 0, 11*time.Hour, true, true)
	run("for longer, and nobody agrees", 0, 20*time.Hour, false, true)
	run("put right", -years, time.Minute, true, true)
	run("a wrong year", years, 11*time.Hour, true, true)
	run("and it is the right one", 0, 2*time.Hour, true, false)
}

// TestNow: the time that is believed goes on as before while the clock is put forward, and is the clock's again after that.
func TestNow(t *testing.T) {
	at := &clock{now: time.Now()}
	r, err := open(Config{}, at.time)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(context.Background())
	for _, step := range []time.Duration{0, time.Minute, 31 * day, -31 * day} {
		at.add(step)
		if off := time.Until(r.Now()); off < -time.Minute || off > 2*time.Minute {
			t.Errorf("after a step of %v it is %v off", step, off)
		}
	}
}

// TestClockOf1970: a start without the time does not overwrite when the relay was last running.
func TestClockOf1970(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	path := filepath.Join(cfg.Dir, clockFile)
	good := time.Now().Unix()
	if err := os.WriteFile(path, fmt.Appendf(nil, `{"time":%d}`, good), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := open(cfg, func() time.Time { return time.Unix(100, 0) })
	if err != nil {
		t.Fatal(err)
	}
	if _, yes := r.openClock().believes(); !yes {
		t.Error("it is doubted")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var kept clockState
	if err := json.Unmarshal(text, &kept); err != nil || kept.Time < good {
		t.Errorf("kept: %s", text)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestMessagesAgree: messages that the node has taken, here or from elsewhere, agree with the clock if they are of its time.
func TestMessagesAgree(t *testing.T) {
	var refusal error
	receive := func(context.Context, *nostr.Event) error { return refusal }
	r, url := start(t, Config{Receive: receive})
	w := dial(t, url)
	deliver := func(ev nostr.Event) bool { return r.Deliver(t.Context(), "elsewhere", &ev) == nil }
	publish := func(ev nostr.Event) bool { ok, _ := w.publish(ev); return ok }
	for name, take := range map[string]func(nostr.Event) bool{"delivered": deliver, "sent": publish} {
		for _, c := range []struct {
			what   string
			kind   int
			ago    time.Duration
			fail   error
			agrees bool
		}{
			{"of now", 14, 0, nil, true},
			{"refused", 14, 0, errors.New("invalid: no"), false},
			{"a wrap of two days ago", 1059, 47 * time.Hour, nil, false},
		} {
			r.agreed.Store(0)
			refusal = c.fail
			ev := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: c.kind, CreatedAt: nostr.Timestamp(time.Now().Add(-c.ago).Unix()), Tags: nostr.Tags{{"p", publicKey(t, nodeKey)}}})
			if ok := take(ev); ok != (c.fail == nil) {
				t.Errorf("%s %s: taken %v", name, c.what, ok)
			}
			if got := r.agreed.Load() != 0; got != c.agrees {
				t.Errorf("%s %s: it agrees %v", name, c.what, got)
			}
		}
	}
}
