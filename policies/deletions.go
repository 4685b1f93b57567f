package policies

import (
	"context"
	"net/netip"
	"time"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
)

// Deletions lets each address delete perHour events and addresses, and burst at once: what is deleted is remembered
// for long, also of what was never here, and keys are free. A request to vanish counts as one. Addresses are those of
// RateByIP.
func Deletions(perHour float64, burst, addresses int) Policy {
	limiters := newLimiters[netip.Prefix](perHour/time.Hour.Seconds(), burst, addresses)
	return func(ctx context.Context, ev *nostr.Event) (bool, string) {
		n := deletes(ev)
		address, err := netip.ParseAddr(khatru.GetIP(ctx))
		if err != nil || n == 0 {
			return false, ""
		}
		if limiters.of(network(address)).AllowN(time.Now(), min(n, burst)) {
			return false, ""
		}
		return true, "rate-limited: too many deletions from your address, try again later"
	}
}

// deletes is how many ids and addresses an event deletes, 1 for a request to vanish.
func deletes(ev *nostr.Event) (n int) {
	switch ev.Kind {
	case kindVanish:
		n = 1
	case nostr.KindDeletion:
		for _, tag := range ev.Tags {
			if len(tag) > 1 && (tag[0] == "e" || tag[0] == "a") {
				n++
			}
		}
	}
	return n
}
