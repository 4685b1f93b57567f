package policies

import (
	"context"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip70"
)

// NotProtected refuses events that only their authors may publish (NIP-70), for those who copy events
// of others.
func NotProtected() Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		if nip70.IsProtected(*ev) {
			return true, "restricted: this event may only be published by its author"
		}
		return false, ""
	}
}
