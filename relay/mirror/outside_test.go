package mirror

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// escrow answers each message with one to its sender, as the node does: proven, then answered.
func (i *instance) escrow() (handled func(id string) int) {
	var mu sync.Mutex
	count := make(map[string]int)
	i.receive = func(ctx context.Context, ev *nostr.Event) error {
		if err := i.mirror.Heard(ctx, ev.PubKey); err != nil {
			return err
		}
		mu.Lock()
		again := count[ev.ID] > 0 // the escrow knows what it has heard, also when it comes twice at the same time
		if !again {
			count[ev.ID]++
		}
		mu.Unlock()
		if again {
			return nil
		}
		i.publish(i.sign(i.t, nostr.Event{Kind: 14, Content: "to " + ev.ID, Tags: nostr.Tags{{"p", ev.PubKey}}}))
		return nil
	}
	return func(id string) int {
		mu.Lock()
		defer mu.Unlock()
		return count[id]
	}
}

func (p person) message(t testing.TB, to, text string) nostr.Event {
	return p.sign(t, nostr.Event{Kind: 14, Content: text, Tags: nostr.Tags{{"p", to}}})
}

// TestOutside: the node's public events are on outside relays, those with negentropy and those
// without, also after the relay or the node was away and after the relay lost some; messages to the
// node are received there and answered there, once.
func TestOutside(t *testing.T) {
	for _, kind := range []string{"plain", "instance"} {
		t.Run(kind, func(t *testing.T) {
			a := newInstance(t, "a")
			handled := a.escrow()
			address := freeAddress(t)
			var has func(id string) bool
			var stop, start func()
			switch kind {
			case "plain":
				p := newPlain(t, 10, address)
				has = p.has
				stop = func() { p.stop() }
				start = func() { p.listen(t, address) }
			case "instance":
				o := newInstance(t, "outside")
				o.address = address
				o.start()
				has = o.has
				stop, start = func() { o.stop() }, o.start
			}
			url := "ws://" + address
			a.cfg.Outside = []string{url}
			a.start()
			before := a.offer(t, "before", 0)
			a.publish(before, a.info(t, 0))
			eventually(t, "a live event is there", func() bool { return has(before.ID) })

			// While the relay is away, versions come and go.
			stop()
			eventually(t, "A notices", func() bool { return a.health(url).State == Waiting })
			last := a.offer(t, "x", nostr.Now()+3)
			for n := range 3 {
				a.publish(a.offer(t, "x", nostr.Now()+nostr.Timestamp(n)-10))
			}
			a.publish(last)
			a.stop() // and the node goes too: what it owed is not forgotten
			a.start()
			start()
			eventually(t, "what was missed is there", func() bool { return has(last.ID) })
			eventually(t, "nothing waits", func() bool { return a.health(url).Waiting == 0 })

			// A client that is connected there only.
			trader := newPerson(t)
			c := dialClient(t, url)
			c.say("REQ", "mail", nostr.Filter{Kinds: []int{14}, Authors: []string{a.public}, Tags: nostr.TagMap{"p": {trader.public}}})
			c.hear("EOSE")
			hello := trader.message(t, a.public, "hello")
			if ok, reason := c.send(hello); !ok {
				t.Fatal(reason)
			}
			if answer := c.hear("EVENT"); !strings.Contains(string(answer[2]), "to "+hello.ID) {
				t.Errorf("answer %s", answer[2])
			}
			// The same message here: known.
			here := dialClient(t, a.url())
			if ok, reason := here.send(hello); !ok {
				t.Error(reason)
			}
			if n := handled(hello.ID); n != 1 {
				t.Errorf("handled %d times", n)
			}
			// The next message comes here first, whoever has brought it; its answer is sent there all the same.
			second := trader.message(t, a.public, "second")
			if ok, reason := here.send(second); !ok {
				t.Error(reason)
			}
			eventually(t, "it is handled", func() bool { return handled(second.ID) == 1 })
			if answer := c.hear("EVENT"); !strings.Contains(string(answer[2]), "to "+second.ID) {
				t.Errorf("answer %s", answer[2])
			}
		})
	}
}

// TestOutbox: an answer that was stored before a crash gets to the outside relay after it, also one that an earlier
// version stored; since when it has waited is known all the while.
func TestOutbox(t *testing.T) {
	address := freeAddress(t)
	a := newInstance(t, "a")
	url := "ws://" + address
	a.cfg.Outside = []string{url}
	a.start()
	trader := newPerson(t)
	if err := a.mirror.Heard(context.WithValue(t.Context(), originKey{}, url), trader.public); err != nil {
		t.Fatal(err)
	}
	answer := a.sign(t, nostr.Event{Kind: 1059, Content: "sealed", CreatedAt: nostr.Now() - 100_000, Tags: nostr.Tags{{"p", trader.public}}})
	began := time.Now().Truncate(time.Second)
	a.publish(answer)
	ended := time.Now()
	early := a.sign(t, nostr.Event{Kind: 1059, Content: "sealed too", Tags: nostr.Tags{{"p", trader.public}}})
	if err := a.mirror.state.set(map[string][]byte{outboxRow(url, &early): []byte(early.String())}); err != nil {
		t.Fatal(err)
	}
	a.stop()
	a.start()
	eventually(t, "both wait", func() bool { return a.health(url).Waiting == 2 })
	if h := a.health(url); h.Oldest.Before(began) || h.Oldest.After(ended) {
		t.Errorf("%d answers wait since %v, want 2 since %v to %v", h.Waiting, h.Oldest, began, ended)
	}
	p := newPlain(t, 10, address)
	eventually(t, "the answers are there", func() bool { return p.has(answer.ID) && p.has(early.ID) })
	eventually(t, "the outbox is empty", func() bool {
		waiting, _, err := a.mirror.state.waiting(url, "", 1, everyRow)
		return err == nil && len(waiting) == 0
	})
	if h := a.health(url); h.Waiting != 0 || !h.Oldest.IsZero() {
		t.Errorf("%d answers wait since %v", h.Waiting, h.Oldest)
	}
}

// TestC3Outbox: answers for a relay that is away for long, or that the settings do not name any more, do not pile up,
// and one that a relay never takes does not hold up the others.
func TestC3Outbox(t *testing.T) {
	a := newInstance(t, "a")
	p := newPlain(t, 10, freeAddress(t))
	a.cfg.Outside = []string{p.url, "ws://127.0.0.1:1"}
	a.start()
	trader := newPerson(t)
	comesOver := func(url string) {
		if err := a.mirror.Heard(context.WithValue(t.Context(), originKey{}, url), trader.public); err != nil {
			t.Fatal(err)
		}
	}
	answer := func(text string, at nostr.Timestamp) nostr.Event {
		ev := a.sign(t, nostr.Event{Kind: 1059, Content: text, CreatedAt: at, Tags: nostr.Tags{{"p", trader.public}}})
		a.publish(ev)
		return ev
	}
	waits := func(url string) int {
		n, _, err := a.mirror.state.waits(url)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	comesOver("ws://gone.test")
	answer("to nobody", 0)
	if n := waits("ws://gone.test"); n != 0 {
		t.Errorf("%d answers wait for a relay that the settings do not name", n)
	}
	trader = newPerson(t) // nothing of before is sent over a new way
	comesOver("ws://127.0.0.1:1")
	for i := range 10 {
		answer(fmt.Sprint(i), nostr.Now()-nostr.Timestamp(10-i))
	}
	kept := func(url string) bool { return url == "ws://127.0.0.1:1" }
	if gone, err := a.mirror.state.trim(kept, time.Now().Add(-keysKept), 4); err != nil || gone["ws://127.0.0.1:1"] != 6 {
		t.Errorf("%v were dropped, want 6 (%v)", gone, err)
	}
	left, _, err := a.mirror.state.waiting("ws://127.0.0.1:1", "", 100, everyRow)
	if err != nil || len(left) != 4 || left[0].Content != "6" || left[3].Content != "9" {
		t.Errorf("%d are left, the first %q (%v)", len(left), left[0].Content, err)
	}
	if _, err := a.mirror.state.trim(func(string) bool { return false }, time.Time{}, 100); err != nil || waits("ws://127.0.0.1:1") != 0 {
		t.Errorf("of a relay that is named no more %d are left (%v)", waits("ws://127.0.0.1:1"), err)
	}

	trader = newPerson(t)
	comesOver(p.url)
	eventually(t, "it is connected", func() bool { return a.health(p.url).State == Live })
	never := a.sign(t, nostr.Event{Kind: 1059, Content: "never", CreatedAt: nostr.Now() - 1000, Tags: nostr.Tags{{"p", trader.public}}})
	p.refuse(func(ev *nostr.Event) string {
		if ev.ID == never.ID {
			return "error: not today"
		}
		return ""
	})
	a.publish(never)
	var last nostr.Event
	for i := range 2 * sentAtOnce {
		last = answer(fmt.Sprint("behind ", i), nostr.Now()-500+nostr.Timestamp(i))
	}
	eventually(t, "those behind it are there", func() bool { return p.has(last.ID) })
	eventually(t, "it alone waits", func() bool { return waits(p.url) == 1 })
}

// everyRow is for those who want all that waits.
func everyRow(string) bool { return true }
