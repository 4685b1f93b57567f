package escrow

import (
	"bytes"
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
//     just what is owed, are strays;
//   - when the node has settled a hold invoice that nobody here asked it to. Only this escrow can
//     have done that: the store is old, and is treated as any that was put back.

// payable are the liabilities that are paid by the node.
var payable = map[order.EntryKind]bool{order.OwedBuyer: true, order.OwedDev: true, order.OwedWinner: true}

// owes tells whether anything is to be paid, now or once a settle is confirmed. A row that does not
// decode pays nothing either.
func owes(txn *badger.Txn) (any bool, err error) {
	look := func(table byte, id string) {
		var row struct {
			Ledger order.Ledger `json:"ledger"`
		}
		if _, err := get(txn, rowKey(table, id), &row); err != nil {
			return
		}
		due := map[order.Msat]bool{}
		dueIn(row.Ledger, due)
		any = any || len(due) > 0
	}
	err = scan(txn, []byte{tableLive, 0}, false, func(key, _ []byte) error {
		look(tableOrder, string(key[2:]))
		return nil
	})
	return any, first(err, scan(txn, []byte{tableBonds, 0}, false, func(key, _ []byte) error {
		look(tableBond, string(bytes.Split(key, []byte{0})[2])) // j, order, bond
		return nil
	}))
}

// doubt makes payouts wait for the node's payments at a start with something owed.
func (e *Engine) doubt(txn *badger.Txn, w *writes) error {
	owed, err := owes(txn)
	if err != nil || !owed {
		return err
	}
	there, err := has(txn, []byte{tableRestored})
	if err != nil || there {
		return err
	}
	return w.set([]byte{tableRestored}, restoredRow{At: e.now(), Why: "the node has started with something owed, and asks first whether it was paid in a time that the store has forgotten", Since: e.since(), Doubt: true})
}

// since is before anything that the store, as it was at the start, cannot know.
func (e *Engine) since() int64 { return max(0, e.lastAlive-int64(strayMargin/time.Second)) }

// disproved makes payouts wait when a step shows that the store is old.
func (e *Engine) disproved(txn *badger.Txn, w *writes, prev, next *order.Order, ev order.Event, out order.Out) error {
	if ev.On != order.HoldSettled || e.cfg.Epoch == "" {
		return nil
	}
	unasked := func(was, is order.Escrow) bool {
		return is.State == order.EscrowSettled && was.State != order.EscrowSettled && was.State != order.EscrowSettling
	}
	foreign := unasked(prev.Escrow, next.Escrow)
	for _, b := range out.Bonds {
		foreign = foreign || unasked(b.Was.Hold, b.Is.Hold)
	}
	if !foreign || e.guards.knowsAll() {
		return nil
	}
	var r restoredRow
	if there, err := get(txn, []byte{tableRestored}, &r); err != nil || there && !r.Doubt {
		return err
	}
	since := e.since()
	if r.Doubt {
		since = min(since, r.Since)
	}
	r = restoredRow{At: ev.At, Since: since,
		Why: fmt.Sprintf("the node has settled hold invoice %s, and the store does not know why: it is an old one", ev.Hold.Hash)}
	e.log.Error("alarm: no payout until the Lightning node's payments have been read: " + r.Why)
	w.then(func() {
		e.guards.mu.Lock()
		defer e.guards.mu.Unlock()
		e.guards.restored = &r
		signal(e.doubted)
	})
	return w.set([]byte{tableRestored}, r)
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

// dueIn adds what a ledger still has to pay.
func dueIn(ledger []order.Entry, due map[order.Msat]bool) {
	for _, entry := range ledger {
		if payable[entry.Kind] && (entry.State == order.Owed || entry.State == order.Conditional) {
			due[entry.Amount] = true
		}
	}
}
