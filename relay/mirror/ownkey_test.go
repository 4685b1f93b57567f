package mirror

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestOwnKeyChanges: a node that gets the key of a Mostro that it has followed, as when somebody tries it beside his old one
// and then moves over, starts, and takes the messages to that key itself. Of a key that it had before nothing is taken as if it
// had arrived, and nothing shown to everybody.
func TestOwnKeyChanges(t *testing.T) {
	for _, by := range []string{"command", "settings", "nobody"} {
		t.Run(by, func(t *testing.T) {
			a, old := newInstance(t, "a"), newInstance(t, "old")
			elsewhere := old.escrow()
			old.start()
			follow := Followed{Pubkey: old.public, Relays: []string{old.url()}}
			if by == "settings" {
				a.cfg.Follow = []Followed{follow}
			}
			a.start()
			if by == "command" {
				if err := a.mirror.Agree(follow); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "it is followed", func() bool { return by == "nobody" || a.health(old.url()).State == Live })
			a.stop()
			a.cfg.Follow, a.person = nil, old.person
			here := 0
			a.receive = func(context.Context, *nostr.Event) error { here++; return nil }
			a.start()
			message := newPerson(t).message(t, a.public, "new order")
			if ok, reason := dialClient(t, a.url()).send(message); !ok || here != 1 || elsewhere(message.ID) != 0 {
				t.Errorf("%v %q: %d times here, %d elsewhere", ok, reason, here, elsewhere(message.ID))
			}
			if all := a.mirror.Health(); len(all) != 0 {
				t.Errorf("it has to do with %+v", all)
			}
			a.publish(a.message(t, newPerson(t).public, "an answer"))
			// It is not followed again by itself when the node has another key once more.
			a.stop()
			a.person = newPerson(t)
			a.start()
			if a.mirror.Followed(old.public) {
				t.Error("the old key is followed")
			}
			// Who writes to the old key is told, and what was written by it is still shown to whoever it was for.
			if ok, reason := dialClient(t, a.url()).send(newPerson(t).message(t, old.public, "too late")); ok || !strings.HasPrefix(reason, "restricted: ") {
				t.Errorf("a message to the old key: %v %q", ok, reason)
			}
			c := dialClient(t, a.url())
			c.say("REQ", "all", nostr.Filter{Kinds: []int{14}, Authors: []string{old.public}})
			for {
				var answer []json.RawMessage
				if err := c.ReadJSON(&answer); err != nil {
					t.Fatal(err)
				}
				if label := string(answer[0]); label == `"EOSE"` || label == `"CLOSED"` {
					break
				} else if label == `"EVENT"` {
					t.Errorf("anybody gets %s", answer[2])
				}
			}
		})
	}
}
