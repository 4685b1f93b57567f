package mirror

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestWriteOnly: a relay that gives out nothing, by its rules, for now, or without a word, gets the node's events and answers
// all the same, at once and over one connection, and what the node had before it knew that relay, or before its start, in a while.
func TestWriteOnly(t *testing.T) {
	for name, no := range map[string]string{"refuses": "restricted: write only", "busy": "rate-limited: too many questions", "silent": ""} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := idlePlain(50)
				p.manner = func() manner {
					return func(say func(...any), label string, parts []json.RawMessage) bool {
						if label == "REQ" && no != "" {
							say("CLOSED", parts[0], no)
						}
						return label == "REQ"
					}
				}
				var before nostr.Event
				a, url := abroad(t, p, func(a *instance, url string) {
					a.start()
					before = a.offer(t, "before", 0)
					a.publish(before)
					a.stop()
					a.listen = newCable().listen
					publishes(a, url)
				})
				trader := newPerson(t)
				if err := a.mirror.Heard(context.WithValue(t.Context(), originKey{}, url), trader.public); err != nil {
					t.Fatal(err)
				}
				for _, when := range []string{"at once", "later", "much later"} {
					offer, answer := a.offer(t, when, 0), a.message(t, trader.public, when)
					a.publish(offer, answer)
					eventuallyFor(t, 10*time.Second, when+" all is there", func() bool { return p.has(offer.ID) && p.has(answer.ID) })
					time.Sleep(time.Hour)
				}
				if !p.has(before.ID) {
					t.Error("it lacks what the node had before")
				}
				if h := a.health(url); h.Sessions != 1 || h.Waiting != 0 {
					t.Errorf("it took %d connections, %d events wait", h.Sessions, h.Waiting)
				}
			})
		})
	}
}

// TestAnswerRefused: an answer that a relay refuses by its rules, as when the node's account there has run out, is there
// when it may be again, and is not sent all the time until then. Others are not held up.
func TestAnswerRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, trader, other := idlePlain(50), newPerson(t), newPerson(t)
		p.refuse(func(ev *nostr.Event) string {
			if to := ev.Tags.Find("p"); to != nil && to[1] == trader.public {
				return "restricted: the subscription has run out"
			}
			return ""
		})
		a, url := abroad(t, p, publishes)
		for _, who := range []person{trader, other} {
			if err := a.mirror.Heard(context.WithValue(t.Context(), originKey{}, url), who.public); err != nil {
				t.Fatal(err)
			}
		}
		answer, last := a.message(t, trader.public, "pay-invoice"), a.message(t, other.public, "x")
		a.publish(answer, last)
		eventuallyFor(t, time.Minute, "the other answer is there", func() bool { return p.has(last.ID) })
		time.Sleep(3 * time.Hour)
		if h := a.health(url); h.Rejected < 3 || h.Rejected > 5 || h.Waiting != 1 {
			t.Errorf("sent %d times in three hours, %d answers wait", h.Rejected, h.Waiting)
		}
		p.refuse(nil)
		eventuallyFor(t, time.Hour, "the answer is there", func() bool { return p.has(answer.ID) })
		eventually(t, "nothing waits", func() bool { return a.health(url).Waiting == 0 })
	})
}

// TestOutboxSpoiled: a row of the outbox that cannot be read does not hold up the others.
func TestOutboxSpoiled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, trader := idlePlain(50), newPerson(t)
		a, url := abroad(t, p, publishes)
		if err := a.mirror.Heard(context.WithValue(t.Context(), originKey{}, url), trader.public); err != nil {
			t.Fatal(err)
		}
		spoiled := a.message(t, trader.public, "spoiled")
		if err := a.mirror.state.set(map[string][]byte{outboxRow(url, &spoiled): []byte("12345678{")}); err != nil {
			t.Fatal(err)
		}
		answer := a.message(t, trader.public, "answer")
		a.publish(answer)
		eventuallyFor(t, 10*time.Second, "the answer is there", func() bool { return p.has(answer.ID) })
		if h := a.health(url); h.Sessions != 1 || h.Waiting != 0 {
			t.Errorf("it took %d connections, %d answers wait", h.Sessions, h.Waiting)
		}
	})
}
