package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// heard counts what comes to a node, which answers by id, or takes everything.
type heard struct {
	mu     sync.Mutex
	order  []string
	times  map[string]int
	answer func(ev *nostr.Event, times int) error
}

func (h *heard) receive(_ context.Context, ev *nostr.Event) error {
	h.mu.Lock()
	h.times[ev.ID]++
	times := h.times[ev.ID]
	h.order = append(h.order, ev.Content)
	h.mu.Unlock()
	if h.answer != nil {
		return h.answer(ev, times)
	}
	return nil
}

func (h *heard) count(id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.times[id]
}

// listens makes a node that hears over p.
func listens(t *testing.T, p *plain, answer func(*nostr.Event, int) error) (a *instance, url string, h *heard) {
	h = &heard{times: make(map[string]int), answer: answer}
	a, url = abroad(t, p, func(a *instance, url string) {
		publishes(a, url)
		a.receive = h.receive
	})
	eventually(t, "it is connected", func() bool { return a.health(url).State == Live })
	return a, url, h
}

// TestOwnAnswers: what the node writes to its own key, as it does to an operator who uses that, is no message to it when an
// outside relay shows it, however it got there.
func TestOwnAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := idlePlain(500)
		a, url, h := listens(t, p, nil)
		stored := a.message(t, a.public, "a notice")
		a.publish(stored)
		if err := a.mirror.Heard(context.WithValue(t.Context(), originKey{}, url), a.public); err != nil {
			t.Fatal(err)
		}
		answer := a.message(t, a.public, "an answer")
		a.publish(answer)
		p.publish(stored)
		eventually(t, "the answer is there", func() bool { return p.has(answer.ID) })
		command := a.message(t, a.public, "a command")
		p.publish(command)
		eventually(t, "a message of the operator is heard", func() bool { return h.count(command.ID) == 1 })
		if n := h.count(answer.ID) + h.count(stored.ID); n != 0 {
			t.Errorf("the node has heard itself %d times", n)
		}
	})
}

// TestHeardAgain: a message that the node refuses for now is handed to it again without a new connection.
func TestHeardAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := idlePlain(500)
		a, url, h := listens(t, p, func(_ *nostr.Event, times int) error {
			if times < 3 {
				return errors.New("error: this order is held back")
			}
			return nil
		})
		release := newPerson(t).message(t, a.public, "release")
		p.publish(release)
		eventuallyFor(t, 3*mostMissed, "it is taken", func() bool { return h.count(release.ID) == 3 })
		if s := a.health(url).Sessions; s != 1 {
			t.Errorf("%d connections", s)
		}
	})
}

// TestCarriedNotHeard: a message to another Mostro that an outside relay shows to this node, to which nobody wrote it, has
// not been carried by that.
func TestCarriedNotHeard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, other := idlePlain(500), newPerson(t)
		message := newPerson(t).message(t, other.public, "for another Mostro")
		shown := make(chan struct{}, 100)
		p.refuses = func(*nostr.Event) string { return "error: not now" }
		p.manner = func() manner {
			return func(say func(...any), label string, parts []json.RawMessage) bool {
				if label == "REQ" && bytes.Contains(parts[1], []byte(`"#p"`)) {
					say("EVENT", parts[0], message)
					shown <- struct{}{}
				}
				return false
			}
		}
		a, _ := abroad(t, p, func(a *instance, url string) {
			publishes(a, url)
			a.receive = func(context.Context, *nostr.Event) error { return nil }
			a.cfg.Follow = []Followed{{Pubkey: other.public, Relays: []string{"ws://other.test"}}}
		})
		<-shown
		time.Sleep(time.Minute)
		if err := a.mirror.Carry(t.Context(), &message); err == nil {
			t.Error("a client was told that its message is there")
		}
	})
}

// TestC3MailHidden: strangers who leave more messages for the node at an outside relay than are asked for at once, dated ahead,
// hide none that is behind them, and hold up none that comes live meanwhile.
func TestC3MailHidden(t *testing.T) {
	if testing.Short() {
		t.Skip("signs 21,000 messages")
	}
	bubble(t, func(t *testing.T) {
		p := idlePlain(500)
		stranger, trader := newPerson(t), newPerson(t)
		a, _, h := listens(t, p, func(ev *nostr.Event, _ int) error {
			if ev.PubKey == stranger.public {
				return errors.New("invalid: junk")
			}
			return nil
		})
		p.cut()
		now := nostr.Now()
		release := trader.sign(t, nostr.Event{Kind: kindMessage, CreatedAt: now - 3600, Content: "release", Tags: nostr.Tags{{"p", a.public}}})
		p.add(release)
		for i := range nostr.Timestamp(mostOld + 1000) {
			p.add(stranger.sign(t, nostr.Event{Kind: kindMessage, CreatedAt: now - i%900, Content: fmt.Sprint(i), Tags: nostr.Tags{{"p", a.public}}}))
		}
		time.Sleep(time.Minute)
		live, said := trader.message(t, a.public, "live"), time.Now()
		p.publish(live)
		eventually(t, "what comes live is heard", func() bool { return h.count(live.ID) == 1 })
		if waited := time.Since(said); waited > 5*time.Second {
			t.Errorf("it waited for %s", waited)
		}
		eventuallyFor(t, time.Hour, "what is behind the flood is heard", func() bool { return h.count(release.ID) == 1 })
	})
}

// TestMissedFound: a message that came too fast to be taken is found again, however many newer ones have come meanwhile.
func TestMissedFound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, stranger, n := idlePlain(500), newPerson(t), 0
		a, url, h := listens(t, p, nil)
		junk := func(ahead int) nostr.Event { // which nobody has signed
			n++
			return nostr.Event{ID: fmt.Sprintf("%064x", n), PubKey: stranger.public, Kind: kindMessage, CreatedAt: nostr.Now() + nostr.Timestamp(ahead),
				Tags: nostr.Tags{{"p", a.public}}, Sig: fmt.Sprintf("%0128x", n)}
		}
		release := newPerson(t).sign(t, nostr.Event{Kind: kindMessage, CreatedAt: nostr.Now() - 20, Content: "release", Tags: nostr.Tags{{"p", a.public}}})
		for range messageBurst + 200 {
			p.publish(junk(-n % 10)) // few enough of a second to be given out
		}
		p.publish(release)
		for range mostOld + 1000 {
			p.save(junk(1 + n%50))
		}
		if h.count(release.ID) > 0 {
			t.Fatal("it was not missed")
		}
		eventuallyFor(t, time.Hour, "it is heard", func() bool { return h.count(release.ID) == 1 })
		if s := a.health(url).Sessions; s != 1 {
			t.Errorf("%d connections", s)
		}
	})
}

// TestC3RefusedAgain: strangers who leave more messages at an outside relay than the node answers while it is flooded have it
// fetch and refuse all of them ever more rarely. They are taken when there is room.
func TestC3RefusedAgain(t *testing.T) {
	const left = barrenRound + 100
	bubble(t, func(t *testing.T) {
		p, stranger := idlePlain(500), newPerson(t)
		var flooded atomic.Bool
		flooded.Store(true)
		a, url, h := listens(t, p, func(*nostr.Event, int) error {
			if flooded.Load() {
				return errors.New("rate-limited: this relay is flooded")
			}
			return nil
		})
		p.cut()
		var ids []string
		for i := range left {
			ev := stranger.sign(t, nostr.Event{Kind: kindMessage, CreatedAt: nostr.Now() - nostr.Timestamp(i), Tags: nostr.Tags{{"p", a.public}}})
			p.add(ev)
			ids = append(ids, ev.ID)
		}
		rounds := func() (n int) {
			for _, id := range ids {
				n = max(n, h.count(id))
			}
			return n
		}
		time.Sleep(2 * time.Hour)
		if n := rounds(); n < 5 || n > 12 {
			t.Errorf("each was refused %d times in two hours", n)
		}
		flooded.Store(false)
		before := a.health(url).Received
		eventuallyFor(t, 2*mostPatience, "all are taken", func() bool { return a.health(url).Received-before == left })
		once := rounds()
		time.Sleep(2 * time.Hour)
		if n := rounds(); n != once {
			t.Errorf("one was heard %d times after it had been taken", n-once)
		}
	})
}
