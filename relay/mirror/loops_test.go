package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// ring starts relays of which each has something to do with the others.
func ring(t *testing.T, n int, follows func(all []*instance, i int) []Followed) []*instance {
	t.Helper()
	all := make([]*instance, n)
	for i := range all {
		all[i] = newInstance(t, fmt.Sprint("relay ", i))
	}
	for i, a := range all {
		a.cfg.Follow = follows(all, i)
	}
	return all
}

func live(t *testing.T, all []*instance) {
	t.Helper()
	eventually(t, "all are connected", func() bool {
		for _, a := range all {
			for _, h := range a.mirror.Health() {
				if h.State != Live {
					return false
				}
			}
		}
		return true
	})
}

// TestCarryLoop: relays of which each takes the next one for the Mostro's end a message with a refusal, not
// with a circle.
func TestCarryLoop(t *testing.T) {
	for _, n := range []int{2, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			ghost := newPerson(t)
			all := ring(t, n, func(all []*instance, i int) []Followed {
				return []Followed{{Pubkey: ghost.public, Relays: []string{all[(i+1)%n].url()}}}
			})
			for _, a := range all {
				a.start()
			}
			live(t, all)
			message := newPerson(t).message(t, ghost.public, "hello")
			if ok, reason := dialClient(t, all[0].url()).send(message); ok || reason != errUnderway.Error() {
				t.Errorf("%v %q", ok, reason)
			}
			for i, a := range all {
				if n := a.health(all[(i+1)%n].url()).CarriedTo; n != 0 {
					t.Errorf("%d messages count as carried by relay %d", n, i)
				}
			}
		})
	}
}

// TestLoopOfThree: three Mostros each follow both others, on the relays of both. Books become equal, a message
// is heard once, however many ways there are, its answer too, a conversation goes over, and then there is rest.
func TestLoopOfThree(t *testing.T) {
	all := ring(t, 3, func(all []*instance, i int) []Followed {
		x, y := all[(i+1)%3], all[(i+2)%3]
		relays := []string{x.url(), y.url()}
		return []Followed{{Pubkey: x.public, Relays: relays}, {Pubkey: y.public, Relays: relays}}
	})
	var mu sync.Mutex
	heard := make(map[string]int)
	for _, a := range all {
		a.receive = func(_ context.Context, ev *nostr.Event) error {
			mu.Lock()
			heard[ev.ID]++
			first := heard[ev.ID] == 1
			mu.Unlock()
			if first {
				a.publish(a.message(t, ev.PubKey, "to "+ev.ID))
			}
			return nil
		}
		a.start()
	}
	live(t, all)
	for i, a := range all {
		for n := range 20 {
			a.publish(a.offer(t, fmt.Sprint(i, "-", n), 0))
		}
	}
	eventually(t, "the books are equal", func() bool {
		for _, author := range all {
			for _, a := range all {
				if string(a.book(author.public)) != string(author.book(author.public)) || len(a.book(author.public)) == 0 {
					return false
				}
			}
		}
		return true
	})
	mostro := all[1].public
	trader := newPerson(t)
	c := dialClient(t, all[0].url())
	c.say("REQ", "mail", nostr.Filter{Kinds: []int{14}, Authors: []string{mostro}, Tags: nostr.TagMap{"p": {trader.public}}})
	c.hear("EOSE")
	message := trader.message(t, mostro, "hello")
	if ok, reason := c.send(message); !ok {
		t.Fatal(reason)
	}
	if answer := c.hear("EVENT"); !strings.Contains(string(answer[2]), "to "+message.ID) {
		t.Errorf("answer %s", answer[2])
	}
	shared := newPerson(t)
	buyer := talks(t, all[0], mostro, shared, asksMessages)
	seller := talks(t, all[2], mostro, shared, asksMessages)
	var said []nostr.Event
	for i := range 10 {
		said = append(said, buyer.tell(fmt.Sprint("buyer ", i)), seller.tell(fmt.Sprint("seller ", i)))
	}
	eventually(t, "both have heard both", func() bool {
		for i := range said {
			if !all[0].has(said[i].ID) || !all[2].has(said[i].ID) {
				return false
			}
		}
		return true
	})
	moved := func() (n int64) {
		for _, a := range all {
			for _, h := range a.mirror.Health() {
				n += h.Stored + h.Known + h.Refused + h.CarriedTo + h.CarriedIn + h.Received
			}
		}
		return n
	}
	eventually(t, "there is rest", func() bool {
		before := moved()
		time.Sleep(time.Second)
		return moved() == before
	})
	mu.Lock()
	defer mu.Unlock()
	if heard[message.ID] != 1 {
		t.Errorf("the message was heard %d times", heard[message.ID])
	}
	t.Logf("%d events and messages moved between three for 60 offers, a message and 20 words", moved())
}

// TestC3OwnKey: what this node has signed comes from within only. The other relays send, on every question, events of
// every kind by the node's own key, rightly signed, and none gets in; nor does a client's here.
func TestC3OwnKey(t *testing.T) {
	a, b, trader := newInstance(t, "a"), newPerson(t), newPerson(t)
	handled := a.escrow()
	kinds := []int{0, 1, 5, 14, 1059, 1985, 8383, 10002, 30078, 31986, kindOrder, 38384, kindInfo, 38386, 38000}
	var own []nostr.Event
	for _, kind := range kinds {
		tags := nostr.Tags{{"d", a.public}, {"p", trader.public}, {"e", strings.Repeat("0a", 32)}, {"k", "38385"}, {"a", fmt.Sprint("38385:", a.public, ":", a.public)}}
		if kind == 14 || kind == 1059 {
			tags = nostr.Tags{{"p", trader.public}}
		}
		own = append(own, a.sign(t, nostr.Event{Kind: kind, Tags: tags}))
	}
	real := b.message(t, trader.public, "real")
	asked := make(chan string, 1000)
	url := liar(t, func(say func(...any), label string, parts []json.RawMessage) {
		if label == "REQ" {
			// Fewer than so many as end the connection.
			for _, ev := range append(own, real) {
				say("EVENT", parts[0], ev)
			}
			say("EOSE", parts[0])
			asked <- string(parts[1])
		}
	})
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{url}}}
	a.cfg.Outside = []string{url}
	a.cfg.Review = func(*nostr.Event) bool { return true }
	a.start()
	c := dialClient(t, a.url())
	c.say("REQ", "mail", nostr.Filter{Kinds: []int{14, 1059}, Tags: nostr.TagMap{"p": {trader.public}}})
	c.hear("EOSE")
	c.say("REQ", "talk", nostr.Filter{Kinds: []int{14}, Authors: []string{trader.public}})
	c.hear("EOSE")
	questions := make(map[string]bool)
	eventually(t, "all duties have asked", func() bool {
		for {
			select {
			case q := <-asked:
				for _, what := range []string{`"#p":["` + a.public, `"#p":["` + trader.public, `"authors":["` + b.public, `"authors":["` + trader.public, "31986"} {
					questions[what] = questions[what] || strings.Contains(q, what)
					if !questions[what] {
						delete(questions, what)
					}
				}
			default:
				return len(questions) == 5 || a.health(url).Bad >= strikes
			}
		}
	})
	time.Sleep(200 * time.Millisecond)
	t.Logf("asked by %d duties; %d events were bad: %v", len(questions), a.health(url).Bad, a.health(url).RefusedFor)
	check := func(from string) {
		t.Helper()
		evs, err := a.relay.All(t.Context(), nostr.Filter{Authors: []string{a.public}})
		if err != nil || len(evs) > 0 {
			t.Errorf("%s: %d events by the node's key got in, the first of kind %d (%v)", from, len(evs), evs[0].Kind, err)
		}
		for _, ev := range own {
			if handled(ev.ID) != 0 {
				t.Errorf("%s: the escrow has got kind %d by the node's key", from, ev.Kind)
			}
		}
	}
	check("other relays")
	for _, ev := range own {
		if ok, _ := c.send(ev); ok {
			t.Errorf("a client publishes kind %d by the node's key", ev.Kind)
		}
	}
	check("a client")
}
