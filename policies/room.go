package policies

import (
	"context"
	"fmt"

	"github.com/nbd-wtf/go-nostr"
)

// Room refuses events for which there is no room: all while the store is full, and those of a key of which perKey are stored
// already, unless trusted knows it. It has no say about what is not kept, nor about deletions, which take others away
// and are bounded by Deletions; one that names nothing is an event like others. It belongs behind the check of signatures:
// before it, anybody could use up the room of anybody. It is no guard of the disk: see FreeSpace.
func Room(full func() bool, stored func(pubkey string) int, perKey int, trusted func(pubkey string) bool) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		if nostr.IsEphemeralKind(ev.Kind) || deletes(ev) > 0 || trusted(ev.PubKey) {
			return false, ""
		}
		if full() {
			return true, "error: this relay is full for now"
		}
		if n := stored(ev.PubKey); n >= perKey {
			return true, fmt.Sprintf("rate-limited: %d events of this key are stored, delete some first", n)
		}
		return false, ""
	}
}
