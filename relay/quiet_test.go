package relay

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestGiveBackLater: while a relay copies others it is not quiet, although no client asks anything.
func TestGiveBackLater(t *testing.T) {
	r, _ := start(t, Config{})
	known := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1})
	evs := make([]*nostr.Event, 2*quietMessages)
	for i := range evs {
		evs[i] = &known
	}
	r.Take(t.Context(), "wss://elsewhere.example", evs[:1])
	forced := func(busy bool) uint32 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			go r.giveBack(ctx)
			for range 5 {
				garbage := make([]byte, 4*quietBytes)
				runtime.KeepAlive(garbage)
				if busy {
					r.Take(ctx, "wss://elsewhere.example", evs)
				}
				time.Sleep(quietEvery)
				synctest.Wait()
			}
			stop()
		})
		runtime.ReadMemStats(&after)
		return after.NumForcedGC - before.NumForcedGC
	}
	if n := forced(false); n == 0 {
		t.Error("nothing is given back when nothing happens")
	}
	if n := forced(true); n > 1 {
		t.Errorf("garbage was collected %d times while it copies", n)
	}
}

// TestGiveBack: a relay that has nothing to do returns memory that was needed for a moment.
func TestGiveBack(t *testing.T) {
	start(t, Config{})
	held := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapSys - m.HeapReleased
	}
	burst := make([][]byte, 8*quietBytes>>20)
	for i := range burst {
		burst[i] = make([]byte, 1<<20)
		for at := 0; at < len(burst[i]); at += 4096 {
			burst[i][at] = 1
		}
	}
	most := held()
	runtime.KeepAlive(burst)
	burst = nil
	for end := time.Now().Add(patience); held() > most-6*quietBytes; time.Sleep(quietEvery / 4) {
		if time.Now().After(end) {
			t.Fatalf("%d MiB are held, %d in the burst", held()>>20, most>>20)
		}
	}
}
