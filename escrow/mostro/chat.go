package mostro

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/nbd-wtf/go-nostr"
)

// Chat is the conversation of two keys of a trade: of buyer and seller, or of one of them and
// the solver of their dispute. Both derive the same two keys from what they share. One signs
// the events, so that nobody sees who writes; under the other they are encrypted. The writer
// proves himself inside, with his own key. The node is no part of it.
type Chat struct {
	own          Secret
	peer         string
	conversation Secret
	signing      Secret
}

// ChatMessage is a message of a chat, proven to be by From.
type ChatMessage struct {
	ID   string // of the event inside, the same however often it is sent
	From string // one of the two keys
	At   int64  // unix seconds
	Text string
}

// Limits of a chat message.
const (
	maxChatText   = 4096  // bytes
	maxChatEvent  = 65536 // bytes of ciphertext
	chatClockSkew = 60    // seconds between the event and what is in it, and ahead of now
)

// What the keys of a chat are derived for (HKDF's info).
const (
	chatConversationInfo = "mostro:chat:conv:v1"
	chatSigningInfo      = "mostro:chat:sign:v1"
)

// NewChat makes the chat of a key with another. An error: the other is no key.
func NewChat(own Secret, peer string) (*Chat, error) {
	if own.IsZero() || !isPubkey(peer) {
		return nil, errors.New("make chat keys: not a pair of keys")
	}
	raw, err := hex.DecodeString("02" + peer) // BIP-340: x-only keys stand for the even point
	if err != nil {
		return nil, fmt.Errorf("make chat keys: %w", err)
	}
	point, err := btcec.ParsePubKey(raw)
	if err != nil {
		return nil, fmt.Errorf("make chat keys: %w", err)
	}
	shared := btcec.GenerateSharedSecret(own.key().private, point) // the bare x coordinate
	c := &Chat{own: own, peer: peer}
	if c.conversation, err = chatKey(shared, chatConversationInfo); err == nil {
		c.signing, err = chatKey(shared, chatSigningInfo)
	}
	if err != nil {
		return nil, fmt.Errorf("make chat keys: %w", err)
	}
	return c, nil
}

// chatKey derives a key. An output that is no key, one in 2^128, is followed by another.
func chatKey(shared []byte, info string) (Secret, error) {
	raw, err := hkdf.Key(sha256.New, shared, nil, info, 32)
	if err != nil {
		return Secret{}, err
	}
	key, err := NewSecret([32]byte(raw))
	for counter := byte(1); err != nil && counter != 0; counter++ {
		if raw, err = hkdf.Key(sha256.New, shared, nil, info+string([]byte{counter}), 32); err == nil {
			key, err = NewSecret([32]byte(raw))
		}
	}
	return key, err
}

// Author is the key that signs the chat's events (kind 14): what a reader subscribes to.
func (c *Chat) Author() string { return c.signing.Public() }

// Seal makes the event of a message. The text is 1 to 4096 bytes.
func (c *Chat) Seal(text string, createdAt int64) (nostr.Event, error) {
	if text == "" || len(text) > maxChatText {
		return nostr.Event{}, fmt.Errorf("seal chat message: it has %d bytes, want 1 to %d", len(text), maxChatText)
	}
	nonce := random()
	// The nonce keeps two equal messages of one second apart.
	inner := nostr.Event{
		Kind: kindRumor, CreatedAt: nostr.Timestamp(createdAt), Content: text,
		Tags: nostr.Tags{{"u", hex.EncodeToString(nonce[:8])}},
	}
	if err := Sign(&inner, c.own); err != nil {
		return nostr.Event{}, fmt.Errorf("seal chat message: %w", err)
	}
	key, err := c.conversation.conversations().with(c.conversation.Public())
	if err != nil {
		return nostr.Event{}, fmt.Errorf("seal chat message: %w", err)
	}
	outer := nostr.Event{Kind: KindMessage, CreatedAt: inner.CreatedAt, Tags: nostr.Tags{{"p", c.conversation.Public()}}}
	if outer.Content, err = encrypt([]byte(inner.String()), key, random()); err != nil {
		return nostr.Event{}, fmt.Errorf("seal chat message: %w", err)
	}
	return outer, Sign(&outer, c.signing)
}

// Open reads an event of the chat, at a time in unix seconds. It checks everything: an error
// means that neither of the two wrote it, or not when it says.
func (c *Chat) Open(ev *nostr.Event, now int64) (ChatMessage, error) {
	if err := c.checkOuter(ev, now); err != nil {
		return ChatMessage{}, fmt.Errorf("open chat message: %w", err)
	}
	key, err := c.conversation.conversations().with(c.conversation.Public())
	if err != nil {
		return ChatMessage{}, fmt.Errorf("open chat message: %w", err)
	}
	plain, err := decrypt(ev.Content, key)
	if err != nil {
		return ChatMessage{}, fmt.Errorf("open chat message: %w", err)
	}
	inner, err := parseEvent(plain)
	if err == nil {
		err = verifyEvent(&inner)
	}
	switch skew := int64(inner.CreatedAt - ev.CreatedAt); {
	case err != nil:
	case inner.Kind != kindRumor:
		err = fmt.Errorf("the message is of kind %d", inner.Kind)
	case inner.PubKey != c.own.Public() && inner.PubKey != c.peer:
		err = fmt.Errorf("it is by %s, who is not of this chat", inner.PubKey)
	case skew > chatClockSkew || skew < -chatClockSkew:
		err = errors.New("the times do not agree")
	case inner.Content == "" || len(inner.Content) > maxChatText:
		err = fmt.Errorf("the text has %d bytes", len(inner.Content))
	}
	if err != nil {
		return ChatMessage{}, fmt.Errorf("open chat message: %w: %w", ErrNotProven, err)
	}
	return ChatMessage{ID: inner.ID, From: inner.PubKey, At: int64(inner.CreatedAt), Text: inner.Content}, nil
}

// checkOuter checks what can be seen without the keys, the cheapest first.
func (c *Chat) checkOuter(ev *nostr.Event, now int64) error {
	switch {
	case ev.Kind != KindMessage || ev.PubKey != c.Author():
		return errors.New("not an event of this chat")
	case len(ev.Tags) != 1 || len(ev.Tags[0]) < 2 || ev.Tags[0][0] != "p" || ev.Tags[0][1] != c.conversation.Public():
		return errors.New("it has other tags than the one p tag of this chat")
	case int64(ev.CreatedAt) > now+chatClockSkew:
		return errors.New("it is from the future")
	case len(ev.Content) > maxChatEvent:
		return fmt.Errorf("it has %d bytes", len(ev.Content))
	}
	return verifyEvent(ev)
}
