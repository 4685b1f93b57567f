package relay

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
)

// clock is a clock that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// remember is a policy that notes the address of each connection that sends an event.
func remember(addresses *[]string) Policy {
	return func(ctx context.Context, _ *nostr.Event) (bool, string) {
		*addresses = append(*addresses, khatru.GetIP(ctx))
		return false, ""
	}
}

func sorted(words []string) string {
	slices.Sort(words)
	return strings.Join(words, " ")
}

// ingest takes an event as a session without keys would.
func (r *Relay) ingest(ctx context.Context, ev *nostr.Event) (ok bool, answer string) {
	a := arrival{ev: *ev, hooks: ctx}
	a.next, a.ok, a.reason = r.admit(ctx, &session{relay: r}, ev)
	batch := []arrival{a}
	r.finish("", batch)
	return batch[0].ok, batch[0].reason
}

// rememberAuthed is a policy that notes the key that sent each event.
func rememberAuthed(authed *[]string) Policy {
	return func(ctx context.Context, ev *nostr.Event) (bool, string) {
		if ev.Kind == 1 {
			*authed = append(*authed, khatru.GetAuthed(ctx))
		}
		return false, ""
	}
}

// rememberIDs is a policy that notes the subscription of each filter, and refuses kind 7.
func rememberIDs(ids *[]string) ReadPolicy {
	return func(ctx context.Context, f nostr.Filter) (bool, string) {
		*ids = append(*ids, khatru.GetSubscriptionID(ctx))
		return slices.Contains(f.Kinds, 7), "no kind 7"
	}
}

// refuseAll is a policy that refuses everything and counts.
func refuseAll(asked *int) Policy {
	return func(context.Context, *nostr.Event) (bool, string) {
		*asked++
		return true, "no"
	}
}
