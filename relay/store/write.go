package store

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

const (
	tombstoneBytes = 85      // of a transaction, about
	roomyBytes     = 1 << 20 // of a transaction that has room for txnRows removed rows and those of one event beside them
)

// write commits the batch: first what is new, in one transaction, then what goes. A crash between
// leaves what the next start finds and removes, by its tombstone or its newer version. It does not
// look for versions among cold events, so these go with what replaces them; only their places in
// lists go later (stale.go).
func (b *batch) write() error {
	if b.failed != nil {
		return fmt.Errorf("find what is to be removed: %w", b.failed)
	}
	w := &writer{db: b.s.db, txn: b.s.db.NewTransaction(true), cold: b.s.cold}
	defer func() { w.txn.Discard() }()
	for _, p := range b.added {
		for _, c := range p.replaces {
			if err := w.forget(c); err != nil {
				return fmt.Errorf("remove event %s: %w", c.id, err)
			}
		}
		if p.gone {
			continue
		}
		if err := errors.Join(w.txn.Set(serialRow(rowEvent, p.serial), p.raw), w.txn.Set(serialRow(rowMeta, p.serial), p.encode())); err != nil {
			return fmt.Errorf("write event %s: %w", p.id, err)
		}
	}
	if b.moved != nil {
		if err := w.txn.Set([]byte{rowMoved}, b.moved); err != nil {
			return fmt.Errorf("write how far the move is: %w", err)
		}
	}
	if err := b.writeTombstones(w); err != nil {
		return fmt.Errorf("write deletions: %w", err)
	}
	if b.bytes+tombstoneBytes*len(b.tombs) > roomyBytes {
		if err := w.next(); err != nil {
			return err
		}
	}
	for ref := range b.removed {
		serial := b.s.index.record(ref).serial
		if err := errors.Join(w.remove(serialRow(rowEvent, serial)), w.remove(serialRow(rowMeta, serial)), w.split()); err != nil {
			return fmt.Errorf("remove event: %w", err)
		}
	}
	for _, c := range b.cold {
		if err := errors.Join(w.forget(c), w.split()); err != nil {
			return fmt.Errorf("remove event %s: %w", c.id, err)
		}
	}
	return w.commit()
}

// writer removes rows in as many transactions as it takes.
type writer struct {
	db   *badger.DB
	txn  *badger.Txn
	rows int         // removed by txn
	cold cold        // after txn
	gone map[Key]int // cold events that txn removes, by author, negative
	done map[uint64]struct{}
}

func (w *writer) remove(key []byte) error {
	w.rows++
	return w.txn.Delete(key)
}

// forget removes the rows of a cold event but its places, once.
func (w *writer) forget(c *cooled) error {
	if _, twice := w.done[c.serial]; twice {
		return nil
	}
	if w.done == nil {
		w.done, w.gone = make(map[uint64]struct{}), make(map[Key]int)
	}
	w.done[c.serial] = struct{}{}
	w.cold.count--
	w.gone[c.author]--
	return errors.Join(w.remove(serialRow(rowEvent, c.serial)), c.rows(func(key, _ []byte) error { return w.remove(key) }))
}

// split begins another transaction when this one is large.
func (w *writer) split() error {
	if w.rows < txnRows {
		return nil
	}
	return w.next()
}

// next begins another transaction.
func (w *writer) next() error {
	if err := w.commit(); err != nil {
		return err
	}
	w.txn, w.rows = w.db.NewTransaction(true), 0
	return nil
}

func (w *writer) commit() error {
	if len(w.gone) > 0 {
		if err := countCold(w.txn, w.cold, w.gone); err != nil {
			return fmt.Errorf("count cold events: %w", err)
		}
		clear(w.gone)
	}
	if err := w.txn.Commit(); err != nil {
		return fmt.Errorf("commit events: %w", err)
	}
	return nil
}

// show makes a written batch visible, event by event.
func (b *batch) show() {
	s := b.s
	s.mu.Lock()
	s.cold.count -= len(b.cold)
	s.mu.Unlock()
	for serial, c := range b.cold {
		s.cache.drop(serial)
		s.leave(c)
	}
	for _, p := range b.added {
		s.order.Lock()
		s.mu.Lock()
		b.drop(p.before)
		if !p.gone {
			s.index.add(p.entry, p.serial)
		}
		s.last.Store(p.serial)
		s.mu.Unlock()
		if !p.gone {
			s.cache.put(p.serial, p.raw)
		}
		if s.opts.Committed != nil && !b.silent {
			s.opts.Committed(Commit{Event: p.ev, Raw: p.raw, Serial: p.serial})
		}
		s.order.Unlock()
	}
	rest := make([]uint32, 0, len(b.removed))
	for ref := range b.removed {
		rest = append(rest, ref)
	}
	for len(rest) > 0 {
		n := min(len(rest), stepRemove)
		s.mu.Lock()
		b.drop(rest[:n])
		s.mu.Unlock()
		rest = rest[n:]
	}
	s.floor = b.floor
	s.buried.Add(int64(b.fresh - len(b.forgotten)))
	for row := range b.tombs {
		s.tombstones = s.tombstones || row[0] != rowVanished
		s.vanished = s.vanished || row[0] == rowVanished
	}
}

// stepRemove is how many events are taken out of the index while readers wait.
const stepRemove = 64

// drop takes events out of the index, each once; the caller holds mu.
func (b *batch) drop(refs []uint32) {
	for _, ref := range refs {
		if _, waits := b.removed[ref]; !waits {
			continue // gone before another one
		}
		b.s.cache.drop(b.s.index.record(ref).serial)
		b.s.index.remove(ref)
		delete(b.removed, ref)
	}
}

// get reads a second from disk; ok says whether the row is there.
func (s *Store) get(row []byte) (second int64, ok bool, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(row)
		if err != nil {
			return err
		}
		return item.Value(func(value []byte) error {
			second, err = readSecond(value)
			return err
		})
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, false, nil
	}
	return second, err == nil, err
}
