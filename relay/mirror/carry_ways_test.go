package mirror

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestCarryWays: a message to a Mostro on several relays arrives when one of them takes it, whatever the others say or do not
// say. What its own relay, that of its key, refuses by its rules is refused.
func TestCarryWays(t *testing.T) {
	for what, change := range map[string]func(first *plain){
		"refuses": func(first *plain) { first.refuse(func(*nostr.Event) string { return "restricted: sign up first" }) },
		"silent":  func(first *plain) { first.set(func(*nostr.Event) (lost, unanswered bool) { return true, true }) },
	} {
		t.Run(what, func(t *testing.T) {
			at := []string{freeAddress(t), freeAddress(t)}
			slices.Sort(at) // as they are tried
			first, second := newPlain(t, 500, at[0]), newPlain(t, 500, at[1])
			change(first)
			b, a := newPerson(t), newInstance(t, "a")
			a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{first.url, second.url}}}
			a.start()
			eventually(t, "A is connected", func() bool { return a.health(first.url).State == Live && a.health(second.url).State == Live })
			message := newPerson(t).message(t, b.public, "hello")
			if ok, reason := dialClient(t, a.url()).send(message); !ok || !second.has(message.ID) {
				t.Errorf("%v %q", ok, reason)
			}
		})
	}
	t.Run("own", func(t *testing.T) {
		b, a := newInstance(t, "b"), newInstance(t, "a")
		b.receive = func(context.Context, *nostr.Event) error { return errors.New("invalid: no such order") }
		b.start()
		var relays []string
		var others []*plain
		for range 6 { // some of them have addresses before that of B
			others = append(others, newPlain(t, 500, freeAddress(t)))
			relays = append(relays, others[len(others)-1].url)
		}
		a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: append(relays, b.url())}}
		a.start()
		for _, url := range a.cfg.Follow[0].Relays {
			eventually(t, "A is connected", func() bool { return a.health(url).State == Live })
		}
		message := newPerson(t).message(t, b.public, "hello")
		if ok, reason := dialClient(t, a.url()).send(message); ok || reason != "invalid: no such order" {
			t.Errorf("%v %q", ok, reason)
		}
		for _, p := range others {
			if p.has(message.ID) {
				t.Error("it was left elsewhere")
			}
		}
	})
}

// TestCarryTwo: a message to a Mostro elsewhere and to somebody else, which nobody would carry, is refused as one to the node is.
func TestCarryTwo(t *testing.T) {
	b, a := newPerson(t), newInstance(t, "a")
	a.cfg.Follow = []Followed{{Pubkey: b.public}}
	a.start()
	c := dialClient(t, a.url())
	for _, kind := range []int{14, 1059} {
		for _, to := range [][]string{{b.public, newPerson(t).public}, {newPerson(t).public, b.public}, {b.public, b.public}} {
			ev := newPerson(t).sign(t, nostr.Event{Kind: kind, Tags: nostr.Tags{{"p", to[0]}, {"p", to[1]}}})
			if ok, reason := c.send(ev); ok || !strings.HasPrefix(reason, "invalid: ") || a.has(ev.ID) {
				t.Errorf("kind %d to %v: %v %q", kind, to, ok, reason)
			}
		}
	}
	group := newPerson(t).sign(t, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", newPerson(t).public}, {"p", newPerson(t).public}}})
	if ok, reason := c.send(group); !ok {
		t.Errorf("a message to two others: %s", reason)
	}
}
