package escrow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/order"
)

// The epoch does not tell everything: a disk, or the snapshot of a whole machine, is put back with
// the epoch's file on it. Nothing here says then that payouts were made since. A payment with a hash
// that the store knows is safe, since the node is asked about it first. One whose hash will be new
// is not: to an address, or with another invoice. So the node's own payments are read
//
//   - at each start with something owed. Those which the store cannot explain, and which are over
//     just what is owed, or will be once that is paid, are strays;
//   - when the node has settled a hold invoice before this store has asked it to. Only this escrow
//     can have done that: the store is old, and is treated as any that was put back. So before the
//     first time that it asks, it looks (beforeSettle).

// eachLive calls a function for each order that is not over, and one for each bond. A row that does
// not decode is left out: its order is held back, and pays nothing.
func eachLive(txn *badger.Txn, each func(*order.Order), bond func(*order.Bond)) error {
	err := scan(txn, []byte{tableLive, 0}, false, func(key, _ []byte) error {
		var o order.Order
		if there, err := get(txn, rowKey(tableOrder, string(key[2:])), &o); err == nil && there {
			each(&o)
		}
		return nil
	})
	return first(err, scan(txn, []byte{tableBonds, 0}, false, func(key, _ []byte) error {
		var b order.Bond
		id := string(bytes.Split(key, []byte{0})[2]) // j, order, bond
		if there, err := get(txn, rowKey(tableBond, id), &b); err == nil && there {
			bond(&b)
		}
		return nil
	}))
}

// doubt makes payouts wait for the node's payments at a start with something owed.
func (e *Engine) doubt(txn *badger.Txn, w *writes) error {
	owed, at := 0, e.now() // or later, where the clock was ahead: what is there now is not younger
	err := eachLive(txn, func(o *order.Order) {
		owed, at = owed+len(order.Dues(o)), max(at, o.CreatedAt)
	}, func(b *order.Bond) {
		owed, at = owed+len(b.Dues()), max(at, b.CreatedAt)
	})
	if err != nil || owed == 0 {
		return err
	}
	there, err := has(txn, []byte{tableRestored})
	if err != nil || there {
		return err
	}
	return w.set([]byte{tableRestored}, restoredRow{At: at, Why: "the node has started with something owed, and asks first whether that was paid already", Since: e.since(), Doubt: true})
}

// since is before anything that the store, as it was at the start, cannot know.
func (e *Engine) since() int64 { return max(0, e.lastAlive-int64(strayMargin/time.Second)) }

// disproved makes payouts wait when the node's word shows that the store is old, whatever else
// follows from it: a hold invoice is settled that this store has not asked it to settle.
func (e *Engine) disproved(txn *badger.Txn, w *writes, prev *order.Order, ev order.Event) error {
	if ev.On != order.HoldSettled || !e.epoch.kept() || e.guards.knowsAll() {
		return nil
	}
	hold, owner, born := prev.Escrow, prev.ID, prev.CreatedAt
	if ev.Bond != "" {
		var b order.Bond
		if _, err := get(txn, rowKey(tableBond, ev.Bond), &b); err != nil {
			return &defect{err}
		}
		hold, owner, born = b.Hold, b.ID, b.CreatedAt
	}
	if hold.Hash == ev.Hold.Hash && hold.State == order.EscrowSettled {
		return nil
	}
	if hold.Hash == ev.Hold.Hash && hold.State == order.EscrowSettling {
		if asked, err := askedToSettle(txn, owner, hold.Hash); err != nil || asked {
			return err
		}
	}
	var r restoredRow
	if there, err := get(txn, []byte{tableRestored}, &r); err != nil || there && !r.Doubt {
		return err
	}
	// What was forgotten is younger than the order: the store knows of that.
	since := min(e.since(), born-int64(strayMargin/time.Second))
	if r.Doubt {
		since = min(since, r.Since)
	}
	r = restoredRow{At: ev.At, Since: max(0, since),
		Why: fmt.Sprintf("the node has settled hold invoice %s, and the store does not know why: it is an old one", ev.Hold.Hash)}
	e.log.Error("alarm: no payout until the Lightning node's payments have been read: " + r.Why)
	w.then(func() {
		e.guards.mu.Lock()
		defer e.guards.mu.Unlock()
		e.guards.restored = &r
		signal(e.doubted)
	})
	return first(w.set([]byte{tableRestored}, r), w.set([]byte{tableOld}, ev.At))
}

// askedToSettle tells whether the node was asked, once at least, to settle what is to be settled.
func askedToSettle(txn *badger.Txn, owner string, hash order.Hash) (asked bool, err error) {
	asked = true
	err = scan(txn, rowKey(tableOutbox, lane(owner, laneCalls)), true, func(_, value []byte) error {
		var r row
		if json.Unmarshal(value, &r) == nil && r.Call != nil && r.Call.Do == order.SettleHold && r.Call.Hash == hash {
			asked = r.Tries > 0 // counted before it is asked
		}
		return nil
	})
	return asked, err
}

// knowsAll tells that all payments were read since this process began, as of an old store.
func (g *guardState) knowsAll() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.examined
}

// endDoubt takes note that the node's payments have been read for r. Who has become doubtful for
// another reason meanwhile waits on.
func (e *Engine) endDoubt(txn *badger.Txn, w *writes, r restoredRow) error {
	var now restoredRow
	if _, err := get(txn, []byte{tableRestored}, &now); err != nil || now != r {
		return err
	}
	w.delete([]byte{tableRestored})
	w.then(func() {
		e.guards.mu.Lock()
		defer e.guards.mu.Unlock()
		e.guards.restored = nil
		e.guards.examined = e.guards.examined || !r.Doubt
	})
	return nil
}
