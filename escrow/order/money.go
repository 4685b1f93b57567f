package order

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// Sat is an amount in satoshis.
type Sat int64

// Msat is an amount in thousandths of a satoshi, the unit of Lightning and of the ledger.
type Msat int64

// Msat converts to millisats. Amounts of this protocol are below 21e14 sat, far from overflow.
func (s Sat) Msat() Msat { return Msat(s) * 1000 }

// Sat rounds down to whole sats.
func (m Msat) Sat() Sat { return Sat(m / 1000) }

// Hash is a Lightning payment hash.
type Hash [32]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsZero tells whether no hash is set.
func (h Hash) IsZero() bool { return h == Hash{} }

// MarshalText writes lower-case hex; the zero hash is the empty string.
func (h Hash) MarshalText() ([]byte, error) {
	if h.IsZero() {
		return nil, nil
	}
	return []byte(h.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*h = Hash{}
		return nil
	}
	parsed, err := ParseHash(string(text))
	if err == nil {
		*h = parsed
	}
	return err
}

// ParseHash reads 64 hex digits.
func ParseHash(s string) (h Hash, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return Hash{}, fmt.Errorf("payment hash %q: want 64 hex digits", s)
	}
	return Hash(b), nil
}

// Preimage opens a hold invoice. It never appears in a log, an error or JSON.
type Preimage struct {
	// A function, since fmt cannot look into one: where a Preimage lies in an unexported field
	// of what is printed, Format is not asked.
	reveal func() [32]byte
}

// NewPreimage wraps 32 secret bytes.
func NewPreimage(b [32]byte) Preimage { return Preimage{func() [32]byte { return b }} }

// Bytes reveals the preimage, for the settle call only. The zero Preimage is 32 zeros.
func (p Preimage) Bytes() (b [32]byte) {
	if p.reveal != nil {
		b = p.reveal()
	}
	return b
}

// Hash is the payment hash that the preimage opens.
func (p Preimage) Hash() Hash {
	b := p.Bytes()
	return sha256.Sum256(b[:])
}

// Format keeps every verb from printing the secret.
func (p Preimage) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[preimage]") }

// MarshalJSON refuses: a preimage that is about to be written somewhere is a defect.
func (p Preimage) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a preimage is never serialized")
}
