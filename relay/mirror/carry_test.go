package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// federated starts B, a Mostro with an escrow, and A, which follows it.
func federated(t *testing.T) (a, b *instance, handled func(id string) int) {
	b = newInstance(t, "b")
	handled = b.escrow()
	b.start()
	a = newInstance(t, "a")
	a.receive = func(context.Context, *nostr.Event) error { return errors.New("invalid: not for me") }
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{b.url()}}}
	a.start()
	eventually(t, "A is connected to B", func() bool { return a.health(b.url()).State == Live })
	return a, b, handled
}

// TestCarry: a client that is connected to A only trades with B: its messages get there, B's
// answers come back, live and later, and the answer to each message is B's own.
func TestCarry(t *testing.T) {
	a, b, handled := federated(t)
	trader := newPerson(t)
	c := dialClient(t, a.url())
	c.say("REQ", "mail", nostr.Filter{Kinds: []int{14}, Authors: []string{b.public}, Tags: nostr.TagMap{"p": {trader.public}}})
	c.hear("EOSE")
	hello := trader.message(t, b.public, "hello")
	if ok, reason := c.send(hello); !ok {
		t.Fatal(reason)
	}
	if answer := c.hear("EVENT"); !strings.Contains(string(answer[2]), "to "+hello.ID) {
		t.Errorf("answer %s", answer[2])
	}
	if n := handled(hello.ID); n != 1 {
		t.Errorf("handled %d times", n)
	}
	if a.has(hello.ID) {
		t.Error("the message was kept at A")
	}
	if ok, _ := c.send(hello); !ok {
		t.Error("the same again was refused")
	}

	// A gift wrap is carried by its recipient only; what comes back is asked for by #p.
	wrapped := newPerson(t)
	c.say("REQ", "wraps", nostr.Filter{Kinds: []int{1059}, Tags: nostr.TagMap{"p": {wrapped.public}}})
	c.hear("EOSE")
	wrap := newPerson(t).sign(t, nostr.Event{Kind: 1059, CreatedAt: nostr.Now() - 40*3600, Tags: nostr.Tags{{"p", b.public}}})
	if ok, reason := c.send(wrap); !ok {
		t.Fatal(reason)
	}
	eventually(t, "A waits for mail of the key", func() bool { return a.mirror.interest.has(wrapped.public, nil) })
	back := newPerson(t).sign(t, nostr.Event{Kind: 1059, CreatedAt: nostr.Now() - 40*3600, Tags: nostr.Tags{{"p", wrapped.public}}})
	b.publish(back)
	if answer := c.hear("EVENT"); !strings.Contains(string(answer[2]), back.ID) {
		t.Errorf("answer %s", answer[2])
	}

	// What B says while A is away comes when it is back, though no client asks again.
	a.stop()
	missed := b.message(t, trader.public, "missed")
	b.publish(missed)
	a.start()
	eventually(t, "a missed answer comes", func() bool { return a.has(missed.ID) })

	// B's refusal is the client's answer, and so is its absence.
	c = dialClient(t, a.url())
	two := trader.sign(t, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", b.public}, {"p", a.public}}})
	if ok, reason := c.send(two); ok || !strings.HasPrefix(reason, "invalid:") {
		t.Errorf("a message to two: %v %q", ok, reason)
	}
	b.stop()
	eventually(t, "A notices", func() bool { return a.health(b.url()).State == Waiting })
	late := trader.message(t, b.public, "late")
	if ok, reason := c.send(late); ok || !strings.HasPrefix(reason, "error: ") {
		t.Errorf("while B is away: %v %q", ok, reason)
	}
	if ok, reason := c.send(late); ok || !strings.HasPrefix(reason, "rate-limited: ") {
		t.Errorf("at once again: %v %q", ok, reason)
	}
}

// TestCarryStrict: a relay in strict mode hands over answers for clients elsewhere only to a node that it lists as a
// peer; messages it takes from anybody.
func TestCarryStrict(t *testing.T) {
	for _, listed := range []bool{false, true} {
		t.Run(fmt.Sprint("listed ", listed), func(t *testing.T) {
			a, b := newInstance(t, "a"), newInstance(t, "b")
			handled := b.escrow()
			b.change = func(cfg *relay.Config) {
				cfg.PrivateReads = relay.ReadsStrict
				cfg.Federation.Peer = func(pubkey string) bool { return listed && pubkey == a.public }
			}
			b.start()
			a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{b.url()}}}
			a.start()
			eventually(t, "A is connected to B", func() bool { return a.health(b.url()).State == Live })
			trader := newPerson(t)
			c := dialClient(t, a.url())
			hello := trader.message(t, b.public, "hello")
			if ok, reason := c.send(hello); !ok || handled(hello.ID) != 1 {
				t.Fatalf("the message is not taken: %s", reason)
			}
			answer := b.message(t, trader.public, "answer")
			b.publish(answer)
			if listed {
				eventually(t, "the answer is here", func() bool { return a.has(answer.ID) })
				return
			}
			time.Sleep(time.Second)
			if a.has(answer.ID) {
				t.Error("the answer was handed over")
			}
		})
	}
}

// TestCarryRefused: what B's relay refuses is refused here, in its words.
func TestCarryRefused(t *testing.T) {
	a, b, _ := federated(t)
	b.stop()
	b.receive = func(context.Context, *nostr.Event) error { return errors.New("pow: 16 bits needed, 4 found") }
	b.start()
	eventually(t, "A is connected again", func() bool { return a.health(b.url()).State == Live })
	message := newPerson(t).message(t, b.public, "hello")
	if ok, reason := dialClient(t, a.url()).send(message); ok || reason != "pow: 16 bits needed, 4 found" {
		t.Errorf("%v %q", ok, reason)
	}
}

// TestCarryOthersMail: a peer that sends messages of people who are not here gets none of them in.
func TestCarryOthersMail(t *testing.T) {
	a, b, _ := federated(t)
	here := newPerson(t)
	c := dialClient(t, a.url())
	var many []string
	for range keysPerClient + 10 {
		many = append(many, newPerson(t).public)
	}
	for len(many) > 0 {
		n := min(len(many), 200)
		c.say("REQ", "mail", nostr.Filter{Kinds: []int{14, 1059}, Tags: nostr.TagMap{"p": many[:n]}})
		c.hear("EOSE")
		many = many[n:]
	}
	keys, _ := a.mirror.interest.keys([]string{b.public})
	if len(keys) != keysPerClient {
		t.Errorf("one connection added %d keys, want %d", len(keys), keysPerClient)
	}
	other := newPerson(t)
	d := dialClient(t, a.url())
	d.say("REQ", "mail", nostr.Filter{Kinds: []int{14}, Tags: nostr.TagMap{"p": {here.public}}})
	d.hear("EOSE")
	p := a.mirror.list()[0]
	evs := []*nostr.Event{}
	mine := b.message(t, here.public, "mine")
	for _, ev := range []nostr.Event{
		b.message(t, other.public, "another's"), other.message(t, here.public, "not by the Mostro"),
		a.message(t, here.public, "by the node"), b.offer(t, "no message", 0), mine,
	} {
		evs = append(evs, &ev)
	}
	if err := p.ingestMail(t.Context(), evs); err != nil {
		t.Fatal(err)
	}
	if !a.has(mine.ID) || p.bad.Load() != 4 {
		t.Errorf("mine %v, %d bad, want 4", a.has(mine.ID), p.bad.Load())
	}
}

// TestCarryKeys: whoever writes with more keys than one connection may have hears so, and is not left without answers.
func TestCarryKeys(t *testing.T) {
	a, b, handled := federated(t)
	c := dialClient(t, a.url())
	for i := range keysPerClient + 20 {
		message := newPerson(t).message(t, b.public, fmt.Sprint(i))
		ok, reason := c.send(message)
		if took := i < keysPerClient; ok != took || handled(message.ID) > 0 != took || !ok && reason != errTooManyKeys.Error() {
			t.Fatalf("message %d: %v %q, handled %d times", i, ok, reason, handled(message.ID))
		}
	}
	first := newPerson(t)
	d := dialClient(t, a.url())
	if ok, reason := d.send(first.message(t, b.public, "hello")); !ok {
		t.Errorf("another connection: %s", reason)
	}
	if ok, reason := d.send(first.message(t, b.public, "again")); !ok {
		t.Errorf("a key that is known: %s", reason)
	}
}
