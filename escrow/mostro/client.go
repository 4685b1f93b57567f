package mostro

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/nbd-wtf/go-nostr"
)

// wrapPast is how far, in seconds, a client's seal and wrap may be dated back (NIP-59).
const wrapPast = 2 * 24 * 3600

// Party is a client's keys in one trade. One key twice is full privacy.
type Party struct{ Trade, Identity Secret }

// SealRequest makes the event with which a client sends a message to a node. In reputation
// mode the message is signed by the trade key and the identity key is proven; in full
// privacy neither is needed. With powBits above 0 the event is mined (NIP-13) and commits
// to that target; ErrPow when that is too much. The caller sets the message's version.
func SealRequest(msg Message, t Transport, from Party, node string, createdAt int64, powBits int) (nostr.Event, error) {
	return SealRequestContext(context.Background(), msg, t, from, node, createdAt, powBits)
}

// SealRequestContext is SealRequest that stops to mine when ctx ends.
func SealRequestContext(ctx context.Context, msg Message, t Transport, from Party, node string, createdAt int64, powBits int) (nostr.Event, error) {
	plain, err := msg.Encode()
	if err != nil {
		return nostr.Event{}, fmt.Errorf("seal request: %w", err)
	}
	ev, author := nostr.Event{}, from.Trade
	switch t {
	case NIP44:
		ev, err = requestMessage(plain, from, node, createdAt)
	case GiftWrap:
		ev, author, err = requestWrap(plain, from, node, createdAt)
	default:
		err = fmt.Errorf("unknown transport %d", t)
	}
	if err != nil {
		return nostr.Event{}, fmt.Errorf("seal request: %w", err)
	}
	ev.PubKey = author.Public()
	ev.Tags = nostr.Tags{{"p", node}}
	if err := mine(ctx, &ev, powBits); err != nil {
		return nostr.Event{}, fmt.Errorf("seal request: %w", err)
	}
	return ev, Sign(&ev, author)
}

func requestMessage(plain []byte, from Party, node string, createdAt int64) (nostr.Event, error) {
	end := ",null,null]"
	if !from.Trade.Equal(from.Identity) {
		sig, err := from.Trade.sign(sha256.Sum256(plain))
		if err != nil {
			return nostr.Event{}, err
		}
		claim := append([]byte(identityPrefix+from.Trade.Public()+":"), plain...)
		proof, err := from.Identity.sign(sha256.Sum256(claim))
		if err != nil {
			return nostr.Event{}, err
		}
		end = `,"` + sig + `",["` + from.Identity.Public() + `","` + proof + `"]]`
	}
	key, err := from.Trade.conversations().with(node)
	if err != nil {
		return nostr.Event{}, err
	}
	content, err := encrypt(tuple(plain, end), key, random())
	return nostr.Event{Kind: KindMessage, CreatedAt: nostr.Timestamp(createdAt), Content: content}, err
}

func requestWrap(plain []byte, from Party, node string, createdAt int64) (ev nostr.Event, ephemeral Secret, err error) {
	end := ",null]"
	if !from.Trade.Equal(from.Identity) {
		sig, err := from.Trade.sign(sha256.Sum256(plain))
		if err != nil {
			return ev, ephemeral, err
		}
		end = `,"` + sig + `"]`
	}
	key, err := from.Identity.conversations().with(node)
	if err != nil {
		return ev, ephemeral, err
	}
	if ephemeral, err = NewSecret(random()); err != nil {
		return ev, ephemeral, err
	}
	w := wrapping{
		author: from.Trade.Public(), rumorTags: nostr.Tags{{"p", node}}, signer: from.Identity, conversation: key,
		sealNonce: random(), wrapNonce: random(),
		rumorAt: createdAt, sealAt: createdAt - randomPast(), wrapAt: createdAt - randomPast(), to: node,
	}
	ev, err = w.wrap(tuple(plain, end), ephemeral)
	return ev, ephemeral, err
}

// OpenReply opens an event that a node sent to a trade key, on either transport. It
// verifies everything, the event included: an error means that the node did not send it,
// or that it cannot be read.
func OpenReply(ev *nostr.Event, trade Secret, node string) (Message, error) {
	if err := verifyEvent(ev); err != nil {
		return Message{}, fmt.Errorf("open reply: %w", err)
	}
	r, err := NewOpener(trade).Open(ev)
	if err != nil {
		return Message{}, fmt.Errorf("open reply: %w", err)
	}
	if r.Sender != node || r.Identity != node {
		return Message{}, fmt.Errorf("open reply: %w: it is by %s", ErrNotProven, r.Sender)
	}
	return r.Message, nil
}

// random returns 32 random bytes; crypto/rand ends the process rather than fail.
func random() (b [32]byte) {
	_, _ = rand.Read(b[:])
	return b
}

// randomPast returns 0 to wrapPast seconds.
func randomPast() int64 {
	b := random()
	return int64(binary.BigEndian.Uint64(b[:8]) % wrapPast)
}
