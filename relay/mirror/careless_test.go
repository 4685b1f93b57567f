package mirror

import (
	"slices"
	"testing"
)

// TestCareless: a key that nobody publishes with is told apart from a Mostro that is silent now, and one whose only relay is
// this one does not vanish.
func TestCareless(t *testing.T) {
	p := newPlain(t, 500, freeAddress(t))
	known, wrong, here := newPerson(t), newPerson(t), newPerson(t)
	p.add(known.offer(t, "one", 0))
	a := newInstance(t, "a")
	a.cfg.Own = a.url()
	a.cfg.Follow = []Followed{
		{Pubkey: known.public, Relays: []string{p.url}}, {Pubkey: wrong.public, Relays: []string{p.url}},
		{Pubkey: here.public, Relays: []string{a.url()}},
	}
	a.start()
	eventually(t, "the wrong key is told", func() bool { return slices.Equal(a.health(p.url).Unheard, []string{wrong.public}) })
	lost := func(h Health) bool {
		return h.State == Searching && slices.Equal(h.Mostros, []string{here.public}) && h.Error == onlyOwn
	}
	if all := a.mirror.Health(); !slices.ContainsFunc(all, lost) {
		t.Errorf("%+v", all)
	}
}
