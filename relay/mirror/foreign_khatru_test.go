//go:build !race

package mirror

import (
	"context"
	"net/netip"
	"sync"
	"testing"

	"github.com/fiatjaf/eventstore/slicestore"
	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
)

// TestForeignKhatru: a relay made of khatru as it comes, whose sessions and negentropy are not those of this one, is a peer.
// It handles the frames of a client at the same time, in any order, and its own races are not looked for.
func TestForeignKhatru(t *testing.T) {
	for name, knows := range map[string]bool{"negentropy": true, "windows": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := khatru.NewRelay()
			k.Negentropy = knows
			keep(k, pageEvents)
			address := netip.MustParseAddrPort(freeAddress(t))
			f := &foreign{url: "ws://" + address.String(), wraps: true}
			f.start = func() {
				started := make(chan bool)
				go k.Start(address.Addr().String(), int(address.Port()), started)
				<-started
			}
			f.stop = func() { k.Shutdown(context.Background()) }
			f.start()
			t.Cleanup(f.stop)
			booksCourse(t, f, 200)
		})
	}
}

// keep lets a relay keep events in memory.
func keep(k *khatru.Relay, limit int) {
	var mu sync.Mutex
	db := slicestore.SliceStore{MaxLimit: limit}
	_ = db.Init() // makes room
	change := func(f func(context.Context, *nostr.Event) error) func(context.Context, *nostr.Event) error {
		return func(ctx context.Context, ev *nostr.Event) error {
			mu.Lock()
			defer mu.Unlock()
			return f(ctx, ev)
		}
	}
	k.StoreEvent = append(k.StoreEvent, change(db.SaveEvent))
	k.ReplaceEvent = append(k.ReplaceEvent, change(db.ReplaceEvent))
	k.DeleteEvent = append(k.DeleteEvent, change(db.DeleteEvent))
	k.QueryEvents = append(k.QueryEvents, func(ctx context.Context, f nostr.Filter) (chan *nostr.Event, error) {
		mu.Lock()
		defer mu.Unlock()
		found, err := db.QueryEvents(ctx, f)
		if err != nil {
			return nil, err
		}
		all := make(chan *nostr.Event, limit)
		for ev := range found {
			all <- ev
		}
		close(all)
		return all, nil
	})
}
