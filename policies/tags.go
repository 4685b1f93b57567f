package policies

import (
	"context"
	"fmt"
	"slices"

	"github.com/nbd-wtf/go-nostr"
)

// Tags refuses events of some kinds with more than most tags, below what Shape allows for all.
func Tags(most int, kinds ...int) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		if len(ev.Tags) > most && slices.Contains(kinds, ev.Kind) {
			return true, fmt.Sprintf("invalid: event has %d tags, at most %d are taken for kind %d", len(ev.Tags), most, ev.Kind)
		}
		return false, ""
	}
}
