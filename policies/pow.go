package policies

import (
	"context"
	"fmt"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip13"
)

// Pow asks for proof of work (NIP-13): bits says how many leading zero bits the id of an event
// needs. The work counts up to the target that the event's nonce tag commits to, so that a
// lucky id does not pass for work.
func Pow(bits func(ev *nostr.Event) int) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		need := bits(ev)
		if need <= 0 {
			return false, ""
		}
		if found := nip13.CommittedDifficulty(ev); found < need {
			return true, fmt.Sprintf("pow: %d bits needed, %d found", need, found)
		}
		return false, ""
	}
}

// PowToEscrow asks for proof of work on messages to the escrow, kinds 14 and 1059 with a p tag
// of its pubkey (hex): pow bits from senders that known recognizes, firstContact bits from
// others. A gift wrap is signed by a throw-away key and hides its sender, so it always needs
// firstContact.
func PowToEscrow(pubkey string, known func(pubkey string) bool, pow, firstContact int) Policy {
	return Pow(func(ev *nostr.Event) int {
		switch {
		case ev.Kind != nostr.KindDirectMessage && ev.Kind != nostr.KindGiftWrap,
			ev.Tags.FindWithValue("p", pubkey) == nil:
			return 0
		case ev.Kind == nostr.KindDirectMessage && known(ev.PubKey):
			return pow
		}
		return firstContact
	})
}
