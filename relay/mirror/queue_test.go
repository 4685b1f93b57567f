package mirror

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestQueueAllInMemory: of what the node has published before, and an outside relay lacks that takes nothing for now, only
// ids are in memory, whether the relay says what it lacks or not; all of it gets there, the newest first.
func TestQueueAllInMemory(t *testing.T) {
	const events = 600
	for _, kind := range []string{"write only", "windows", "negentropy"} {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := idlePlain(50)
				var mu sync.Mutex
				var came []nostr.Timestamp
				busy := true
				negotiating := negotiates(p)
				if kind != "negentropy" {
					p.about = ""
				}
				p.manner = func() manner {
					answered := negotiating()
					return func(say func(...any), label string, parts []json.RawMessage) bool {
						var ev nostr.Event
						switch {
						case label == "REQ" && kind == "write only":
							say("CLOSED", parts[0], "restricted: write only")
							return true
						case label != "EVENT":
							return kind == "negentropy" && answered(say, label, parts)
						case json.Unmarshal(parts[0], &ev) != nil:
							return false
						}
						mu.Lock()
						defer mu.Unlock()
						if busy {
							say("OK", ev.ID, false, "rate-limited: slow down")
							return true
						}
						came = append(came, ev.CreatedAt)
						return false
					}
				}
				a, url := abroad(t, p, func(a *instance, url string) {
					a.start()
					for i := range events {
						a.publish(a.offer(t, fmt.Sprint(i), nostr.Now()-nostr.Timestamp(i)))
					}
					a.stop()
					a.listen = newCable().listen
					publishes(a, url)
				})
				eventuallyFor(t, time.Minute, "all waits", func() bool { return a.health(url).Waiting == events })
				time.Sleep(time.Minute)
				out := &a.mirror.list()[0].out
				out.mu.Lock()
				if n := len(out.last); n > 2*sentAtOnce {
					t.Errorf("%d of %d events are in memory", n, events)
				}
				out.mu.Unlock()
				if h := a.health(url); h.Waiting != events || h.Oldest.IsZero() {
					t.Errorf("%d events wait since %v", h.Waiting, h.Oldest)
				}
				mu.Lock()
				busy = false
				mu.Unlock()
				eventuallyFor(t, time.Hour, "all is there", func() bool { return len(p.all(nostr.Filter{Kinds: []int{kindOrder}})) == events })
				eventually(t, "nothing waits", func() bool { h := a.health(url); return h.Waiting == 0 && h.Oldest.IsZero() })
				mu.Lock()
				defer mu.Unlock()
				if first, last := came[0], came[len(came)-1]; first < last {
					t.Errorf("the first is of %d, the last of %d", first, last)
				}
			})
		})
	}
}

// TestQueueAllOnce: a relay that does not say what it lacks gets all once in a day, however often the node starts, and what
// has come since in any case.
func TestQueueAllOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, came := idlePlain(50), &refuses{by: make(map[string][]any), sent: make(map[string]int)}
		p.manner = func() manner {
			counted := came.manner()
			return func(say func(...any), label string, parts []json.RawMessage) bool {
				if label == "REQ" {
					say("CLOSED", parts[0], "restricted: write only")
					return true
				}
				return counted(say, label, parts)
			}
		}
		away := time.Duration(0)
		a, url := abroad(t, p, func(a *instance, url string) {
			a.cfg.Now = func() time.Time { return time.Now().Add(away) }
			publishes(a, url)
		})
		old := a.info(t, nostr.Now()-nostr.Timestamp(5*24*3600))
		a.publish(old)
		again := func() {
			a.stop()
			a.listen = newCable().listen
			a.start()
			time.Sleep(2 * time.Minute)
		}
		sent := func(ev nostr.Event) int {
			came.mu.Lock()
			defer came.mu.Unlock()
			return came.sent[ev.ID]
		}
		time.Sleep(2 * time.Minute)
		first := sent(old) // when it was published, and perhaps with all
		if first == 0 {
			t.Fatal("it was not sent")
		}
		for range 3 {
			again()
		}
		if n := sent(old) - first; n != 0 {
			t.Errorf("it was sent %d times in three starts more", n)
		}
		// What the relay did not take before a start is not forgotten.
		p.refuse(func(*nostr.Event) string { return "error: no disk" })
		last := a.offer(t, "last", 0)
		a.publish(last)
		time.Sleep(time.Minute)
		again()
		p.refuse(nil)
		eventuallyFor(t, time.Minute, "it is there", func() bool { return p.has(last.ID) })
		a.stop()
		away = fullEvery
		again()
		if n := sent(old) - first; n != 1 {
			t.Errorf("a day later it was sent %d times", n)
		}
		if h := a.health(url); h.Waiting != 0 {
			t.Errorf("%d wait", h.Waiting)
		}
	})
}

// TestQueueIsBounded: own events that are more than may wait in memory are kept by their ids, and none is lost.
func TestQueueIsBounded(t *testing.T) {
	q := newQueue()
	began := time.Now()
	event := func(n, version int) *nostr.Event {
		return &nostr.Event{ID: fmt.Sprintf("%032x%032x", n, version), Kind: kindOrder, CreatedAt: nostr.Timestamp(version), Tags: nostr.Tags{{"d", fmt.Sprint(n)}}}
	}
	for n := range maxQueued + 100 {
		q.put(event(n, 1), began)
	}
	q.put(event(0, 2), began)
	if n, since := q.waits(); n != maxQueued+100 || since != began || len(q.last) != maxQueued {
		t.Fatalf("%d wait since %v, %d in memory", n, since, len(q.last))
	}
	if ids, _ := q.more(); len(ids) > 0 {
		t.Errorf("%d more though there is no room", len(ids))
	}
	q.done(event(0, 1)) // a newer one has its place
	q.done(event(0, 2))
	q.done(event(1, 1))
	ids, since := q.more()
	if len(ids) != 2 || ids[0] != idOf(event(maxQueued, 1).ID) || since != began {
		t.Errorf("more: %x since %v", ids, since)
	}
}
