package mirror

import (
	"context"
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
		mu.Lock()
		again := count[ev.ID] > 0
		mu.Unlock()
		if again {
			return nil // the escrow knows what it has heard
		}
		if err := i.mirror.Heard(ctx, ev.PubKey); err != nil {
			return err
		}
		mu.Lock()
		count[ev.ID]++
		mu.Unlock()
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
			// The next message comes here; its answer is not sent there.
			second := trader.message(t, a.public, "second")
			if ok, reason := here.send(second); !ok {
				t.Error(reason)
			}
			eventually(t, "it is handled", func() bool { return handled(second.ID) == 1 })
			if _, routed := a.mirror.routes.of.Get(trader.public); routed {
				t.Error("answers still go to the outside relay")
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
		waiting, err := a.mirror.state.waiting(url)
		return err == nil && len(waiting) == 0
	})
	if h := a.health(url); h.Waiting != 0 || !h.Oldest.IsZero() {
		t.Errorf("%d answers wait since %v", h.Waiting, h.Oldest)
	}
}
