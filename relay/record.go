package relay

import (
	"crypto/sha256"
	"slices"

	"github.com/nbd-wtf/go-nostr"

	events "mostro/relay/store"
)

// key is an id or a public key.
type key = events.Key

// parseKey reads 64 lower-case hex digits.
func parseKey(s string) (key, error) { return events.ParseKey(s) }

// record is what decides about giving out a stored event.
type record struct {
	id, author key
	created    int64 // seconds
	seq        uint64
	kind       int
	meta       *events.Meta
}

func (r *record) set(m *events.Meta) {
	*r = record{id: m.ID, author: m.Author, created: m.CreatedAt, seq: m.Serial, kind: m.Kind, meta: m}
}

// names reports whether the event has a p tag of k. It can be asked only while the store asks
// whether the event is wanted.
func (r *record) names(k key) bool { return r.meta.Tagged('p', k.String()) }

// tagKey names the events that have a tag of this letter with this value.
type tagKey struct {
	letter byte
	value  string
}

// longValue is the length in bytes from which tag values stand for their hash, so that one
// filter cannot make the live index hold long texts.
const longValue = 100

func newTagKey(letter byte, value string) tagKey {
	if len(value) > longValue {
		sum := sha256.Sum256([]byte(value))
		value = string(sum[:])
	}
	return tagKey{letter, value}
}

func isLetter(name string) bool {
	return len(name) == 1 && (name[0] >= 'a' && name[0] <= 'z' || name[0] >= 'A' && name[0] <= 'Z')
}

// fewTags is up to which number of tags looking through them beats a map.
const fewTags = 24

// tagKeys lists the indexed tags of ev, each value once: those of one letter (NIP-01).
func tagKeys(ev *nostr.Event) []tagKey {
	keys := make([]tagKey, 0, len(ev.Tags))
	var seen map[tagKey]struct{}
	if len(ev.Tags) > fewTags {
		seen = make(map[tagKey]struct{}, len(ev.Tags))
	}
	for _, tag := range ev.Tags {
		if len(tag) < 2 || !isLetter(tag[0]) {
			continue
		}
		k := newTagKey(tag[0][0], tag[1])
		twice := false
		if seen == nil {
			twice = slices.Contains(keys, k)
		} else if _, twice = seen[k]; !twice {
			seen[k] = struct{}{}
		}
		if !twice {
			keys = append(keys, k)
		}
	}
	return keys
}
