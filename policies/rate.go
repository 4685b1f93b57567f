package policies

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/time/rate"
)

// Defaults of RateByIP for an open relay: a client that catches up after a long absence, or
// several behind one address, stay below them.
const (
	DefaultEventsPerSecond = 50
	DefaultEventsBurst     = 500
	DefaultRateAddresses   = 100_000
)

// RateByIP lets each address send perSecond events, and burst at once; those with many tags count
// for several. An IPv6 address counts
// as its /64, which one subscriber can fill at will. At most addresses of them are remembered;
// the longest unseen are forgotten first, half at a time.
func RateByIP(perSecond float64, burst, addresses int) Policy {
	limiters := newLimiters[netip.Prefix](perSecond, burst, addresses)
	return func(ctx context.Context, ev *nostr.Event) (bool, string) {
		address, err := netip.ParseAddr(khatru.GetIP(ctx))
		if err != nil {
			return false, "" // no connection: the event comes from inside
		}
		if limiters.allow(network(address), ev) {
			return false, ""
		}
		return true, "rate-limited: too many events from your address, slow down"
	}
}

func network(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	bits := 32
	if address.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(address, bits).Masked()
}

// limiters holds two generations, so that forgetting costs nothing per address: when the
// recent one is half of all that may be remembered, it becomes the old one, and the old one
// goes. Whoever is seen moves to the recent one.
type limiters[K comparable] struct {
	limit rate.Limit
	burst int
	half  int

	mu          sync.Mutex
	recent, old map[K]*rate.Limiter
}

func newLimiters[K comparable](perSecond float64, burst, most int) *limiters[K] {
	return &limiters[K]{
		limit: rate.Limit(perSecond), burst: burst,
		half:   max(most/2, 1),
		recent: make(map[K]*rate.Limiter),
	}
}

// tagsOfOne is how many tags come with an event that counts once. Each tag is a row of the index, and
// in a deletion one that is looked for and written.
const tagsOfOne = 20

// allow reports whether k may send ev now.
func (l *limiters[K]) allow(k K, ev *nostr.Event) bool {
	weight := 1 + len(ev.Tags)/tagsOfOne
	return l.of(k).AllowN(time.Now(), min(weight, l.burst))
}

func (l *limiters[K]) of(k K) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter, ok := l.recent[k]
	if ok {
		return limiter
	}
	if limiter, ok = l.old[k]; !ok {
		limiter = rate.NewLimiter(l.limit, l.burst)
	}
	if len(l.recent) >= l.half {
		l.old, l.recent = l.recent, make(map[K]*rate.Limiter)
	}
	l.recent[k] = limiter
	return limiter
}
