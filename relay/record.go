package relay

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip40"
)

// key is an id or a public key.
type key [32]byte

// parseKey reads 64 lower-case hex digits.
func parseKey(s string) (key, error) {
	var k key
	if len(s) != 2*len(k) || strings.ToLower(s) != s {
		return k, fmt.Errorf("%q is not 64 lower-case hex digits", s)
	}
	if _, err := hex.Decode(k[:], []byte(s)); err != nil {
		return k, fmt.Errorf("%q is not 64 lower-case hex digits", s)
	}
	return k, nil
}

func (k key) String() string { return hex.EncodeToString(k[:]) }

// record is what the index keeps of a stored event.
type record struct {
	id, author key
	created    int64 // seconds
	expires    int64 // seconds, 0 = never
	seq        uint64
	kind       int
}

// compare orders records as answers need them read from the end: by time, and within a second
// the lowest id last (NIP-01: newest first, then lowest id).
func compare(a, b *record) int {
	if c := cmp.Compare(a.created, b.created); c != 0 {
		return c
	}
	return bytes.Compare(b.id[:], a.id[:])
}

// newRecord describes ev, whose shape has been checked.
func newRecord(ev *nostr.Event) (*record, error) {
	id, err := parseKey(ev.ID)
	if err != nil {
		return nil, fmt.Errorf("read event id: %w", err)
	}
	author, err := parseKey(ev.PubKey)
	if err != nil {
		return nil, fmt.Errorf("read event author: %w", err)
	}
	rec := &record{id: id, author: author, created: int64(ev.CreatedAt), kind: ev.Kind}
	if at := nip40.GetExpiration(ev.Tags); at >= 0 {
		rec.expires = max(int64(at), 1)
	}
	return rec, nil
}

func (r *record) expired(now int64) bool { return r.expires != 0 && r.expires <= now }

// list is a set of records in the order of compare.
type list []*record

func (l list) find(r *record) (int, bool) { return slices.BinarySearchFunc(l, r, compare) }

func (l list) has(r *record) bool {
	_, ok := l.find(r)
	return ok
}

func (l list) with(r *record) list {
	at, ok := l.find(r)
	if ok {
		return l
	}
	return slices.Insert(l, at, r)
}

func (l list) without(r *record) list {
	at, ok := l.find(r)
	if !ok {
		return l
	}
	return slices.Delete(l, at, at+1)
}

// until is how many records of l are not newer than second.
func (l list) until(second int64) int {
	return sort.Search(len(l), func(i int) bool { return l[i].created > second })
}

// tagKey names the events that have a tag of this letter with this value.
type tagKey struct {
	letter byte
	value  string
}

// longValue is the length in bytes from which tag values are indexed by their hash, so that
// one event cannot make the index hold long texts.
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

// tagKeys lists the indexed tags of ev: those of one letter (NIP-01). A value may occur twice.
func tagKeys(ev *nostr.Event) []tagKey {
	keys := make([]tagKey, 0, len(ev.Tags))
	for _, tag := range ev.Tags {
		if len(tag) >= 2 && isLetter(tag[0]) {
			keys = append(keys, newTagKey(tag[0][0], tag[1]))
		}
	}
	return keys
}

// address is what the versions of a replaceable or addressable event have in common, in the
// form of an "a" tag (NIP-01); "" for other kinds.
func address(ev *nostr.Event) string {
	switch {
	case nostr.IsReplaceableKind(ev.Kind):
		return strconv.Itoa(ev.Kind) + ":" + ev.PubKey + ":"
	case nostr.IsAddressableKind(ev.Kind):
		return strconv.Itoa(ev.Kind) + ":" + ev.PubKey + ":" + ev.Tags.GetD()
	}
	return ""
}
