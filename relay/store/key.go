package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip40"
)

// Key is an event id or a public key.
type Key [32]byte

// ParseKey reads 64 lower-case hex digits.
func ParseKey(s string) (Key, error) {
	var k Key
	if len(s) != 2*len(k) {
		return k, fmt.Errorf("%q is not 64 lower-case hex digits", s)
	}
	wrong := byte(0)
	for i := range k {
		high, low := digit(s[2*i]), digit(s[2*i+1])
		wrong |= high | low
		k[i] = high<<4 | low
	}
	if wrong > 0xf {
		return Key{}, fmt.Errorf("%q is not 64 lower-case hex digits", s)
	}
	return k, nil
}

// digit is the value of a lower-case hex digit, more than 15 for anything else. It has no branch that depends on the
// digit: they come at random, and each event is read several times.
func digit(c byte) byte {
	number, letter := c-'0', c-'a'
	isNumber := byte((int(number) - 10) >> 8) // 0xff if it is one, else 0
	isLetter := byte((int(letter) - 6) >> 8)
	return number&isNumber | (letter+10)&isLetter | ^(isNumber | isLetter)
}

func (k Key) String() string { return hex.EncodeToString(k[:]) }

// listKey names a list of the index: a digest of what its events have in common, and the kind
// or class of kinds that it holds. It is also the key of address tombstones on disk, so its
// making must not change. 14 bytes of SHA-256 leave a collision to chance that nobody will see;
// one made on purpose (2^56 hashes) would mix two values of whoever made it.
type listKey [16]byte

const digestSize = 14

func newListKey(sort byte, a, b string, kind uint16) listKey {
	var buf [160]byte
	text := append(append(append(buf[:0], sort), a...), b...)
	sum := sha256.Sum256(text)
	var k listKey
	copy(k[:digestSize], sum[:])
	return k.of(kind)
}

// of is the same key for another kind.
func (k listKey) of(kind uint16) listKey {
	binary.BigEndian.PutUint16(k[digestSize:], kind)
	return k
}

// The sorts of lists.
const (
	sortKind       = 'k' // by kind
	sortAuthor     = 'a' // by author and class
	sortAuthorKind = 'b' // by author and kind
	sortAddress    = 'd' // versions of a replaceable or addressable event
	sortTag        = 't' // by tag and class
)

func kindKey(kind uint16) listKey           { return newListKey(sortKind, "", "", kind) }
func authorKey(a Key, class uint16) listKey { return newListKey(sortAuthor, string(a[:]), "", class) }
func authorKindKey(a Key, kind uint16) listKey {
	return newListKey(sortAuthorKind, string(a[:]), "", kind)
}
func addressKey(k uint16, a Key, d string) listKey {
	return newListKey(sortAddress, string(a[:]), d, k)
}
func tagKey(letter byte, value string, class uint16) listKey {
	return newListKey(sortTag, string(letter), value, class)
}

// hotKinds are asked for all the time by clients of an escrow. Each is a class of its own: its
// events have lists per kind, tag and value that nothing else can make longer. All others share
// restClass, so that a filter without kinds has a handful of lists to merge and not one for each
// kind in the store.
var hotKinds = [...]uint16{0, 4, 14, 1059, 10002, 38383, 38384, 38385, 38386}

// AlwaysInMemory lists the hot kinds, whose events are in the index however much memory that takes.
func AlwaysInMemory() []int {
	kinds := make([]int, len(hotKinds))
	for i, kind := range hotKinds {
		kinds[i] = int(kind)
	}
	return kinds
}

// restClass stands for all kinds that are not hot; it is itself a kind that never is.
const restClass = 1

func class(kind uint16) uint16 {
	for _, hot := range hotKinds {
		if kind == hot {
			return kind
		}
	}
	return restClass
}

const (
	kindDeletion = 5
	kindVanish   = 62 // request to vanish (NIP-62)
	kindGiftWrap = 1059
)

// entry describes an event for the index.
type entry struct {
	id, author Key
	created    int64  // seconds
	expires    uint32 // seconds, 0 = never
	kind       uint16
	size       uint32 // bytes of raw JSON
	keys       []listKey
}

// describe reads an event whose shape has been checked by the caller; what the index cannot
// hold is an error.
func describe(ev *nostr.Event) (*entry, error) {
	id, err := ParseKey(ev.ID)
	if err != nil {
		return nil, fmt.Errorf("read event id: %w", err)
	}
	author, err := ParseKey(ev.PubKey)
	if err != nil {
		return nil, fmt.Errorf("read author of event %s: %w", ev.ID, err)
	}
	if ev.Kind < 0 || ev.Kind > math.MaxUint16 {
		return nil, fmt.Errorf("kind %d of event %s is out of range", ev.Kind, ev.ID)
	}
	if ev.CreatedAt < 0 || ev.CreatedAt > math.MaxUint32 {
		return nil, fmt.Errorf("time %d of event %s is out of range", ev.CreatedAt, ev.ID)
	}
	e := &entry{id: id, author: author, created: int64(ev.CreatedAt), kind: uint16(ev.Kind)}
	// An expiration after the year 2106 is never.
	if at := nip40.GetExpiration(ev.Tags); at >= 0 && int64(at) <= math.MaxUint32 {
		e.expires = uint32(max(at, 1))
	}
	e.keys, err = keysOf(e, ev.Tags)
	return e, err
}

// fewTags is up to which number of tags looking through them beats a map.
const fewTags = 24

// keysOf lists the lists that an event is in, the list of its versions first if it has one.
func keysOf(e *entry, tags nostr.Tags) ([]listKey, error) {
	of := class(e.kind)
	keys := make([]listKey, 0, len(tags)+4)
	if d, ok := versioned(e.kind, tags); ok {
		keys = append(keys, addressKey(e.kind, e.author, d))
	}
	keys = append(keys, kindKey(e.kind), authorKindKey(e.author, e.kind))
	if of == restClass {
		keys = append(keys, authorKey(e.author, restClass))
	}
	var seen map[listKey]struct{}
	if len(tags) > fewTags {
		seen = make(map[listKey]struct{}, len(tags))
	}
	for _, tag := range tags {
		if len(tag) < 2 || !isLetter(tag[0]) {
			continue
		}
		k := tagKey(tag[0][0], tag[1], of)
		if seen == nil {
			if slices.Contains(keys, k) {
				continue
			}
		} else {
			if _, twice := seen[k]; twice {
				continue
			}
			seen[k] = struct{}{}
		}
		keys = append(keys, k)
	}
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("event %s is in %d lists, at most %d are possible", e.id, len(keys), maxKeys)
	}
	return keys, nil
}

func isLetter(name string) bool {
	return len(name) == 1 && (name[0] >= 'a' && name[0] <= 'z' || name[0] >= 'A' && name[0] <= 'Z')
}

// versioned reports whether events of this kind replace each other (NIP-01), and by which d tag.
func versioned(kind uint16, tags nostr.Tags) (d string, ok bool) {
	switch {
	case nostr.IsReplaceableKind(int(kind)):
		return "", true
	case nostr.IsAddressableKind(int(kind)):
		return tags.GetD(), true
	}
	return "", false
}

// parseAddress reads the value of an "a" tag, kind:author:d, that names a kind with versions.
func parseAddress(s string) (author Key, k listKey, ok bool) {
	number, rest, _ := strings.Cut(s, ":")
	pubkey, d, colon := strings.Cut(rest, ":")
	kind, err := strconv.ParseUint(number, 10, 16)
	if err != nil || !colon || strconv.FormatUint(kind, 10) != number {
		return author, k, false
	}
	if author, err = ParseKey(pubkey); err != nil {
		return author, k, false
	}
	ok = nostr.IsAddressableKind(int(kind)) || nostr.IsReplaceableKind(int(kind)) && d == ""
	return author, addressKey(uint16(kind), author, d), ok
}
