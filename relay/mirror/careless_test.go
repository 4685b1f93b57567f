package mirror

import (
	"slices"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestCareless: a key that nobody publishes with is told apart from a Mostro that is silent now, and one whose only relay is
// this one does not vanish.
func TestCareless(t *testing.T) {
	p := newPlain(t, 500, freeAddress(t))
	known, wrong, here := newPerson(t), newPerson(t), newPerson(t)
	p.add(known.offer(t, "one", 0))
	inner := newPerson(t)
	p.add(inner.sign(t, nostr.Event{Kind: kindRelayList, Tags: nostr.Tags{{"r", "ws://127.0.0.1:1"}}}))
	a := newInstance(t, "a")
	a.cfg.Own = a.url()
	a.cfg.Follow = []Followed{
		{Pubkey: known.public, Relays: []string{p.url}}, {Pubkey: wrong.public, Relays: []string{p.url}},
		{Pubkey: here.public, Relays: []string{a.url()}}, {Pubkey: inner.public},
	}
	a.start()
	eventually(t, "the wrong key is told", func() bool { return slices.Equal(a.health(p.url).Unheard, []string{wrong.public}) })
	lost := func(h Health) bool {
		return h.State == Searching && slices.Equal(h.Mostros, []string{here.public}) && h.Error == onlyOwn
	}
	if all := a.mirror.Health(); !slices.ContainsFunc(all, lost) {
		t.Errorf("%+v", all)
	}
	// What is there and may not be used is told apart from what nobody has said.
	eventually(t, "of one whose list names an inner address that is told", func() bool {
		a.mirror.discover(t.Context())
		return slices.ContainsFunc(a.mirror.Health(), func(h Health) bool {
			return h.State == Searching && slices.Equal(h.Mostros, []string{inner.public}) && h.Error == noneFit
		})
	})
}
