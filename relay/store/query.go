package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"
)

// QueryOptions narrow what queries find.
type QueryOptions struct {
	// MaxSerial leaves out what was committed later; 0 leaves out nothing.
	MaxSerial uint64
	// Visible says whether an event that matches the filter of this number may be found; nil
	// says yes. It must not wait, nor use the store.
	Visible func(filter int, m *Meta) bool
	// Pause is called now and then during a long search, also while it finds nothing; nothing is
	// locked meanwhile. nil does nothing.
	Pause func()
}

// Meta is what the index knows of an event.
type Meta struct {
	Serial     uint64
	ID, Author Key
	Kind       int
	CreatedAt  int64 // seconds
	ExpiresAt  int64 // seconds, 0 = never
	Size       int   // bytes of raw JSON

	index *index // nil for a cold event
	ref   uint32
	keys  []listKey // of a cold event
}

// Tagged reports whether the event has a tag of this letter with this value. Only
// QueryOptions.Visible can ask, since only then the index stands still.
func (m *Meta) Tagged(letter byte, value string) bool {
	k := tagKey(letter, value, class(uint16(m.Kind)))
	if m.index == nil {
		return slices.Contains(m.keys, k)
	}
	return m.index.in(m.ref, k)
}

// Found is an event that a query found.
type Found struct {
	Meta
	Filter int    // number of the filter that it matches
	Raw    []byte // its JSON; not to be changed
}

// Event decodes the event.
func (f *Found) Event() (*nostr.Event, error) {
	ev := new(nostr.Event)
	if err := ev.UnmarshalJSON(f.Raw); err != nil {
		return nil, fmt.Errorf("decode event %s: %w", f.ID, err)
	}
	return ev, nil
}

const (
	stepMatches = 128                  // events found while the index is locked once
	stepRecords = 1024                 // records looked at, the same
	stepTime    = 2 * time.Millisecond // for them: each can be in thousands of lists, which are looked through for each tag asked for
	stepLooks   = 16                   // records between two looks at the clock
	partBytes   = 32 << 10             // of JSON that is held for one who takes it slowly, or one event
)

// Query gives the stored events that match a filter to visit, filter by filter, each event once,
// newest first and within a second by the lowest id, at most as many for a filter as its limit
// says. A filter without a limit finds everything. It ends when visit says so, or with ctx.
func (s *Store) Query(ctx context.Context, filters []nostr.Filter, opts QueryOptions, visit func(Found) bool) error {
	var raws [][]byte
	return s.each(ctx, filters, opts, func(filter int, batch []Meta) (n int, more bool, err error) {
		for len(batch) > 0 {
			part := batch[:partOf(batch)]
			batch = batch[len(part):]
			if raws, err = s.readAll(part, raws[:0]); err != nil {
				return n, false, err
			}
			for i, raw := range raws {
				if raw == nil {
					continue // removed meanwhile
				}
				n++
				if !visit(Found{part[i], filter, raw}) {
					return n, false, nil
				}
			}
		}
		return n, true, nil
	})
}

// partOf is how many of the first events are read together. visit can take as long as its client wants, and thousands
// do so at the same time.
func partOf(batch []Meta) int {
	n := 1
	for bytes := batch[0].Size; n < len(batch); n++ {
		if bytes += batch[n].Size; bytes > partBytes {
			break
		}
	}
	return n
}

// readAll appends the raw JSON of events to raws, nil for those that are not there any more.
func (s *Store) readAll(batch []Meta, raws [][]byte) ([][]byte, error) {
	missing := 0
	for i := range batch {
		raw := s.cache.get(batch[i].Serial)
		if raws = append(raws, raw); raw == nil {
			missing++
		}
	}
	if missing == 0 {
		return raws, nil
	}
	s.alive.RLock()
	defer s.alive.RUnlock()
	if !s.open {
		return nil, ErrClosed
	}
	err := s.db.View(func(txn *badger.Txn) (err error) {
		for i := range raws {
			if raws[i] != nil {
				continue
			}
			if raws[i], err = readRow(txn, batch[i].Serial); err != nil {
				return fmt.Errorf("read event %s: %w", batch[i].ID, err)
			}
			if raws[i] != nil {
				s.cache.put(batch[i].Serial, raws[i])
			}
		}
		return nil
	})
	return raws, err
}

// Count counts the events that match one of the filters, whatever their limits.
func (s *Store) Count(ctx context.Context, filters []nostr.Filter, opts QueryOptions) (int, error) {
	count := 0
	err := s.Scan(ctx, filters, opts, func(*Meta) bool {
		count++
		return true
	})
	return count, err
}

// Scan is Query over what the index knows, whatever the limits of filters.
func (s *Store) Scan(ctx context.Context, filters []nostr.Filter, opts QueryOptions, visit func(*Meta) bool) error {
	unlimited := make([]nostr.Filter, len(filters))
	for i, f := range filters {
		f.Limit, f.LimitZero = 0, false
		unlimited[i] = f
	}
	return s.each(ctx, unlimited, opts, func(_ int, batch []Meta) (int, bool, error) {
		for i := range batch {
			if !visit(&batch[i]) {
				return i, false, nil
			}
		}
		return len(batch), true, nil
	})
}

// ItemID is what set reconciliation (NIP-77) knows of an event.
type ItemID struct {
	CreatedAt int64 // seconds
	ID        Key
}

// ErrTooMany is the answer when more events match than were asked for.
var ErrTooMany = errors.New("too many events match")

// Items lists what matches f, whatever its limit, newest first. With more than limit it fails
// with ErrTooMany.
func (s *Store) Items(ctx context.Context, f nostr.Filter, opts QueryOptions, limit int) ([]ItemID, error) {
	var items []ItemID
	full := false
	err := s.Scan(ctx, []nostr.Filter{f}, opts, func(m *Meta) bool {
		if full = len(items) == limit; full {
			return false
		}
		items = append(items, ItemID{m.CreatedAt, m.ID})
		return true
	})
	if full {
		return nil, ErrTooMany
	}
	return items, err
}

// each finds events in steps and hands them on. take says how many it used, which counts for the
// filter's limit, and whether it wants more.
func (s *Store) each(ctx context.Context, filters []nostr.Filter, opts QueryOptions, take func(filter int, batch []Meta) (used int, more bool, err error)) error {
	queries := make([]*query, len(filters))
	for i := range filters {
		var err error
		if queries[i], err = compile(filters[i]); err != nil {
			return fmt.Errorf("read filter %d: %w", i+1, err)
		}
	}
	s.alive.RLock()
	open := s.open
	s.alive.RUnlock()
	if !open {
		return ErrClosed
	}
	if opts.MaxSerial == 0 {
		opts.MaxSerial = math.MaxUint64
	}
	var sent map[uint64]struct{}
	if len(filters) > 1 {
		sent = make(map[uint64]struct{})
	}
	var batch []Meta
	for i, q := range queries {
		if q.never {
			continue
		}
		want := func(m *Meta) bool {
			if m.Serial > opts.MaxSerial || m.ExpiresAt != 0 && m.ExpiresAt <= s.now().Unix() { // a long search looks at the clock all the time
				return false
			}
			if _, twice := sent[m.Serial]; twice {
				return false
			}
			return opts.Visible == nil || opts.Visible(i, m)
		}
		from := position{created: q.until + 1}
		for k := range from.id {
			from.id[k] = 0xff
		}
		disk := &coldReader{s: s, query: q}
		for left, end := q.limit, false; left > 0 && !end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			var err error
			if batch, end, err = s.step(disk, &from, want, min(left, stepMatches), batch[:0]); err != nil {
				return fmt.Errorf("read index on disk: %w", err)
			}
			if opts.Pause != nil {
				opts.Pause()
			}
			if len(batch) == 0 {
				continue
			}
			if sent != nil {
				for k := range batch {
					sent[batch[k].Serial] = struct{}{}
				}
			}
			used, more, err := take(i, batch)
			if err != nil || !more {
				return err
			}
			left -= used
		}
	}
	return nil
}

// step finds some of the matches before from, newest first, and moves from behind the last one that
// it looked at. end says that there are no more.
func (s *Store) step(disk *coldReader, from *position, want func(*Meta) bool, limit int, batch []Meta) (found []Meta, end bool, err error) {
	if !disk.reached {
		s.mu.RLock()
		var least *position
		if s.cold.count > 0 && s.cold.newest.created >= disk.query.since && disk.query.canBeCold() {
			least = &s.cold.newest
		}
		batch, end, disk.reached = s.index.step(disk.query, from, least, want, limit, batch)
		s.mu.RUnlock()
		return batch, end, nil
	}
	return disk.step(from, want, limit, batch)
}

// step finds some of the matches before from and after least, which is nil when there is no such
// bound, and moves from behind the last record that it looked at. end says that there are no
// more, below that the rest is not after least.
func (x *index) step(q *query, from, least *position, want func(*Meta) bool, limit int, batch []Meta) (found []Meta, end, below bool) {
	p, ok := x.plan(q)
	if !ok {
		return batch, least == nil, least != nil
	}
	var cursors merge
	add := func(c cursor, ok bool) {
		if ok && c.rec.created >= q.since {
			cursors = append(cursors, c)
		}
	}
	switch {
	case p.refs != nil:
		for _, ref := range p.refs {
			add(x.single(ref, from))
		}
	case p.lists == nil:
		add(x.seek(&x.hot, from))
		add(x.seek(&x.rest, from))
	default:
		cursors = make(merge, 0, len(p.lists))
		for _, n := range p.lists {
			add(x.seek(x.list(n), from))
		}
	}
	cursors.init()
	var last *record
	began := time.Now()
	for looked := 0; len(cursors) > 0; looked++ {
		top := &cursors[0]
		rec := top.rec
		if rec.created < q.since || least != nil && rec.compare(least) <= 0 {
			break
		}
		if len(batch) == limit || looked == stepRecords || x.steps.over(looked, began) {
			*from = last.position
			return batch, false, false
		}
		// One record in several lists comes several times in a row.
		if rec != last && p.matches(x, rec) {
			m := Meta{
				Serial: rec.serial, ID: rec.id, Author: rec.author, Kind: int(rec.kind), CreatedAt: rec.created,
				ExpiresAt: int64(rec.expires), Size: int(rec.size), index: x, ref: top.ref,
			}
			if want(&m) {
				m.index = nil
				batch = append(batch, m)
			}
		}
		last = rec
		cursors.advance(x)
	}
	if last != nil {
		*from = last.position
	}
	return batch, least == nil, least != nil
}

// spell is how long one step may take.
type spell time.Duration

// over reports whether a step has had its time, after looking at so many records.
func (s spell) over(looked int, began time.Time) bool {
	return looked > 0 && looked%stepLooks == 0 && time.Since(began) > time.Duration(s)
}

// readRow gets the raw JSON of an event, nil when it is not there.
func readRow(txn *badger.Txn, serial uint64) ([]byte, error) {
	item, err := txn.Get(serialRow(rowEvent, serial))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return item.ValueCopy(nil)
}
