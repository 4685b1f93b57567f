package relay

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/nbd-wtf/go-nostr"
)

// checkSigned says what is wrong with the id or the signature of an event, "" when nothing is (NIP-01).
// The event is hashed once for both. Whatever its fields are, this is safe to call.
func checkSigned(ev *nostr.Event) string {
	hash := sha256.Sum256(ev.Serialize())
	if id, err := parseKey(ev.ID); err != nil || id != hash {
		return "invalid: the id does not fit the event"
	}
	author, err := parseKey(ev.PubKey)
	var signature [64]byte
	if err == nil && len(ev.Sig) == hex.EncodedLen(len(signature)) {
		_, err = hex.Decode(signature[:], []byte(ev.Sig))
	} else if err == nil {
		err = hex.ErrLength
	}
	if err != nil || !verifyHash((*[32]byte)(&author), &signature, &hash) {
		return "invalid: the signature does not fit the event"
	}
	return ""
}
