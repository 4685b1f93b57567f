package relay

import "github.com/nbd-wtf/go-nostr"

// kindVanish is a request to vanish (NIP-62).
const kindVanish = 62

// vanishes reports whether ev asks this relay to forget its author (NIP-62).
func (r *Relay) vanishes(ev *nostr.Event) bool {
	if ev.Kind != kindVanish {
		return false
	}
	for tag := range ev.Tags.FindAll("relay") {
		if tag[1] == "ALL_RELAYS" || r.cfg.ServiceURL != "" && sameAddress(tag[1], r.cfg.ServiceURL) {
			return true
		}
	}
	return false
}
