package mirror

import (
	"fmt"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestC3LetterFlood: who floods a key of his own elsewhere, with more messages than are fetched at once and dated ahead of
// all others, hides nobody else's, neither what is stored there nor what comes live.
func TestC3LetterFlood(t *testing.T) {
	if testing.Short() {
		t.Skip("signs 20,000 messages")
	}
	bubble(t, func(t *testing.T) {
		b, p := newPerson(t), idlePlain(500)
		a, url := abroad(t, p, follows(b))
		eventually(t, "it is connected", func() bool { return a.health(url).State == Live })
		flooder, victim, sender := newPerson(t), newPerson(t), newPerson(t)
		wrap := func(to person, at nostr.Timestamp, text string) nostr.Event {
			return sender.sign(t, nostr.Event{Kind: kindWrap, CreatedAt: at, Content: text, Tags: nostr.Tags{{"p", to.public}}})
		}
		ahead := nostr.Now()
		var flood []nostr.Event
		for i := range nostr.Timestamp(mostOld + 100) {
			flood = append(flood, wrap(flooder, ahead-i%1000, fmt.Sprint(i)))
		}
		p.add(flood...)
		old := wrap(victim, nostr.Now()-40*3600, "")
		p.add(old)
		in := a.mirror.interest
		in.mu.Lock()
		for _, key := range []person{flooder, victim} {
			in.put(mailbox{key.public, b.public}, sign{time.Now(), claimant{from: key.public}})
		}
		in.wake()
		in.mu.Unlock()
		eventually(t, "what is stored for the other is here", func() bool { return a.has(old.ID) })
		for i := range 1000 {
			p.publish(wrap(flooder, nostr.Now(), fmt.Sprint("live ", i)))
		}
		mail, said := wrap(victim, nostr.Now(), ""), time.Now()
		p.publish(mail)
		eventually(t, "what comes live for the other is here", func() bool { return a.has(mail.ID) })
		if waited := time.Since(said); waited > checkEvery/2 {
			t.Errorf("a message waited for %s behind a flood for somebody else", waited)
		}
		if n := a.health(url).CarriedIn; n > letterBurst+rationBurst+1000 {
			t.Errorf("%d messages of the flood were taken", n)
		}
	})
}

// TestC3RationOfNobody: who names a key of nobody before that of a client gains no ration by it.
func TestC3RationOfNobody(t *testing.T) {
	a, b := newInstance(t, "a"), newPerson(t)
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{"ws://" + freeAddress(t)}}}
	a.start()
	victim := claims(t, a.mirror.interest, b, "victim ", 0, 1)[0]
	eventually(t, "the relay is dealt with", func() bool { return len(a.mirror.list()) == 1 })
	p := a.mirror.list()[0]
	taken := 0
	for i := range letterBurst + 2000 {
		ev := nostr.Event{Kind: kindWrap, Tags: nostr.Tags{{"p", fmt.Sprintf("%064x", i+1)}, {"p", victim.public}}}
		if p.letters.allow(&ev) {
			taken++
		}
	}
	if most := letterBurst + rationBurst + 500; taken > most {
		t.Errorf("%d messages were taken, want %d at most", taken, most)
	}
}
