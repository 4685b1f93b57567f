package relay

import (
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip45"
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
		s.send(closedFrame(id, err.Error()))
		return
	}
	answer := struct {
		Count       int    `json:"count"`
		Approximate bool   `json:"approximate,omitempty"` // there are more
		HLL         string `json:"hll,omitempty"`
	}{}
	counted := make(map[key]struct{})
	for i := range filters {
		f := &filters[i]
		registers := sketch(f)
		err := s.eachStored(f, maxCounted, func(rec *record) {
			if _, twice := counted[rec.id]; !twice {
				answer.Count++
			}
			if len(filters) > 1 {
				counted[rec.id] = struct{}{}
			}
			if registers != nil {
				registers.AddBytes(rec.author[:])
			}
		})
		if err != nil {
			s.send(closedFrame(id, reason(err.Error(), "error")))
			return
		}
		if registers != nil && len(filters) == 1 {
			answer.HLL = hex.EncodeToString(registers.GetRegisters())
		}
	}
	answer.Approximate = answer.Count >= maxCounted
	s.send(frame("COUNT", id, answer))
}

// sketch is the HyperLogLog for a filter that has one by NIP-45, else nil.
func sketch(f *ask) *hyperloglog.HyperLogLog {
	// The filter has been checked: values that NIP-45 wants to be hex may still be anything.
	plain := f.plain
	for _, values := range plain.Tags {
		if len(values) != 1 || !nostr.IsValid32ByteHex(values[0]) {
			return nil
		}
	}
	offset := nip45.HyperLogLogEventPubkeyOffsetForFilter(plain)
	if offset < 0 || f.words != nil {
		return nil
	}
	return hyperloglog.New(offset)
}

// eachStored visits what a filter that names nobody (COUNT, negentropy) may find, newest first,
// at most as many as that.
func (s *session) eachStored(f *ask, most int, visit func(*record)) error {
	r := s.relay
	clock := r.budget(s.ctx)
	defer clock.cancel()
	authed := s.keys.Load()
	want := func(rec *record) bool {
		return (f.words == nil || isSearched(rec.kind)) && r.shown(f, rec, authed) && clock.left()
	}
	scan := f.filter
	if scan.plain.Limit == 0 {
		scan.limit = most
	}
	if f.words == nil {
		err := r.store.list(clock.ctx, &scan, want, clock.pause(s), func(rec *record) {
			clock.end = clock.end.Add(s.yield())
			visit(rec)
		})
		return errors.Join(err, clock.spent(s.ctx))
	}
	scan.limit = searchScan
	err := r.store.answer(clock.ctx, &scan, want, clock.pause(s), func(rec *record, raw []byte) bool {
		clock.end = clock.end.Add(s.yield())
		if f.findsRaw(raw) {
			visit(rec)
		}
		return clock.left()
	})
	if err != nil {
		return err
	}
	return clock.spent(s.ctx)
}
