package mirror

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// review is one of a Mostro. Its proof is a word here.
func (p person) review(t testing.TB, of, proof string, at nostr.Timestamp) nostr.Event {
	return p.sign(t, nostr.Event{Kind: kindReview, CreatedAt: at, Tags: nostr.Tags{
		{"d", of + ":2026-W01:" + p.public}, {"p", of}, {"rating", "1"}, {"sig", proof},
	}})
}

func (p person) recommendation(t testing.TB, of string) nostr.Event {
	return p.sign(t, nostr.Event{Kind: kindRecommendation, Content: "good", Tags: nostr.Tags{
		{"k", "38385"}, {"d", of}, {"a", addresses([]string{of})[0]},
	}})
}

func (p person) label(t testing.TB, of string, at nostr.Timestamp) nostr.Event {
	return p.sign(t, nostr.Event{Kind: kindLabel, CreatedAt: at, Tags: nostr.Tags{{"L", "mostro"}, {"l", "fast", "mostro"}, {"p", of}}})
}

func proven(ev *nostr.Event) bool {
	tag := ev.Tags.Find("sig")
	return tag != nil && tag[1] == "proven"
}

// TestReviews: what people say of followed Mostros and of this one is found here wherever they said
// it, before and live, also of one who is followed later; not what lacks its proof, is about others
// or is too old.
func TestReviews(t *testing.T) {
	for _, kind := range []string{"plain", "instance"} {
		t.Run(kind, func(t *testing.T) {
			a, b, c := newInstance(t, "a"), newPerson(t), newPerson(t)
			var add func(...nostr.Event)
			var url string
			if kind == "plain" {
				p := newPlain(t, 40, "127.0.0.1:0")
				url, add = p.url, p.add
			} else {
				there := newInstance(t, "there")
				there.start()
				url, add = there.url(), func(evs ...nostr.Event) { there.publish(evs...) }
			}
			some := func() person { return newPerson(t) }
			now := nostr.Now()
			wanted := []nostr.Event{
				some().review(t, b.public, "proven", now-3600), some().recommendation(t, b.public), some().label(t, b.public, now-1e8),
				some().review(t, a.public, "proven", now-3600), some().recommendation(t, a.public),
				some().sign(t, nostr.Event{Kind: kindLabel, Tags: nostr.Tags{{"L", "x"}, {"l", "y", "x"}, {"a", addresses([]string{b.public})[0]}}}),
			}
			unwanted := []nostr.Event{
				some().review(t, b.public, "forged", now-3600), some().review(t, b.public, "proven", now-200*86400),
				some().review(t, c.public, "proven", now-3600), some().label(t, c.public, now),
			}
			add(slices.Concat(wanted, unwanted)...)
			a.cfg.Review = proven
			a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{url}}}
			a.start()
			all := func(evs []nostr.Event) func() bool {
				return func() bool { return !slices.ContainsFunc(evs, func(ev nostr.Event) bool { return !a.has(ev.ID) }) }
			}
			eventually(t, "all is here", all(wanted))
			live := []nostr.Event{some().review(t, b.public, "proven", now), some().label(t, a.public, now)}
			add(live...)
			eventually(t, "live too", all(live))
			for _, ev := range unwanted {
				if a.has(ev.ID) {
					t.Errorf("it came here: %s", ev.String())
				}
			}
			// They are counted after they are stored.
			eventually(t, "all are counted", func() bool { return a.health(url).Reviews >= int64(len(wanted)+len(live)) })
			h := a.health(url)
			if h.Reviews != int64(len(wanted)+len(live)) || h.Bad > 0 || h.RefusedBy["invalid: the review has no proof of its Mostro"] == 0 {
				t.Errorf("health: %+v", h)
			}
			// C is followed later, at the same relay: the connection is made anew.
			if err := a.mirror.Follow(Followed{Pubkey: c.public, Relays: []string{url}}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "what is said of C comes", all(unwanted[2:]))
		})
	}
}

// TestC3Reviews: who floods a relay with labels fills no more than their share here, and holds up
// neither orders nor reviews with a proof; a relay that makes things up is given up.
func TestC3Reviews(t *testing.T) {
	a, b := newInstance(t, "a"), newInstance(t, "b")
	b.start()
	troll := newPerson(t)
	for i := range maxOpinions + 100 {
		b.publish(troll.sign(t, nostr.Event{Kind: kindLabel, CreatedAt: nostr.Now() - nostr.Timestamp(i), Tags: nostr.Tags{
			{"L", "x"}, {"l", fmt.Sprint(i), "x"}, {"p", b.public},
		}}))
	}
	honest := newPerson(t).review(t, b.public, "proven", nostr.Now()-86400)
	b.publish(honest)
	a.cfg.Review = proven
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{b.url()}}}
	a.start()
	labels := func() int {
		n, _, err := a.relay.Count(t.Context(), nostr.Filter{Kinds: []int{kindLabel}})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	eventually(t, "the cap is reached", func() bool { return labels() == maxOpinions && a.has(honest.ID) })
	for i := range opinionBurst + 50 {
		b.publish(troll.sign(t, nostr.Event{Kind: kindLabel, Tags: nostr.Tags{{"L", "x"}, {"l", fmt.Sprint("live", i), "x"}, {"p", b.public}}}))
	}
	offer := b.offer(t, "x", 0)
	b.publish(offer)
	eventually(t, "orders come", func() bool { return a.has(offer.ID) })
	if n := labels(); n != maxOpinions {
		t.Errorf("%d labels are kept", n)
	}

	strange := troll.label(t, newPerson(t).public, 0)
	forged := newPerson(t).review(t, b.public, "proven", nostr.Now())
	forged.Sig = strange.Sig
	url := liar(t, func(say func(...any), label string, parts []json.RawMessage) {
		if label == "REQ" {
			for range strikes {
				say("EVENT", parts[0], strange)
				say("EVENT", parts[0], forged)
			}
			say("EOSE", parts[0])
		}
	})
	c := newInstance(t, "c")
	c.cfg.Review = func(*nostr.Event) bool { return true }
	c.cfg.Outside = []string{url}
	c.cfg.Follow = []Followed{{Pubkey: b.public}}
	c.start()
	eventually(t, "the relay is given up", func() bool { return c.health(url).State == Waiting })
	if c.has(strange.ID) || c.has(forged.ID) {
		t.Error("it got in")
	}
}

// TestReviewsOfCoordinators: reviews of a followed platform are copied as those of Mostros are.
func TestReviewsOfCoordinators(t *testing.T) {
	a, lake := newInstance(t, "a"), newPerson(t)
	p := newPlain(t, 40, "127.0.0.1:0")
	good, bad := newPerson(t).review(t, lake.public, "proven", nostr.Now()-60), newPerson(t).review(t, lake.public, "forged", nostr.Now()-50)
	p.add(good, bad)
	a.cfg.Review = proven
	a.cfg.Follow = []Followed{{Pubkey: lake.public, Relays: []string{p.url}, Platform: "robosats"}}
	a.start()
	eventually(t, "the proven one is here", func() bool { return a.has(good.ID) })
	if a.has(bad.ID) {
		t.Error("the other one is, too")
	}
}

// TestC3ReviewsRoom: what only looks like reviews takes no room from proven ones.
func TestC3ReviewsRoom(t *testing.T) {
	a, b := newInstance(t, "a"), newPerson(t)
	a.cfg.Review = proven
	a.start()
	for i := range 7 {
		ev := nostr.Event{Kind: kindReview, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"d", fmt.Sprint(i)}, {"p", b.public}, {"rating", "1"}}}
		a.publish(newPerson(t).sign(t, ev))
	}
	for range 3 {
		a.publish(newPerson(t).review(t, b.public, "proven", nostr.Now()))
	}
	for more, want := range map[int]int{1: 10, maxReviews: 3} {
		if n, err := a.mirror.opinionsHere(t.Context(), kindReview, b.public, more); n != want || err != nil {
			t.Errorf("before %d more: %d, %v", more, n, err)
		}
	}
}

// TestC3ReviewsHidden: however many false reviews somebody leaves at a relay that takes all, proven ones of before are copied.
func TestC3ReviewsHidden(t *testing.T) {
	a, b, troll := newInstance(t, "a"), newPerson(t), newPerson(t)
	p := newPlain(t, 500, "127.0.0.1:0")
	flood := make([]nostr.Event, maxReviews+2000)
	for i := range flood {
		flood[i] = nostr.Event{PubKey: troll.public, Kind: kindReview, CreatedAt: nostr.Now() - nostr.Timestamp(i/2), Sig: strings.Repeat("0", 128),
			Tags: nostr.Tags{{"d", fmt.Sprint(i)}, {"p", b.public}, {"rating", "0"}, {"sig", "forged"}}}
		flood[i].ID = flood[i].GetID()
	}
	p.add(flood...)
	var honest []nostr.Event
	for day := range 150 {
		honest = append(honest, newPerson(t).review(t, b.public, "proven", nostr.Now()-nostr.Timestamp(3*3600+86400*day)))
	}
	p.add(honest...)
	a.cfg.Review = proven
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
	a.start()
	eventually(t, "all that are proven are here", func() bool {
		return !slices.ContainsFunc(honest, func(ev nostr.Event) bool { return !a.has(ev.ID) })
	})
}

// TestReviewsClosed: a relay that ends the question for reviews while some are being stored is left in peace with it, and
// the connection goes on.
func TestReviewsClosed(t *testing.T) {
	a, b := newInstance(t, "a"), newPerson(t)
	label := newPerson(t).sign(t, nostr.Event{Kind: kindLabel, Tags: nostr.Tags{{"p", b.public}}})
	quiet, storing, closed := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var asked atomic.Int64
	var once sync.Once
	url := liar(t, func(say func(...any), what string, parts []json.RawMessage) {
		var f nostr.Filter
		if what != "REQ" || json.Unmarshal(parts[1], &f) != nil {
			return
		}
		say("EOSE", parts[0])
		switch about := slices.Contains(f.Kinds, kindLabel) || slices.Contains(f.Kinds, kindReview) || slices.Contains(f.Kinds, kindRecommendation); {
		case about && f.Limit == 1:
			go once.Do(func() {
				<-quiet
				say("EVENT", parts[0], label)
				<-storing
				say("CLOSED", parts[0], "restricted: no more of this")
				close(closed)
			})
		case about:
			asked.Add(1)
		}
	})
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{url}}}
	refused := func() bool { return a.health(url).RefusedBy["there: restricted: no more of this"] > 0 }
	a.change = func(cfg *relay.Config) {
		told := cfg.Federation.Stored
		cfg.Federation.Stored = func(ev *nostr.Event) {
			if ev.ID == label.ID { // the disk is slow
				close(storing)
				<-closed
				time.Sleep(200 * time.Millisecond)
			}
			told(ev)
		}
	}
	a.start()
	eventually(t, "what is stored there has been read", func() bool { return asked.Load() == 8 && a.health(url).State == Live })
	time.Sleep(100 * time.Millisecond)
	close(quiet)
	eventually(t, "it has refused", func() bool { return refused() || a.health(url).Sessions > 1 })
	time.Sleep(100 * time.Millisecond)
	if h := a.health(url); h.State != Live || h.Sessions != 1 || !refused() {
		t.Errorf("health: %+v", h)
	}
}
