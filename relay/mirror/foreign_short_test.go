//go:build !race

package mirror

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
)

// TestForeignShort: a relay made of khatru as it comes, whose negentropy is of its newest events only, as many as its store gives
// out at once, and which says nothing of that. All that it has of a followed key is copied, also what is older and was missed
// once; of the node's own events it gets what it lacks, and nothing that it has.
func TestForeignShort(t *testing.T) {
	const most, size, lacking = 100, 450, 30
	k := khatru.NewRelay()
	k.Negentropy = true
	keep(k, most)
	address := netip.MustParseAddrPort(freeAddress(t))
	url := "ws://" + address.String()
	started := make(chan bool)
	go k.Start(address.Addr().String(), int(address.Port()), started)
	<-started
	t.Cleanup(func() { k.Shutdown(context.Background()) })

	a, b := newInstance(t, "a"), newPerson(t)
	var mine, theirs []nostr.Event
	begin := nostr.Now() - 10*size
	for i := range size {
		at := begin + nostr.Timestamp(i/7*7) // several of one second, also where an answer ends
		mine, theirs = append(mine, a.offer(t, fmt.Sprint(i), at)), append(theirs, b.offer(t, fmt.Sprint(i), at))
	}
	add := func(evs ...nostr.Event) {
		t.Helper()
		for i := range evs {
			if _, err := k.AddEvent(context.Background(), &evs[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(theirs...)
	for i := range mine {
		if i%(size/lacking) != 3 {
			add(mine[i])
		}
	}
	has := func(ev nostr.Event) bool {
		found, err := k.QueryEvents[0](context.Background(), nostr.Filter{IDs: []string{ev.ID}})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for range found {
			n++
		}
		return n == 1
	}
	stores := func(evs ...nostr.Event) { // and sends them nowhere
		t.Helper()
		a.cfg.Outside, a.cfg.Follow = nil, nil
		a.start()
		if err := a.relay.Publish(context.Background(), evs...); err != nil {
			t.Fatal(err)
		}
		a.stop()
	}
	stores(append(slices.Clone(mine), theirs[size-most/2:]...)...)
	course := func(published int64) {
		t.Helper()
		a.cfg.Outside, a.cfg.Follow = []string{url}, []Followed{{Pubkey: b.public, Relays: []string{url}}}
		a.start()
		eventually(t, "both are compared", func() bool {
			h := a.health(url)
			return h.State == Live && h.Waiting == 0 && h.Published >= published
		})
		if !bytes.Equal(a.book(b.public), lines(slices.Clone(theirs))) {
			t.Errorf("%d of %d events are here", bytes.Count(a.book(b.public), []byte("\n")), len(theirs))
		}
		for i := range mine {
			if !has(mine[i]) {
				t.Fatalf("own event %d is not there", i)
			}
		}
		if h := a.health(url); h.Published != published || !h.Negentropy || h.Sessions != 1 {
			t.Errorf("%d own events were published, not %d; health %+v", h.Published, published, h)
		}
		a.stop()
	}
	course(lacking)
	// An old one comes late to either side.
	late, own := b.offer(t, "late", begin+3), a.offer(t, "late", begin+3)
	theirs, mine = append(theirs, late), append(mine, own)
	add(late)
	stores(own)
	course(1)
}
