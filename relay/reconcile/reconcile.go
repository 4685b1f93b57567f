// Package reconcile finds out in which events two relays differ without sending them: range-based
// set reconciliation, protocol version 1 (the negentropy of NIP-77). Both sides are here: Answer is
// what a relay says to a client, Begin and Next are what a client says to a relay.
//
// Messages come from anybody: each length is checked against what is left of the message before
// anything is made of it, and ranges only go forward, so that the work for one message grows with
// the items and not with the message.
package reconcile

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sort"
)

// ID is an event id.
type ID = [32]byte

// Item is what is known of an event: when it was made, in seconds, and its id.
type Item struct {
	Created uint64
	ID      ID
}

func (a Item) compare(b Item) int {
	if c := cmp.Compare(a.Created, b.Created); c != 0 {
		return c
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

// Set is the events of one side that a filter finds, each once. The zero value is empty; items may
// be appended in any order until Sort, and the methods want them sorted.
type Set []Item

// Sort brings the items into the order of time and id.
func (s Set) Sort() { slices.SortFunc(s, Item.compare) }

// bound is where a range ends: at a time and the beginning of an id.
type bound struct {
	created uint64
	prefix  []byte // at most 32 bytes
}

// modes of a range.
const (
	modeSkip        = 0
	modeFingerprint = 1
	modeIDList      = 2
)

const (
	reconcileVersion = 0x61
	fingerprintBytes = 16
	splitRanges      = 16
	infinity         = math.MaxUint64
	frameReserve     = 200 // bytes, for the end of an answer
)

var errShort = errors.New("message ends early")

// Answer reconciles one message of a client and returns the answer, of at most about most bytes.
func (s Set) Answer(message []byte, most int) ([]byte, error) {
	in := &rangeReader{rest: message}
	version, err := in.byte()
	if err != nil {
		return nil, err
	}
	out := &rangeWriter{b: []byte{reconcileVersion}}
	if version != reconcileVersion {
		return out.b, nil // says which version this side speaks
	}
	var last bound
	at, skipped := 0, false
	for len(in.rest) > 0 {
		end, mode, err := in.head()
		if err != nil {
			return nil, err
		}
		lower := at
		upper := lower + sort.Search(len(s)-lower, func(i int) bool { return !s[lower+i].before(end) })
		before, pending := *out, skipped
		flush := func() {
			if skipped {
				skipped = false
				out.bound(last)
				out.number(modeSkip)
			}
		}
		switch mode {
		case modeSkip:
			skipped = true
		case modeFingerprint:
			theirs, err := in.bytes(fingerprintBytes)
			if err != nil {
				return nil, err
			}
			if ours := fingerprint(s[lower:upper]); bytes.Equal(theirs, ours[:]) {
				skipped = true
				break
			}
			flush()
			s.split(out, lower, upper, end)
		case modeIDList:
			count, err := in.number()
			if err != nil {
				return nil, err
			}
			if count > uint64(len(in.rest)/len(ID{})) {
				return nil, errShort
			}
			// What they have and this side has not is theirs to find out from the answer.
			in.rest = in.rest[count*uint64(len(ID{})):]
			flush()
			room := max(most-frameReserve-len(out.b), 0)/len(ID{}) + 1
			if upper-lower > room {
				upper = lower + room
				end = bound{created: s[upper].Created, prefix: s[upper].ID[:]}
			}
			out.ids(end, s[lower:upper])
			before = *out
		default:
			return nil, fmt.Errorf("unknown mode %d", mode)
		}
		if len(out.b) > most-frameReserve {
			// The rest is left for the next round.
			*out = before
			rest := fingerprint(s[upper:])
			if mode != modeIDList {
				skipped = pending
				flush()
				rest = fingerprint(s[lower:])
			}
			out.bound(bound{created: infinity})
			out.number(modeFingerprint)
			out.b = append(out.b, rest[:]...)
			return out.b, nil
		}
		at, last = upper, end
	}
	return out.b, nil
}

// before reports whether the item lies before the bound.
func (a Item) before(end bound) bool {
	if a.Created != end.created {
		return a.Created < end.created
	}
	return bytes.Compare(a.ID[:], end.prefix) < 0
}

// split describes a range whose fingerprints differ: by its ids when they are few, by the
// fingerprints of its parts otherwise.
func (s Set) split(out *rangeWriter, lower, upper int, end bound) {
	count := upper - lower
	if count < 2*splitRanges {
		out.ids(end, s[lower:upper])
		return
	}
	for i := range splitRanges {
		from, to := lower+count*i/splitRanges, lower+count*(i+1)/splitRanges
		next := end
		if to < upper {
			next = between(s[to-1], s[to])
		}
		out.bound(next)
		out.number(modeFingerprint)
		sum := fingerprint(s[from:to])
		out.b = append(out.b, sum[:]...)
	}
}

// between is the shortest bound that lies after a and not after b.
func between(a, b Item) bound {
	if a.Created != b.Created {
		return bound{created: b.Created}
	}
	same := 0
	for same < len(a.ID)-1 && a.ID[same] == b.ID[same] {
		same++
	}
	return bound{created: b.Created, prefix: b.ID[:same+1]}
}

// fingerprint is the hash of the sum of the ids, as little-endian numbers modulo 2^256, and
// their count.
func fingerprint(items []Item) [fingerprintBytes]byte {
	var sum [4]uint64
	for i := range items {
		carry := uint64(0)
		for j := range sum {
			sum[j], carry = bits.Add64(sum[j], binary.LittleEndian.Uint64(items[i].ID[8*j:]), carry)
		}
	}
	out := &rangeWriter{}
	for _, part := range sum {
		out.b = binary.LittleEndian.AppendUint64(out.b, part)
	}
	out.number(uint64(len(items)))
	hash := sha256.Sum256(out.b)
	return [fingerprintBytes]byte(hash[:])
}

type rangeReader struct {
	rest    []byte
	created uint64 // of the last bound; times are written as differences
}

func (r *rangeReader) byte() (byte, error) {
	b, err := r.bytes(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

func (r *rangeReader) bytes(count uint64) ([]byte, error) {
	if count > uint64(len(r.rest)) {
		return nil, errShort
	}
	b := r.rest[:count]
	r.rest = r.rest[count:]
	return b, nil
}

// number reads seven bits from each byte, the highest first, until one has no high bit.
func (r *rangeReader) number() (uint64, error) {
	var n uint64
	for {
		b, err := r.byte()
		if err != nil {
			return 0, err
		}
		if n > math.MaxUint64>>7 {
			return 0, errors.New("number is too large")
		}
		n = n<<7 | uint64(b&0x7F)
		if b&0x80 == 0 {
			return n, nil
		}
	}
}

// head reads the bound and the mode of a range.
func (r *rangeReader) head() (end bound, mode uint64, err error) {
	delta, err := r.number()
	if err != nil {
		return end, 0, err
	}
	// 0 stands for the end of time, others are larger by one.
	if delta == 0 || delta-1 > infinity-r.created {
		r.created = infinity
	} else {
		r.created += delta - 1
	}
	end.created = r.created
	length, err := r.number()
	if err != nil {
		return end, 0, err
	}
	if length > uint64(len(ID{})) {
		return end, 0, errors.New("bound is longer than an id")
	}
	if end.prefix, err = r.bytes(length); err != nil {
		return end, 0, err
	}
	mode, err = r.number()
	return end, mode, err
}

type rangeWriter struct {
	b       []byte
	created uint64
}

func (w *rangeWriter) number(n uint64) {
	for shift := (bits.Len64(n) - 1) / 7 * 7; shift > 0; shift -= 7 {
		w.b = append(w.b, byte(n>>shift)|0x80)
	}
	w.b = append(w.b, byte(n)&0x7F)
}

func (w *rangeWriter) bound(end bound) {
	if end.created == infinity {
		w.number(0)
	} else {
		w.number(end.created - w.created + 1)
	}
	w.created = end.created
	w.number(uint64(len(end.prefix)))
	w.b = append(w.b, end.prefix...)
}

// ids lists the items of a range that ends at end.
func (w *rangeWriter) ids(end bound, items []Item) {
	w.bound(end)
	w.number(modeIDList)
	w.number(uint64(len(items)))
	for i := range items {
		w.b = append(w.b, items[i].ID[:]...)
	}
}
