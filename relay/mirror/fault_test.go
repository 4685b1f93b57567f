package mirror

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestC1Faults: a fault in the handling of what another relay sends, wherever it shows, ends the connection and not the node,
// and the operator is told.
func TestC1Faults(t *testing.T) {
	t.Run("while storing", func(t *testing.T) {
		a, b, p := newInstance(t, "a"), newPerson(t), newPlain(t, 100, "127.0.0.1:0")
		p.add(newPerson(t).review(t, b.public, "proven", nostr.Now()-60))
		a.cfg.Review = func(*nostr.Event) bool { panic("as in an index that is out of range") }
		a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
		a.start()
		eventually(t, "the connection is given up", func() bool { return a.health(p.url).State == Waiting })
		if h := a.health(p.url); !strings.Contains(h.Error, "a fault of this program") || strings.Contains(h.Error, "\n") {
			t.Errorf("it is told as %q", h.Error)
		}
		a.publish(a.info(t, 0))
	})
	t.Run("while reading", func(t *testing.T) {
		p := newPlain(t, 100, "127.0.0.1:0")
		p.add(newPerson(t).info(t, 0))
		l, err := Dial(Direct).connect(t.Context(), p.url, agent, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = l.subscribe(&sub{event: func(*nostr.Event) { panic("in the reader") }}, nostr.Filter{Kinds: []int{kindInfo}})
		<-l.ended
		if err != nil || !errors.Is(l.cause, errFault) || !strings.Contains(l.cause.Error(), "fault_test.go") {
			t.Errorf("it ended with %v (%v)", l.cause, err)
		}
	})
	t.Run("in the escrow", func(t *testing.T) {
		a, p := newInstance(t, "a"), newPlain(t, 100, "127.0.0.1:0")
		var calls atomic.Int64
		bad := newPerson(t)
		a.receive = func(_ context.Context, ev *nostr.Event) error {
			if calls.Add(1); ev.PubKey == bad.public {
				panic("in the escrow")
			}
			return nil
		}
		a.cfg.Outside = []string{p.url}
		p.add(bad.message(t, a.public, "bad"))
		a.start()
		p.add(newPerson(t).message(t, a.public, "good"))
		eventually(t, "both are handled", func() bool { return calls.Load() == 2 && a.health(p.url).Received == 1 })
		if h := a.health(p.url); h.Sessions != 1 || h.State != Live {
			t.Errorf("a stranger's message has ended the connection: %+v", h)
		}
	})
}
