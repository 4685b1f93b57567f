package escrow

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// Bonds returns the bonds of an order, ended ones too, oldest first.
func (e *Engine) Bonds(id string) (list []order.Bond, err error) {
	err = e.db.View(func(txn *badger.Txn) error {
		return eachBond(txn, func(b order.Bond) error {
			if b.Order == id {
				list = append(list, b)
			}
			return nil
		})
	})
	slices.SortFunc(list, byAge)
	return list, err
}

func byAge(a, b order.Bond) int {
	return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Parent, b.Parent), cmp.Compare(a.ID, b.ID))
}

// eachBond reads every bond of the store.
func eachBond(txn *badger.Txn, f func(order.Bond) error) error {
	return scan(txn, []byte{tableBond, 0}, false, func(key, _ []byte) error {
		var b order.Bond
		if _, err := get(txn, key, &b); err != nil {
			return err
		}
		return f(b)
	})
}

// liveBonds reads the bonds of an order that have not ended, oldest first.
func liveBonds(txn *badger.Txn, id string) (list []order.Bond, err error) {
	prefix := append(rowKey(tableBonds, id), 0)
	err = scan(txn, prefix, false, func(key, _ []byte) error {
		var b order.Bond
		if ok, err := get(txn, rowKey(tableBond, string(key[len(prefix):])), &b); err != nil || !ok {
			return err
		}
		list = append(list, b)
		return nil
	})
	slices.SortFunc(list, byAge)
	return list, err
}

// bondFacts loads what Step must know of bonds; nothing where an order has none.
func (e *Engine) bondFacts(txn *badger.Txn, o *order.Order, ev order.Event, f *order.Facts) (err error) {
	terms := o.Terms.Bond
	if o.ID == "" {
		terms = f.Terms.Bond
	}
	if terms == nil {
		return nil
	}
	f.LiveBonds = e.live.heldBonds()
	if ev.Message != nil {
		f.BondHash = e.preimage(order.BondID(ev), 1).Hash()
	}
	if o.ID == "" {
		return nil
	}
	if f.Bonds, err = liveBonds(txn, o.ID); err != nil {
		return &defect{err}
	}
	known := slices.ContainsFunc(f.Bonds, func(b order.Bond) bool { return b.ID == ev.Bond })
	if ev.Bond != "" && !known { // late news of one that has ended
		var b order.Bond
		if _, err = get(txn, rowKey(tableBond, ev.Bond), &b); err != nil {
			return &defect{err}
		}
		f.Bonds = append(f.Bonds, b)
	}
	return nil
}

// racer is the identity that a bond was asked of to take an order.
func racer(b *order.Bond) string {
	if b.State != order.BondRequested || b.Role != order.TakerBond {
		return ""
	}
	return b.Owner.Identity
}

// racerIn finds the taker's bond of an id.
func racerIn(bonds []order.Bond, id string) *order.Bond {
	i := slices.IndexFunc(bonds, func(b order.Bond) bool { return b.ID == id && racer(&b) != "" })
	if i < 0 {
		return nil
	}
	return &bonds[i]
}

// prompted is who is asked to do something about a bond.
func prompted(b *order.Bond) string {
	switch {
	case b.State == order.BondRequested:
		return b.Owner.Identity
	case b.State == order.BondPayout && b.Payout.State == order.PayoutAsking:
		return b.Slash.Winner.Identity
	}
	return ""
}

// keepBonds writes the bonds that a step has changed and everything that is a function of
// them.
func (e *Engine) keepBonds(txn *badger.Txn, w *writes, prev, next *order.Order, ev order.Event, facts order.Facts, out order.Out) error {
	if len(out.Bonds) == 0 {
		return nil
	}
	if out.Row < 0 { // else the order's history has it, with the bonds among its facts
		c := out.Bonds[0]
		step := history{Event: ev, Facts: facts, From: string(c.Was.State), To: string(c.Is.State), Row: c.Row}
		if err := first(keepStandings(txn, w, prev, prev, out.Bonds), keepForAWhile(w, logKey(c.Is.ID, c.Is.Rev), step)); err != nil {
			return err
		}
	}
	for _, c := range out.Bonds {
		was, is := c.Was, c.Is
		if err := w.set(rowKey(tableBond, is.ID), is); err != nil {
			return err
		}
		if was.ID != "" && (is.Ended() || was.Order != is.Order) {
			w.delete(rowKey(tableBonds, was.Order, is.ID))
		}
		if !is.Ended() {
			w.mark(rowKey(tableBonds, is.Order, is.ID), nil)
		}
		keepByHand(w, is.ID, was.Ended() && was.Ledger.Overpaid() > 0, is.Ended() && is.Ledger.Overpaid() > 0)
		for _, h := range was.Claims() {
			if !slices.Contains(is.Claims(), h) {
				w.delete(rowKey(tableHash, h.String()))
			}
		}
		for _, h := range is.Claims() {
			w.mark(rowKey(tableHash, h.String()), []byte(is.ID))
		}
		if before, after := prompted(&was), prompted(&is); before != after {
			if before != "" {
				w.delete(rowKey(tablePrompt, before, is.ID))
			}
			if after != "" {
				w.mark(rowKey(tablePrompt, after, is.ID), nil)
			}
		}
		w.then(func() { e.live.movedBond(&was, &is) })
	}
	return nil
}

// bondPrompts adds to what a user gets back who lost his device: the orders that he races
// for, and once more what he is asked to do about bonds.
func bondPrompts(txn *badger.Txn, identity string, data *mostro.RestoreData) (tells []order.Tell, err error) {
	prefix := append(rowKey(tablePrompt, identity), 0)
	err = scan(txn, prefix, false, func(key, _ []byte) error {
		var b order.Bond
		var o order.Order
		if ok, err := get(txn, rowKey(tableBond, string(key[len(prefix):])), &b); err != nil || !ok {
			return err
		}
		if ok, err := get(txn, rowKey(tableOrder, b.Order), &o); err != nil || !ok {
			return err
		}
		if racer(&b) != "" {
			data.Orders = append(data.Orders, mostro.RestoredOrder{OrderID: o.ID, TradeIndex: b.Owner.Index, Status: mostro.StatusWaitingTakerBond})
		}
		tells = append(tells, order.BondPrompt(&o, &b)...)
		return nil
	})
	return tells, err
}

// tickBond applies what is due for a bond, as tick does for an order.
func (e *Engine) tickBond(ctx context.Context, id string) error {
	return e.submit(ctx, e.live.orderOf(id), func(txn *badger.Txn, w *writes) error {
		var b order.Bond
		if ok, err := get(txn, rowKey(tableBond, id), &b); err != nil || !ok {
			return err
		}
		due := order.DueBondWake(&b, e.now())
		if due == "" {
			return nil
		}
		ev := e.newEvent(due, b.Order)
		ev.Bond = id
		return e.stepOrder(txn, w, ev, nil)
	})
}

// lookBeforeBlame asks the node about an escrow whose payment is overdue, where somebody would
// lose his bond for it: what the node has and nobody here has heard of is told now.
func (e *Engine) lookBeforeBlame(ctx context.Context, id string) (told bool, err error) {
	o, ok, err := e.Order(id)
	if err != nil || !ok || o.Terms.Bond == nil || o.Escrow.State != order.EscrowOpen ||
		order.DueWake(&o, e.now(), e.node.tip()) != order.WaitingTimeout {
		return false, err
	}
	// A node that hangs here must not hold up the clock for each such order in turn: those that are
	// skipped come again in a moment.
	if time.Since(e.lookHung) < callTimeout || e.nodeKnown() != nil {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	held, err := e.cfg.Node.Lookup(ctx, o.Escrow.Hash)
	if errors.Is(err, context.DeadlineExceeded) {
		e.lookHung = time.Now()
	}
	if errors.Is(err, lightning.ErrNotFound) { // or the time would never be over
		ev := e.holdEvent(order.HoldUnknown, lightning.HoldInvoice{Hash: o.Escrow.Hash})
		ev.Order = id
		return false, e.apply(ctx, *ev)
	}
	if err != nil || holdEvents[held.State] == "" {
		return false, err
	}
	return true, e.sawHold(ctx, watch{hash: o.Escrow.Hash, order: id}, held)
}

// loadBonds takes note of the live bonds at the start, of all orders, ended ones too: a winner
// may still have to be paid.
func (e *Engine) loadBonds(txn *badger.Txn) error {
	return scan(txn, []byte{tableBonds, 0}, false, func(key, _ []byte) error {
		parts := bytes.Split(key, []byte{0}) // j, order, bond
		id := string(parts[2])
		if held, err := has(txn, rowKey(tableHeld, string(parts[1]))); err != nil || held {
			return err
		}
		var b order.Bond
		if ok, err := get(txn, rowKey(tableBond, id), &b); err != nil || !ok {
			e.log.Error("alarm: a live bond cannot be read; it is held back", "bond", id, "error", err)
			return nil
		}
		e.live.movedBond(&order.Bond{}, &b)
		return nil
	})
}

// uptime counts the seconds in which the node could be used: this process ran, and its
// Lightning node was ready. Nobody is blamed for what he did not do in others.
type uptime struct {
	mu    sync.Mutex
	total int64
	last  int64 // when the node could last be used, unix seconds, 0 = it could not
}

// begin goes on from what was counted before this process.
func (u *uptime) begin(total int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.total, u.last = max(u.total, total), 0
}

// longestTick is the longest time between two looks that still counts: a process that sleeps
// longer was not there.
const longestTick = 30

// tick looks at the clock and returns the sum.
func (u *uptime) tick(now int64, ready bool) int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if gap := now - u.last; u.last > 0 && ready && gap > 0 && gap <= longestTick {
		u.total += gap
	}
	if u.last = 0; ready {
		u.last = now
	}
	return u.total
}
