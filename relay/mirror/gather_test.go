package mirror

import (
	"fmt"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
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
	if n := a.health(p.url).Known - known; n > people*each+int64(len(live)) {
		t.Errorf("with the next connection %d messages came again", n)
	}
}
