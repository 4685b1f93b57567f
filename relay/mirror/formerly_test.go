package mirror

import (
	"slices"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// TestFormerly: messages of a Mostro that is followed no more, by command or by the settings, are shown to whoever they
// are for and to nobody else, also after a start and on a replica.
func TestFormerly(t *testing.T) {
	listed, reader := newPerson(t), newPerson(t)
	settled, agreed := newPerson(t), newPerson(t)
	a := newInstance(t, "a")
	a.change = func(cfg *relay.Config) {
		cfg.Federation.Peer = func(pubkey string) bool { return pubkey == listed.public }
	}
	a.cfg.Follow = []Followed{{Pubkey: settled.public}}
	a.start()
	if err := a.mirror.Agree(Followed{Pubkey: agreed.public}); err != nil {
		t.Fatal(err)
	}
	a.publish(settled.message(t, reader.public, "for the reader"), agreed.message(t, reader.public, "for the reader"))
	url, r, _ := replicaOfA(t, a, listed)
	knows := func(pubkey string) bool { return slices.Contains(r.listed.Load().Formerly, pubkey) }
	eventually(t, "the replica knows both", func() bool { return knows(settled.public) && knows(agreed.public) })
	check := func(when, url string) {
		t.Helper()
		c := dialClient(t, url)
		for _, who := range []person{settled, agreed} {
			for want, f := range []nostr.Filter{
				{Kinds: []int{14}, Authors: []string{who.public}},
				{Kinds: []int{14}, Authors: []string{who.public}, Tags: nostr.TagMap{"p": {reader.public}}},
			} {
				c.say("REQ", "q", f)
				c.hear("EOSE")
				got := 0
				for _, parts := range *c.unread {
					if string(parts[0]) == `"EVENT"` {
						got++
					}
				}
				if got != want {
					t.Errorf("%s, %v shows %d messages, want %d", when, f, got, want)
				}
				*c.unread = nil
			}
		}
	}
	check("followed", a.url())
	if err := a.mirror.Disagree(agreed.public); err != nil {
		t.Fatal(err)
	}
	check("unfollowed", a.url())
	check("unfollowed, at the replica", url)
	a.stop()
	a.cfg.Follow = nil
	a.start()
	check("after a start", a.url())
	check("after a start, at the replica", url)
}
