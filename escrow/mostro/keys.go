package mostro

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// Secret is a private key. However it is printed or marshaled, it shows "[secret]"; only
// Nsec gives it away. The zero Secret is no key. Compare with Equal.
type Secret struct {
	// A function, since fmt cannot look into one: in the print of a struct with a Secret in
	// an unexported field the methods below are not called, and a pointer is followed.
	key func() *secretKey
}

type secretKey struct {
	private *btcec.PrivateKey
	hex     string
	public  string
	// conversations are those of this key, for all copies of the Secret: what opens a request and
	// what seals its answer need the same one.
	conversations func() *conversations
}

const redacted = "[secret]"

// ParseSecret reads 64 hex digits or an nsec. Its errors do not quote the input.
func ParseSecret(hexOrNsec string) (Secret, error) {
	digits := strings.TrimSpace(hexOrNsec)
	if strings.HasPrefix(digits, "nsec1") {
		prefix, data, err := nip19.Decode(digits)
		if err != nil || prefix != "nsec" {
			return Secret{}, errors.New("parse secret key: not a valid nsec")
		}
		digits, _ = data.(string)
	}
	var b [32]byte
	if n, err := hex.Decode(b[:], []byte(digits[:min(len(digits), 64)])); err != nil || n != 32 || len(digits) != 64 {
		return Secret{}, errors.New("parse secret key: neither 64 hex digits nor an nsec")
	}
	return NewSecret(b)
}

// NewSecret makes a key of 32 bytes, big-endian, from 1 to the order of the curve less 1.
func NewSecret(b [32]byte) (Secret, error) {
	var scalar btcec.ModNScalar
	if overflow := scalar.SetBytes(&b); overflow != 0 || scalar.IsZero() {
		return Secret{}, errors.New("make secret key: out of range")
	}
	private, public := btcec.PrivKeyFromBytes(b[:])
	key := &secretKey{
		private: private,
		hex:     hex.EncodeToString(b[:]),
		public:  hex.EncodeToString(schnorr.SerializePubKey(public)),
	}
	secret := Secret{func() *secretKey { return key }}
	key.conversations = sync.OnceValue(func() *conversations { return newConversations(secret) })
	return secret, nil
}

// Public returns the x-only public key as 64 lower-case hex digits, "" of the zero Secret.
func (s Secret) Public() string {
	if s.IsZero() {
		return ""
	}
	return s.key().public
}

// Nsec returns the private key in the form of NIP-19, "" of the zero Secret.
func (s Secret) Nsec() string {
	if s.IsZero() {
		return ""
	}
	nsec, err := nip19.EncodePrivateKey(s.key().hex)
	if err != nil {
		panic("a secret key holds 64 hex digits") // the only thing that EncodePrivateKey refuses
	}
	return nsec
}

// IsZero tells whether there is no key.
func (s Secret) IsZero() bool { return s.key == nil }

// Equal tells whether both are the same key, or both none.
func (s Secret) Equal(other Secret) bool { return s.Public() == other.Public() }

// String returns "[secret]", as do all other ways to print a Secret.
func (s Secret) String() string   { return redacted }
func (s Secret) GoString() string { return redacted }

// Format keeps verbs such as %x and %#v from looking inside.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// sign makes a BIP-340 signature of a hash, in hex. The auxiliary randomness is zero, so
// the same key and hash give the same signature; BIP-340 allows that.
func (s Secret) sign(hash [32]byte) (string, error) {
	if s.IsZero() {
		return "", errors.New("sign: no key")
	}
	sig, err := signHash(s.key().private, &hash)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return hex.EncodeToString(sig[:]), nil
}

// verify checks a BIP-340 signature of a hash by an x-only public key, both in hex.
func verify(public, signature string, hash [32]byte) bool {
	var key [32]byte
	var sig [64]byte
	return decodeHex(key[:], public) && decodeHex(sig[:], signature) && verifyHash(&key, &sig, &hash)
}

// decodeHex reads exactly as many digits as fill b.
func decodeHex(b []byte, digits string) bool {
	n, err := hex.Decode(b, []byte(digits[:min(len(digits), 2*len(b))]))
	return err == nil && n == len(b) && len(digits) == 2*len(b)
}

// Sign completes an event: author, id and signature. The same event and key give the same
// bytes, which go-nostr's own signing does not promise under every build tag.
func Sign(ev *nostr.Event, key Secret) error {
	if ev.Tags == nil {
		ev.Tags = nostr.Tags{}
	}
	ev.PubKey = key.Public()
	hash := eventHash(ev)
	sig, err := key.sign(hash)
	if err != nil {
		return fmt.Errorf("sign event of kind %d: %w", ev.Kind, err)
	}
	ev.ID, ev.Sig = hex.EncodeToString(hash[:]), sig
	return nil
}

// ParsePubkey reads an x-only public key from 64 hex digits or an npub and returns it as
// lower-case hex. A key that is not on the curve is an error.
func ParsePubkey(hexOrNpub string) (string, error) {
	digits := strings.TrimSpace(hexOrNpub)
	if strings.HasPrefix(digits, "npub1") {
		prefix, data, err := nip19.Decode(digits)
		if err != nil || prefix != "npub" {
			return "", errors.New("parse public key: not a valid npub")
		}
		digits, _ = data.(string)
	}
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != 32 {
		return "", errors.New("parse public key: neither 64 hex digits nor an npub")
	}
	if _, err := schnorr.ParsePubKey(raw); err != nil {
		return "", fmt.Errorf("parse public key: %w", err)
	}
	return hex.EncodeToString(raw), nil
}

// isPubkey tells whether s is written as NIP-01 writes keys: 64 lower-case hex digits.
func isPubkey(s string) bool { return isHex(s, 64) }

func isHex(s string, digits int) bool {
	return len(s) == digits && strings.Trim(s, "0123456789abcdef") == ""
}
