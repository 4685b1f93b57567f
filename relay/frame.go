package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// frame encodes a message to a client (NIP-01).
func frame(parts ...any) []byte {
	// Strings and booleans always encode.
	b, _ := json.Marshal(parts)
	return b
}

func okFrame(id string, ok bool, reason string) []byte {
	if ok && reason == "" {
		return []byte(`["OK","` + id + `",true,""]`) // a good event's id needs no escape
	}
	return frame("OK", id, ok, reason)
}

func noticeFrame(text string) []byte { return frame("NOTICE", text) }

func closedFrame(sub, reason string) []byte { return frame("CLOSED", sub, reason) }

func eoseFrame(sub string) []byte { return frame("EOSE", sub) }

// eventPrefix is the beginning of a frame that carries an event to a subscription.
func eventPrefix(sub string) []byte {
	whole := frame("EVENT", sub)
	return append(whole[:len(whole)-1], ',')
}

func encodeEvent(ev *nostr.Event) []byte {
	// Only writing to a failing stream could fail, and there is none.
	b, _ := ev.MarshalJSON()
	return b
}

// reason gives an error of a policy or of the escrow the form that NIP-01 asks for: it keeps
// the prefix when there is one of the standard, and puts otherwise in front if not.
func reason(text, otherwise string) string {
	prefix, _, ok := strings.Cut(text, ":")
	switch prefix {
	case "duplicate", "pow", "blocked", "rate-limited", "invalid", "restricted", "mute", "error", "auth-required":
		if ok {
			return text
		}
	}
	if text == "" {
		text = "no reason given"
	}
	return otherwise + ": " + text
}

// request is a message of a client, split but not understood.
type request struct {
	label string
	parts []json.RawMessage // after the label
}

var errNotRequest = errors.New("a message must be a JSON array that starts with EVENT, REQ or CLOSE")

func parseRequest(message []byte) (request, error) {
	parts, ok := splitArray(message)
	if !ok || len(parts) < 2 {
		return request{}, errNotRequest
	}
	// A name that is written with escapes is none: whoever looks at messages on their way, such as a proxy, must see the same
	// request as this relay.
	label := parts[0]
	if label[0] != '"' || bytes.IndexByte(label, '\\') >= 0 {
		return request{}, errNotRequest
	}
	return request{string(label[1 : len(label)-1]), parts[1:]}, nil
}
