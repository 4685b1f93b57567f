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
