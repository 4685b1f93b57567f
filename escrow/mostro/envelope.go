package mostro

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip44"
)

// Errors of Open, beside *DecodeError.
var (
	// ErrCannotDecrypt: not for this key, or not NIP-44.
	ErrCannotDecrypt = errors.New("cannot decrypt")
	// ErrNotProven: it does not prove who wrote it. No answer may go to the key it claims.
	ErrNotProven = errors.New("the sender is not proven")
)

// Transport is the envelope that a message travels in. The numbers are the versions of the
// protocol.
type Transport int

const (
	// GiftWrap is NIP-59 with a rumor of kind 1: kind 1059.
	GiftWrap Transport = 1
	// NIP44 is one encrypted event, signed by the trade key: kind 14.
	NIP44 Transport = 2
)

// Version is what stands in the version field of a message on this transport.
func (t Transport) Version() int { return int(t) }

// Kinds inside a gift wrap.
const (
	kindSeal  = 13
	kindRumor = 1
)

// identityPrefix begins what an identity key signs on NIP44; the trade key in hex, a colon
// and the message follow.
const identityPrefix = "mostro-transport-v2-identity:"

// Received is an opened envelope.
type Received struct {
	Message   Message
	Raw       []byte // the message as it was sent
	Sender    string // trade key; answers go there
	Identity  string // identity key
	Signed    bool   // the message carries a valid signature of the trade key
	Transport Transport
	CreatedAt int64 // unix seconds; of the rumor in a gift wrap, whose own time is made up
}

// FullPrivacy tells whether the sender shows no identity beyond the trade key.
func (r Received) FullPrivacy() bool { return r.Identity == r.Sender }

// Opener opens what is sent to a node. It may be used by many goroutines.
type Opener struct{ node Secret }

// NewOpener makes an opener for the node's key.
func NewOpener(node Secret) *Opener { return &Opener{node} }

// Open opens an event of kind 14 or 1059. The caller has verified the event's id and
// signature: on NIP44 they are the proof of the trade key and are not checked here again.
// The layers inside a gift wrap are verified here.
//
// Proven is: by the event's signature (NIP44), by the inner signature, or by the seal when
// identity and trade key are one. A reputation-mode message (identity differs) without a
// valid inner signature is not proven, nor is one whose inner signature or identity proof
// is present and invalid.
//
// Errors: ErrCannotDecrypt; ErrNotProven; *DecodeError, and only then Received holds
// Sender, Identity, Transport and CreatedAt of the proven sender, to be answered.
func (o *Opener) Open(ev *nostr.Event) (Received, error) {
	switch ev.Kind {
	case KindMessage:
		return o.openMessage(ev)
	case KindGiftWrap:
		return o.openWrap(ev)
	}
	return Received{}, fmt.Errorf("open event of kind %d: %w", ev.Kind, ErrCannotDecrypt)
}

func (o *Opener) openMessage(ev *nostr.Event) (Received, error) {
	content, err := o.node.conversations().decrypt(ev.PubKey, ev.Content)
	if err != nil {
		return Received{}, fmt.Errorf("open message: %w", err)
	}
	r := Received{Sender: ev.PubKey, Identity: ev.PubKey, Transport: NIP44, CreatedAt: int64(ev.CreatedAt)}
	return r.read(content)
}

func (o *Opener) openWrap(ev *nostr.Event) (Received, error) {
	seal, rumor, err := unwrap(ev, o.node.conversations())
	if err != nil {
		return Received{}, fmt.Errorf("open gift wrap: %w", err)
	}
	r := Received{Sender: rumor.PubKey, Identity: seal.PubKey, Transport: GiftWrap, CreatedAt: int64(rumor.CreatedAt)}
	return r.read(rumor.Content)
}

// read splits the plaintext, checks who proves what, and decodes the message.
func (r Received) read(content string) (Received, error) {
	parts, err := splitTuple(content)
	if err == nil && len(parts) != 2 && (len(parts) != 3 || r.Transport == GiftWrap) {
		err = fmt.Errorf("the array has %d elements", len(parts))
	}
	if err != nil {
		if r.Identity != r.Sender {
			return Received{}, fmt.Errorf("%w: %w", ErrNotProven, err)
		}
		return r, &DecodeError{Reason: InvalidParameters, Err: err}
	}
	r.Raw = parts[0]
	message, decodeErr := DecodeMessage(r.Raw)
	signed := [][]byte{r.Raw}
	if decodeErr == nil {
		// The existing daemon verifies the canonical form, so a client may have signed that.
		if canonical, err := message.Encode(); err == nil && string(canonical) != string(r.Raw) {
			signed = append(signed, canonical)
		}
	}
	if err := r.prove(parts[1:], signed); err != nil {
		return Received{}, fmt.Errorf("%w: %w", ErrNotProven, err)
	}
	if decodeErr != nil {
		return r, decodeErr
	}
	r.Message = message
	return r, nil
}

// prove checks the signature of the trade key and the proof of the identity key, either of
// which may be null, over any of the given forms of the message.
func (r *Received) prove(proofs []json.RawMessage, signed [][]byte) error {
	var signature *string
	if err := json.Unmarshal(proofs[0], &signature); err != nil {
		return errors.New("the signature is not a string")
	}
	if signature != nil {
		if !verifyAny(r.Sender, *signature, "", signed) {
			return errors.New("the signature of the trade key is invalid")
		}
		r.Signed = true
	}
	if len(proofs) == 2 {
		var proof []string
		if err := json.Unmarshal(proofs[1], &proof); err != nil || proof != nil && len(proof) != 2 {
			return errors.New("the identity proof is not a pair of strings")
		}
		if proof != nil {
			prefix := identityPrefix + r.Sender + ":"
			if !isPubkey(proof[0]) || !verifyAny(proof[0], proof[1], prefix, signed) {
				return errors.New("the identity proof is invalid")
			}
			r.Identity = proof[0]
		}
	}
	if r.Identity != r.Sender && !r.Signed {
		return errors.New("an identity without the signature of the trade key")
	}
	return nil
}

func verifyAny(public, signature, prefix string, signed [][]byte) bool {
	for _, form := range signed {
		if verify(public, signature, sha256.Sum256(append([]byte(prefix), form...))) {
			return true
		}
	}
	return false
}

// unwrap opens the two layers of a gift wrap and verifies the seal. Not nip59.GiftUnwrap:
// that one overwrites the rumor's author, which is the trade key, with the seal's.
func unwrap(wrap *nostr.Event, keys *conversations) (seal, rumor nostr.Event, err error) {
	plain, err := keys.decryptOnce(wrap.PubKey, wrap.Content)
	if err != nil {
		return seal, rumor, err
	}
	if seal, err = parseEvent(plain); err != nil {
		return seal, rumor, fmt.Errorf("%w: read seal: %w", ErrNotProven, err)
	}
	if seal.Kind != kindSeal {
		return seal, rumor, fmt.Errorf("%w: the seal is of kind %d", ErrNotProven, seal.Kind)
	}
	if err := verifyEvent(&seal); err != nil {
		return seal, rumor, fmt.Errorf("%w: seal: %w", ErrNotProven, err)
	}
	if plain, err = keys.decrypt(seal.PubKey, seal.Content); err != nil {
		return seal, rumor, fmt.Errorf("seal: %w", err)
	}
	// The seal covers the rumor, so the rumor's own id and signature, which some clients
	// leave out, prove nothing and are not looked at.
	if rumor, err = parseEvent(plain); err != nil {
		return seal, rumor, fmt.Errorf("%w: read rumor: %w", ErrNotProven, err)
	}
	if rumor.Kind != kindRumor || !isPubkey(rumor.PubKey) {
		return seal, rumor, fmt.Errorf("%w: the rumor is of kind %d by %q", ErrNotProven, rumor.Kind, rumor.PubKey)
	}
	return seal, rumor, nil
}

// verifyEvent checks the id and the signature of an event of any origin.
func verifyEvent(ev *nostr.Event) error {
	if !isPubkey(ev.PubKey) || !isHex(ev.Sig, 128) {
		return errors.New("author or signature is not lower-case hex of the right length")
	}
	hash := eventHash(ev)
	if ev.ID != hex.EncodeToString(hash[:]) {
		return errors.New("the id is not the hash of the event")
	}
	if !verify(ev.PubKey, ev.Sig, hash) {
		return errors.New("the signature is invalid")
	}
	return nil
}

// parseEvent reads a whole event, strictly. Absent members are zero.
func parseEvent(raw string) (nostr.Event, error) {
	v, err := parseJSON([]byte(raw))
	if err != nil {
		return nostr.Event{}, err
	}
	var d decoder
	f := d.object(v, "id", "pubkey", "created_at", "kind", "tags", "content", "sig")
	ev := nostr.Event{
		ID:        f.optText("id"),
		PubKey:    f.text("pubkey"),
		CreatedAt: nostr.Timestamp(f.int("created_at")),
		Kind:      int(f.within("kind", 0, 65535)),
		Tags:      nostr.Tags{},
		Content:   f.text("content"),
		Sig:       f.optText("sig"),
	}
	if tags := f.member("tags"); tags.form != null {
		for _, item := range d.array(tags) {
			tag := nostr.Tag{}
			for _, s := range d.array(item) {
				tag = append(tag, d.text(s))
			}
			ev.Tags = append(ev.Tags, tag)
		}
	}
	return ev, d.err
}

// encrypt is nip44.Encrypt with a nonce of 32 bytes that the caller makes.
func encrypt(plain []byte, conversation, nonce [32]byte) (string, error) {
	sealed, err := nip44.Encrypt(string(plain), conversation, nip44.WithCustomNonce(nonce[:]))
	if err != nil {
		return "", fmt.Errorf("encrypt %d bytes: %w", len(plain), err)
	}
	return sealed, nil
}
