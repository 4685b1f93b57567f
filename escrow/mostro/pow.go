package mostro

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/bits"
	"strconv"

	"github.com/nbd-wtf/go-nostr"
)

// maxPowBits bounds what mine tries: 32 bits are hours of one core.
const maxPowBits = 32

// PowBits counts the leading zero bits of an event id (NIP-13), 0 for what is no id.
func PowBits(eventID string) int {
	id, err := hex.DecodeString(eventID)
	if err != nil || len(id) != sha256.Size {
		return 0
	}
	return leadingZeros([32]byte(id))
}

func leadingZeros(id [32]byte) int {
	for i, b := range id {
		if b != 0 {
			return 8*i + bits.LeadingZeros8(b)
		}
	}
	return 8 * len(id)
}

// mine adds a NIP-13 nonce tag that commits to the target and gives an id of that many
// zero bits. The author must stand in the event already.
func mine(ev *nostr.Event, target int) error {
	if target <= 0 {
		return nil
	}
	if target > maxPowBits {
		return fmt.Errorf("mine event: %d bits are out of reach", target)
	}
	tag := nostr.Tag{"nonce", "", strconv.Itoa(target)}
	ev.Tags = append(ev.Tags, tag)
	for n := uint64(0); leadingZeros(eventHash(ev)) < target; n++ {
		tag[1] = strconv.FormatUint(n, 10)
	}
	return nil
}

// eventHash is the event's id (NIP-01) as bytes.
func eventHash(ev *nostr.Event) [32]byte { return sha256.Sum256(ev.Serialize()) }
