package reconcile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"
)

// Difference is what a round of reconciling has found out.
type Difference struct {
	Have []ID // this side has them and the other has not
	Need []ID // the other has them and this side has not
}

// ErrVersion is the answer of a relay that speaks another version of the protocol.
var ErrVersion = errors.New("the relay speaks another version of set reconciliation")

// Begin is the first message to a relay, about everything.
func (s Set) Begin() []byte {
	out := &rangeWriter{b: []byte{reconcileVersion}}
	s.split(out, 0, len(s), bound{created: infinity})
	return out.b
}

// Next takes a relay's answer: it says what differs as far as that is known now, and returns the
// next message, of about most bytes, which is nil when all is known. What a relay says can be
// false; whoever calls limits the rounds and what Need may grow to.
func (s Set) Next(answer []byte, most int) (next []byte, d Difference, err error) {
	in := &rangeReader{rest: answer}
	version, err := in.byte()
	if err != nil {
		return nil, d, err
	}
	if version != reconcileVersion {
		return nil, d, ErrVersion
	}
	out := &rangeWriter{b: []byte{reconcileVersion}}
	var last bound
	at, skipped := 0, false
	for len(in.rest) > 0 {
		end, mode, err := in.head()
		if err != nil {
			return nil, d, err
		}
		lower := at
		upper := lower + sort.Search(len(s)-lower, func(i int) bool { return !s[lower+i].before(end) })
		at = upper
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
				return nil, d, err
			}
			ours := fingerprint(s[lower:upper])
			switch {
			case bytes.Equal(theirs, ours[:]):
				skipped = true
			case len(out.b) > most:
				// There is no room to say more about this and what follows; one fingerprint of
				// all of it keeps it for the next round.
				flush()
				rest := fingerprint(s[lower:])
				out.bound(bound{created: infinity})
				out.number(modeFingerprint)
				out.b = append(out.b, rest[:]...)
				return out.b, d, nil
			default:
				flush()
				s.split(out, lower, upper, end)
			}
		case modeIDList:
			if err := d.compare(in, s[lower:upper]); err != nil {
				return nil, d, err
			}
			skipped = true
		default:
			return nil, d, fmt.Errorf("unknown mode %d", mode)
		}
		last = end
	}
	if len(out.b) == 1 {
		return nil, d, nil
	}
	return out.b, d, nil
}

// compare reads the list of what the other side has in a range, beside what this side has.
func (d *Difference) compare(in *rangeReader, ours []Item) error {
	count, err := in.number()
	if err != nil {
		return err
	}
	if count > uint64(len(in.rest)/len(ID{})) {
		return errShort
	}
	list := in.rest[:count*uint64(len(ID{}))]
	theirs := make(map[ID]bool, count) // true: ours too
	for range count {
		id, err := in.bytes(uint64(len(ID{})))
		if err != nil {
			return err
		}
		theirs[ID(id)] = false
	}
	for i := range ours {
		if _, both := theirs[ours[i].ID]; both {
			theirs[ours[i].ID] = true
		} else {
			d.Have = append(d.Have, ours[i].ID)
		}
	}
	for id := range slices.Chunk(list, len(ID{})) { // in their order, the oldest first
		if !theirs[ID(id)] {
			theirs[ID(id)] = true
			d.Need = append(d.Need, ID(id))
		}
	}
	return nil
}
