package policies

import (
	"context"
	"fmt"

	"github.com/nbd-wtf/go-nostr"
)

// ForeignOrders refuses what only Mostros publish unless followed knows the author: orders, ratings, terms and
// disputes (kinds 38383 to 38386), paid development fees (8383) and exchange rates (30078 with d
// "mostro-rates"). Anybody can sign such an event, and a client that does not filter by author would show it
// as a Mostro's. Kinds 0 and 10002, and 30078 with other names, are everybody's. Rates are also taken from
// whom trusted knows.
func ForeignOrders(followed, trusted func(pubkey string) bool) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		rates := ev.Kind == nostr.KindApplicationSpecificData
		if !onlyMostros(ev) || followed(ev.PubKey) || rates && trusted(ev.PubKey) {
			return false, ""
		}
		if rates {
			return true, fmt.Sprintf("blocked: exchange rates (kind %d) are taken only from Mostros that this one follows or trusts", ev.Kind)
		}
		return true, fmt.Sprintf("blocked: kind %d is taken only from Mostros that this one follows", ev.Kind)
	}
}

// ratesTag names the exchange rates of a Mostro among application-specific data (NIP-78).
const ratesTag = "mostro-rates"

func onlyMostros(ev *nostr.Event) bool {
	switch ev.Kind {
	case kindOrder, kindRating, kindInfo, kindDispute, kindDevFee:
		return true
	case nostr.KindApplicationSpecificData:
		return ev.Tags.FindWithValue("d", ratesTag) != nil // with any of several, a question for rates finds it
	}
	return false
}
