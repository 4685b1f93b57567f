package mirror

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// unsigned is an offer of somebody without a signature, for a book whose size counts and not who has written it.
func (p person) unsigned(id string, at nostr.Timestamp) nostr.Event {
	ev := nostr.Event{Kind: kindOrder, PubKey: p.public, CreatedAt: at, Sig: strings.Repeat("0", 128), Tags: nostr.Tags{
		{"d", id}, {"k", "sell"}, {"f", "USD"}, {"s", "success"}, {"amt", "1000"}, {"fa", "10"}, {"pm", "cash"}, {"premium", "1"}, {"y", "mostro"}, {"z", "order"},
	}}
	ev.ID = ev.GetID()
	return ev
}

// TestResync: two books of 100,000 events that differ in 100 are made equal with less than a megabyte of traffic, both
// directions together.
func TestResync(t *testing.T) {
	const differ, most = 100, 1_000_000
	size := backlogSize
	if testing.Short() {
		size /= 10
	}
	who, start := newPerson(t), nostr.Now()-nostr.Timestamp(backlogSize)
	a, b := newInstance(t, "a"), newInstance(t, "b")
	a.change, b.change = roomy, roomy
	a.start()
	b.start()
	var here, there []nostr.Event
	for i := range size {
		at := start + nostr.Timestamp(i)
		if i%(size/differ) == 7 {
			there = append(there, who.offer(t, fmt.Sprint(i), at))
			continue
		}
		ev := who.unsigned(fmt.Sprint(i), at)
		here, there = append(here, ev), append(there, ev)
	}
	for of, evs := range map[*instance][]nostr.Event{a: here, b: there} {
		for chunk := range slices.Chunk(evs, 1000) {
			if err := of.relay.Publish(context.Background(), chunk...); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := a.mirror.Follow(Followed{Pubkey: who.public, Relays: []string{b.url()}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "they are compared", func() bool { return a.health(b.url()).State == Live })
	h := a.health(b.url())
	t.Logf("%d events that differ in %d: %d bytes in, %d out", size, differ, h.BytesIn, h.BytesOut)
	if h.Stored != differ || !h.Negentropy || !bytes.Equal(a.book(who.public), b.book(who.public)) {
		t.Errorf("the books are not equal: %+v", h)
	}
	if h.BytesIn+h.BytesOut >= most {
		t.Errorf("it took %d bytes", h.BytesIn+h.BytesOut)
	}
}

// TestBothWays: two instances that follow each other make both books equal by negentropy, each asking the other, at the
// first time and after both have changed while they were apart; neither gets again what it has.
func TestBothWays(t *testing.T) {
	a, b := newInstance(t, "a"), newInstance(t, "b")
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{b.url()}}}
	b.cfg.Follow = []Followed{{Pubkey: a.public, Relays: []string{a.url()}}}
	const first, later = 300, 40
	changes := map[*instance]int{a: 0, b: 0}
	start := func(n int) {
		a.start()
		b.start()
		for of, from := range changes {
			for i := range n {
				of.publish(of.offer(t, fmt.Sprint(from+i), nostr.Now()-1000))
			}
			changes[of] += n
		}
	}
	for _, n := range []int{first, later} {
		// Apart: each has its own.
		away := Dial(func(context.Context, string, string) (net.Conn, error) { return nil, errLinkEnded })
		a.cfg.Dial, b.cfg.Dial = away, away
		start(n)
		a.stop()
		b.stop()
		a.cfg.Dial, b.cfg.Dial = nil, nil
		a.start()
		b.start()
		for _, pair := range [][2]*instance{{a, b}, {b, a}} {
			from, to := pair[0], pair[1]
			eventually(t, "the books are equal", func() bool { return bytes.Equal(from.book(from.public), to.book(from.public)) })
			eventually(t, "they are compared", func() bool { return to.health(from.url()).State == Live })
			if h := to.health(from.url()); !h.Negentropy || h.Stored != int64(n) || h.Known > 1 {
				t.Errorf("%s of %s: %+v", to.name, from.name, h)
			}
		}
		a.stop()
		b.stop()
	}
}
