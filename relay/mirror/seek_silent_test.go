package mirror

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// drips answers questions for a kind with an event now and then, and never comes to the end.
func drips(t *testing.T, kind int, ev nostr.Event) func() manner {
	return func() manner {
		return func(say func(parts ...any), label string, parts []json.RawMessage) bool {
			var f nostr.Filter
			if label != "REQ" || json.Unmarshal(parts[1], &f) != nil || !slices.Equal(f.Kinds, []int{kind}) {
				return false
			}
			go func() {
				for ; t.Context().Err() == nil; time.Sleep(answerTime / 2) {
					say("EVENT", parts[0], ev)
				}
			}()
			return true
		}
	}
}

// TestC3SilentSeek: a relay that never comes to the end of an answer keeps nobody from finding on another one where followed
// keys have gone, nor the operator from finding Mostros there.
func TestC3SilentSeek(t *testing.T) {
	bubble(t, func(t *testing.T) {
		all := newTowns(t, "a.test", "out.test", "b1.test", "b2.test")
		evil, found := newPerson(t), newPerson(t)
		lists := drips(t, kindRelayList, evil.offer(t, "x", 0))
		news := drips(t, kindInfo, evil.offer(t, "x", 0))
		all["a.test"].manner = func() manner {
			one, other := lists(), news()
			return func(say func(parts ...any), label string, parts []json.RawMessage) bool {
				return one(say, label, parts) || other(say, label, parts)
			}
		}
		a := newInstance(t, "a")
		a.listen, a.cfg.Dial = newCable().listen, all.dial
		a.cfg.Outside = []string{"ws://out.test"}
		a.cfg.Follow = []Followed{{Pubkey: evil.public, Relays: []string{"ws://a.test"}}}
		const keys = 12
		for i := range keys {
			who := newPerson(t)
			a.cfg.Follow = append(a.cfg.Follow, Followed{Pubkey: who.public})
			all["out.test"].publish(who.sign(t, nostr.Event{Kind: kindRelayList, Tags: nostr.Tags{{"r", fmt.Sprintf("ws://b%d.test", i%2+1)}}}))
		}
		all["out.test"].publish(found.info(t, 0))
		a.start()
		eventually(t, "they are connected", func() bool {
			return a.health("ws://a.test").State != Connecting && a.health("ws://out.test").State == Live
		})
		began := time.Now()
		for len(a.health("ws://b1.test").Mostros)+len(a.health("ws://b2.test").Mostros) < keys {
			if time.Since(began) > 3*checkEvery {
				t.Fatalf("after %s they are at %v and %v", time.Since(began), a.health("ws://b1.test").Mostros, a.health("ws://b2.test").Mostros)
			}
			time.Sleep(time.Second)
		}
		began = time.Now()
		some, err := a.mirror.Candidates(t.Context())
		if err != nil || len(some) != 1 || some[0].Pubkey != found.public || time.Since(began) > answerTime {
			t.Errorf("found %+v (%v) after %s", some, err, time.Since(began))
		}
	})
}
