package policies

import (
	"context"

	"github.com/nbd-wtf/go-nostr"
)

// RateByKey lets each public key publish perSecond events, and burst at once; those with many tags
// count for several. At most keys of them are remembered. It belongs behind the check of signatures: before it, anybody could use
// up the rate of anybody.
func RateByKey(perSecond float64, burst, keys int) Policy {
	limiters := newLimiters[string](perSecond, burst, keys)
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		if limiters.allow(ev.PubKey, ev) {
			return false, ""
		}
		return true, "rate-limited: too many events by your key, slow down"
	}
}
