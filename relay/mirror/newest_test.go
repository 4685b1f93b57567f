package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestC3BookFlood: a followed Mostro that publishes offers without end, elsewhere or here, pushes neither another's nor
// the node's own out of what a plain question shows, not even for a moment. Of its own the newest are shown; when they are
// gone the others come back.
func TestC3BookFlood(t *testing.T) {
	const most, asked = 100, 250
	p := newPlain(t, 1000, "127.0.0.1:0")
	a, b, other := newInstance(t, "a"), newPerson(t), newPerson(t)
	a.cfg.MaxOffers = most
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}, {Pubkey: other.public, Relays: []string{p.url}}}
	began := nostr.Now()
	theirs := other.offer(t, "theirs", began-9001)
	p.add(theirs, other.info(t, 0))
	a.start()
	own := a.offer(t, "own", began-9000)
	a.publish(own)
	eventually(t, "both are here", func() bool { return a.has(theirs.ID) && a.has(own.ID) })

	// The flood is there before it is found out, then it is live, then it comes here.
	shown := func(c client) (ids []string) {
		c.Helper()
		c.say("REQ", "book", nostr.Filter{Kinds: []int{kindOrder}, Tags: nostr.TagMap{"s": {"pending"}}, Limit: asked})
		for {
			switch parts := c.hearAny(); string(parts[0]) {
			case `"EVENT"`:
				var ev nostr.Event
				if err := ev.UnmarshalJSON(parts[2]); err != nil {
					t.Fatal(err)
				}
				ids = append(ids, ev.ID)
			case `"EOSE"`:
				c.say("CLOSE", "book")
				return ids
			}
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		for c := dialClient(t, a.url()); ctx.Err() == nil; {
			if ids := shown(c); !slices.Contains(ids, own.ID) || !slices.Contains(ids, theirs.ID) {
				t.Errorf("of %d offers that are shown none is the node's own, or the other's", len(ids))
				return
			}
		}
	})
	var newest []nostr.Event
	flood := func(from, n int) (evs []nostr.Event) {
		for i := range n {
			evs = append(evs, b.offer(t, fmt.Sprint(from+i), began-8000+nostr.Timestamp(from+i)))
		}
		newest = slices.Concat(newest, evs)
		newest = newest[len(newest)-most:]
		return evs
	}
	kept := func() bool {
		evs, err := a.relay.All(t.Context(), nostr.Filter{Kinds: []int{kindOrder}, Authors: []string{b.public}})
		if err != nil {
			t.Fatal(err)
		}
		return len(evs) == most && !slices.ContainsFunc(newest, func(ev nostr.Event) bool { return !a.has(ev.ID) })
	}
	p.add(flood(0, 700)...)
	again := func() { // compared
		began := time.Now()
		p.cut()
		eventually(t, "all is compared", func() bool { return a.health(p.url).Synced.After(began) })
	}
	again()
	eventually(t, "the newest are kept", kept)
	for _, ev := range flood(700, 300) {
		p.publish(ev)
	}
	again()
	eventually(t, "the newest are kept of those that come live", kept)
	c := dialClient(t, a.url())
	for _, ev := range flood(1000, 2*most) {
		if ok, reason := c.send(ev); !ok {
			t.Fatal(reason)
		}
	}
	eventually(t, "the newest are kept of those that come here", kept)
	stop()
	watching.Wait()

	// They are taken, and there is room.
	for _, ev := range newest {
		p.publish(b.sign(t, nostr.Event{Kind: kindOrder, CreatedAt: ev.CreatedAt + 1, Tags: nostr.Tags{{"d", ev.Tags.GetD()}, {"s", "in-progress"}}}))
	}
	eventually(t, "the others are back", func() bool {
		if err := a.mirror.survey(t.Context(), b.public); err != nil {
			t.Fatal(err)
		}
		again()
		evs, err := a.relay.All(t.Context(), nostr.Filter{Kinds: []int{kindOrder}, Authors: []string{b.public}, Tags: nostr.TagMap{"s": {"pending"}, "d": {"999"}}})
		if err != nil {
			t.Fatal(err)
		}
		return len(evs) == 1
	})
}

// TestC3OffersUnderWay: while others of a followed key are about to be stored, which takes a slow disk a while, no more come
// than may be here for a moment: two batches at once would fill an answer.
func TestC3OffersUnderWay(t *testing.T) {
	const most = 100
	a, b := newInstance(t, "a"), newPerson(t)
	a.cfg.MaxOffers = most
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{"ws://127.0.0.1:1"}}}
	a.start()
	began := nostr.Now() - 9000
	var others, batch []*nostr.Event
	for i := range most + offersAtOnce + 50 {
		ev := b.offer(t, fmt.Sprint(i), began+nostr.Timestamp(i))
		if len(others) < most+offersAtOnce {
			a.mirror.expect(&ev)
			others = append(others, &ev)
		} else {
			batch = append(batch, &ev)
		}
	}
	here := func() int {
		n, _, err := a.relay.Count(t.Context(), pendingOf(b.public))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	p := newPeer(a.mirror, "ws://127.0.0.1:1", duties{mostros: []string{b.public}})
	done := make(chan error, 1)
	go func() { done <- p.ingest(t.Context(), batch, nil) }()
	time.Sleep(10 * crowdPoll)
	if n := here(); n > 0 {
		t.Errorf("%d came in beside those that are on their way", n)
	}
	for _, ev := range others {
		a.mirror.notCome(ev)
	}
	if err := <-done; err != nil || here() != 50 {
		t.Errorf("%d of 50 are here (%v)", here(), err)
	}
}

// TestLeftOutIsTold: a followed Mostro that publishes more offers here than are kept is answered OK, and the operator is told
// that they are left out, until there is room.
func TestLeftOutIsTold(t *testing.T) {
	const most, many = 20, 60
	a, b := newInstance(t, "a"), newPerson(t)
	a.cfg.MaxOffers = most
	a.cfg.Follow = []Followed{{Pubkey: b.public}}
	a.start()
	c := dialClient(t, a.url())
	began := nostr.Now() - 9000
	for i := range many {
		if ok, reason := c.send(b.offer(t, fmt.Sprint(i), began+nostr.Timestamp(i))); !ok {
			t.Fatal(reason)
		}
	}
	told := func() (n int) {
		for _, h := range a.mirror.Health() {
			n += h.LeftOut[b.public]
		}
		return n
	}
	eventually(t, "the others are told of", func() bool { return told() == many-most })
	for i := range most {
		taken := nostr.Event{Kind: kindOrder, CreatedAt: began + 1000, Tags: nostr.Tags{{"d", fmt.Sprint(many - 1 - i)}, {"s", "in-progress"}}}
		if ok, reason := c.send(b.sign(t, taken)); !ok {
			t.Fatal(reason)
		}
	}
	if err := a.mirror.survey(t.Context(), b.public); err != nil {
		t.Fatal(err)
	}
	if n := told(); n != many-2*most {
		t.Errorf("%d offers are left out, though there is room for %d of %d", n, most, many-most)
	}
}

// hearAny is the next frame, whatever it is.
func (c client) hearAny() []json.RawMessage {
	c.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.Fatal(err)
	}
	var parts []json.RawMessage
	if err := c.ReadJSON(&parts); err != nil {
		c.Fatal(err)
	}
	return parts
}

// TestOlderNotFetched: offers of a followed Mostro that are not kept, since it has so many newer ones, are not fetched again each
// time that it is compared; they come when there is room.
func TestOlderNotFetched(t *testing.T) {
	const most, many = 50, 300
	a, b := newInstance(t, "a"), newInstance(t, "b")
	b.start()
	began := nostr.Now() - 9000
	var offers []nostr.Event
	for i := range many {
		offers = append(offers, b.offer(t, fmt.Sprint(i), began+nostr.Timestamp(i)))
	}
	b.publish(offers...)
	a.cfg.MaxOffers = most
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{b.url()}}}
	a.start()
	eventually(t, "it is followed", func() bool { return len(a.mirror.list()) == 1 })
	p := a.mirror.list()[0]
	kept := func() (n int) {
		for _, ev := range offers {
			if a.has(ev.ID) {
				n++
			}
		}
		return n
	}
	eventually(t, "all is compared", func() bool { return a.health(p.url).State == Live })
	eventually(t, "the newest are kept", func() bool { return kept() == most && a.has(offers[many-1].ID) && a.has(offers[many-most].ID) })

	in := newIntake(t.Context())
	go in.run(func(ctx context.Context, evs []*nostr.Event) error {
		return p.ingest(ctx, evs, func(*nostr.Event, time.Duration) {})
	})
	again := func() (fetched int64) {
		before := a.health(p.url)
		if err := p.compareAll(t.Context(), p.link.Load(), in); err != nil {
			t.Fatal(err)
		}
		after := a.health(p.url)
		return after.Refused + after.Stored + after.Known - before.Refused - before.Stored - before.Known
	}
	if n := again(); n != 0 {
		t.Errorf("%d events were fetched again", n)
	}
	var taken []nostr.Event
	for _, ev := range offers[many-20:] {
		taken = append(taken, b.sign(t, nostr.Event{Kind: kindOrder, CreatedAt: ev.CreatedAt + 1000, Tags: nostr.Tags{{"d", ev.Tags.GetD()}, {"s", "in-progress"}}}))
	}
	b.publish(taken...)
	eventually(t, "they are taken", func() bool { return !slices.ContainsFunc(taken, func(ev nostr.Event) bool { return !a.has(ev.ID) }) })
	if err := a.mirror.survey(t.Context(), b.public); err != nil {
		t.Fatal(err)
	}
	again()
	eventually(t, "others are back", func() bool { return kept() == most && a.has(offers[many-20-most].ID) })
}

// TestOffersFit: two followed keys that flood and one that does not are kept so that all offers fit into one answer, with the node's
// own: who has few keeps them, and the others share the rest. When there is room again, as much comes back and no more is fetched.
func TestOffersFit(t *testing.T) {
	const shown, least = 60, 10
	a, quiet := newInstance(t, "a"), newPerson(t)
	p := newPlain(t, 500, "127.0.0.1:0")
	floods := []person{newPerson(t), newPerson(t)}
	offers := func(of person, n int, at nostr.Timestamp) (evs []nostr.Event) {
		for i := range n {
			evs = append(evs, of.offer(t, fmt.Sprint(i), at+nostr.Timestamp(i)))
		}
		p.add(evs...)
		return evs
	}
	few := offers(quiet, 7, nostr.Now()-9000)
	a.cfg.MaxOffers, a.cfg.Shown = least, shown
	follow := func(who person) {
		a.cfg.Follow = append(a.cfg.Follow, Followed{Pubkey: who.public, Relays: []string{p.url}})
	}
	follow(quiet)
	for _, who := range floods {
		offers(who, 200, nostr.Now()-1000)
		follow(who)
	}
	a.start()
	a.publish(a.offer(t, "own 1", nostr.Now()-9000), a.offer(t, "own 2", nostr.Now()-9000), a.offer(t, "own 3", nostr.Now()-9000))
	settled := func() {
		t.Helper()
		for range 3 { // as each minute
			n, _, err := a.relay.Count(t.Context(), pendingOf(a.public))
			if err != nil {
				t.Fatal(err)
			}
			a.mirror.mu.Lock()
			a.mirror.own = n
			a.mirror.mu.Unlock()
			for _, f := range a.cfg.Follow {
				if err := a.mirror.survey(t.Context(), f.Pubkey); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	kept := func(who person) int {
		n, _, err := a.relay.Count(t.Context(), pendingOf(who.public))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	eventually(t, "all is compared", func() bool { return a.health(p.url).State == Live && kept(quiet) == len(few) })
	settled()
	answer, err := a.relay.All(t.Context(), nostr.Filter{Kinds: []int{kindOrder}, Limit: shown})
	if err != nil {
		t.Fatal(err)
	}
	of := make(map[string]int)
	for i := range answer {
		of[answer[i].PubKey]++
	}
	if of[a.public] != 3 || of[quiet.public] != 7 || of[floods[0].public] != 25 || of[floods[1].public] != 25 {
		t.Errorf("one answer shows %v", of)
	}
	if err := a.mirror.Unfollow(floods[1].public); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its offers go", func() bool { return kept(floods[1]) == 0 })
	settled()
	p.cut()
	eventually(t, "the other has its room", func() bool { settled(); return kept(floods[0]) == 50 })
}
