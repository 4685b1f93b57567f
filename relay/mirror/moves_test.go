package mirror

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestC3Moves: whoever is followed and lists a relay out and in again and again does not cut the connection with it,
// that others share, each time; in the end he is looked for where he said last.
func TestC3Moves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		all := newTowns(t, "out.test", "b1.test")
		b := newPerson(t)
		var dials atomic.Int32
		a := newInstance(t, "a")
		a.listen, a.cfg.Outside, a.cfg.Follow = newCable().listen, []string{"ws://out.test"}, []Followed{{Pubkey: b.public}}
		a.cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "out.test") {
				dials.Add(1)
			}
			return all.dial(ctx, network, address)
		}
		moves := func(hosts ...string) {
			ev := nostr.Event{Kind: kindRelayList}
			for _, host := range hosts {
				ev.Tags = append(ev.Tags, nostr.Tag{"r", "ws://" + host})
			}
			list := b.sign(t, ev)
			for _, town := range all {
				town.publish(list)
			}
			time.Sleep(2 * time.Second)
		}
		moves("b1.test")
		a.start()
		eventually(t, "it is found", func() bool { return a.health("ws://b1.test").State == Live })
		before := dials.Load()
		for range 50 {
			moves("b1.test", "out.test")
			moves("b1.test")
		}
		if n := dials.Load() - before; n > 2*moveBurst { // the relay is asked what it is, too
			t.Errorf("the connection with the outside relay was made anew by %d dials", n)
		}
		moves("out.test")
		time.Sleep(moveEvery + 2*checkEvery)
		if h := a.health("ws://out.test"); len(h.Mostros) != 1 || h.State != Live || a.health("ws://b1.test").URL != "" {
			t.Errorf("it is not looked for where it says: %+v", a.mirror.Health())
		}
	})
}

// TestC3LiarListedAgain: a relay that lies is left alone for as long when it is followed anew meanwhile.
func TestC3LiarListedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, stranger, c := newPerson(t), newPerson(t), newCable()
		lie := stranger.offer(t, "a stranger's", 0)
		liarAt(t, c, func(say func(...any), label string, parts []json.RawMessage) {
			if label == "REQ" {
				for range 2 * strikes {
					say("EVENT", parts[0], lie)
				}
				say("EOSE", parts[0])
			}
		})
		a := following(t, c, b)
		waits := func() bool {
			h := a.health(hostileURL)
			return h.State == Waiting && strings.Contains(h.Error, errMisbehaves.Error())
		}
		eventually(t, "it is given up", waits)
		until := a.health(hostileURL).Retry
		for range 5 {
			if err := a.mirror.Unfollow(b.public); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is left", func() bool { return len(a.health(hostileURL).Mostros) == 0 })
			if err := a.mirror.Follow(Followed{Pubkey: b.public, Relays: []string{hostileURL}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			if !waits() {
				t.Fatalf("it is asked again before %s: %+v", until, a.health(hostileURL))
			}
		}
		time.Sleep(badRetry)
		eventually(t, "it is given up again", waits)
		if h := a.health(hostileURL); h.Retry.Sub(h.Since) < badRetry*9/10 {
			t.Errorf("the second wait is not longer: %+v", h)
		}
	})
}
