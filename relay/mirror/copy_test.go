package mirror

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestCopy: a followed Mostro's public events come here, those of before and those of after, and
// nothing else does; by negentropy and without.
func TestCopy(t *testing.T) {
	b := newInstance(t, "b")
	b.start()
	stranger := newPerson(t)
	stored := []nostr.Event{
		b.sign(t, nostr.Event{Kind: 0, Content: "{}"}), b.sign(t, nostr.Event{Kind: 1, Content: "hello"}),
		b.info(t, 0), b.offer(t, "x", 0), b.offer(t, "y", 0),
		b.sign(t, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", stranger.public}}}),
	}
	b.publish(stored...)
	a := newInstance(t, "a")
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{b.url()}}}
	a.start()
	equal := func() bool { return bytes.Equal(a.book(b.public), b.book(b.public)) }
	eventually(t, "the books are equal", equal)
	eventually(t, "the connection is live", func() bool { return a.health(b.url()).State == Live })
	if !a.health(b.url()).Negentropy {
		t.Error("negentropy was not used")
	}
	if a.has(stored[1].ID) || a.has(stored[5].ID) {
		t.Error("more was copied than public events of trades")
	}
	live := b.offer(t, "x", nostr.Now()+1)
	b.publish(live)
	eventually(t, "a live event arrives", func() bool { return a.has(live.ID) })
	if !equal() {
		t.Error("the replaced version is still here")
	}

	// What happens while A is away is made up for.
	a.stop()
	for i := range 50 {
		b.publish(b.offer(t, fmt.Sprint(i), 0))
	}
	a.start()
	eventually(t, "the books are equal again", equal)

	// And while B is.
	b.stop()
	eventually(t, "A notices", func() bool { h := a.health(b.url()); return h.State == Waiting && h.Error != "" })
	b.start()
	late := b.offer(t, "late", 0)
	b.publish(late)
	eventually(t, "A is back", func() bool { return a.has(late.ID) })
	if h := a.health(b.url()); h.Bad != 0 || h.Refused != 0 {
		t.Errorf("health: %+v", h)
	}
}

// TestCopyPlain: from a relay that knows REQ only and gives out few events at a time, many of them
// of the same second.
func TestCopyPlain(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for _, limit := range []int{3, 7, 40} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			b := newPerson(t)
			p := newPlain(t, limit, "127.0.0.1:0")
			at := nostr.Now() - 250_000
			var want []nostr.Event
			for i := range 300 {
				if random.IntN(2) == 0 || i%(limit-1) == 0 { // fewer in a second than are given out
					at += nostr.Timestamp(1 + random.IntN(900))
				}
				want = append(want, b.offer(t, fmt.Sprint(i), at))
			}
			p.add(want...)
			a := newInstance(t, "a")
			a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
			a.start()
			book := string(lines(want))
			eventually(t, "all events came", func() bool { return string(a.book(b.public)) == book })
			eventually(t, "it is live", func() bool { return a.health(p.url).State == Live })
			if h := a.health(p.url); h.Negentropy || h.Gap {
				t.Errorf("health: %+v", h)
			}
			// Live, and after an absence.
			more := b.offer(t, "live", 0)
			p.add(more)
			eventually(t, "a live event came", func() bool { return a.has(more.ID) })
			a.stop()
			missed := b.offer(t, "missed", nostr.Now()-3600)
			p.add(missed)
			a.start()
			eventually(t, "a missed event came", func() bool { return a.has(missed.ID) })
		})
	}
}

// TestCopyCrowded: a relay that gives out fewer events than one second holds cannot be read whole,
// and that shows.
func TestCopyCrowded(t *testing.T) {
	b := newPerson(t)
	p := newPlain(t, fewestPage, "127.0.0.1:0")
	at := nostr.Now() - 100
	for i := range 2 * fewestPage {
		p.add(b.offer(t, fmt.Sprint(i), at))
	}
	a := newInstance(t, "a")
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
	a.start()
	eventually(t, "the gap is known", func() bool { return a.health(p.url).Gap })
}

// TestCopySmall: a book that is all of one second, as that of a new Mostro, is no sign of a relay that gives out few events.
func TestCopySmall(t *testing.T) {
	for _, size := range []int{1, fewestPage - 1} {
		b, p := newPerson(t), newPlain(t, pageEvents, "127.0.0.1:0")
		at := nostr.Now() - 100
		for i := range size {
			p.add(b.offer(t, fmt.Sprint(i), at))
		}
		a := newInstance(t, "a")
		a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
		a.start()
		eventually(t, "it is live", func() bool { return a.health(p.url).State == Live })
		if h := a.health(p.url); h.Gap || h.Stored != int64(size) {
			t.Errorf("of a book of %d: %+v", size, h)
		}
	}
}
