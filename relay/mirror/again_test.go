package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestMinuteAgain: a relay that stays connected and takes nothing for hours has the whole book and all answers a minute
// after it takes events again, however it says no and however many wait; meanwhile it is asked now and then, and
// not all the time.
func TestMinuteAgain(t *testing.T) {
	for no, counts := range map[string][]int{
		"error: the database is locked": {1, 300}, "Database is locked": {30}, "auth-required: not now": {30}, "rate-limited: not now": {30}, "": {30},
	} {
		for _, many := range counts {
			t.Run(fmt.Sprintf("%d %s", many, no), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					var mu sync.Mutex
					shut, heard := true, 0
					p := idlePlain(50)
					p.manner = func() manner {
						return func(say func(...any), label string, parts []json.RawMessage) bool {
							var ev nostr.Event
							if label != "EVENT" || json.Unmarshal(parts[0], &ev) != nil {
								return false
							}
							mu.Lock()
							defer mu.Unlock()
							heard++
							if shut && no != "" {
								say("OK", ev.ID, false, no)
							} else if shut {
								say("NOTICE", "not now")
							}
							return shut
						}
					}
					a, url := abroad(t, p, publishes)
					eventually(t, "it is connected", func() bool { return a.health(url).State == Live })
					trader := newPerson(t)
					if err := a.mirror.Heard(context.WithValue(t.Context(), originKey{}, url), trader.public); err != nil {
						t.Fatal(err)
					}
					var all []nostr.Event
					for i := range many {
						all = append(all, a.offer(t, fmt.Sprint(i), 0), a.message(t, trader.public, fmt.Sprint(i)))
					}
					a.publish(all...)
					const hours = 1
					time.Sleep(hours * time.Hour)
					mu.Lock()
					t.Logf("in %d hours %d messages for %d events over %d connections", hours, heard, len(all), a.health(url).Sessions)
					if most := len(all) + againAtOnce*(1+hours*int(time.Hour/firstAgain)); heard < 60*hours || heard > 2*most {
						t.Errorf("the relay was sent %d events in %d hours", heard, hours)
					}
					shut = false
					mu.Unlock()
					began := time.Now()
					for i := range all {
						for !p.has(all[i].ID) {
							if time.Since(began) > time.Minute {
								t.Fatalf("event %d of %d is not there a minute after the relay takes events again: %+v", i, len(all), a.health(url))
							}
							time.Sleep(50 * time.Millisecond)
						}
					}
					t.Logf("all there after %s", time.Since(began))
				})
			})
		}
	}
}

// TestRefusedForGood: what a relay refuses by its rules is not sent again and again, and is there once its rules
// have changed and comparing has found it, on the same connection.
func TestRefusedForGood(t *testing.T) {
	for _, no := range []string{"blocked: not followed here", "invalid: too many tags", "restricted: no orders"} {
		bubble(t, func(t *testing.T) {
			p := idlePlain(50)
			p.refuse(func(*nostr.Event) string { return no })
			a, url := abroad(t, p, publishes)
			eventually(t, "it is connected", func() bool { return a.health(url).State == Live })
			offer := a.offer(t, "x", 0)
			a.publish(offer)
			time.Sleep(3 * time.Hour)
			if n := a.health(url).Rejected; n < 2 || n > 4 {
				t.Errorf("%q: sent %d times in three hours", no, n)
			}
			p.refuse(nil)
			// A new version does not wait for that.
			fresh := a.offer(t, "y", 0)
			a.publish(fresh)
			eventuallyFor(t, time.Minute, "what is new is there", func() bool { return p.has(fresh.ID) })
			time.Sleep(neverAgain + 2*resyncEvery)
			if !p.has(offer.ID) {
				t.Errorf("%q: comparing has not found what was refused", no)
			}
			if h := a.health(url); h.Sessions != 1 {
				t.Errorf("it took %d connections", h.Sessions)
			}
		})
	}
}

// TestMinuteMessages: messages to the node, and answers for clients here, arrive within a minute after a relay that stays
// connected gives them out again, however often and for however long it has not.
func TestMinuteMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		shut, asked := true, 0
		p := idlePlain(50)
		p.manner = func() manner {
			return func(say func(...any), label string, parts []json.RawMessage) bool {
				var f nostr.Filter
				if label != "REQ" || json.Unmarshal(parts[1], &f) != nil || len(f.Tags["p"]) == 0 {
					return false
				}
				mu.Lock()
				defer mu.Unlock()
				asked++
				if shut {
					say("CLOSED", parts[0], "error: not now")
				}
				return shut
			}
		}
		b, trader := newPerson(t), newPerson(t)
		var handled func(string) int
		a, url := abroad(t, p, func(a *instance, url string) {
			handled = a.escrow()
			publishes(a, url)
			follows(b)(a, url)
		})
		a.mirror.interest.add(mailbox{trader.public, ""}, claimant{near, true})
		eventually(t, "it is connected", func() bool { return a.health(url).State == Live })
		arrive := func(when string) {
			t.Helper()
			order, answer := trader.message(t, a.public, when), b.message(t, trader.public, when)
			p.add(order, answer)
			began := time.Now()
			for handled(order.ID) != 1 || !a.has(answer.ID) {
				if time.Since(began) > time.Minute {
					t.Fatalf("%s: the order is handled %d times, the answer is here: %v", when, handled(order.ID), a.has(answer.ID))
				}
				time.Sleep(50 * time.Millisecond)
			}
			t.Logf("%s: after %s", when, time.Since(began))
		}
		time.Sleep(3 * time.Hour)
		mu.Lock()
		t.Logf("asked %d times in three hours", asked)
		if asked > 3*3600/int(mostAgain/time.Second)*10 { // each time with wraps and without, live and stored, for two duties
			t.Errorf("asked %d times in three hours", asked)
		}
		shut = false
		mu.Unlock()
		arrive("after three hours")
		for i := range 8 {
			p.mu.Lock()
			for sub := range p.subs {
				if len(sub.filters) > 0 && len(sub.filters[0].Tags["p"]) > 0 {
					sub.say("CLOSED", sub.id, "error: starting anew")
					delete(p.subs, sub)
				}
			}
			p.mu.Unlock()
			arrive(fmt.Sprint("closed ", i))
			time.Sleep(2 * time.Minute)
		}
		if h := a.health(url); h.Sessions != 1 {
			t.Errorf("%d connections", h.Sessions)
		}
	})
}
