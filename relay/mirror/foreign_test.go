package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestForeign takes relays of other makes as peers, in both directions: what a followed Mostro
// publishes there is copied, from before and live; the node's own events are published there; traders
// there trade with the node, and clients here with the Mostro there, by both kinds of message; the
// node's own key is not believed from there; after an outage both have everything.
//
// The relays here are scripted after real ones, so that they need not be there. To take a real one
// instead, start it on 127.0.0.1 and name it:
//
//	MIRROR_FOREIGN=ws://127.0.0.1:7771 go test ./relay/mirror -run 'TestForeign$' -v
//
// MIRROR_FOREIGN_WRAPS=no says that it gives gift wraps to their recipients only. Done so with
//
//   - nostr-relay-builder 0.44.1 (rust-nostr; a main of ten lines around LocalRelay), and 0.45.1, which the Python package
//     nostr-sdk brings along: negentropy of another make than ours. With nip42 it asks who somebody is when it refuses
//     him and not before, with auth_dm it gives gift wraps to their recipients only, and since 0.45 answers no question by id alone; it
//     compares the relay's address in a login then, which the gate of this course changes. What it does not store for reasons of
//     its own gets OK false "error: unknown" for ever, and more than 60 events a minute
//     "rate-limited: slow down". A frame that it cannot read ends the connection. Of live events it leaves out what is more than
//     1024 behind, and says nothing; comparing finds that. With NostrLMDB (nostr-lmdb) it keeps what it has.
//   - nostr_relay 1.14 (Python): NIP-01. It takes until for the first second that is not asked for, and
//     gives out no more than max_limit events, whatever it is asked.
//   - nostr-rs-relay 0.8.12: NIP-01. Of what is too large, and of more than 32 subscriptions, it says so in a NOTICE, without
//     OK or CLOSED; with nip42_auth it never says OK to a login; a limit of events a second slows all its OKs down. It takes
//     protoc to build, and with Rust 1.80 or later its source after "cargo update -p time --precise 0.3.36".
func TestForeign(t *testing.T) {
	if url := os.Getenv("MIRROR_FOREIGN"); url != "" {
		foreignCourse(t, url, os.Getenv("MIRROR_FOREIGN_WRAPS") != "no")
		return
	}
	for name, manner := range map[string]func(*plain) func() manner{
		"plain": func(*plain) func() manner { return nil }, "asks when it refuses": asksLate, "answers no login": asksAtOnce,
		"wraps to recipients": wrapsToRecipients, "notices": noticesOnly, "slow": slowOKs,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := idlePlain(20)
			p.manner = manner(p)
			p.listen(t, "127.0.0.1:0")
			foreignCourse(t, p.url, name != "wraps to recipients")
		})
	}
}

// visitor is somebody with a connection to a relay, who says who he is when it asks.
type visitor struct {
	person
	t    testing.TB
	link *link
}

func (p person) visit(t testing.TB, url string) visitor {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	l, err := Dial(Direct).connect(ctx, url, agent, func(ev *nostr.Event) error { return ev.Sign(p.secret) })
	if err != nil {
		t.Fatal(err)
	}
	return visitor{p, t, l}
}

// add publishes events, as slowly as the relay wants.
func (v visitor) add(evs ...nostr.Event) {
	v.t.Helper()
	for i := range evs {
		eventually(v.t, "the relay takes an event", func() bool {
			err := v.link.publish(v.t.Context(), &evs[i])
			if err != nil && !strings.HasPrefix(err.Error(), "rate-limited") {
				v.t.Fatalf("publish kind %d: %v", evs[i].Kind, err)
			}
			return err == nil
		})
	}
}

func (v visitor) finds(f nostr.Filter) (evs []nostr.Event) {
	v.t.Helper()
	if err := v.link.fetch(v.t.Context(), f, func(ev *nostr.Event) { evs = append(evs, *ev) }); err != nil {
		v.t.Fatal(err)
	}
	return evs
}

func (v visitor) has(id string) bool {
	v.t.Helper()
	return len(v.finds(nostr.Filter{IDs: []string{id}})) == 1
}

// hears waits for a live event.
func (v visitor) listens(f nostr.Filter) (hears func(what string, fits func(*nostr.Event) bool)) {
	v.t.Helper()
	var mu sync.Mutex
	var heard []*nostr.Event
	stands := make(chan error, 2)
	err := v.link.subscribe(&sub{
		event: func(ev *nostr.Event) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, ev)
		},
		end: func(err error) {
			select {
			case stands <- err:
			default:
			}
		},
	}, f)
	if err == nil {
		err = <-stands
	}
	if err != nil {
		v.t.Fatal(err)
	}
	return func(what string, fits func(*nostr.Event) bool) {
		v.t.Helper()
		eventually(v.t, what, func() bool {
			mu.Lock()
			defer mu.Unlock()
			for _, ev := range heard {
				if fits(ev) {
					return true
				}
			}
			return false
		})
	}
}

func foreignCourse(t *testing.T, url string, wraps bool) {
	way := newGate(t, strings.TrimPrefix(url, "ws://"))
	a, b := newInstance(t, "a"), newPerson(t)
	handled := a.escrow()
	a.cfg.Outside = []string{way.url}
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{way.url}}}

	// Before the node comes there is a book, and something in the node's name that it does not know.
	there := b.visit(t, url)
	at := nostr.Now() - 5000
	want := []nostr.Event{
		b.info(t, 0), b.sign(t, nostr.Event{Kind: 0, Content: "{}"}),
		b.sign(t, nostr.Event{Kind: 8383, Tags: nostr.Tags{{"order-id", "x"}, {"z", "dev-fee-payment"}}}),
		b.sign(t, nostr.Event{Kind: 30078, Content: `{"BTC":{"USD":1}}`, Tags: nostr.Tags{{"d", "mostro-rates"}}}),
	}
	for i := range 25 {
		want = append(want, b.offer(t, fmt.Sprint(i), at+nostr.Timestamp(i/3)))
	}
	there.add(want...)
	thief := a.person.visit(t, url)
	stolen := a.offer(t, "stolen", at)
	thief.add(stolen)

	a.start()
	here := func() bool { return bytes.Equal(a.book(b.public), lines(want)) }
	eventually(t, "the book is here", here)
	eventually(t, "the connection is live", func() bool { return a.health(way.url).State == Live })
	live := b.offer(t, "live", 0)
	there.add(live)
	eventually(t, "a live event is here", func() bool { return a.has(live.ID) })
	own := a.offer(t, "own", 0)
	a.publish(own, a.info(t, 0))
	eventually(t, "an own event is there", func() bool { return there.has(own.ID) })

	// A trader there and the node here.
	trader := newPerson(t).visit(t, url)
	hears := trader.listens(nostr.Filter{Kinds: []int{kindMessage}, Authors: []string{a.public}, Tags: nostr.TagMap{"p": {trader.public}}})
	hello := trader.message(t, a.public, "hello")
	trader.add(hello)
	hears("the node's answer", func(ev *nostr.Event) bool { return ev.Content == "to "+hello.ID })
	wrap := newPerson(t).sign(t, nostr.Event{Kind: kindWrap, CreatedAt: nostr.Now() - 3600, Tags: nostr.Tags{{"p", a.public}}})
	trader.add(wrap)
	eventually(t, "a gift wrap is handled", func() bool { return handled(wrap.ID) == 1 })

	// A client here and the Mostro there.
	client, c := newPerson(t), dialClient(t, a.url())
	c.say("REQ", "mail", nostr.Filter{Kinds: []int{kindMessage, kindWrap}, Tags: nostr.TagMap{"p": {client.public}}})
	c.hear("EOSE")
	mail := there.listens(nostr.Filter{Kinds: []int{kindMessage}, Tags: nostr.TagMap{"p": {b.public}}})
	question := client.message(t, b.public, "a question")
	if ok, reason := c.send(question); !ok {
		t.Fatal(reason)
	}
	mail("the client's message", func(ev *nostr.Event) bool { return ev.ID == question.ID })
	answer := b.message(t, client.public, "an answer")
	there.add(answer)
	if got := c.hear("EVENT"); !strings.Contains(string(got[2]), answer.ID) {
		t.Errorf("answer %s", got[2])
	}
	sealed := newPerson(t).sign(t, nostr.Event{Kind: kindWrap, CreatedAt: nostr.Now() - 3600, Tags: nostr.Tags{{"p", b.public}}})
	if ok, reason := c.send(sealed); !ok {
		t.Fatal(reason)
	}
	if !there.has(sealed.ID) && wraps {
		t.Error("the gift wrap is not there")
	}
	if wraps {
		back := newPerson(t).sign(t, nostr.Event{Kind: kindWrap, CreatedAt: nostr.Now() - 3600, Tags: nostr.Tags{{"p", client.public}}})
		there.add(back)
		if got := c.hear("EVENT"); !strings.Contains(string(got[2]), back.ID) {
			t.Errorf("gift wrap %s", got[2])
		}
	}

	// An outage.
	way.set(true)
	eventually(t, "the node notices", func() bool { return a.health(way.url).State == Waiting })
	mine, theirs := a.offer(t, "own", nostr.Now()+5), b.offer(t, "missed", 0)
	a.publish(mine)
	there.add(theirs)
	way.set(false)
	eventually(t, "what was missed here is here", func() bool { return a.has(theirs.ID) })
	eventually(t, "what was missed there is there", func() bool { return there.has(mine.ID) })
	eventually(t, "nothing waits", func() bool { return a.health(way.url).Waiting == 0 })
	if n := handled(hello.ID); n != 1 {
		t.Errorf("a message was handled %d times", n)
	}
	h := a.health(way.url)
	if a.has(stolen.ID) || h.Bad != 0 || h.Rejected != 0 {
		t.Errorf("the own key was believed: %v; health %+v", a.has(stolen.ID), h)
	}
	if h.Sessions > 3 {
		t.Errorf("%d connections for one outage: %v", h.Sessions, h.RefusedBy)
	}
	t.Logf("negentropy %v, refused %v", h.Negentropy, h.RefusedBy)
}

// asksLate is a relay that asks who somebody is when it refuses him, and not before.
func asksLate(*plain) func() manner {
	return func() manner {
		known := false
		return func(say func(...any), label string, parts []json.RawMessage) bool {
			var id string
			var ev nostr.Event
			switch {
			case label == "AUTH" && json.Unmarshal(parts[0], &ev) == nil:
				known = ev.Tags.FindWithValue("challenge", "who") != nil
				say("OK", ev.ID, known, "")
			case known:
				return false
			case label == "REQ" && json.Unmarshal(parts[0], &id) == nil:
				say("AUTH", "who")
				say("CLOSED", id, "auth-required: you must auth")
			case label == "EVENT" && json.Unmarshal(parts[0], &ev) == nil:
				say("AUTH", "who")
				say("OK", ev.ID, false, "auth-required: you must auth")
			}
			return true
		}
	}
}

// asksAtOnce is a relay that asks with the first word and never says what it thinks of the answer.
func asksAtOnce(*plain) func() manner {
	return func() manner {
		asked := false
		return func(say func(...any), label string, _ []json.RawMessage) bool {
			if !asked {
				say("AUTH", "who")
				asked = true
			}
			return label == "AUTH"
		}
	}
}

// wrapsToRecipients is a relay that gives gift wraps to their recipient only, and refuses a question
// that is also about those of others, whatever else it is about.
func wrapsToRecipients(p *plain) func() manner {
	return func() manner {
		as := ""
		return func(say func(...any), label string, parts []json.RawMessage) bool {
			var id string
			var ev nostr.Event
			if label == "AUTH" && json.Unmarshal(parts[0], &ev) == nil {
				as = ev.PubKey
				say("OK", ev.ID, true, "")
				return true
			}
			if label != "REQ" || json.Unmarshal(parts[0], &id) != nil {
				return false
			}
			for _, part := range parts[1:] {
				var f nostr.Filter
				if json.Unmarshal(part, &f) != nil || len(f.Kinds) == 0 || f.Kinds[len(f.Kinds)-1] != kindWrap {
					continue
				}
				switch to := f.Tags["p"]; {
				case as == "":
					say("AUTH", "who")
					say("CLOSED", id, "auth-required: you must auth")
					return true
				case len(to) != 1 || to[0] != as:
					say("CLOSED", id, "error: you cannot request another user's gift wrap")
					return true
				}
			}
			return false
		}
	}
}

// noticesOnly is a relay that says in a NOTICE what it does not do, and nothing else: to more
// subscriptions than 20 and to words that it does not know, such as negentropy's.
func noticesOnly(p *plain) func() manner {
	return func() manner {
		open := make(map[string]struct{})
		return func(say func(...any), label string, parts []json.RawMessage) bool {
			id := string(parts[0])
			switch label {
			case "REQ":
				if open[id] = struct{}{}; len(open) > 20 {
					delete(open, id)
					say("NOTICE", "Subscription error: Maximum concurrent subscription count reached")
					return true
				}
			case "CLOSE":
				delete(open, id)
			case "EVENT":
			default:
				say("NOTICE", "could not parse command")
				return true
			}
			return false
		}
	}
}

// slowOKs is a relay that writes a few events a second.
func slowOKs(*plain) func() manner {
	return func() manner {
		return func(_ func(...any), label string, _ []json.RawMessage) bool {
			if label == "EVENT" {
				time.Sleep(100 * time.Millisecond)
			}
			return false
		}
	}
}
