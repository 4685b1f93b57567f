package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestClockWasAhead: what was noted by a clock that was a year ahead hides nothing that another relay has: neither a followed
// Mostro's events nor what is said of it.
func TestClockWasAhead(t *testing.T) {
	b, p, a := newPerson(t), newPlain(t, 20, "127.0.0.1:0"), newInstance(t, "a")
	var want []nostr.Event
	for i := range 50 {
		want = append(want, b.offer(t, fmt.Sprint(i), nostr.Now()-nostr.Timestamp(1000+i)))
	}
	p.add(want...)
	said := newPerson(t).sign(t, nostr.Event{Kind: kindLabel, Content: "x", CreatedAt: nostr.Now() - 1000,
		Tags: nostr.Tags{{"p", b.public}, {"L", "x"}, {"l", "good", "x"}}})
	p.add(said)
	a.start()
	ahead := time.Now().Add(365 * 24 * time.Hour).Unix()
	for _, row := range []string{b.public, "reviews of " + b.public} {
		if err := a.mirror.state.setWalked(p.url, row, walked{At: ahead, Full: ahead}); err != nil {
			t.Fatal(err)
		}
	}
	a.stop()
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
	a.start()
	eventually(t, "all events came", func() bool { return bytes.Equal(a.book(b.public), lines(want)) })
	eventually(t, "what is said came", func() bool { return a.has(said.ID) })
	eventually(t, "it is noted when", func() bool {
		w, err := a.mirror.list()[0].walked(b.public)
		return err == nil && w.At > 0 && w.At < ahead
	})
}

// TestClockAheadForAWhile: a clock that is a month ahead for a while costs none of what is kept for a month: answers that wait for a
// relay that is away, ways to strangers, whose mail is fetched, and carrying for a Mostro that is followed no more.
func TestClockAheadForAWhile(t *testing.T) {
	a, left, stranger, client := newInstance(t, "a"), newPerson(t), newPerson(t), newPerson(t)
	url := "ws://" + freeAddress(t)
	a.cfg.Outside = []string{url}
	var ahead atomic.Int64
	a.cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	a.start()
	if err := a.mirror.Agree(Followed{Pubkey: left.public, Relays: []string{url}}); err != nil {
		t.Fatal(err)
	}
	if err := a.mirror.Disagree(left.public); err != nil {
		t.Fatal(err)
	}
	if err := a.mirror.Heard(context.WithValue(t.Context(), originKey{}, url), stranger.public); err != nil {
		t.Fatal(err)
	}
	a.publish(a.sign(t, nostr.Event{Kind: 1059, Content: "sealed", Tags: nostr.Tags{{"p", stranger.public}}}))
	a.mirror.interest.add(mailbox{client.public, left.public}, claimant{near, true})
	kept := func(when string) {
		t.Helper()
		m := a.mirror
		m.endLeft()
		m.trimOutbox()
		m.routes.mu.Lock()
		m.routes.swept = time.Time{} // it is due
		m.routes.mu.Unlock()
		err := errors.Join(m.routes.sweep(m.past()), m.interest.write(m.past()))
		waits, _, bad := m.state.waits(url)
		ways, worse := m.routes.of(stranger.public)
		if err = errors.Join(err, bad, worse); err != nil || waits != 1 || len(ways) != 1 {
			t.Errorf("%s: %d answers wait, %d ways lead to the stranger (%v)", when, waits, len(ways), err)
		}
		m.interest.mu.Lock()
		defer m.interest.mu.Unlock()
		if _, fetched := m.interest.seen[mailbox{client.public, left.public}]; !fetched || !m.mostro(left.public) {
			t.Errorf("%s: the client's mail is fetched: %v, messages are carried: %v", when, fetched, m.mostro(left.public))
		}
	}
	kept("before")
	ahead.Store(int64(40 * 24 * time.Hour))
	kept("while the clock is ahead")
	ahead.Store(0)
	kept("after that")
}

// TestClockWasAheadBarren: the same of a relay that is asked rarely since it has wasted our time, while the clock was ahead.
func TestClockWasAheadBarren(t *testing.T) {
	now := time.Now().Unix()
	for _, last := range []int64{now - 60, now + 365*86400} {
		c := compared{last: last, full: last, barren: 3}
		if since := c.since(now); since > now || last > now && since != 0 {
			t.Errorf("last asked at %d, now %d: asked for what is of %d and later", last, now, since)
		}
	}
}
