package mirror

import (
	"bytes"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestBacklog copies a large book from a Mostro that one begins to follow, while the way breaks again
// and again and this node starts anew: all of it comes, and what has come is not fetched again.
// MIRROR_BACKLOG says how many events, 100,000 for the size that is promised.
func TestBacklog(t *testing.T) {
	size := 10_000
	if text := os.Getenv("MIRROR_BACKLOG"); text != "" {
		var err error
		if size, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	if testing.Short() {
		size = 2000
	}
	b := newInstance(t, "b")
	b.start()
	bytesOf := int64(0)
	evs := backlog(t, b.person, size)
	for i := range evs {
		bytesOf += int64(len(evs[i].String()))
	}
	b.publish(evs...)
	g := newGate(t, b.address)
	a := newInstance(t, "a")
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{g.url}}}
	a.start()
	count := func() int {
		n, _, err := a.relay.Count(t.Context(), nostr.Filter{Authors: []string{b.public}})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	read := int64(0)
	for part := 1; part <= 3; part++ {
		for count() < size*part/4 { // as long as it takes: this is no measurement
			if h := a.health(g.url); h.Bad > 0 {
				t.Fatalf("after %d of %d events: %+v", count(), size, h)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if part == 2 {
			read += a.health(g.url).BytesIn
			a.stop()
			a.start()
			continue
		}
		g.set(true)
		eventually(t, "A notices", func() bool { return a.health(g.url).State == Waiting })
		g.set(false)
	}
	for count() < size {
		time.Sleep(10 * time.Millisecond)
	}
	eventually(t, "it is live", func() bool { return a.health(g.url).State == Live })
	if !bytes.Equal(a.book(b.public), b.book(b.public)) {
		t.Error("the books differ")
	}
	read += a.health(g.url).BytesIn
	t.Logf("%d events of %d bytes, read %d bytes over four connections", size, bytesOf, read)
	if read > bytesOf*3/2+1<<20 {
		t.Errorf("%d bytes were read for %d bytes of events", read, bytesOf)
	}
}
