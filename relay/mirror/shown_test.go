package mirror

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
)

// TestNotKept: a relay that does not keep, or refuses, much of what the node has published is not sent all of it at each comparing;
// what it does keep it has, and gets at once when it has lost it, and all soon after its rules have changed.
func TestNotKept(t *testing.T) {
	for _, how := range []string{"forgets", "refuses"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				const many, hours = 1000, 8
				p := idlePlain(500)
				var sent, limit atomic.Int64
				limit.Store(time.Now().Unix() - 86400)
				tooOld := func(ev *nostr.Event) bool {
					old := int64(ev.CreatedAt) < limit.Load()
					if old {
						sent.Add(1)
					}
					return old
				}
				if how == "forgets" {
					p.set(func(ev *nostr.Event) (lost, unanswered bool) { return tooOld(ev), false })
				} else {
					p.refuse(func(ev *nostr.Event) string {
						if tooOld(ev) {
							return "invalid: created_at too early"
						}
						return ""
					})
				}
				a, url := abroad(t, p, func(*instance, string) {})
				kept := a.info(t, nostr.Now()-3600)
				all := []nostr.Event{kept}
				for i := range many {
					all = append(all, a.sign(t, nostr.Event{Kind: 8383, Content: fmt.Sprint(i), CreatedAt: nostr.Now() - 2*86400}))
				}
				a.publish(all...)
				a.stop()
				publishes(a, url)
				a.start()
				time.Sleep(hours*time.Hour - time.Minute)
				if n := sent.Load(); n < 3*many || n > 5*many+3*freelyShown {
					t.Errorf("sent %d events of %d in %d hours", n, many, hours)
				}
				if !p.has(kept.ID) {
					t.Error("what it keeps is not there")
				}
				p.mu.Lock()
				clear(p.stored)
				p.mu.Unlock()
				time.Sleep(rewalkEvery + time.Minute)
				if !p.has(kept.ID) {
					t.Error("what it has lost is not there again")
				}
				limit.Store(0)
				time.Sleep(2*rewalkEvery + time.Minute)
				for i := range all {
					if !p.has(all[i].ID) {
						t.Fatalf("event %d is not there though the relay keeps all now", i)
					}
				}
			})
		})
	}
}

// TestShownAgain: what a relay still lacks it is shown about once a day in the end, some of it at each comparing; what it has lost
// after it had it, at once; and what waits is not counted.
func TestShownAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		ids := make([]reconcile.ID, 1000)
		for i := range ids {
			binary.BigEndian.PutUint64(ids[i][:], uint64(i+1))
		}
		for range 3 {
			if n := len(q.again(ids)); n != len(ids) {
				t.Fatalf("%d of those are sent that wait, or were not sent yet", n)
			}
			q.lack(ids, time.Now())
			if n := len(q.again(ids)); n != 0 {
				t.Fatalf("%d of those that wait are sent", n)
			}
			q.rest = nil
			q.again(nil) // the relay has them
		}
		const days = 10
		whole, some := 0, 0
		for range days * 24 * time.Hour / resyncEvery {
			switch n := len(q.again(ids)); n {
			case len(ids):
				whole++
			default:
				some = max(some, n)
			}
			time.Sleep(resyncEvery)
		}
		if whole < days || whole > days+8 || some != freelyShown {
			t.Errorf("in %d days all was sent %d times, and at other times %d events", days, whole, some)
		}
	})
}
