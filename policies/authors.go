package policies

import (
	"context"

	"github.com/nbd-wtf/go-nostr"
)

// Authors refuses events of the keys in deny and, when allow has any, those of all keys that are
// not in it. Messages (kinds 14 and 1059) are not held against allow: trades use a new key each,
// and gift wraps a new key each time.
func Authors(allow, deny []string) Policy {
	allowed, denied := setOf(allow), setOf(deny)
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		if denied[ev.PubKey] {
			return true, "blocked: events of this key are not taken here"
		}
		if len(allowed) == 0 || allowed[ev.PubKey] || ev.Kind == nostr.KindDirectMessage || ev.Kind == nostr.KindGiftWrap {
			return false, ""
		}
		return true, "restricted: only listed keys publish here"
	}
}

func setOf(values []string) map[string]bool {
	set := make(map[string]bool, len(values))
	for _, value := range values {
		set[value] = true
	}
	return set
}
