package escrow

import (
	"bytes"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/order"
)

// Status is how the escrow stands, for its operator.
type Status struct {
	At         int64             `json:"at"`
	Mode       Mode              `json:"mode"`
	Closed     string            `json:"closed,omitempty"` // why nothing new begins
	Latch      *Latch            `json:"latch,omitempty"`
	VolumeHour order.Msat        `json:"volume_hour"`
	VolumeDay  order.Msat        `json:"volume_day"`
	Limits     Guards            `json:"limits"`
	Restored   string            `json:"restored,omitempty"` // why payouts wait for the node's list of payments
	Strays     []Stray           `json:"strays,omitempty"`
	Orphans    []Orphan          `json:"orphans,omitempty"`
	Held       map[string]string `json:"held,omitempty"`    // orders that are held back, and why
	Live       int               `json:"live"`              // orders that have not ended
	Trades     int               `json:"trades"`            // of these, taken
	Bonds      int               `json:"bonds"`             // bonds that have not ended
	Owed       order.Msat        `json:"owed"`              // to traders, and to winners and owners of bonds
	ByHand     order.Msat        `json:"by_hand,omitempty"` // of that, what was paid in too much, which nobody but the operator gives back
	Bound      string            `json:"bound,omitempty"`   // an order for which the Lightning node has something to do yet, itself or its bonds
	Waiting    int               `json:"waiting"`           // messages and calls in the outbox
	NodeUp     bool              `json:"node_up"`           // the Lightning node answers and is synced
	Chain      string            `json:"chain,omitempty"`   // what is wrong with its view of the chain
	Node       string            `json:"node,omitempty"`    // its pubkey
	Height     uint32            `json:"height,omitempty"`
	Log        []GuardAct        `json:"log,omitempty"`
}

// Ended tells that nothing is under way any more, and nothing owed: the node can be closed for ever.
func (s Status) Ended() bool {
	return s.Trades == 0 && s.Bonds == 0 && s.Owed == 0 && s.Bound == "" && s.Waiting == 0 && len(s.Held) == 0
}

// LightningStands is how the Lightning node stands, without a look into the store.
type LightningStands struct {
	Ready   bool   // it answers and is synced
	Chain   string // Status.Chain
	Tip     int64  // when its latest block was made, unix seconds; 0 = not known
	Orphans int    // len(Status.Orphans)
}

// LightningStands may be asked often.
func (e *Engine) LightningStands() LightningStands {
	s := LightningStands{Ready: e.node.ready(), Chain: e.node.chainAlarm(), Orphans: len(e.orphans.all())}
	if tip := e.node.info().TipTime; !tip.IsZero() {
		s.Tip = tip.Unix()
	}
	return s
}

// Status returns how things stand now.
func (e *Engine) Status() (Status, error) {
	now := e.now()
	s := Status{
		At: now, Mode: e.mode(), Closed: e.closed(now), Limits: e.cfg.Settings.Guards, Held: map[string]string{},
		VolumeHour: e.guards.volume(now, time.Hour), VolumeDay: e.guards.volume(now, 24*time.Hour),
		NodeUp: e.node.ready(), Node: e.node.info().Pubkey, Height: e.node.tip(),
		Orphans: e.orphans.all(), Chain: e.node.chainAlarm(),
	}
	s.Live, s.Trades = e.live.size()
	s.Bonds = len(e.live.bondIDs())
	e.work.mu.Lock()
	for _, l := range e.work.lanes {
		s.Waiting += len(l.rows)
	}
	e.work.mu.Unlock()
	e.guards.mu.Lock()
	s.Latch, s.Log = e.guards.row.Latch, e.guards.row.Log
	if e.guards.restored != nil {
		s.Restored = e.guards.restored.Why
	}
	for _, stray := range e.guards.strays {
		s.Strays = append(s.Strays, stray)
	}
	e.guards.mu.Unlock()
	sortStrays(s.Strays)
	var err error
	if s.Bound, err = e.bound(); err != nil {
		return s, err
	}
	err = e.db.View(func(txn *badger.Txn) error {
		owes := func(l order.Ledger) {
			owed, _ := l.Owes()
			s.Owed, s.ByHand = s.Owed+owed, s.ByHand+l.Overpaid()
		}
		if err := eachLive(txn, func(o *order.Order) { owes(o.Ledger) }, func(b *order.Bond) { owes(b.Ledger) }); err != nil {
			return err
		}
		if err := eachByHand(txn, owes); err != nil {
			return err
		}
		if err := unread(txn, func(id string, err error) {
			s.Held[id] = "it cannot be read, and nothing happens to it: " + err.Error()
		}); err != nil {
			return err
		}
		return scan(txn, []byte{tableHeld, 0}, true, func(key, value []byte) error {
			id := string(key[2:])
			s.Held[id] = firstLine(string(value))
			var o order.Order
			if ok, err := get(txn, rowKey(tableOrder, id), &o); err != nil || !ok || o.Escrow.State != order.EscrowAccepted {
				return nil // a row that does not decode is why it is held
			}
			s.Held[id] += fmt.Sprintf("; %d sat are locked, and the node gives them back by itself before block %d", o.Escrow.Paid.Sat(), o.Escrow.ExpiryHeight)
			return nil
		})
	})
	return s, err
}

// eachByHand calls a function for the ledger of each order and each bond that is over and owes what was paid in too much.
func eachByHand(txn *badger.Txn, each func(order.Ledger)) error {
	return scan(txn, []byte{tableByHand, 0}, false, func(key, _ []byte) error {
		id := string(key[2:])
		for _, table := range []byte{tableOrder, tableBond} {
			var row struct {
				Ledger order.Ledger `json:"ledger"`
			}
			if there, err := get(txn, rowKey(table, id), &row); err == nil && there {
				each(row.Ledger)
			}
		}
		return nil
	})
}

// unread calls a function for each order that is not over and cannot be read, itself or a bond of it. Nothing happens to
// such, also where nobody has run into it since the start.
func unread(txn *badger.Txn, each func(id string, err error)) error {
	read := func(id string, key []byte, row any) error {
		if there, err := get(txn, key, row); err != nil {
			each(id, err)
		} else if !there {
			each(id, fmt.Errorf("row %q is missing", key))
		}
		return nil
	}
	err := scan(txn, []byte{tableLive, 0}, false, func(key, _ []byte) error {
		id := string(key[2:])
		return read(id, rowKey(tableOrder, id), &order.Order{})
	})
	return first(err, scan(txn, []byte{tableBonds, 0}, false, func(key, _ []byte) error {
		parts := bytes.Split(key, []byte{0}) // j, order, bond
		return read(string(parts[1]), rowKey(tableBond, string(parts[2])), &order.Bond{})
	}))
}
