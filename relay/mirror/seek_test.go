package mirror

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// towns are relays of another make by host name, at the ends of cables.
type towns map[string]*town

type town struct {
	*plain
	*cable
}

func newTowns(t *testing.T, names ...string) towns {
	all := make(towns)
	for _, name := range names {
		c := newCable()
		all[name] = &town{newPlainIn(t, 50, "", c.listen), c}
	}
	return all
}

func (all towns) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil || all[host] == nil {
		return nil, errors.New("no such host")
	}
	return all[host].cable.dial(ctx, network, address)
}

// TestMoved: a followed Mostro that moves is followed to where it says, at once when it says so where it was, and within
// minutes when its relays are gone and it says so on another relay that is connected; after a start too. What the
// operator has named himself stays, and he is told.
func TestMoved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		all := newTowns(t, "out.test", "b1.test", "b2.test", "b3.test")
		b, fixed := newPerson(t), newPerson(t)
		list := func(who person, at int, hosts ...string) nostr.Event {
			ev := nostr.Event{Kind: kindRelayList, CreatedAt: nostr.Now() + nostr.Timestamp(at)}
			for _, host := range hosts {
				ev.Tags = append(ev.Tags, nostr.Tag{"r", "ws://" + host})
			}
			return who.sign(t, ev)
		}
		all["out.test"].publish(list(b, -10, "b1.test"))
		all["b2.test"].publish(list(fixed, -10, "b3.test", "b1.test"))
		a := newInstance(t, "a")
		a.listen, a.cfg.Dial = newCable().listen, all.dial
		a.cfg.Outside = []string{"ws://out.test"}
		a.cfg.Follow = []Followed{{Pubkey: b.public}, {Pubkey: fixed.public, Relays: []string{"ws://b2.test"}}}
		a.start()
		at := func() (urls []string) {
			for _, h := range a.mirror.Health() {
				if h.State == Live && slices.Contains(h.Mostros, b.public) {
					urls = append(urls, strings.TrimPrefix(h.URL, "ws://"))
				}
			}
			return urls
		}
		is := func(what string, within time.Duration, hosts ...string) {
			t.Helper()
			began := time.Now()
			for !slices.Equal(at(), hosts) {
				if time.Since(began) > within {
					t.Fatalf("%s: it is looked for at %v, want %v: %+v", what, at(), hosts, a.mirror.Health())
				}
				time.Sleep(100 * time.Millisecond)
			}
			offer := b.offer(t, what, 0)
			all[hosts[0]].publish(offer)
			eventually(t, what+": its offers come", func() bool { return a.has(offer.ID) })
		}
		is("found", 2*checkEvery, "b1.test")

		all["b1.test"].publish(list(b, 0, "b2.test"))
		is("moved", 10*time.Second, "b2.test")

		time.Sleep(time.Minute)
		all["b2.test"].cable.set(refused)
		all["out.test"].publish(list(b, 0, "b3.test"))
		is("moved while its relay is gone", 3*checkEvery, "b3.test")

		// An older list, on a relay that has missed the news, leads nowhere.
		all["out.test"].publish(list(b, -3600, "b1.test"))
		all["b3.test"].cable.set(refused)
		time.Sleep(3 * checkEvery)
		all["b3.test"].cable.set(whole)
		is("back where it was", 2*time.Minute, "b3.test")

		a.stop()
		a.start()
		is("after a start", 2*checkEvery, "b3.test")

		// A list of nothing that may be used changes nothing.
		all["b3.test"].publish(list(b, 1, "10.0.0.1"))
		time.Sleep(2 * checkEvery)
		is("it names an inner address", 10*time.Second, "b3.test")

		all["b2.test"].cable.set(whole)
		eventually(t, "the operator is told", func() bool { return a.health("ws://b2.test").Moved != nil })
		want := map[string][]string{fixed.public: {"ws://b3.test", "ws://b1.test"}}
		if diff := cmp.Diff(want, a.health("ws://b2.test").Moved); diff != "" {
			t.Error(diff)
		}
		if h := a.health("ws://b1.test"); h.URL != "" {
			t.Errorf("a key whose relay the operator has named is followed elsewhere: %+v", h)
		}
	})
}
