package mostro

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"

	"github.com/nbd-wtf/go-nostr"
)

// maxPowBits bounds what mine tries: 32 bits are hours of one core.
const maxPowBits = 32

// minedAtOnce is how many tries are made, in some milliseconds, between two looks at whether to go on.
const minedAtOnce = 1 << 12

// ErrPow: a node asks for more proof of work than is tried.
var ErrPow = errors.New("the node asks for more proof of work than can be done")

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
// zero bits, or ends with ctx. The author must stand in the event already.
func mine(ctx context.Context, ev *nostr.Event, target int) error {
	if target <= 0 {
		return nil
	}
	if target > maxPowBits {
		return fmt.Errorf("%w: %d bits, at most %d are tried", ErrPow, target, maxPowBits)
	}
	tag := nostr.Tag{"nonce", "", strconv.Itoa(target)}
	ev.Tags = append(ev.Tags, tag)
	// The event is written once, and each try only at its nonce. In a content the quotes are escaped.
	text, begin := ev.Serialize(), []byte(`["nonce","`)
	at := bytes.Index(text, begin) + len(begin)
	try := slices.Clone(text[:at])
	for n := uint64(0); ; n++ {
		try = append(strconv.AppendUint(try[:at], n, 10), text[at:]...)
		if leadingZeros(sha256.Sum256(try)) >= target {
			tag[1] = strconv.FormatUint(n, 10)
			return nil
		}
		if n%minedAtOnce == 0 && ctx.Err() != nil {
			return fmt.Errorf("proof of work of %d bits, %d of about %d tries made: %w", target, n, uint64(1)<<target, ctx.Err())
		}
	}
}

// eventHash is the event's id (NIP-01) as bytes.
func eventHash(ev *nostr.Event) [32]byte { return sha256.Sum256(ev.Serialize()) }
