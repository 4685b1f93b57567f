package mirror

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// TestMailOnce: a new key brings its own mail, and not again that of all others; what comes live while the
// subscriptions change is missed by nobody, nor is what comes while there is no connection.
func TestMailOnce(t *testing.T) {
	const people, each, steps = 150, 20, 30
	b := newPerson(t)
	p := newPlain(t, 10_000, freeAddress(t))
	a := newInstance(t, "a")
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
	a.start()
	eventually(t, "A is connected", func() bool { return a.health(p.url).State == Live })
	keys := make([]person, people)
	for i := range keys {
		keys[i] = newPerson(t)
		for n := range each {
			mail := b.sign(t, nostr.Event{Kind: 14, CreatedAt: nostr.Now() - nostr.Timestamp(n*3600), Content: fmt.Sprint(n), Tags: nostr.Tags{{"p", keys[i].public}}})
			p.save(mail)
		}
	}
	c := dialClient(t, a.url())
	var live []nostr.Event
	for step := range steps {
		var some []string
		for _, key := range keys[step*people/steps : (step+1)*people/steps] {
			some = append(some, key.public)
		}
		c.say("REQ", fmt.Sprint(step), nostr.Filter{Kinds: []int{14, 1059}, Tags: nostr.TagMap{"p": some}})
		c.hear("EOSE")
		if step > 0 { // to somebody who has long been subscribed, while the subscription changes
			mail := b.message(t, keys[step].public, fmt.Sprint("live ", step))
			live = append(live, mail)
			p.publish(mail)
		}
	}
	has := func(evs []nostr.Event) bool {
		for i := range evs {
			if !a.has(evs[i].ID) {
				return false
			}
		}
		return true
	}
	eventually(t, "all mail is here", func() bool { return a.health(p.url).CarriedIn == people*each+int64(len(live)) })
	if !has(live) {
		t.Error("something that came live was missed")
	}
	h := a.health(p.url)
	t.Logf("%d messages were new, %d came twice", h.CarriedIn, h.Known)
	// Each change brings at most one message of each kind that is known, and a message may come live and stored.
	if most := int64(2*steps + len(live)); h.Known > most {
		t.Errorf("%d messages came twice, want %d at most", h.Known, most)
	}

	// A message of the time without a connection, dated back as gift wraps are.
	p.stop()
	eventually(t, "it is away", func() bool { return a.health(p.url).State == Waiting })
	known := a.health(p.url).Known
	missed := newPerson(t).sign(t, nostr.Event{Kind: 1059, CreatedAt: nostr.Now() - 40*3600, Tags: nostr.Tags{{"p", keys[7].public}}})
	p.save(missed)
	p.listen(t, p.url[len("ws://"):])
	eventually(t, "what was missed is here", func() bool { return a.has(missed.ID) })
	time.Sleep(200 * time.Millisecond)
	if n := a.health(p.url).Known - known; n > people*each+int64(len(live)+2*steps) {
		t.Errorf("with the next connection %d messages came again", n)
	}
}

// claims wants mail for new keys, each at an address of its own.
func claims(t *testing.T, in *interest, of person, name string, from, to int) (all []person) {
	for i := from; i < to; i++ {
		key := newPerson(t)
		all = append(all, key)
		in.add(mailbox{key.public, of.public}, claimant{from: fmt.Sprint(name, i)})
	}
	return all
}

// TestGatherSmall: a relay that grants less than is asked for keeps its connection, and those who came last get their
// mail.
func TestGatherSmall(t *testing.T) {
	a, b := newInstance(t, "a"), newInstance(t, "b")
	b.change = func(cfg *relay.Config) {
		cfg.Limits = relay.DefaultLimits()
		cfg.Limits.SubscriptionValues = 3000
	}
	b.start()
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{b.url()}}}
	a.start()
	eventually(t, "A is connected to B", func() bool { return a.health(b.url()).State == Live })
	for step := range 5 {
		keys := claims(t, a.mirror.interest, b.person, fmt.Sprint("step ", step), 0, keysPerPeer/2)
		time.Sleep(10 * time.Millisecond)
		last := claims(t, a.mirror.interest, b.person, fmt.Sprint("last ", step), 0, 1)[0]
		for _, key := range []person{last, keys[len(keys)-1]} {
			mail := b.message(t, key.public, "for you")
			b.publish(mail)
			eventually(t, "mail is here", func() bool { return a.has(mail.ID) })
		}
	}
	if h := a.health(b.url()); h.Sessions != 1 || h.Failures != 0 || h.RefusedFor[Cause{There: true, Word: "rate-limited"}] == 0 {
		t.Errorf("health: %+v", h)
	}
}

// TestGatherCrowded: when the subscriptions leave no room to ask for what is stored, some of them go at once, and not
// the mail of those who came last.
func TestGatherCrowded(t *testing.T) {
	a, b := newInstance(t, "a"), newInstance(t, "b")
	b.change = func(cfg *relay.Config) {
		cfg.Limits = relay.DefaultLimits()
		cfg.Limits.SubscriptionValues = 3000 // four of a key while it is subscribed, two while its past is asked for
	}
	b.start()
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{b.url()}}}
	a.start()
	eventually(t, "A is connected to B", func() bool { return a.health(b.url()).State == Live })
	in := a.mirror.interest
	for step, n := range []int{500, 203} {
		keys := make([]person, n)
		in.mu.Lock()
		for i := range keys {
			keys[i] = newPerson(t)
			in.put(mailbox{keys[i].public, b.public}, sign{time.Now(), claimant{from: fmt.Sprint(step, i)}})
		}
		var mail []nostr.Event // more than the newest one, which a subscription brings
		for _, key := range keys[:10] {
			mail = append(mail, b.message(t, key.public, "for you"))
			b.publish(mail[len(mail)-1])
		}
		in.wake()
		in.mu.Unlock()
		eventually(t, "mail is here", func() bool {
			return !slices.ContainsFunc(mail, func(ev nostr.Event) bool { return !a.has(ev.ID) })
		})
	}
	if h := a.health(b.url()); h.Sessions != 1 || h.Failures != 0 || h.RefusedFor[Cause{There: true, Word: "rate-limited"}] == 0 {
		t.Errorf("health: %+v", h)
	}
}

// TestGatherBusy: a relay that refuses one question because it is busy costs nobody his mail.
func TestGatherBusy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, p := newPerson(t), idlePlain(500)
		var busy atomic.Bool
		p.manner = func() manner {
			return func(say func(...any), label string, parts []json.RawMessage) bool {
				var f nostr.Filter
				if label != "REQ" || json.Unmarshal(parts[1], &f) != nil || f.Limit == 1 || len(f.Tags["p"]) == 0 || !busy.CompareAndSwap(true, false) {
					return false
				}
				say("CLOSED", parts[0], "rate-limited: slow down")
				return true
			}
		}
		a, url := abroad(t, p, follows(b))
		eventually(t, "it is connected", func() bool { return a.health(url).State == Live })
		keys := claims(t, a.mirror.interest, b, "first ", 0, keysPerReq+100)
		time.Sleep(time.Minute)
		busy.Store(true)
		keys = append(keys, claims(t, a.mirror.interest, b, "last ", 0, 1)...)
		eventually(t, "it was busy", func() bool { return !busy.Load() })
		time.Sleep(time.Second)
		for _, key := range keys {
			mail := b.message(t, key.public, "for you")
			p.publish(mail)
			eventuallyFor(t, 10*time.Second, "mail is here", func() bool { return a.has(mail.ID) })
		}
	})
}

// TestGatherFull: as many keys and conversations as a relay is asked for fit into what another instance grants to
// one connection, also while newer keys take the places of older ones; mail for those that have a place comes.
func TestGatherFull(t *testing.T) {
	a, b, _ := federated(t)
	lost := claims(t, a.mirror.interest, b.person, "mail ", 0, 1)[0] // the oldest goes first
	time.Sleep(10 * time.Millisecond)
	kept := claims(t, a.mirror.interest, b.person, "mail ", 1, keysPerPeer)
	claims(t, a.mirror.talks, b.person, "talk ", 0, keysPerPeer)
	arrives := func(key person) {
		t.Helper()
		mail := b.message(t, key.public, "for you")
		b.publish(mail)
		eventually(t, "mail is here", func() bool { return a.has(mail.ID) })
	}
	arrives(kept[0])
	arrives(kept[len(kept)-1])
	for range 5 {
		fresh := claims(t, a.mirror.interest, b.person, "later ", 0, mailSlack/2)
		claims(t, a.mirror.talks, b.person, "later ", 0, mailSlack/2)
		arrives(fresh[0])
	}
	arrives(kept[len(kept)-1])
	if h := a.health(b.url()); h.Sessions != 1 || h.Failures != 0 {
		t.Errorf("health: %+v", h)
	}
	mail := b.message(t, lost.public, "too late")
	b.publish(mail)
	arrives(kept[len(kept)-2])
	if a.has(mail.ID) {
		t.Error("the oldest key still has a place")
	}
}
