package policies

import (
	"context"
	"fmt"

	"github.com/nbd-wtf/go-nostr"
)

// ForeignOrders refuses what only Mostros publish (orders, ratings, terms, disputes: kinds 38383
// to 38386) unless followed knows the author. Anybody can sign such an event, and a client
// that does not filter by author would show it in its book.
func ForeignOrders(followed func(pubkey string) bool) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		if ev.Kind < kindOrder || ev.Kind > kindDispute || followed(ev.PubKey) {
			return false, ""
		}
		return true, fmt.Sprintf("blocked: kind %d is taken only from Mostros that this one follows", ev.Kind)
	}
}
