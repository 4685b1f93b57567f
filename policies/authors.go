package policies

import (
	"context"

	"github.com/nbd-wtf/go-nostr"
)

// Authors refuses events of keys that denied knows, with the reason for it if there is one, and
// those of keys that listed does not know. Messages (kinds 14 and 1059) are not held against
// listed: trades use a new key each, and gift wraps a new key each time.
func Authors(denied func(pubkey string) (why string, yes bool), listed func(pubkey string) bool) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		if why, yes := denied(ev.PubKey); yes {
			if why != "" {
				why = ": " + why
			}
			return true, "blocked: events of this key are not taken here" + why
		}
		if ev.Kind == nostr.KindDirectMessage || ev.Kind == nostr.KindGiftWrap || listed(ev.PubKey) {
			return false, ""
		}
		return true, "restricted: only listed keys publish here"
	}
}
