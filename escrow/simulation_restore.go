package escrow

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/order"
)

// simCopy is a copy of all that a data directory holds: the money store, the event store, and the
// epoch, which may be outside of it.
type simCopy struct {
	rows     []*badger.Entry
	epoch    uint64
	orders   []string
	known    map[string]bool
	stored   map[string]bool
	stamps   map[string]int64
	public   map[string]string
	duties   map[string]time.Duration
	usable   time.Duration
	payments map[order.Hash]bool // that were booked as paid, or as failed for good
}

// restores tells in which seeds copies are made and put back.
func (s *Simulation) restores() bool { return s.plan.Seed%4 == 3 }

// copyEvery is in how many steps a copy is made; the last one is kept.
const copyEvery = 40

// copyStore copies the data directory while the process runs.
func (s *Simulation) copyStore() error {
	c := &simCopy{epoch: s.epoch, orders: slices.Clone(s.orders), known: maps.Clone(s.known), stored: maps.Clone(s.stored), stamps: maps.Clone(s.stamps),
		public: maps.Clone(s.public), duties: maps.Clone(s.duties), usable: s.usable, payments: map[order.Hash]bool{}}
	for _, o := range s.rows {
		for _, hash := range o.Payout.Earlier {
			c.payments[hash] = true
		}
		c.payments[o.Payout.Hash] = o.Payout.State == order.PayoutPaid
	}
	s.kept = c
	return s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			value, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			entry := badger.NewEntry(it.Item().KeyCopy(nil), value)
			entry.ExpiresAt = it.Item().ExpiresAt()
			c.rows = append(c.rows, entry)
		}
		return nil
	})
}

// restoreTakes is how long it takes at least to put a copy back: as long as the node takes to say
// what is, so that its books can be believed by then.
const restoreTakes = 5 * time.Minute

// putBack puts the last copy in place of what is there: with the epoch of its time, as the snapshot
// of a whole machine is, or with the epoch as it stands outside. The process has ended before.
func (s *Simulation) putBack(whole bool) error {
	c := s.kept
	fresh, err := simStore()
	if err != nil {
		return err
	}
	batch := fresh.NewWriteBatch()
	defer batch.Cancel()
	for _, entry := range c.rows {
		again := *entry
		if err := batch.SetEntry(&again); err != nil {
			return err
		}
	}
	if err := batch.Flush(); err != nil {
		return err
	}
	_ = s.db.DropAll()
	if err := s.db.Close(); err != nil {
		return err
	}
	s.db = fresh
	if whole {
		s.epoch = c.epoch
	}
	s.orders, s.known, s.stored, s.stamps, s.public = slices.Clone(c.orders), maps.Clone(c.known), maps.Clone(c.stored), maps.Clone(c.stamps), maps.Clone(c.public)
	s.duties = map[string]time.Duration{}
	for id, since := range c.duties { // what was done in the forgotten time counts for nobody, and against nobody
		s.duties[id] = since + s.usable - c.usable
	}
	for _, d := range s.deals {
		d.forgotten = true
		if h, ok := s.node.HoldState(d.hold); ok && !h.State.Final() {
			s.orphans[d.hold] = true
		}
	}
	s.rows, s.bonds, s.flow, s.latched, s.restored = map[string]*order.Order{}, map[string]*order.Bond{}, nil, false, s.restored+1
	for _, entry := range c.rows {
		if err := s.reread(entry.Key, entry.Value); err != nil {
			return err
		}
	}
	clear(s.hidden)
	s.net.Advance(restoreTakes + time.Duration(s.r.Int64N(int64(4*time.Hour))))
	s.noteTime()
	s.mine(uint32(s.r.IntN(20)))
	return nil
}

// reread takes a row for committed that was put back.
func (s *Simulation) reread(key, value []byte) error {
	switch key[0] {
	case tableOrder:
		var o order.Order
		if err := json.Unmarshal(value, &o); err != nil {
			return err
		}
		s.rows[o.ID] = &o
	case tableBond:
		var b order.Bond
		if err := json.Unmarshal(value, &b); err != nil {
			return err
		}
		s.bonds[b.ID] = &b
	case tableGuard:
		var row guardRow
		if err := json.Unmarshal(value, &row); err != nil {
			return err
		}
		s.latched = row.Latch != nil
	}
	return nil
}

// simEpoch is the epoch's file of a simulation.
func (s *Simulation) simEpoch() *epochFile {
	return &epochFile{value: s.epoch, save: func(value uint64) error {
		if s.fault(crashBeforeEpoch, 10) {
			s.die()
		}
		s.epoch = value
		if s.fault(crashAfterEpoch, 10) {
			s.die()
		}
		return nil
	}}
}

// examine has the engine read the node's payments when it may have forgotten some.
func (s *Simulation) examine(ctx context.Context) error {
	r := s.e.guards.restored
	if r == nil || !s.e.node.ready() {
		return nil
	}
	if err := s.e.findStrays(ctx, *r); err != nil && !lost(err) {
		return err
	}
	return nil
}
