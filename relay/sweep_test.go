package relay

import (
	"fmt"
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
