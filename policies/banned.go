package policies

import (
	"context"

	"github.com/nbd-wtf/go-nostr"
)

// Banned refuses the events that banned knows by their ids, with the reason for it if there is one.
func Banned(banned func(id string) (why string, yes bool)) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		why, yes := banned(ev.ID)
		if yes && why != "" {
			why = ": " + why
		}
		return yes, "blocked: this event is banned here" + why
	}
}
