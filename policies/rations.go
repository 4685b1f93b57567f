package policies

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
)

// Rations lets each address have perDay events of some kinds stored, and burst at once, while flooded says that they are
// very many: messages come from keys that are made for one each, so no bound on keys holds them. Events with many tags
// count for several. At other times nobody is counted: all clients of an onion service have one address. Addresses are
// those of RateByIP.
func Rations(flooded func() bool, perDay float64, burst, addresses int, kinds ...int) Policy {
	ration := RationsOf[netip.Prefix](flooded, perDay, burst, addresses, kinds...)
	return func(ctx context.Context, ev *nostr.Event) (bool, string) {
		if !slices.Contains(kinds, ev.Kind) {
			return false, ""
		}
		address, err := netip.ParseAddr(khatru.GetIP(ctx))
		if err != nil {
			return false, ""
		}
		return ration(network(address), ev)
	}
}

// RationsOf is Rations for events of which the caller knows better where they come from.
func RationsOf[K comparable](flooded func() bool, perDay float64, burst, sources int, kinds ...int) func(from K, ev *nostr.Event) (bool, string) {
	limiters := newLimiters[K](perDay/(24*time.Hour).Seconds(), burst, sources)
	return func(from K, ev *nostr.Event) (bool, string) {
		if !slices.Contains(kinds, ev.Kind) || !flooded() || limiters.allow(from, ev) {
			return false, ""
		}
		return true, "rate-limited: this relay is flooded with messages, and your address has sent many, try again later"
	}
}
