package mirror

import (
	"testing"
)

// TestC3TalkOrders: messages to the node, and to Mostros elsewhere, that another relay shows among those by a key whose
// conversation is fetched are none of it: kept here, they would look as if they had arrived when they come.
func TestC3TalkOrders(t *testing.T) {
	p := newPlain(t, 500, freeAddress(t))
	b, key := newPerson(t), newPerson(t)
	a := newInstance(t, "a")
	handled := a.escrow()
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
	a.start()
	order, elsewhere, chat := key.message(t, a.public, "fiat sent"), key.message(t, b.public, "fiat sent"), key.message(t, newPerson(t).public, "hi")
	p.add(order, elsewhere, chat)
	talks(t, a, b.public, key, asksMessages)
	eventually(t, "the conversation comes", func() bool { return a.has(chat.ID) })
	eventually(t, "the rest is looked at", func() bool { return a.has(order.ID) || a.health(p.url).Refused >= 2 })
	if a.has(order.ID) || a.has(elsewhere.ID) {
		t.Error("it is kept")
	}
	ok, reason := dialClient(t, a.url()).send(order)
	if n := handled(order.ID); !ok || n != 1 {
		t.Errorf("%v %q: the node has handled it %d times", ok, reason, n)
	}
	if h := a.health(p.url); h.Bad != 0 {
		t.Errorf("it is held against the relay: %+v", h)
	}
}
