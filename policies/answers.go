package policies

import (
	"context"

	"github.com/nbd-wtf/go-nostr"
)

// NoMessages refuses messages (kinds 14 and 1059) to whom no answer would come back from. why tells the
// sender what to do. A message that is taken and never answered looks like a Mostro that keeps silent.
func NoMessages(to func(pubkey string) bool, why string) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		if ev.Kind != nostr.KindDirectMessage && ev.Kind != nostr.KindGiftWrap {
			return false, ""
		}
		for tag := range ev.Tags.FindAll("p") {
			if to(tag[1]) {
				return true, "restricted: " + why
			}
		}
		return false, ""
	}
}
