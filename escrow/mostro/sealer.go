package mostro

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/nbd-wtf/go-nostr"
)

// Outgoing is a message of the node before it is sealed.
type Outgoing struct {
	Transport  Transport
	To         string // trade key
	Plaintext  []byte // the message's JSON, as Encode gives it
	CreatedAt  int64  // unix seconds
	Expiration int64  // unix seconds (NIP-40), 0 = none
	Seed       [32]byte
}

// Sealer seals what a node sends. It may be used by many goroutines.
type Sealer struct {
	node Secret
	// derive is the input of every derivation; bound to the node's key, so that a seed that
	// leaks does not open anything.
	derive [32]byte
}

// NewSealer makes a sealer for the node's key.
func NewSealer(node Secret) *Sealer {
	s := &Sealer{node: node}
	if !node.IsZero() {
		s.derive = sha256.Sum256([]byte("mostro relay sealing:" + node.key().hex))
	}
	return s
}

// Seal makes the event that carries the message. It is a pure function of the node's key
// and o. What is derived from the seed depends on everything else in o too, so a seed used
// twice by mistake still never encrypts two texts with one nonce.
//
// All three times of a gift wrap are CreatedAt. NIP-59 would have them in the past, but
// clients ask for wraps "since" a time, and those would miss an answer (mostro-cli asks
// for two days).
//
// Errors: To is no public key, or the message is too long for NIP-44.
func (s *Sealer) Seal(o Outgoing) (nostr.Event, error) {
	if s.node.IsZero() {
		return nostr.Event{}, fmt.Errorf("seal message to %s: no key", o.To)
	}
	conversation, err := s.node.conversations().with(o.To)
	if err != nil {
		return nostr.Event{}, fmt.Errorf("seal message: %w", err)
	}
	switch o.Transport {
	case NIP44:
		return s.sealMessage(o, conversation)
	case GiftWrap:
		return s.sealWrap(o, conversation)
	}
	return nostr.Event{}, fmt.Errorf("seal message to %s: unknown transport %d", o.To, o.Transport)
}

func (s *Sealer) sealMessage(o Outgoing, conversation [32]byte) (nostr.Event, error) {
	content, err := encrypt(tuple(o.Plaintext, ",null,null]"), conversation, s.derived(o, "message nonce"))
	if err != nil {
		return nostr.Event{}, fmt.Errorf("seal message to %s: %w", o.To, err)
	}
	ev := nostr.Event{Kind: KindMessage, CreatedAt: nostr.Timestamp(o.CreatedAt), Tags: o.tags(), Content: content}
	return ev, Sign(&ev, s.node)
}

func (s *Sealer) sealWrap(o Outgoing, conversation [32]byte) (nostr.Event, error) {
	ephemeral, err := NewSecret(s.derived(o, "wrap key"))
	if err != nil {
		return nostr.Event{}, fmt.Errorf("seal message to %s: %w", o.To, err)
	}
	w := wrapping{
		author: s.node.Public(), signer: s.node, conversation: conversation,
		sealNonce: s.derived(o, "seal nonce"), wrapNonce: s.derived(o, "wrap nonce"),
		rumorAt: o.CreatedAt, sealAt: o.CreatedAt, wrapAt: o.CreatedAt, to: o.To,
	}
	ev, err := w.wrap(tuple(o.Plaintext, ",null]"), ephemeral)
	if err != nil {
		return nostr.Event{}, fmt.Errorf("seal message to %s: %w", o.To, err)
	}
	ev.Tags = o.tags()
	return ev, Sign(&ev, ephemeral)
}

func (o Outgoing) tags() nostr.Tags {
	tags := nostr.Tags{{"p", o.To}}
	if o.Expiration != 0 {
		tags = append(tags, nostr.Tag{"expiration", strconv.FormatInt(o.Expiration, 10)})
	}
	return tags
}

// tuple puts the message into the array that an envelope carries.
func tuple(message []byte, end string) []byte {
	content := make([]byte, 0, 1+len(message)+len(end))
	content = append(content, '[')
	content = append(content, message...)
	return append(content, end...)
}

// derived makes 32 bytes for one use.
func (s *Sealer) derived(o Outgoing, use string) [32]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d %s %d %d ", o.Transport, o.To, o.CreatedAt, o.Expiration)
	h.Write(o.Plaintext)
	info := "mostro relay " + use + ":" + hex.EncodeToString(h.Sum(nil))
	key, err := hkdf.Key(sha256.New, s.derive[:], o.Seed[:], info, 32)
	if err != nil {
		panic(err) // only more than 255 hashes of output are refused
	}
	return [32]byte(key)
}

// wrapping is what the two layers around a rumor need.
type wrapping struct {
	author                  string // of the rumor
	rumorTags               nostr.Tags
	signer                  Secret   // of the seal
	conversation            [32]byte // between signer and receiver
	sealNonce, wrapNonce    [32]byte
	rumorAt, sealAt, wrapAt int64
	to                      string
}

// wrap makes the gift wrap (NIP-59) of a content, still without tags, id and signature.
func (w wrapping) wrap(content []byte, ephemeral Secret) (nostr.Event, error) {
	rumor := nostr.Event{
		PubKey: w.author, CreatedAt: nostr.Timestamp(w.rumorAt), Kind: kindRumor,
		Tags: w.rumorTags, Content: string(content),
	}
	rumor.ID = rumor.GetID()
	plain, err := rumor.MarshalJSON()
	if err != nil {
		return nostr.Event{}, fmt.Errorf("encode rumor: %w", err)
	}
	seal := nostr.Event{Kind: kindSeal, CreatedAt: nostr.Timestamp(w.sealAt)}
	if seal.Content, err = encrypt(plain, w.conversation, w.sealNonce); err != nil {
		return nostr.Event{}, fmt.Errorf("seal rumor: %w", err)
	}
	if err := Sign(&seal, w.signer); err != nil {
		return nostr.Event{}, err
	}
	if plain, err = seal.MarshalJSON(); err != nil {
		return nostr.Event{}, fmt.Errorf("encode seal: %w", err)
	}
	outer, err := conversation(ephemeral, w.to)
	if err != nil {
		return nostr.Event{}, err
	}
	ev := nostr.Event{Kind: KindGiftWrap, CreatedAt: nostr.Timestamp(w.wrapAt)}
	if ev.Content, err = encrypt(plain, outer, w.wrapNonce); err != nil {
		return nostr.Event{}, fmt.Errorf("wrap seal: %w", err)
	}
	return ev, nil
}
