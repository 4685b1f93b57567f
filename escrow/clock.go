package escrow

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/order"
)

// Deadlines are times of a clock that may be set. One that is set forward makes them come early:
// what could hurt somebody then, a blame or the grace of a payout, is measured by uptime, which
// does not jump. One that is set back would make them come late, by years if it was that wrong;
// payments that are owed do not wait for that.

// lookAtClock notices that the clock was set back since it was last looked at, by this process or
// one before it, and lets what is owed be tried at once.
func (e *Engine) lookAtClock(ctx context.Context) error {
	now := e.now()
	back := time.Duration(e.looked-now) * time.Second
	if back <= clockSkew {
		e.looked = now
		return nil
	}
	e.log.Error("alarm: the clock was set back; other deadlines than those of payouts wait for as much longer", "by", back)
	failed := e.flowsFromNow(ctx, now)
	for _, id := range e.live.ids() {
		failed = errors.Join(failed, e.tryNow(ctx, id))
	}
	for _, id := range e.live.bondIDs() {
		failed = errors.Join(failed, e.tryBondNow(ctx, id))
	}
	if failed == nil {
		e.looked = now
	}
	return failed
}

// up is Facts.Uptime now.
func (e *Engine) up() int64 { return e.uptime.tick(e.now(), e.node.ready()) }

// tried is for how long a call has been tried, counted while the node could have shown what came
// of it.
func (e *Engine) tried(r *row) time.Duration {
	if r.Uptime == 0 { // the row is of a version that did not count it
		return time.Duration(e.now()-r.Since) * time.Second
	}
	return time.Duration(e.up()-(r.Uptime-1)) * time.Second
}

// tryNow makes the next try of the payout of an order, or of its development fee, which waits for
// its time; a buyer who is to be asked again for an invoice is asked.
func (e *Engine) tryNow(ctx context.Context, id string) error {
	return e.submit(ctx, id, func(txn *badger.Txn, w *writes) error {
		var o order.Order
		if ok, err := get(txn, rowKey(tableOrder, id), &o); err != nil || !ok {
			return err
		}
		due := order.DueWake(&o, math.MaxInt64, 0)
		if due != order.RetryPayout && due != order.AskAgain {
			return nil
		}
		return e.stepOrder(txn, w, e.newEvent(due, id), nil)
	})
}

// tryBondNow does so for the share of a bond, which is not forfeited by it.
func (e *Engine) tryBondNow(ctx context.Context, id string) error {
	return e.submit(ctx, e.live.orderOf(id), func(txn *badger.Txn, w *writes) error {
		var b order.Bond
		if ok, err := get(txn, rowKey(tableBond, id), &b); err != nil || !ok {
			return err
		}
		due := order.DueBondWake(&b, math.MaxInt64)
		if due == order.Forfeit {
			due = order.AskAgain // which it comes after
		}
		if due != order.RetryPayout && due != order.AskAgain {
			return nil
		}
		ev := e.newEvent(due, b.Order)
		ev.Bond = id
		return e.stepOrder(txn, w, ev, nil)
	})
}

// ahead tells that something was booked in the future.
func (g *guardState) ahead(now int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for bucket := range g.flows {
		if bucket > now/int64(flowBucket/time.Second) {
			return true
		}
	}
	return slices.ContainsFunc(g.row.Uncovered, func(u uncovered) bool { return u.At > now })
}

// flowsFromNow lets the guards count what was paid while the clock was ahead from now on: for a whole hour or day, as what is paid
// now, and not until the time comes at which it was booked.
func (e *Engine) flowsFromNow(ctx context.Context, now int64) error {
	if !e.guards.ahead(now) {
		return nil
	}
	return e.submit(ctx, "", func(txn *badger.Txn, w *writes) error {
		var row guardRow
		if _, err := get(txn, []byte{tableGuard}, &row); err != nil {
			return err
		}
		ahead := false
		for i := range row.Uncovered {
			if u := &row.Uncovered[i]; u.At > now {
				u.At, ahead = now, true
			}
		}
		if ahead {
			if err := e.keepGuard(w, row); err != nil {
				return err
			}
		}
		var moved order.Msat
		err := scan(txn, []byte{tableFlow, 0}, true, func(key, value []byte) error {
			bucket := int64(binary.BigEndian.Uint64(key[2:]))
			var sum order.Msat
			if bucket <= now/int64(flowBucket/time.Second) {
				return nil
			}
			if err := json.Unmarshal(value, &sum); err != nil {
				return fmt.Errorf("decode row %q: %w", key, err)
			}
			moved += sum
			w.delete(flowKey(bucket))
			w.then(func() {
				e.guards.mu.Lock()
				defer e.guards.mu.Unlock()
				delete(e.guards.flows, bucket)
			})
			return nil
		})
		if err != nil || moved == 0 {
			return err
		}
		return e.countFlow(txn, w, now, moved)
	})
}
