package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// The index in memory keeps to a budget: when it takes more, the oldest events of kinds that are
// not hot become cold, which means that they are indexed on disk. Nobody but those who ask for
// them notices, by the time it takes.
//
// A cold event has these rows in place of its m row:
//
//	c serial                       what an m row holds
//	n id                           its serial
//	i list, time, id               its place in a list: its serial, the newest first, as answers go
//	w expiration, serial           if it expires
//	h author                       how many of his are cold
//	k                              how many there are, and the position of the newest
//
// Becoming cold is one transaction, and what is written is on disk before the index in memory
// forgets it, so that a reader who looks there first and then on disk finds each event. Cold
// events stay cold, also with a larger budget.

// cold is what is in memory of all cold events. It changes under Store.mu, and is written by the
// committer alone.
type cold struct {
	count   int
	newest  position // no cold event is newer; nothing to look up above it
	changes uint64   // counts how often events have become cold
}

// cooled is a cold event as its rows say.
type cooled struct {
	*entry
	serial uint64
}

const (
	rowCold        = 'c'
	rowColdID      = 'n'
	rowColdList    = 'i'
	rowColdExpires = 'w'
	rowColdAuthor  = 'h'
	rowColdState   = 'k'
)

// allCold is the list of all cold events.
var allCold = newListKey('r', "", "", restClass)

func coldIDRow(id Key) []byte { return append([]byte{rowColdID}, id[:]...) }

func coldExpiresRow(e *entry, serial uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32([]byte{rowColdExpires}, e.expires), serial)
}

const (
	coldPrefix  = 1 + len(listKey{})
	coldListRow = coldPrefix + 4 + len(Key{})
)

func coldListPrefix(k listKey) []byte { return append([]byte{rowColdList}, k[:]...) }

// appendPlace appends the part of an i row after the list. Times of stored events fit into 32
// bits; earlier and later ones are those of filters.
func appendPlace(b []byte, pos *position) []byte {
	b = binary.BigEndian.AppendUint32(b, math.MaxUint32-uint32(min(max(pos.created, 0), math.MaxUint32)))
	return append(b, pos.id[:]...)
}

// place is an event in a list on disk.
type place struct {
	position
	serial uint64
}

// readPlace reads an i row.
func readPlace(item *badger.Item) (p place, err error) {
	key := item.Key()
	if len(key) != coldListRow {
		return p, fmt.Errorf("row of a list has %d bytes, want %d", len(key), coldListRow)
	}
	p.created = int64(math.MaxUint32 - binary.BigEndian.Uint32(key[coldPrefix:]))
	p.id = Key(key[coldPrefix+4:])
	err = item.Value(func(b []byte) error {
		p.serial, err = readSerial(b)
		return err
	})
	return p, err
}

// rows calls f with the key and value of each row of a cold event, but for its places and those that
// count.
func (c *cooled) rows(f func(key, value []byte) error) error {
	err := errors.Join(f(serialRow(rowCold, c.serial), c.encode()), f(coldIDRow(c.id), secondValue(int64(c.serial))))
	if c.expires != 0 {
		err = errors.Join(err, f(coldExpiresRow(c.entry, c.serial), []byte{}))
	}
	return err
}

// places calls f with the key and value of each row of a list that a cold event is in.
func (c *cooled) places(f func(key, value []byte) error) (err error) {
	serial := secondValue(int64(c.serial))
	pos := position{c.created, c.id}
	for _, k := range append(c.keys[:len(c.keys):len(c.keys)], allCold) {
		err = errors.Join(err, f(appendPlace(coldListPrefix(k), &pos), serial))
	}
	return err
}

func (c *cold) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(c.count))
	b = binary.BigEndian.AppendUint64(b, uint64(c.newest.created))
	return append(b, c.newest.id[:]...)
}

func coldAuthorRow(author Key) []byte { return append([]byte{rowColdAuthor}, author[:]...) }

// coldOf reads how many events of an author are cold.
func coldOf(txn *badger.Txn, author Key) (n int, err error) {
	item, err := txn.Get(coldAuthorRow(author))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	err = item.Value(func(b []byte) error {
		count, err := readSerial(b)
		n = int(count)
		return err
	})
	return n, err
}

// countCold changes the rows that count cold events, by author.
func countCold(txn *badger.Txn, after cold, more map[Key]int) error {
	for author, n := range more {
		before, err := coldOf(txn, author)
		if err != nil {
			return err
		}
		if before+n > 0 {
			err = txn.Set(coldAuthorRow(author), secondValue(int64(before+n)))
		} else {
			err = txn.Delete(coldAuthorRow(author))
		}
		if err != nil {
			return err
		}
	}
	return txn.Set([]byte{rowColdState}, after.encode())
}

// loadCold reads the k row.
func (s *Store) loadCold() error {
	return s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte{rowColdState})
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return item.Value(func(b []byte) error {
			if len(b) != 16+len(Key{}) {
				return fmt.Errorf("row of cold events has %d bytes", len(b))
			}
			s.cold.count = int(binary.BigEndian.Uint64(b))
			s.cold.newest = position{int64(binary.BigEndian.Uint64(b[8:])), Key(b[16:])}
			return nil
		})
	})
}

// over reports whether the index takes more memory than it may and can be helped.
func (s *Store) over() bool { return s.index.rest.n > 0 && s.index.bytes() > s.opts.IndexBytes }

// cool makes up to most events cold, the oldest ones, as long as the index is over its budget; it ends behind so many places
// in lists. Only the committer calls it.
func (s *Store) cool(most, places int) error {
	for most > 0 && places > 0 && s.over() {
		refs := s.index.oldest(min(most, coolAtOnce))
		for i, ref := range refs {
			if places -= int(s.index.record(ref).lists) + 1; places <= 0 {
				refs = refs[:i+1]
				break
			}
		}
		if err := s.coolAll(refs); err != nil {
			return fmt.Errorf("move %d events out of the index in memory: %w", len(refs), err)
		}
		most -= len(refs)
	}
	return nil
}

func (s *Store) coolAll(refs []uint32) error {
	x := s.index
	after, more := s.cold, make(map[Key]int)
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	for i, ref := range refs {
		rec := x.record(ref)
		c := cooled{x.describe(rec), rec.serial}
		err := txn.Delete(serialRow(rowMeta, rec.serial))
		if err = errors.Join(err, c.rows(txn.Set), c.places(txn.Set)); err != nil {
			return s.coolHalves(refs, err)
		}
		after.count++
		more[rec.author]++
		if rec.compare(&after.newest) > 0 || s.cold.count+i == 0 {
			after.newest = rec.position
		}
	}
	if err := countCold(txn, after, more); err != nil {
		return s.coolHalves(refs, err)
	}
	if err := txn.Commit(); err != nil {
		return err
	}
	for len(refs) > 0 {
		n := min(len(refs), stepRemove)
		s.mu.Lock()
		s.cold.newest = after.newest
		s.cold.count += n
		s.cold.changes++
		for _, ref := range refs[:n] {
			x.remove(ref)
		}
		s.mu.Unlock()
		refs = refs[n:]
	}
	return nil
}

// coolHalves goes on after an error, when it is only that events are in so many lists that they do
// not fit into one transaction.
func (s *Store) coolHalves(refs []uint32, err error) error {
	if !errors.Is(err, badger.ErrTxnTooBig) || len(refs) == 1 {
		return err
	}
	if err := s.coolAll(refs[:len(refs)/2]); err != nil {
		return err
	}
	return s.coolAll(refs[len(refs)/2:])
}

// oldest lists up to n events of kinds that are not hot, the oldest first.
func (x *index) oldest(n int) []uint32 {
	if x.rest.n == 1 {
		return []uint32{x.rest.one}
	}
	var refs []uint32
	for _, part := range x.rest.many.of {
		refs = append(refs, part[:min(n-len(refs), len(part))]...)
		if len(refs) == n {
			break
		}
	}
	return refs
}

// describe gives back what a record was made of.
func (x *index) describe(rec *record) *entry {
	e := &entry{id: rec.id, author: rec.author, created: rec.created, expires: rec.expires, kind: rec.kind, size: rec.size}
	for _, n := range x.listsOf(rec) {
		e.keys = append(e.keys, x.list(n).key)
	}
	return e
}

// look is view for those who are not the committer, and may come when the store is closed.
func (s *Store) look(f func(txn *badger.Txn) error) error {
	s.alive.RLock()
	defer s.alive.RUnlock()
	if !s.open {
		return ErrClosed
	}
	return s.view(f)
}

// view runs f on what is on disk of cold events, if there are any.
func (s *Store) view(f func(txn *badger.Txn) error) error {
	s.mu.RLock()
	some := s.cold.count > 0
	s.mu.RUnlock()
	if !some {
		return nil
	}
	return s.db.View(f)
}

// coldByID finds a cold event, nil when there is none.
func coldByID(txn *badger.Txn, id Key) (*cooled, error) {
	item, err := txn.Get(coldIDRow(id))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var serial uint64
	if err := item.Value(func(b []byte) error { serial, err = readSerial(b); return err }); err != nil {
		return nil, err
	}
	return coldBySerial(txn, serial)
}

// coldAt reads the event of a place, nil when it is not there any more.
func coldAt(txn *badger.Txn, p *place) (*cooled, error) {
	c, err := coldBySerial(txn, p.serial)
	if c != nil && (c.id != p.id || c.created != p.created) {
		c = nil // another event has the serial now
	}
	return c, err
}

func coldBySerial(txn *badger.Txn, serial uint64) (*cooled, error) {
	item, err := txn.Get(serialRow(rowCold, serial))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read index row of event %d: %w", serial, err)
	}
	c := &cooled{new(entry), serial}
	if err := item.Value(c.decode); err != nil {
		return nil, fmt.Errorf("read index row of event %d: %w", serial, err)
	}
	return c, nil
}

func readSerial(value []byte) (uint64, error) {
	serial, err := readSecond(value)
	return uint64(serial), err
}

// findCold is coldByID for the committer.
func (s *Store) findCold(id Key) (c *cooled, err error) {
	err = s.view(func(txn *badger.Txn) error {
		c, err = coldByID(txn, id)
		return err
	})
	return c, err
}

// coldMembers lists the cold events of a list, newest first.
func (s *Store) coldMembers(k listKey) (all []*cooled, err error) {
	err = s.view(func(txn *badger.Txn) error {
		prefix := coldListPrefix(k)
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			p, err := readPlace(it.Item())
			if err != nil {
				return err
			}
			c, err := coldAt(txn, &p)
			if err != nil {
				return err
			}
			if c != nil {
				all = append(all, c)
			}
		}
		return nil
	})
	return all, err
}

// coldAfter lists up to n cold events after a position, the oldest first.
func coldAfter(txn *badger.Txn, from position, n int) (metas []Meta, err error) {
	prefix := coldListPrefix(allCold)
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: true})
	defer it.Close()
	seek := append(slices.Clone(prefix), 0xff)
	if from.created >= 0 {
		seek = appendPlace(slices.Clone(prefix), &from)
	}
	for it.Seek(seek); it.Valid() && len(metas) < n; it.Next() {
		p, err := readPlace(it.Item())
		if err != nil {
			return nil, err
		}
		if p.compare(&from) <= 0 {
			continue
		}
		c, err := coldAt(txn, &p)
		if err != nil {
			return nil, err
		}
		if c != nil {
			metas = append(metas, c.meta())
		}
	}
	return metas, nil
}

// coldExpired lists up to limit cold events whose time has come.
func (s *Store) coldExpired(now int64, limit int) (due []*cooled, err error) {
	err = s.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{rowColdExpires}})
		defer it.Close()
		for it.Rewind(); it.Valid() && len(due) < limit; it.Next() {
			key := it.Item().Key()
			if len(key) != 1+4+8 {
				return fmt.Errorf("row of an expiration has %d bytes", len(key))
			}
			if int64(binary.BigEndian.Uint32(key[1:])) > now {
				return nil
			}
			c, err := coldBySerial(txn, binary.BigEndian.Uint64(key[5:]))
			if err != nil {
				return err
			}
			if c != nil {
				due = append(due, c)
			}
		}
		return nil
	})
	return due, err
}
