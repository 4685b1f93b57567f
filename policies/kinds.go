package policies

import (
	"context"
	"fmt"

	"github.com/nbd-wtf/go-nostr"
)

// Kinds refuses events of kinds that takes does not know.
func Kinds(takes func(kind int) bool) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		if takes(ev.Kind) {
			return false, ""
		}
		return true, fmt.Sprintf("blocked: this relay does not take kind %d", ev.Kind)
	}
}

// NotForRelays refuses the kinds that are made for something else than publishing: a seal
// belongs inside its wrap (NIP-59, 13), a zap request goes to a wallet's server (NIP-57, 9734),
// the others prove an identity to one server (NIP-42, 22242; Blossom, 24242; NIP-98, 27235)
// and could be replayed by whoever reads them.
func NotForRelays() Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		switch ev.Kind {
		case 13, 9734, 22242, 24242, 27235:
			return true, fmt.Sprintf("invalid: kind %d is not meant to be published on relays", ev.Kind)
		}
		return false, ""
	}
}
