package mirror

import (
	"fmt"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// taken is a later version of an offer, which is one no more.
func (p person) taken(t testing.TB, id string, at nostr.Timestamp) nostr.Event {
	return p.sign(t, nostr.Event{Kind: kindOrder, CreatedAt: at, Tags: nostr.Tags{
		{"d", id}, {"k", "sell"}, {"f", "USD"}, {"s", "in-progress"}, {"amt", "1000"}, {"fa", "10"}, {"z", "order"},
	}})
}

// TestFullIsNotFrozen: of a key that has all the room that it gets, what is here goes on being replaced: an offer that has been
// taken elsewhere does not stay in the book, live, compared or brought here.
func TestFullIsNotFrozen(t *testing.T) {
	b := newPerson(t)
	p := newPlain(t, 100, "127.0.0.1:0")
	const offers = 30
	now := nostr.Now()
	for i := range offers {
		p.add(b.offer(t, fmt.Sprint(i), now-1000))
	}
	a := newInstance(t, "a")
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
	pending := func() int {
		n, _, err := a.relay.Count(t.Context(), pendingOf(b.public))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	a.start()
	eventually(t, "all are here", func() bool { return pending() == offers })
	a.stop()
	p.add(b.taken(t, "0", now-900)) // for comparing to find
	a.cfg.MaxEvents = 20            // the operator has less room now
	a.start()
	eventually(t, "what was taken meanwhile has gone", func() bool { return pending() == offers-1 })
	eventually(t, "it is live", func() bool { return a.health(p.url).State == Live })
	p.publish(b.taken(t, "1", now-800))
	eventually(t, "what is taken now has gone", func() bool { return pending() == offers-2 })
	c := dialClient(t, a.url())
	if ok, reason := c.send(b.taken(t, "2", now-700)); !ok || pending() != offers-3 {
		t.Errorf("the Mostro itself says that an offer is taken: %q, %d offers", reason, pending())
	}
	if ok, reason := c.send(b.offer(t, "another", 0)); ok || reason != crowded {
		t.Errorf("another offer: %v, %q", ok, reason)
	}
	if ok, reason := c.send(b.sign(t, nostr.Event{Kind: 8383})); ok || reason != crowded {
		t.Errorf("an event that replaces none: %v, %q", ok, reason)
	}
}
