package policies

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip40"
)

// TimeWindow refuses events whose created_at is further from now than past or future, whole
// seconds (NIP-01, NIP-22). A replaceable event from the future would win over every honest
// later version, so future stays small; past must leave room for gift wraps, which are dated
// back by up to two days (NIP-59). With kinds it holds for those only.
func TimeWindow(past, future time.Duration, now func() time.Time, kinds ...int) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		if len(kinds) > 0 && !slices.Contains(kinds, ev.Kind) {
			return false, ""
		}
		age := now().Unix() - int64(ev.CreatedAt)
		switch {
		case age > int64(past/time.Second):
			return true, fmt.Sprintf("invalid: created_at is too old, at most %d seconds are taken", past/time.Second)
		case -age > int64(future/time.Second):
			return true, fmt.Sprintf("invalid: created_at is in the future, at most %d seconds are taken", future/time.Second)
		}
		return false, ""
	}
}

// NotExpired refuses events that have expired already (NIP-40).
func NotExpired(now func() time.Time) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		if at := nip40.GetExpiration(ev.Tags); at >= 0 && int64(at) <= now().Unix() {
			return true, "invalid: the event has expired"
		}
		return false, ""
	}
}
