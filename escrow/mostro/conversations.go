package mostro

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nbd-wtf/go-nostr/nip44"
)

// conversationsKept bounds the cache of conversation keys: about 200 bytes each.
const conversationsKept = 8192

// conversations makes the NIP-44 conversation keys of one private key and keeps those that
// were used last: making one costs a scalar multiplication, which beside the signatures is most
// of what a message costs. Safe for many goroutines.
type conversations struct {
	own  Secret
	kept *lru.Cache[string, [32]byte]
}

func newConversations(own Secret) *conversations {
	kept, err := lru.New[string, [32]byte](conversationsKept)
	if err != nil {
		panic(err) // only a size below 1 is refused
	}
	return &conversations{own, kept}
}

// conversations returns those of the key.
func (s Secret) conversations() *conversations {
	if s.IsZero() {
		return newConversations(s) // it refuses to make any
	}
	return s.key().conversations()
}

func (c *conversations) with(public string) ([32]byte, error) {
	if key, ok := c.kept.Get(public); ok {
		return key, nil
	}
	key, err := conversation(c.own, public)
	if err == nil {
		c.kept.Add(public, key)
	}
	return key, err
}

// decrypt opens a NIP-44 payload exchanged with another key.
func (c *conversations) decrypt(public, payload string) (string, error) {
	key, err := c.with(public)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrCannotDecrypt, err)
	}
	return decrypt(payload, key)
}

// decryptOnce is decrypt for an ephemeral key, which will not be seen again.
func (c *conversations) decryptOnce(public, payload string) (string, error) {
	key, err := conversation(c.own, public)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrCannotDecrypt, err)
	}
	return decrypt(payload, key)
}

func decrypt(payload string, key [32]byte) (string, error) {
	plain, err := nip44.Decrypt(payload, key)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrCannotDecrypt, err)
	}
	return plain, nil
}

func conversation(own Secret, public string) (key [32]byte, err error) {
	var point [32]byte
	if own.IsZero() || !isPubkey(public) || !decodeHex(point[:], public) {
		return key, fmt.Errorf("make conversation key with %q: not a pair of keys", public)
	}
	shared, ok := sharedX(own.key().private, &point)
	if !ok {
		return key, fmt.Errorf("make conversation key with %q: not on the curve", public)
	}
	// NIP-44, version 2.
	extracted, err := hkdf.Extract(sha256.New, shared[:], []byte("nip44-v2"))
	return [32]byte(extracted), err
}
