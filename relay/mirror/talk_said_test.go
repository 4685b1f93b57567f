package mirror

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestSaidArrives: what somebody says in a conversation arrives at another relay although that does not take it for now, and
// soon although others say much more than is carried there.
func TestSaidArrives(t *testing.T) {
	// A conversation of somebody at A, who deals with B.
	begin := func(t *testing.T) (a *instance, there *town, talk func() person) {
		all := newTowns(t, "b.test")
		b := newPerson(t)
		a, there = newInstance(t, "a"), all["b.test"]
		a.listen, a.cfg.Dial = newCable().listen, all.dial
		a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{"ws://b.test"}}}
		a.start()
		eventually(t, "it is connected", func() bool { return a.health("ws://b.test").State == Live })
		return a, there, func() person {
			who := newPerson(t)
			a.mirror.talks.add(mailbox{who.public, b.public}, claimant{"key " + who.public, true})
			return who
		}
	}
	say := func(t *testing.T, a *instance, who person, text string) (id string) {
		t.Helper()
		ev := who.message(t, newPerson(t).public, text)
		if taken := a.relay.Take(context.Background(), "a client", []*nostr.Event{&ev})[0]; !taken.New {
			t.Fatalf("%+v", taken)
		}
		return ev.ID
	}
	t.Run("refused for now", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			a, there, talk := begin(t)
			ann := talk()
			time.Sleep(10 * time.Second)
			there.refuse(func(ev *nostr.Event) string {
				if ev.Kind == kindMessage {
					return "rate-limited: slow down"
				}
				return ""
			})
			id := say(t, a, ann, "I have paid")
			time.Sleep(time.Minute)
			there.refuse(nil)
			time.Sleep(2 * mostMissed)
			if h := a.health("ws://b.test"); !there.has(id) || h.Sessions != 1 {
				t.Errorf("there: %v; %+v", there.has(id), h)
			}
		})
	})
	t.Run("beside a flood", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			a, there, talk := begin(t)
			ann := talk()
			var others []person
			for range 30 {
				others = append(others, talk())
			}
			time.Sleep(10 * time.Second)
			for i := range 60 {
				for _, other := range others {
					say(t, a, other, fmt.Sprint(i))
				}
			}
			id := say(t, a, ann, "I have paid")
			time.Sleep(5 * time.Second)
			if !there.has(id) {
				t.Error("it is not there")
			}
		})
	})
}
