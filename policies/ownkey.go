package policies

import (
	"context"

	"github.com/nbd-wtf/go-nostr"
)

// OwnKey refuses events signed by the node's own key, pubkey in hex: the node publishes from
// inside, so one that comes over the network is a replay of something replaced or the work of
// a stolen key. The exception is a message of an administrator who holds that key: kind 14
// whose only p tag is the key itself.
func OwnKey(pubkey string) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		if ev.PubKey != pubkey || ev.Kind == nostr.KindDirectMessage && onlyRecipient(ev, pubkey) {
			return false, ""
		}
		return true, "blocked: events of this node are not taken from outside"
	}
}

func onlyRecipient(ev *nostr.Event, pubkey string) bool {
	found := 0
	for tag := range ev.Tags.FindAll("p") {
		if tag[1] != pubkey {
			return false
		}
		found++
	}
	return found == 1
}
