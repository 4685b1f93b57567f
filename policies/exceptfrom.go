package policies

import (
	"context"
	"net/netip"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
)

// ExceptFrom asks policy unless the event comes from one of the networks: those of other Mostros
// that carry many people's messages over one connection.
func ExceptFrom(networks []netip.Prefix, policy Policy) Policy {
	if len(networks) == 0 {
		return policy
	}
	return func(ctx context.Context, ev *nostr.Event) (bool, string) {
		if address, err := netip.ParseAddr(khatru.GetIP(ctx)); err == nil {
			address = address.Unmap().WithZone("")
			for _, network := range networks {
				if network.Contains(address) {
					return false, ""
				}
			}
		}
		return policy(ctx, ev)
	}
}
