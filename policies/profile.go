package policies

import (
	"fmt"

	"github.com/nbd-wtf/go-nostr"
)

const (
	profileMarket = "market"
	profileOpen   = "open"
)

// Profiles are the names that Profile knows.
func Profiles() []string { return []string{profileMarket, profileOpen} }

// Profile is the kinds that a relay takes, by name: "open" takes all, for which nil stands,
// "market" what trading needs and nothing that fills a disk.
func Profile(name string) ([]int, error) {
	switch name {
	case profileOpen:
		return nil, nil
	case profileMarket:
		return marketKinds(), nil
	}
	return nil, fmt.Errorf("kinds profile %q: want market or open", name)
}

// marketKinds are profiles, deletions, messages, requests to vanish, reports, the lists of relays
// that clients follow, what Mostros publish (orders, ratings, their terms, disputes, the
// development fee and exchange rates), and what people say about them (reviews, recommendations,
// labels).
func marketKinds() []int {
	return []int{
		nostr.KindProfileMetadata, nostr.KindDeletion, nostr.KindDirectMessage, kindVanish, nostr.KindGiftWrap,
		nostr.KindReporting, nostr.KindLabel, kindDevFee, nostr.KindRelayListMetadata, nostr.KindDMRelayList,
		nostr.KindApplicationSpecificData, kindReview, kindRecommendation, kindOrder, kindRating, kindInfo, kindDispute,
	}
}

const (
	kindVanish         = 62    // NIP-62
	kindDevFee         = 8383  // a Mostro's payment to its developers
	kindReview         = 31986 // of a node, by a trader
	kindRecommendation = 38000 // NIP-87
	kindOrder          = 38383 // NIP-69, as the following
	kindRating         = 38384
	kindInfo           = 38385
	kindDispute        = 38386
)
