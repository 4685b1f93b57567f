package relay

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	quietEvery    = 2 * time.Second
	quietMessages = 20       // of clients in that time, and events of other relays, up to which the relay is quiet
	quietBytes    = 16 << 20 // that the runtime holds and does not need, below which it is not worth the work
)

// giveBack returns memory to the system when there is little to do, until ctx ends. What a burst of events or answers
// has needed, most of it for writing tables, the runtime keeps for minutes.
func (r *Relay) giveBack(ctx context.Context) {
	tick := time.NewTicker(quietEvery)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
	seen := r.messages.Load()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := r.messages.Load()
		if now-seen <= quietMessages {
			metrics.Read(sample)
			free, live, objects := sample[0].Value.Uint64(), sample[1].Value.Uint64(), sample[2].Value.Uint64()
			if free+objects > live+quietBytes { // garbage that is not collected yet counts too
				debug.FreeOSMemory()
			}
		}
		seen = now
	}
}
