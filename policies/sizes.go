package policies

import (
	"context"
	"fmt"

	"github.com/nbd-wtf/go-nostr"
)

// Sizes bounds the content of events of some kinds, in bytes, below what Shape allows for all.
func Sizes(contentBytes map[int]int) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		if most, ok := contentBytes[ev.Kind]; ok && len(ev.Content) > most {
			return true, fmt.Sprintf("invalid: content has %d bytes, at most %d are taken for kind %d", len(ev.Content), most, ev.Kind)
		}
		return false, ""
	}
}
