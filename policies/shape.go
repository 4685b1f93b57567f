package policies

import (
	"context"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"
)

// ShapeLimits bounds the parts of an event that its sender can make long.
type ShapeLimits struct {
	Tags          int // tags in one event
	TagBytes      int // all tag elements together
	ContentLength int // characters of content, as NIP-11 counts them
}

const (
	keyDigits       = 64  // hex digits of an id or a public key
	signatureDigits = 128 // hex digits of a BIP-340 signature
	maxKind         = math.MaxUint16
	maxTagElements  = math.MaxUint8 // what eventstore's codec can count
)

// Shape refuses events that no part behind it could handle safely. It comes first, because
// each rule here stands for a known way to crash, to corrupt or to mislead:
//
//   - ids, keys and signatures are lower-case hex of exact length: longer ones overrun fixed
//     buffers in go-nostr's libsecp256k1 build, upper-case ones are served back in lower case
//     with an id that does not fit;
//   - kinds fit 16 bits (NIP-01) and times 32: eventstore cuts others down silently;
//   - a tag has at least one element, a "d" tag at least two: khatru reads them unchecked;
//   - text is valid UTF-8: JSON encoders replace what is not, and the id no longer fits.
func Shape(limits ShapeLimits) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		switch {
		case !lowerHex(ev.ID, keyDigits):
			return true, "invalid: id must be 64 lower-case hex digits"
		case !lowerHex(ev.PubKey, keyDigits):
			return true, "invalid: pubkey must be 64 lower-case hex digits"
		case !lowerHex(ev.Sig, signatureDigits):
			return true, "invalid: sig must be 128 lower-case hex digits"
		case ev.Kind < 0 || ev.Kind > maxKind:
			return true, fmt.Sprintf("invalid: kind must be 0 to %d", maxKind)
		case ev.CreatedAt < 0 || ev.CreatedAt > math.MaxUint32:
			return true, "invalid: created_at must be a time in seconds that fits 32 bits"
		case len(ev.Content) > limits.ContentLength && utf8.RuneCountInString(ev.Content) > limits.ContentLength:
			return true, fmt.Sprintf("invalid: content has %d characters, at most %d are taken", utf8.RuneCountInString(ev.Content), limits.ContentLength)
		case !utf8.ValidString(ev.Content):
			return true, "invalid: content is not valid UTF-8"
		case len(ev.Tags) > limits.Tags:
			return true, fmt.Sprintf("invalid: event has %d tags, at most %d are taken", len(ev.Tags), limits.Tags)
		}
		if msg := tagsFault(ev.Tags, limits.TagBytes); msg != "" {
			return true, msg
		}
		return false, ""
	}
}

func tagsFault(tags nostr.Tags, maxBytes int) string {
	size := 0
	for _, tag := range tags {
		switch {
		case len(tag) == 0:
			return "invalid: a tag has no elements"
		case len(tag) > maxTagElements:
			return fmt.Sprintf("invalid: a tag has %d elements, at most %d are taken", len(tag), maxTagElements)
		case tag[0] == "d" && len(tag) < 2:
			return "invalid: the d tag has no value"
		}
		for _, element := range tag {
			if !utf8.ValidString(element) {
				return "invalid: a tag is not valid UTF-8"
			}
			size += len(element)
		}
	}
	if size > maxBytes {
		return fmt.Sprintf("invalid: tags have %d bytes, at most %d are taken", size, maxBytes)
	}
	return ""
}

func lowerHex(s string, digits int) bool {
	if len(s) != digits {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
