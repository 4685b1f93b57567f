package relay

import (
	"cmp"

	"github.com/nbd-wtf/go-nostr"
)

// kindVanish is a request to vanish (NIP-62).
const kindVanish = 62

// vanishes reports whether ev asks this relay to forget its author (NIP-62). A replica forgets who asks its primary.
func (r *Relay) vanishes(ev *nostr.Event) bool {
	if ev.Kind != kindVanish {
		return false
	}
	for tag := range ev.Tags.FindAll("relay") {
		if url := cmp.Or(r.cfg.Federation.Primary, r.cfg.ServiceURL); tag[1] == "ALL_RELAYS" || url != "" && sameAddress(tag[1], url) {
			return true
		}
	}
	return false
}
