package mirror

import (
	"bytes"
	"fmt"
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
