package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"
)

// progressEvery is how many events a start handles between two reports.
const progressEvery = 10_000

// load builds the index from disk, moves an older format, and finishes what a crash interrupted.
func (s *Store) load() error {
	format, ok, err := s.get([]byte{rowFormat})
	switch {
	case err != nil:
		return err
	case ok && format != formatNumber:
		return fmt.Errorf("format %d is not known: it was written by another release", format)
	}
	if err := s.loadFloor(); err != nil {
		return fmt.Errorf("read how old events may be: %w", err)
	}
	if err := s.loadCold(); err != nil {
		return fmt.Errorf("read how many events are cold: %w", err)
	}
	if err := s.loadIndex(); err != nil {
		return err
	}
	if s.next, err = s.lastSerial(); err != nil {
		return fmt.Errorf("find the last event: %w", err)
	}
	if !ok {
		if err := s.migrate(); err != nil {
			return fmt.Errorf("move events of the first format: %w", err)
		}
	}
	b := newBatch(s)
	s.replacedLeft(b)
	if err := s.deletedLeft(b); err != nil {
		return err
	}
	// What has expired meanwhile is hidden, and left to Sweep: whoever calls that knows whether the clock is right.
	if err := b.write(); err != nil {
		return err
	}
	b.show()
	if err := s.vanishLeft(); err != nil {
		return fmt.Errorf("carry out requests to vanish: %w", err)
	}
	for left := s.index.len(); s.over(); { // the budget may be a new one
		s.opts.Progress("index on disk", left-s.index.len(), 0)
		if err := s.cool(progressEvery, math.MaxInt); err != nil {
			return err
		}
	}
	s.last.Store(s.next)
	return nil
}

// scan calls f with each row of a sort, in order.
func (s *Store) scan(prefix []byte, f func(key, value []byte) error) error {
	return s.scanFrom(prefix, prefix, f)
}

// scanFrom is scan from a row on.
func (s *Store) scanFrom(prefix, from []byte, f func(key, value []byte) error) error {
	return s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, PrefetchValues: true, PrefetchSize: 1000})
		defer it.Close()
		for it.Seek(from); it.Valid(); it.Next() {
			item := it.Item()
			if err := item.Value(func(value []byte) error { return f(item.Key(), value) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// loadIndex reads all records, and only then fills the lists, in their order, so that nothing is
// inserted in the middle.
func (s *Store) loadIndex() error {
	x, e := s.index, new(entry)
	var refs []uint32
	lost := 0
	err := s.scan([]byte{rowMeta}, func(key, value []byte) error {
		serial := binary.BigEndian.Uint64(key[1:])
		if err := e.decode(value); err != nil {
			s.log.Error("read index row of event", "serial", serial, "error", err)
			if err := s.rebuild(e, serial); err != nil {
				s.log.Error("read event", "serial", serial, "error", err)
				lost++
				return nil
			}
		}
		if _, twice := x.find(e.id); twice {
			return nil
		}
		refs = append(refs, x.place(e, serial))
		if len(refs)%progressEvery == 0 {
			s.opts.Progress("load", len(refs), 0)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	if lost > 0 {
		s.log.Error("event store is damaged: some events cannot be read", "unreadable", lost)
	}
	slices.SortFunc(refs, func(a, b uint32) int { return x.record(a).compare(&x.record(b).position) })
	for _, ref := range refs {
		x.link(ref)
	}
	return nil
}

// lastSerial is the highest serial of a stored event.
func (s *Store) lastSerial() (serial uint64, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{rowEvent}, Reverse: true})
		defer it.Close()
		if it.Seek(serialRow(rowEvent, math.MaxUint64)); it.Valid() {
			serial = binary.BigEndian.Uint64(it.Item().Key()[1:])
		}
		return nil
	})
	return serial, err
}

// rebuild describes an event from its JSON.
func (s *Store) rebuild(e *entry, serial uint64) error {
	var raw []byte
	err := s.db.View(func(txn *badger.Txn) (err error) {
		raw, err = readRow(txn, serial)
		return err
	})
	if err != nil {
		return err
	}
	if raw == nil {
		return errors.New("its JSON is missing")
	}
	ev := new(nostr.Event)
	if err := ev.UnmarshalJSON(raw); err != nil {
		return err
	}
	described, err := describe(ev)
	if err != nil {
		return err
	}
	*e = *described
	e.size = uint32(len(raw))
	return nil
}

// replacedLeft removes versions that a newer one has replaced.
func (s *Store) replacedLeft(b *batch) {
	x := s.index
	for n := range x.usedLists {
		l := x.list(n)
		if l.n < 2 {
			continue
		}
		refs := slices.Concat(l.many.of...)
		first := x.record(refs[0])
		// The list of versions is the first of a record that has one.
		if !hasVersions(first.kind) || x.listsOf(first)[0] != n {
			continue
		}
		for _, ref := range refs[:len(refs)-1] {
			b.remove(ref)
		}
	}
}

// deletedLeft removes events that tombstones name.
func (s *Store) deletedLeft(b *batch) error {
	x := s.index
	err := s.scan([]byte{rowDeleted}, func(key, _ []byte) error {
		s.tombstones = true
		s.buried.Add(1)
		id, by := Key(key[1:33]), Key(key[33:])
		if ref, ok := x.find(id); ok {
			if b.mayDelete(ref, by) {
				b.remove(ref)
			}
			return nil
		}
		c, err := s.findCold(id)
		if c != nil && b.mayDeleteCold(c, by) {
			b.removeCold(c)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read deletions: %w", err)
	}
	err = s.scan([]byte{rowAddress}, func(key, value []byte) error {
		s.tombstones = true
		s.buried.Add(1)
		until, err := readSecond(value)
		address := listKey(key[1:])
		for _, ref := range x.members(address) {
			if rec := x.record(ref); rec.created <= until && b.deletable(rec.kind, rec.author) {
				b.remove(ref)
			}
		}
		return errors.Join(err, b.removeColdMembers(address, until, b.deletable))
	})
	if err != nil {
		return fmt.Errorf("read deleted addresses: %w", err)
	}
	err = s.scan([]byte{rowVanished}, func(key, value []byte) error {
		s.vanished = true
		s.buried.Add(1)
		until, err := readSecond(value)
		return errors.Join(err, b.removeOf(Key(key[1:]), until))
	})
	if err != nil {
		return fmt.Errorf("read requests to vanish: %w", err)
	}
	return nil
}

// vanishLeft carries out the requests to vanish that are here and were not: a tool that did not know the address of this
// relay, which they name, has stored them or moved them from the first format.
func (s *Store) vanishLeft() error {
	requests, err := s.coldMembers(kindKey(kindVanish))
	if err != nil {
		return err
	}
	for _, ref := range s.index.members(kindKey(kindVanish)) {
		rec := s.index.record(ref)
		requests = append(requests, &cooled{s.index.describe(rec), rec.serial})
	}
	for _, r := range requests {
		until, ok, err := s.get(vanishedRow(r.author))
		if err != nil {
			return err
		}
		if ok && until >= r.created || r.created <= s.floor { // of what was before the floor nothing comes back
			continue
		}
		var raw []byte
		if err := s.db.View(func(txn *badger.Txn) (err error) { raw, err = readRow(txn, r.serial); return err }); err != nil {
			return err
		}
		ev := new(nostr.Event)
		if err := ev.UnmarshalJSON(raw); err != nil {
			s.log.Error("read request to vanish", "id", r.id, "error", err)
			continue
		}
		if !s.opts.Vanishes(ev) {
			continue
		}
		b := newBatch(s)
		if err := errors.Join(b.vanish(&addition{entry: r.entry, ev: ev}), b.write()); err != nil {
			return err
		}
		b.show()
	}
	return nil
}

// badgerLog gives Badger's own messages to the store's logger, the routine ones for debugging
// only.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(format string, args ...any)   { l.log.Error(line(format, args)) }
func (l badgerLog) Warningf(format string, args ...any) { l.log.Warn(line(format, args)) }
func (l badgerLog) Infof(format string, args ...any)    { l.log.Debug(line(format, args)) }
func (l badgerLog) Debugf(format string, args ...any)   { l.log.Debug(line(format, args)) }

func line(format string, args []any) string {
	return "badger: " + strings.TrimSpace(fmt.Sprintf(format, args...))
}
