package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// TestC3SaysItIsAMirror: who brings here what somebody else has said elsewhere, and says that he is a mirror, does not keep it from
// being passed on when its author brings it himself, once. What he brings alone, or under a false signature, is not.
func TestC3SaysItIsAMirror(t *testing.T) {
	p, b, key := newPlain(t, 100, "127.0.0.1:0"), newPerson(t), newPerson(t)
	var compared atomic.Bool
	p.manner = func() manner {
		return func(_ func(...any), label string, parts []json.RawMessage) bool {
			var f nostr.Filter
			if label == "REQ" && json.Unmarshal(parts[1], &f) == nil && f.Limit > 1 && slices.Contains(f.Authors, key.public) {
				compared.Store(true)
			}
			return false
		}
	}
	a := newInstance(t, "a")
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
	a.start()
	eventually(t, "it is connected", func() bool { return a.health(p.url).State == Live })
	a.mirror.talks.add(mailbox{key.public, b.public}, claimant{near, true})
	var mu sync.Mutex
	sent := make(map[string]int)
	p.refuse(func(ev *nostr.Event) string {
		mu.Lock()
		defer mu.Unlock()
		sent[ev.Content]++
		return ""
	})
	before := key.message(t, newPerson(t).public, "before")
	dialClient(t, a.url()).send(before)
	eventually(t, "what is said here is there", func() bool { return p.has(before.ID) })
	eventually(t, "what was said before is compared", compared.Load)

	liar, err := Dial(Direct).connect(t.Context(), a.url(), agent, nil)
	if err != nil {
		t.Fatal(err)
	}
	said, forged, alone := key.message(t, newPerson(t).public, "said"), key.message(t, newPerson(t).public, "forged"), key.message(t, newPerson(t).public, "alone")
	for _, ev := range []nostr.Event{said, forged, alone} {
		if err := liar.publish(t.Context(), &ev); err != nil {
			t.Fatal(err)
		}
	}
	forged.Sig = said.Sig
	a.mirror.crossed.Add(nameOf(&forged), true)
	author := dialClient(t, a.url())
	for _, ev := range []nostr.Event{forged, said} {
		if ok, reason := author.send(ev); !ok || !strings.HasPrefix(reason, "duplicate") {
			t.Fatalf("%v %s", ok, reason)
		}
	}
	eventually(t, "it is passed on", func() bool { return p.has(said.ID) })
	time.Sleep(100 * time.Millisecond) // it comes back
	if err := liar.publish(t.Context(), &said); err != nil {
		t.Fatal(err)
	}
	author.send(said)
	time.Sleep(100 * time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	if sent["said"] != 1 || sent["forged"] > 0 || sent["alone"] > 0 {
		t.Errorf("passed on were %v", sent)
	}
}
