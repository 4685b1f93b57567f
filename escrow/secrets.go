package escrow

import (
	"errors"
	"fmt"
)

// Secrets are functions inside, since fmt cannot look into one: where a secret lies in an
// unexported field of what is printed, its Format is not asked.

// EscrowSecret is what all preimages are derived from.
type EscrowSecret struct{ reveal func() [32]byte }

// NewEscrowSecret wraps 32 secret bytes.
func NewEscrowSecret(b [32]byte) EscrowSecret { return EscrowSecret{func() [32]byte { return b }} }

// bytes are the secret, for derivations only. The zero EscrowSecret is 32 zeros.
func (s EscrowSecret) bytes() []byte {
	var b [32]byte
	if s.reveal != nil {
		b = s.reveal()
	}
	return b[:]
}

// Format keeps every verb from printing the secret.
func (EscrowSecret) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[escrow secret]") }

// MarshalJSON refuses: a secret that is about to be written somewhere is a defect.
func (EscrowSecret) MarshalJSON() ([]byte, error) {
	return nil, errors.New("an escrow secret is never serialized")
}

// StoreKey encrypts the money store at rest (AES-256). The zero StoreKey is none. It is kept
// apart from the store: whoever has both has everything.
type StoreKey struct{ reveal func() [32]byte }

// NewStoreKey wraps 32 secret bytes.
func NewStoreKey(b [32]byte) StoreKey { return StoreKey{func() [32]byte { return b }} }

// IsZero tells that the store is not encrypted.
func (k StoreKey) IsZero() bool { return k.reveal == nil }

// Format keeps every verb from printing the key.
func (StoreKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[store key]") }

// MarshalJSON refuses: a key that is about to be written somewhere is a defect.
func (StoreKey) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a store key is never serialized")
}

// ErrStoreKey means that the money store was made with another key, or without one.
var ErrStoreKey = errors.New("the key of the money store does not fit")
