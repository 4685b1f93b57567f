package policies

import (
	"fmt"

	"github.com/nbd-wtf/go-nostr"
)

// Profile is the kinds that a relay takes, by name: "open" takes all, "market" what trading
// needs and nothing that fills a disk.
func Profile(name string) (Policy, error) {
	switch name {
	case "open":
		return NotForRelays(), nil
	case "market":
		return Kinds(marketKinds()...), nil
	}
	return nil, fmt.Errorf("kinds profile %q: want market or open", name)
}

// marketKinds are profiles, deletions, messages, requests to vanish, reports, the lists of relays
// that clients follow, and what Mostros publish: orders, ratings, their terms, disputes, the
// development fee and exchange rates.
func marketKinds() []int {
	return []int{
		nostr.KindProfileMetadata, nostr.KindDeletion, nostr.KindDirectMessage, kindVanish, nostr.KindGiftWrap,
		nostr.KindReporting, kindDevFee, nostr.KindRelayListMetadata, nostr.KindDMRelayList,
		nostr.KindApplicationSpecificData, kindOrder, kindRating, kindInfo, kindDispute,
	}
}

const (
	kindVanish  = 62    // NIP-62
	kindDevFee  = 8383  // a Mostro's payment to its developers
	kindOrder   = 38383 // NIP-69, as the following
	kindRating  = 38384
	kindInfo    = 38385
	kindDispute = 38386
)
