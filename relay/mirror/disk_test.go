package mirror

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/policies"
	"mostro/relay"
	"mostro/relay/store"
)

// TestDiskNearlyFull: while the disk has no room for what others publish the connection stands on which the node's own events go
// out, messages to it come in and clients' messages are carried; the operator is told, and what was missed comes when there is room.
func TestDiskNearlyFull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, handled, now := newPerson(t), make(chan string, 10), nostr.Now()
		var free atomic.Uint64
		free.Store(10 << 30)
		p := idlePlain(100)
		p.add(b.offer(t, "x", now-1000))
		a, url := abroad(t, p, func(a *instance, url string) {
			a.cfg.Outside, a.cfg.Follow = []string{url}, []Followed{{Pubkey: b.public, Relays: []string{url}}}
			a.receive = func(_ context.Context, ev *nostr.Event) error { handled <- ev.ID; return nil }
			a.change = func(cfg *relay.Config) {
				cfg.Space = store.Space{
					Rule: policies.FreeSpace(1<<30, 0, 0, store.CriticalFree),
					Free: func(string) (uint64, uint64, error) { return free.Load(), 100 << 30, nil },
				}
			}
		})
		pending := func() int {
			n, _, err := a.relay.Count(t.Context(), pendingOf(b.public))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		eventually(t, "the offer comes", func() bool { return pending() == 1 && a.health(url).State == Live })
		const refusal = "error: the disk of this relay is nearly full"
		free.Store(900 << 20)
		time.Sleep(2 * time.Second) // the store looks at the disk now and then
		p.publish(b.taken(t, "x", now-800))
		eventually(t, "the operator is told", func() bool {
			h := a.health(url)
			return strings.Contains(h.Error, "nearly full") && h.RefusedBy[refusal] > 0
		})
		for i := range 100 {
			own, to, carried := a.offer(t, "own", nostr.Now()), newPerson(t).message(t, a.public, "to A"), newPerson(t).message(t, b.public, "to B")
			a.publish(own)
			p.publish(to)
			if err := a.mirror.Carry(t.Context(), &carried); err != nil || !p.has(carried.ID) {
				t.Errorf("%d: a client's message is not carried: %v", i, err)
			}
			if id := <-handled; id != to.ID {
				t.Errorf("%d: another message came", i)
			}
			time.Sleep(time.Second)
			if !p.has(own.ID) {
				t.Errorf("%d: the own book is not there", i)
			}
		}
		if n := a.health(url).RefusedBy[refusal]; n < 3 || n > 5 {
			t.Errorf("it was tried %d times in 100 seconds", n)
		}
		free.Store(10 << 30)
		eventuallyFor(t, time.Minute, "what was missed comes", func() bool { return pending() == 0 && a.health(url).State == Live })
		if h := a.health(url); h.Sessions != 1 || h.Error != "" {
			t.Errorf("it took %d connections: %q", h.Sessions, h.Error)
		}
	})
}
