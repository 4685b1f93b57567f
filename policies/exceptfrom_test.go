package policies

import (
	"context"
	"net/netip"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

func TestExceptFrom(t *testing.T) {
	no := func(context.Context, *nostr.Event) (bool, string) { return true, "blocked: no" }
	policy := ExceptFrom([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}, no)
	for address, refused := range map[string]bool{
		"192.0.2.7:1": false, "[::ffff:192.0.2.7]:1": false, "[2001:db8::1]:1": false,
		"192.0.3.7:1": true, "[2001:db9::1]:1": true, "nonsense": true,
	} {
		if reject, _ := policy(from(t.Context(), address), event(same)); reject != refused {
			t.Errorf("%s is refused: %v", address, reject)
		}
	}
	if reject, _ := policy(t.Context(), event(same)); !reject {
		t.Error("an event without a connection is exempt")
	}
	if reject, _ := ExceptFrom(nil, no)(from(t.Context(), "192.0.2.7:1"), event(same)); !reject {
		t.Error("nobody is listed, and somebody is exempt")
	}
}
