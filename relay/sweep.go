package relay

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	events "mostro/relay/store"
)

const (
	clockFile  = "clock.json"     // clockState, beside the events
	clockEvery = 10 * time.Minute // it is written
)

// wallClock is what the relay believes of the machine's.
type wallClock struct {
	relay   *Relay
	started time.Time // monotonic
	path    string    // "" = nothing is kept
	flooded bool      // the operator has been told so

	mu sync.Mutex // guards the following
	steps
	saved clockState
	at    time.Duration // of that, after the start
}

// openClock reads what the last run has left. A store of a release that left nothing was last used when its newest event was
// written.
func (r *Relay) openClock() *wallClock {
	c := &wallClock{relay: r, started: time.Now()}
	var was clockState
	if r.cfg.Dir != "" {
		c.path = filepath.Join(r.cfg.Dir, clockFile)
		text, err := os.ReadFile(c.path)
		if err == nil {
			err = json.Unmarshal(text, &was)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.log.Error("read when the relay was last running", "file", c.path, "error", err)
		}
		if was.Time == 0 {
			_ = r.store.Scan(r.ctx, []nostr.Filter{{}}, events.QueryOptions{}, func(m *events.Meta) bool {
				was.Time = m.CreatedAt
				return false
			})
		}
	}
	c.steps = stepsFrom(was, r.store.opts.Now())
	return c
}

// believes reports whether something may be removed for its age, and what time it is as far as that is believed.
func (c *wallClock) believes() (at time.Time, yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, up := c.relay.store.opts.Now(), time.Since(c.started)
	last := c.relay.agreed.Load() // 0 = nobody has, which is not the year that a clock begins with
	doubts, isNew := c.doubts(now, up, last != 0 && now.Sub(time.Unix(last, 0)).Abs() < stepStays)
	if isNew {
		c.relay.log.Warn("the clock was put forward, or this machine was off or has slept: no event is removed for its age until the clock has stayed so and others agree",
			"clock", now.UTC(), "was", c.time(now, up).UTC(), "for", stepStays, "if_nobody_does", stepAlone, "remedy", "if the clock is wrong, put it right")
	}
	c.save(now, up)
	return c.time(now, up), !doubts
}

// save writes what the next run begins with, now and then.
func (c *wallClock) save(now time.Time, up time.Duration) {
	if c.path == "" || c.saved.Time != 0 && up-c.at < clockEvery {
		return
	}
	c.saved, c.at = c.state(now, up), up
	text, _ := json.Marshal(c.saved) // numbers always encode
	if err := writeWhole(c.path, text); err != nil {
		c.relay.log.Error("write when the relay was last running", "file", c.path, "error", err)
	}
}

// Now is what time it is as far as that is believed: what the clock shows, unless it was put forward of late. What is kept for
// a while is removed by this time, which a clock that is wrong for a minute does not change.
func (r *Relay) Now() time.Time {
	at, _ := r.clock.believes()
	return at
}

// agrees notes an event of somebody else that is of about the time that the clock shows. Of gift wraps few are: their own
// time is made up.
func (r *Relay) agrees(ev *nostr.Event) {
	now := r.store.opts.Now()
	if now.Sub(ev.CreatedAt.Time()).Abs() < stepSlack {
		r.agreed.Store(now.Unix())
	}
}

// sweep removes expired events from disk, and those that have been kept long enough, until ctx
// ends.
func (r *Relay) sweep(ctx context.Context, clock *wallClock) {
	// A process that never lives for a whole period removes what is old too.
	old, first := time.NewTicker(retainEvery), time.After(retainFirst)
	expired := time.NewTicker(sweepEvery)
	defer expired.Stop()
	defer old.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-first:
			err = r.removeOld(ctx, clock)
		case <-old.C:
			err = r.removeOld(ctx, clock)
			inMemory, onDisk, bytes := r.Indexed()
			r.log.Info("stored events", "indexed_in_memory", inMemory, "bytes", bytes, "indexed_on_disk", onDisk)
		case <-expired.C:
			err = r.removeExpired(ctx, clock)
		}
		if err != nil && ctx.Err() == nil {
			r.log.Error("remove events", "error", err)
		}
	}
}

func (r *Relay) removeOld(ctx context.Context, clock *wallClock) error {
	if _, yes := clock.believes(); !yes {
		return nil
	}
	return r.retain(ctx)
}

// removeExpired removes what has expired, and what there is no room for.
func (r *Relay) removeExpired(ctx context.Context, clock *wallClock) (err error) {
	at, yes := clock.believes()
	if yes {
		for more := true; more && err == nil; {
			more, err = r.store.Sweep(ctx)
		}
		err = errors.Join(err, r.store.Forget(ctx))
	}
	err = errors.Join(err, r.makeRoom(ctx, at))
	if now := r.flooded(); now != clock.flooded {
		if clock.flooded = now; now {
			r.log.Warn("messages are most of what is stored, and little room is left: an address can have only so many more stored", "a day", messagesPerDay,
				"remedy", "raise relay.max_events or relay.max_index_memory_mib, or list the addresses behind which many people are in federation.peers or, for proxies, in relay.trusted_proxies")
		}
	}
	return err
}
