package mirror

import (
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestC3ForgedOffers: offers that a relay makes up in the name of a key that has more than are kept are not told to the
// operator as left out, and the relay answers for them.
func TestC3ForgedOffers(t *testing.T) {
	a, b := newInstance(t, "a"), newPerson(t)
	p := newPlain(t, 100, "127.0.0.1:0")
	now := nostr.Now()
	for _, d := range []string{"a", "b", "c"} { // all of one second
		p.add(b.offer(t, d, now))
	}
	a.cfg.MaxOffers = 2
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
	a.start()
	eventually(t, "one is left out", func() bool { return a.health(p.url).LeftOut[b.public] == 1 && a.health(p.url).State == Live })
	p.cut() // and all is read again
	eventually(t, "it is connected again", func() bool { return a.health(p.url).Sessions == 2 && a.health(p.url).State == Live })
	if n := a.health(p.url).LeftOut[b.public]; n != 1 {
		t.Errorf("of three, two of which are kept, %d are left out", n)
	}
	made := make([]nostr.Event, 5)
	for i := range made {
		made[i] = b.offer(t, "made up "+strings.Repeat("x", i), nostr.Now()-1000)
		made[i].Sig = strings.Repeat("0", 128)
	}
	p.add(made...)
	p.add(b.offer(t, "true", nostr.Now()-2000))
	eventually(t, "the true one is left out too", func() bool { return a.health(p.url).LeftOut[b.public] >= 2 && a.health(p.url).Bad >= 5 })
	if h := a.health(p.url); h.LeftOut[b.public] != 2 || h.Bad < 5 {
		t.Errorf("%d are left out, %d are bad", h.LeftOut[b.public], h.Bad)
	}
}

// TestC3ForgedCandidates: a relay that makes up news of Mostros names none, and ends nothing, whatever it sends for keys and
// signatures.
func TestC3ForgedCandidates(t *testing.T) {
	a, b := newInstance(t, "a"), newPerson(t)
	p := newPlain(t, 100, "127.0.0.1:0")
	for _, sig := range []string{"", "x", strings.Repeat("0", 128), strings.Repeat("0", 1000), strings.Repeat("z", 128)} {
		for _, pubkey := range []string{b.public, newPerson(t).public, "", "z", strings.Repeat("0", 64), strings.Repeat("a", 1000)} {
			ev := nostr.Event{PubKey: pubkey, Kind: kindInfo, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"d", "made up " + pubkey + sig}}, Sig: sig}
			ev.ID = ev.GetID()
			p.add(ev)
		}
	}
	p.add(b.info(t, 0))
	a.cfg.Outside = []string{p.url}
	a.start()
	eventually(t, "the relay is connected", func() bool { return a.health(p.url).State == Live })
	got, err := a.mirror.Candidates(t.Context())
	if err != nil || len(got) != 1 || got[0].Pubkey != b.public {
		t.Errorf("candidates %+v (%v)", got, err)
	}
}

// TestC3NoIDs: what a relay sends for ids that are none ends nothing: offers of a followed key, the node's own events at an outside
// relay without negentropy, and conversations.
func TestC3NoIDs(t *testing.T) {
	a, b, talker := newInstance(t, "a"), newPerson(t), newPerson(t)
	p := newPlain(t, 100, "127.0.0.1:0")
	a.cfg.MaxOffers = 1
	a.cfg.Outside = []string{p.url}
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
	a.start()
	last, own := b.offer(t, "last", 0), a.offer(t, "own", 0)
	p.add(b.offer(t, "old", nostr.Now()-10), last)
	a.publish(own)
	eventually(t, "both are there", func() bool { return a.has(last.ID) && p.has(own.ID) })
	for _, id := range []string{"", "x", strings.Repeat("a", 66), strings.Repeat("a", 1000), strings.Repeat("z", 64), strings.Repeat("é", 32)} {
		for _, ev := range []nostr.Event{
			b.offer(t, "older "+id, nostr.Now()-100), a.offer(t, "of the node "+id, nostr.Now()-100), talker.message(t, newPerson(t).public, id),
		} {
			ev.ID = id
			p.add(ev)
		}
	}
	client := dialClient(t, a.url())
	client.say("REQ", "talk", nostr.Filter{Kinds: []int{14}, Authors: []string{talker.public}})
	client.hear("EOSE")
	if ok, reason := client.send(talker.message(t, b.public, "to the Mostro")); !ok {
		t.Fatal(reason)
	}
	eventually(t, "they are refused", func() bool { return a.health(p.url).Refused >= 12 })
	p.cut()
	eventually(t, "it is compared again", func() bool { return a.health(p.url).Sessions >= 2 && a.health(p.url).State == Live })
	eventually(t, "nothing waits", func() bool { return a.health(p.url).Waiting == 0 })
	if !a.has(last.ID) {
		t.Error("the offer is gone")
	}
}
