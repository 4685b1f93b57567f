package escrow

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/order"
)

// Mode is what the operator lets the node begin. What is running always goes on.
type Mode string

const (
	ModeOpen        Mode = "open"
	ModeMaintenance Mode = "maintenance" // nothing new for a while
	ModeDrain       Mode = "drain"       // nothing new, and an empty book, until all trades have ended
)

// ParseMode reads a mode.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case ModeOpen, ModeMaintenance, ModeDrain:
		return m, nil
	}
	return "", fmt.Errorf("%.40q is no mode: want open, maintenance or drain", s)
}

// Guards bound what the escrow does on its own.
type Guards struct {
	// Uncovered is how much may be paid out in 24 hours beyond what the same orders brought
	// in and may have of the operator for routing. More of it stops all payouts until an operator has looked. Trading
	// alone never gets there. More than as much of the routing subsidy in 24 hours only lets no order be made or taken.
	Uncovered order.Sat
	// VolumeHour and VolumeDay bound what is paid out in an hour and in a day, 0 = not at all.
	// Beyond them no order is made or taken; what is running goes on.
	VolumeHour, VolumeDay order.Sat
	Mode                  Mode // "" = open; Engine.SetMode can close the node further
}

// Times of the guards.
const (
	uncoveredFor = 24 * time.Hour
	flowBucket   = 5 * time.Minute
	flowKept     = 25 * time.Hour
	maxGuardLog  = 200 // acts of operators that are kept
)

// guardRow is what must survive a restart.
type guardRow struct {
	Mode      Mode        `json:"mode,omitempty"`
	Latch     *Latch      `json:"latch,omitempty"`
	Uncovered []uncovered `json:"uncovered,omitempty"` // of the last day
	Log       []GuardAct  `json:"log,omitempty"`
}

// Latch says since when and why all payouts have stopped.
type Latch struct {
	At     int64      `json:"at"`
	Order  string     `json:"order"` // the last one that it came from
	Amount order.Msat `json:"amount"`
}

// uncovered is of a few minutes.
type uncovered struct {
	At      int64      `json:"at"`
	Order   string     `json:"order"`             // the last
	Amount  order.Msat `json:"amount"`            // beyond what came in and is granted
	Granted order.Msat `json:"granted,omitempty"` // of the routing subsidies
}

// GuardAct is something that an operator decided.
type GuardAct struct {
	At     int64  `json:"at"`
	What   string `json:"what"`
	Reason string `json:"reason"`
}

// guardState is the part of it that is asked all the time.
type guardState struct {
	mu       sync.Mutex
	row      guardRow
	flows    map[int64]order.Msat // paid out, by the bucket of its time
	restored *restoredRow         // payouts wait until the node was asked
	examined bool                 // it was, as for a store that is known to be old
	strays   map[order.Hash]Stray
	told     map[string]bool // orders whose waiting was said
}

// flow is what a step paid out, for its order and its bonds, and how much of it each had not
// brought in: of that what the operator grants to each for routing, and what is beyond it.
func flow(prev, next *order.Order, out order.Out) (paid, granted, beyond order.Msat) {
	add := func(was, is order.Ledger, subsidy order.Sat) {
		paid += is.Out() - was.Out()
		before, after := was.Uncovered(), is.Uncovered()
		took := min(after, subsidy.Msat()) - min(before, subsidy.Msat())
		granted += took
		beyond += after - before - took
	}
	paid, beyond = out.Stray, out.Stray
	add(prev.Ledger, next.Ledger, next.Terms.RoutingSubsidy)
	for _, b := range out.Bonds {
		add(b.Was.Ledger, b.Is.Ledger, b.Is.Terms.RoutingSubsidy)
	}
	return paid, granted, beyond
}

// guard takes note of what a step paid out, in the step's own transaction.
func (e *Engine) guard(txn *badger.Txn, w *writes, prev, next *order.Order, ev order.Event, out order.Out) error {
	paid, granted, beyond := flow(prev, next, out)
	if paid > 0 {
		if err := e.countFlow(txn, w, ev.At, paid); err != nil {
			return err
		}
	}
	if granted <= 0 && beyond <= 0 {
		return nil
	}
	var row guardRow
	if _, err := get(txn, []byte{tableGuard}, &row); err != nil {
		return err
	}
	kept := []uncovered{{ev.At, next.ID, beyond, granted}}
	size := int64(flowBucket / time.Second)
	for _, u := range row.Uncovered {
		switch last := &kept[len(kept)-1]; {
		case u.At <= ev.At-int64(uncoveredFor/time.Second):
		case u.At/size == last.At/size:
			last.Amount, last.Granted = last.Amount+u.Amount, last.Granted+u.Granted
		default:
			kept = append(kept, u)
		}
	}
	row.Uncovered = kept
	sum, spent := row.uncovered(ev.At)
	limit := e.cfg.Settings.Guards.Uncovered.Msat()
	if sum > limit && row.Latch == nil {
		row.Latch = &Latch{At: ev.At, Order: next.ID, Amount: sum}
		e.log.Error("alarm: all payouts stop: more went out than the same orders brought in; run mostro audit, then mostro breaker reset",
			"order", next.ID, "msat", sum)
	}
	if spent > limit && spent-granted <= limit {
		e.log.Warn("no orders are made or taken until less of the routing subsidy was spent in 24 hours", "msat", spent, "limit", limit)
	}
	return e.keepGuard(w, row)
}

// uncovered sums up the last day.
func (r *guardRow) uncovered(now int64) (beyond, granted order.Msat) {
	for _, u := range r.Uncovered {
		if u.At > now-int64(uncoveredFor/time.Second) {
			beyond, granted = beyond+u.Amount, granted+u.Granted
		}
	}
	return beyond, granted
}

func (e *Engine) keepGuard(w *writes, row guardRow) error {
	row.Log = row.Log[max(0, len(row.Log)-maxGuardLog):]
	w.then(func() {
		e.guards.mu.Lock()
		defer e.guards.mu.Unlock()
		e.guards.row = row
	})
	return w.set([]byte{tableGuard}, row)
}

func flowKey(bucket int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tableFlow, 0}, uint64(bucket))
}

func (e *Engine) countFlow(txn *badger.Txn, w *writes, at int64, paid order.Msat) error {
	bucket := at / int64(flowBucket/time.Second)
	var sum order.Msat
	if _, err := get(txn, flowKey(bucket), &sum); err != nil {
		return err
	}
	sum += paid
	value, err := json.Marshal(sum)
	if err != nil {
		return err
	}
	w.entries = append(w.entries, badger.NewEntry(flowKey(bucket), value).WithTTL(flowKept))
	w.then(func() {
		e.guards.mu.Lock()
		defer e.guards.mu.Unlock()
		e.guards.flows[bucket] = sum
	})
	return nil
}

// loadGuards reads what the guards knew when the process ended.
func (e *Engine) loadGuards(txn *badger.Txn) error {
	g := &e.guards
	if _, err := get(txn, []byte{tableGuard}, &g.row); err != nil {
		return fmt.Errorf("%w; without it nobody knows whether payouts were stopped", err)
	}
	err := scan(txn, []byte{tableFlow, 0}, true, func(key, value []byte) error {
		var sum order.Msat
		if err := json.Unmarshal(value, &sum); err != nil {
			return fmt.Errorf("decode row %q: %w", key, err)
		}
		g.flows[int64(binary.BigEndian.Uint64(key[2:]))] = sum
		return nil
	})
	return first(err, e.loadRestored(txn))
}

// latched tells that all payouts have stopped.
func (g *guardState) latched() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.row.Latch != nil
}

// granted is what was spent of routing subsidies in the day before now.
func (g *guardState) granted(now int64) order.Msat {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, spent := g.row.uncovered(now)
	return spent
}

// volume is what was paid out in the time before now; older counts are forgotten.
func (g *guardState) volume(now int64, within time.Duration) (sum order.Msat) {
	g.mu.Lock()
	defer g.mu.Unlock()
	size := int64(flowBucket / time.Second)
	for bucket, paid := range g.flows {
		switch {
		case bucket < (now-int64(flowKept/time.Second))/size:
			delete(g.flows, bucket)
		case bucket > (now-int64(within/time.Second))/size:
			sum += paid
		}
	}
	return sum
}

// stricter is that of two modes which lets less begin; "" is open.
func stricter(a, b Mode) Mode {
	for _, m := range []Mode{ModeDrain, ModeMaintenance} {
		if a == m || b == m {
			return m
		}
	}
	return ModeOpen
}

// mode is the stricter of what the settings and the operator say.
func (e *Engine) mode() Mode {
	e.guards.mu.Lock()
	defer e.guards.mu.Unlock()
	return stricter(e.cfg.Settings.Guards.Mode, e.guards.row.Mode)
}

// closed says to a trader why nothing new begins, "" when it does.
func (e *Engine) closed(now int64) string {
	limits := e.cfg.Settings.Guards
	switch {
	case e.mode() != ModeOpen:
		return "This node takes no new orders and no takes at the moment, for maintenance. Trades that are running go on."
	case e.space.low():
		return "This node takes no new orders and no takes until its operator has made room on its disk. Trades that are running go on."
	case e.guards.latched():
		return "This node takes no new orders and no takes until its operator has checked its books. Trades that are running are safe."
	case limits.VolumeHour > 0 && e.guards.volume(now, time.Hour) >= limits.VolumeHour.Msat(),
		limits.VolumeDay > 0 && e.guards.volume(now, 24*time.Hour) >= limits.VolumeDay.Msat():
		return "This node has reached the most that it trades in an hour or a day. Try again later. Trades that are running go on."
	case e.guards.granted(now) > limits.Uncovered.Msat():
		return "This node has added as much to routing fees as it does in a day. Try again later. Trades that are running go on."
	}
	return ""
}

// mayCall refuses payments, with errLater, while a guard holds them back.
func (e *Engine) mayCall(ctx context.Context, r *row) error {
	if r.Call.Do != order.Pay && r.Call.Do != order.Resolve {
		return nil
	}
	if e.guards.latched() {
		return fmt.Errorf("all payouts have stopped: %w", errLater)
	}
	return e.notPaidBefore(ctx, r.owner(), r.Call.Amount)
}

// errNoReason answers an operator who gives none.
var errNoReason = errors.New("a reason is needed; it is kept in the log of the guards")

// change lets an operator change the guards, or what f changes beside them in the same
// transaction, and keeps why. A defect of f is held against the order of that name.
func (e *Engine) change(ctx context.Context, blame, what, reason string, f func(*badger.Txn, *writes, *guardRow) error) error {
	if reason = strings.TrimSpace(reason); reason == "" {
		return errNoReason
	}
	return e.submit(ctx, blame, func(txn *badger.Txn, w *writes) error {
		var row guardRow
		if _, err := get(txn, []byte{tableGuard}, &row); err != nil {
			return err
		}
		if err := f(txn, w, &row); err != nil {
			return err
		}
		row.Log = append(row.Log, GuardAct{At: e.now(), What: what, Reason: reason})
		w.then(func() { e.log.Warn("an operator decided", "what", what, "reason", reason) })
		return e.keepGuard(w, row)
	})
}

// SetMode closes the node for new trades, or opens it, but not further than the settings do.
func (e *Engine) SetMode(ctx context.Context, m Mode, reason string) error {
	if set := e.cfg.Settings.Guards.Mode; stricter(set, m) != m {
		return fmt.Errorf("the settings say %s, which is stricter than %s: change guards.mode and start the node again", set, m)
	}
	return e.change(ctx, "", "mode "+string(m), reason, func(_ *badger.Txn, w *writes, row *guardRow) error {
		row.Mode = m
		w.then(e.live.wake)
		return nil
	})
}

// drainedAtOnce is how many offers leave the book before the clock looks at deadlines again.
const drainedAtOnce = 100

// drain takes what is not taken out of the book, when the node is to be closed.
func (e *Engine) drain(ctx context.Context) (any bool) {
	if e.mode() != ModeDrain {
		return false
	}
	ids := e.live.offers(drainedAtOnce)
	for _, id := range ids {
		if err := e.apply(ctx, e.newEvent(order.Drained, id)); err != nil && ctx.Err() == nil {
			e.log.Warn("take an offer out of the book, will try again", "order", id, "error", err)
			return false
		}
	}
	return len(ids) > 0
}

// ResetBreaker lets payouts go on that the circuit breaker has stopped.
func (e *Engine) ResetBreaker(ctx context.Context, reason string) error {
	return e.change(ctx, "", "reset the circuit breaker", reason, func(_ *badger.Txn, _ *writes, row *guardRow) error {
		if row.Latch == nil {
			return errors.New("the circuit breaker has not tripped")
		}
		row.Latch, row.Uncovered = nil, nil
		return nil
	})
}

// FreeOrder takes an order up again that was held back after a defect. If the defect is still
// there it is held back anew.
func (e *Engine) FreeOrder(ctx context.Context, id, reason string) error {
	return e.change(ctx, "", "free order "+id, reason, func(txn *badger.Txn, w *writes, _ *guardRow) error {
		held, err := has(txn, rowKey(tableHeld, id))
		if err != nil || !held {
			return first(err, fmt.Errorf("order %s is not held back", id))
		}
		var o order.Order
		if ok, err := get(txn, rowKey(tableOrder, id), &o); err != nil || !ok {
			return first(err, fmt.Errorf("order %s is not there", id))
		}
		bonds, err := liveBonds(txn, id)
		if err != nil {
			return err
		}
		if err := e.callAnew(txn, w, &o); err != nil {
			return err
		}
		w.delete(rowKey(tableHeld, id))
		w.then(func() { e.live.takeUp(&o, bonds); e.live.wake() })
		return nil
	})
}
