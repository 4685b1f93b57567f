package mirror

import (
	"fmt"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestOldMail: a relay gives out few stored events at once, and gift wraps are dated back by days. Those
// behind the newest come too, to the node and to a client here, also what was stored during a break.
func TestOldMail(t *testing.T) {
	const most, many = 20, 70
	b, trader := newPerson(t), newPerson(t)
	p := newPlain(t, most, freeAddress(t))
	a := newInstance(t, "a")
	handled := a.escrow()
	a.cfg.Outside = []string{p.url}
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
	store := func() (toNode, toTrader []string) {
		for i := range many {
			at := nostr.Now() - nostr.Timestamp(i*2000)
			for to, ids := range map[string]*[]string{a.public: &toNode, trader.public: &toTrader} {
				wrap := newPerson(t).sign(t, nostr.Event{Kind: 1059, CreatedAt: at, Content: fmt.Sprint(i), Tags: nostr.Tags{{"p", to}}})
				p.save(wrap)
				*ids = append(*ids, wrap.ID)
			}
		}
		return toNode, toTrader
	}
	all := func(what string, ids []string, has func(string) bool) {
		t.Helper()
		eventually(t, what, func() bool {
			for _, id := range ids {
				if !has(id) {
					return false
				}
			}
			return true
		})
	}
	heard := func(id string) bool { return handled(id) == 1 }

	toNode, toTrader := store()
	a.start()
	c := dialClient(t, a.url())
	c.say("REQ", "mail", nostr.Filter{Kinds: []int{1059}, Tags: nostr.TagMap{"p": {trader.public}}})
	c.hear("EOSE")
	all("the node has its mail", toNode, heard)
	all("the trader has his", toTrader, a.has)

	p.stop()
	eventually(t, "it is away", func() bool { return a.health(p.url).State == Waiting })
	toNode, toTrader = store()
	p.listen(t, p.url[len("ws://"):])
	all("the node has what came during a break", toNode, heard)
	all("the trader has it, too", toTrader, a.has)
}
