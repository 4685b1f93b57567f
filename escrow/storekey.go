package escrow

import "errors"

// StoreKey encrypts the money store at rest (AES-256). The zero StoreKey is none. It is kept
// apart from the store: whoever has both has everything.
type StoreKey struct{ b []byte }

// NewStoreKey wraps 32 secret bytes.
func NewStoreKey(b [32]byte) StoreKey { return StoreKey{b[:]} }

// IsZero tells that the store is not encrypted.
func (k StoreKey) IsZero() bool { return len(k.b) == 0 }

func (StoreKey) String() string { return "[store key]" }

// GoString keeps %#v from printing the key.
func (StoreKey) GoString() string { return "[store key]" }

// MarshalJSON refuses: a key that is about to be written somewhere is a defect.
func (StoreKey) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a store key is never serialized")
}

// ErrStoreKey means that the money store was made with another key, or without one.
var ErrStoreKey = errors.New("the key of the money store does not fit")
