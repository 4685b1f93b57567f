package relay

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip45/hyperloglog"
)

// onCount answers COUNT (NIP-45): how many stored events match, each counted once. Private
// events count only for their parties.
func (s *session) onCount(parts []json.RawMessage) {
	id, ok := s.subID(parts[0])
	if !ok {
		return
	}
	filters, err := s.asks(id, parts[1:], true)
	if err != nil {
		s.refuse(closedFrame(id, err.Error()))
		return
	}
	answer := struct {
		Count       int    `json:"count"`
		Approximate bool   `json:"approximate,omitempty"` // there are more
		HLL         string `json:"hll,omitempty"`
	}{}
	var counted serials
	clock := s.budget("CLOSE", id)
	defer clock.cancel()
	for i := range filters {
		f := &filters[i]
		registers := sketch(f)
		err := s.eachStored(clock, f, maxCounted, func(rec *record) bool {
			if len(filters) == 1 || counted.add(rec.seq) {
				answer.Count++
			}
			if registers != nil {
				registers.AddBytes(rec.author[:])
			}
			return true
		})
		switch {
		case errors.Is(err, errWithdrawn):
			return
		case err != nil:
			s.refuse(closedFrame(id, reason(err.Error(), "error")))
			return
		}
		if registers != nil && len(filters) == 1 {
			answer.HLL = hex.EncodeToString(registers.GetRegisters())
		}
	}
	answer.Approximate = answer.Count >= maxCounted
	s.send(frame("COUNT", id, answer))
}

// sketch is the HyperLogLog for a filter that has one by NIP-45, else nil: filters with one tag name and one value of it.
// Those that name time, ids or authors ask for a part, and parts of different filters cannot be added up.
func sketch(f *ask) *hyperloglog.HyperLogLog {
	plain := f.plain
	if f.words != nil || len(plain.Tags) != 1 || plain.IDs != nil || plain.Authors != nil || plain.Since != nil || plain.Until != nil || plain.Limit != 0 || plain.LimitZero {
		return nil
	}
	for _, values := range plain.Tags {
		if len(values) == 1 {
			return hyperloglog.New(sketchOffset(values[0]))
		}
	}
	return nil
}

// sketchOffset is where in an author's key the bytes begin that a sketch of events with this tag value counts by (NIP-45).
// It is another one for each value, so that nobody makes keys that fool all sketches.
func sketchOffset(value string) int {
	digits := value // an id or a key
	if !nostr.IsValid32ByteHex(value) {
		_, address, _ := strings.Cut(value, ":")
		author, _, isAddress := strings.Cut(address, ":")
		if digits = author; !isAddress || !nostr.IsValid32ByteHex(author) {
			sum := sha256.Sum256([]byte(value))
			digits = hex.EncodeToString(sum[:])
		}
	}
	n, _ := strconv.ParseUint(digits[32:33], 16, 8) // hex as it is
	return 8 + int(n)
}

// serials is a set of serial numbers. Counting can meet every event there is, and many can count at
// the same time, so it takes little more than a bit for each.
type serials map[uint64]*[64]uint64

// add reports whether n is new.
func (s *serials) add(n uint64) bool {
	if *s == nil {
		*s = make(serials)
	}
	page := (*s)[n/4096]
	if page == nil {
		page = new([64]uint64)
		(*s)[n/4096] = page
	}
	word, bit := &page[n%4096/64], uint64(1)<<(n%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// eachStored visits what a filter that names nobody (COUNT, negentropy) may find, newest first,
// at most as many as that, until visit wants no more.
func (s *session) eachStored(clock *budget, f *ask, most int, visit func(*record) bool) error {
	r := s.relay
	authed := s.keys.Load()
	want := func(rec *record) bool {
		return (f.words == nil || isSearched(rec.kind)) && r.shown(f, rec, authed) && clock.left()
	}
	scan := f.filter
	switch { // the most that a filter's limit can ask for is for events that are sent
	case scan.plain.LimitZero:
		return nil
	case scan.plain.Limit == 0:
		scan.limit = most
	default:
		scan.limit = min(scan.plain.Limit, most)
	}
	if f.words == nil {
		err := r.store.list(clock.ctx, &scan, want, clock.pause(s), func(rec *record) bool {
			clock.end = clock.end.Add(s.yield())
			return visit(rec)
		})
		return errors.Join(err, clock.spent(s.ctx))
	}
	scan.limit = searchScan
	err := r.store.answer(clock.ctx, &scan, want, clock.pause(s), func(rec *record, raw []byte) bool {
		clock.end = clock.end.Add(s.yield())
		return (!f.findsRaw(raw) || visit(rec)) && clock.left()
	})
	if err != nil {
		return err
	}
	return clock.spent(s.ctx)
}
