package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// TestC3FarFuture: dates so late that the time until then fits into no number are looked at once.
func TestC3FarFuture(t *testing.T) {
	a, b := newInstance(t, "a"), newPerson(t)
	var far []nostr.Event
	for _, at := range []nostr.Timestamp{20_000_000_000, 1 << 61, math.MaxInt64} { // the first in seconds is below zero in nanoseconds
		far = append(far, b.offer(t, fmt.Sprint(at), at))
	}
	near := b.offer(t, "near", 0)
	var sent atomic.Int64
	url := liar(t, func(say func(...any), label string, parts []json.RawMessage) {
		if label == "REQ" {
			for _, ev := range append(slices.Clone(far), near) {
				sent.Add(1)
				say("EVENT", parts[0], ev)
			}
			say("EOSE", parts[0])
		}
	})
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{url}}}
	a.start()
	eventually(t, "what is of now came", func() bool { return a.has(near.ID) && a.health(url).Ahead > 0 })
	time.Sleep(200 * time.Millisecond)
	if ahead, sent := a.health(url).Ahead, sent.Load(); ahead > sent {
		t.Errorf("%d events were sent and looked at %d times", sent, ahead)
	}
}

// TestC3Large: events of the largest size do not pile up in memory, neither on their way to a slow
// store nor while they wait for their time; what does not fit waits, or comes later.
func TestC3Large(t *testing.T) {
	large := nostr.Event{Content: strings.Repeat("x", 100<<10)}
	short := nostr.Event{Tags: slices.Repeat(nostr.Tags{{""}}, 3<<10)} // little JSON, much memory
	for _, ev := range []*nostr.Event{&large, &short} {
		if memory := memoryOf(ev); memory < 100<<10 || memory > 200<<10 {
			t.Fatalf("counted as %d bytes", memory)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		const all = 400
		in, open := newIntake(ctx), make(chan struct{})
		var taken, stored atomic.Int64
		go func() {
			for i := range all {
				in.take([]*nostr.Event{&large, &short}[i%2])
				taken.Add(1)
			}
		}()
		go in.run(func(_ context.Context, evs []*nostr.Event) error {
			<-open
			stored.Add(int64(len(evs)))
			return nil
		})
		synctest.Wait()
		if n := taken.Load(); n < 20 || n > intakeBytes/(100<<10) {
			t.Errorf("%d large events wait", n)
		}
		close(open)
		synctest.Wait()
		if n := stored.Load(); n != all {
			t.Errorf("%d of %d events came through", n, all)
		}
	})

	bubble(t, func(t *testing.T) {
		b, c := newPerson(t), newCable()
		var ahead []nostr.Event
		for i := range 100 {
			ev := b.offer(t, fmt.Sprint(i), nostr.Now()+300)
			ev.Content = strings.Repeat("x", 50<<10)
			ahead = append(ahead, b.sign(t, ev))
		}
		liarAt(t, c, func(say func(...any), label string, parts []json.RawMessage) {
			if label == "REQ" {
				if strings.Contains(string(parts[1]), `"limit":1,`) || strings.Contains(string(parts[1]), `"limit":1}`) {
					for _, ev := range ahead {
						say("EVENT", parts[0], ev)
					}
				}
				say("EOSE", parts[0])
			}
		})
		a := following(t, c, b)
		eventually(t, "all has been read", func() bool { return a.health(hostileURL).Ahead >= int64(len(ahead)) })
		eventuallyFor(t, 10*time.Minute, "the time of some has come", func() bool { return a.health(hostileURL).Stored > 0 })
		time.Sleep(time.Second)
		if n := a.health(hostileURL).Stored; n > maxHeld/(50<<10) {
			t.Errorf("%d large events of the future were kept in memory", n)
		}
	})
}

// TestC3Direct: a followed key that publishes here directly fills no more than what is kept of it,
// and can delete then; a key of a conversation fills no more than other keys, whichever way it
// comes.
func TestC3Direct(t *testing.T) {
	a, b, key := newInstance(t, "a"), newPerson(t), newPerson(t)
	a.cfg.MaxEvents = 10
	a.cfg.Follow = []Followed{{Pubkey: b.public}}
	a.change = func(cfg *relay.Config) {
		cfg.Limits = relay.DefaultLimits()
		cfg.Limits.EventsPerKey = 5
	}
	a.start()
	c := dialClient(t, a.url())
	var last string
	var first nostr.Event
	for i := range 30 {
		ev := b.offer(t, fmt.Sprint(i), 0)
		if i%2 == 1 {
			ev = b.sign(t, nostr.Event{Kind: 1, Content: fmt.Sprint(i)})
		}
		if i == 0 {
			first = ev
		}
		_, last = c.send(ev)
	}
	if n, _, err := a.relay.Count(t.Context(), nostr.Filter{Authors: []string{b.public}}); err != nil || n != 10 || last != crowded {
		t.Errorf("%d events are kept (%v), the last answer is %q", n, err, last)
	}
	if ok, reason := c.send(b.sign(t, nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", first.ID}}})); !ok {
		t.Errorf("a deletion is refused: %s", reason)
	}

	var said []*nostr.Event
	for i := range 8 {
		ev := key.message(t, strings.Repeat("5", 64), fmt.Sprint(i))
		said = append(said, &ev)
	}
	a.relay.Take(t.Context(), "there", said[:5])
	for _, taken := range a.relay.Take(t.Context(), "there", said[5:]) {
		if taken.New || !strings.HasPrefix(taken.Refused, "rate-limited: ") {
			t.Errorf("more than a key may have: %+v", taken)
		}
	}
}

// TestC3StrictTalk: where messages are shown to their parties only, nobody else can have a conversation
// brought to a Mostro of his choice.
func TestC3StrictTalk(t *testing.T) {
	a, b, key := newInstance(t, "a"), newPerson(t), newPerson(t)
	a.cfg.Strict = true
	a.cfg.Follow = []Followed{{Pubkey: b.public}}
	a.change = func(cfg *relay.Config) { cfg.PrivateReads = relay.ReadsStrict }
	a.start()
	c := dialClient(t, a.url())
	asks := func() []string {
		c.say("REQ", "mail", nostr.Filter{Kinds: []int{14, 1}, Authors: []string{b.public}, Tags: nostr.TagMap{"p": {key.public}}})
		c.hear("EOSE")
		c.say("REQ", "chat", nostr.Filter{Kinds: []int{14, 1}, Authors: []string{key.public}})
		c.hear("EOSE")
		keys, _ := a.mirror.talks.keys([]string{b.public})
		return keys
	}
	if keys := asks(); len(keys) > 0 {
		t.Error("anybody has it brought there")
	}
	var challenge string
	if err := json.Unmarshal(c.hear("AUTH")[1], &challenge); err != nil {
		t.Fatal(err)
	}
	c.say("AUTH", key.sign(t, nostr.Event{Kind: 22242, Tags: nostr.Tags{{"relay", a.url()}, {"challenge", challenge}}}))
	c.hear("OK")
	if keys := asks(); !slices.Contains(keys, key.public) {
		t.Errorf("its author has not: %v", keys)
	}
}
