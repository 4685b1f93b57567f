package escrow

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/audit"
	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// A store that was put back from a copy has forgotten what was paid since. What it owes may be
// paid: with an invoice that it knows, which the node says when it is asked about the hash
// before each payment; or with one that it does not know. So before any payout the node's own
// list of payments is read. Each payment on it that the store cannot explain is a stray. A
// payout over the same amount, of an order that was there then, waits until an operator has
// said whose the stray is.

// restoredRow is there from the moment at which a store is found to be old, or may be (doubt.go),
// until the node's payments have been read.
type restoredRow struct {
	At  int64  `json:"at"`
	Why string `json:"why"`
	// Since: payments older than this are in the store if the clock was right. Those that the node
	// sent after the last one which the store has booked may not be in it, whatever the clock says.
	Since int64 `json:"since"`
	// Doubt: nothing says that the store is old (doubt.go).
	Doubt bool `json:"doubt,omitempty"`
}

// Stray is a payment of the Lightning node that the store does not know.
type Stray struct {
	Hash    order.Hash `json:"hash"`
	Amount  order.Msat `json:"amount"`
	Routing order.Msat `json:"routing,omitempty"`
	At      int64      `json:"at"`    // it was sent
	Found   int64      `json:"found"` // orders that are newer have nothing to do with it
	// Doubt: nothing but this payment says that the store is old.
	Doubt bool `json:"doubt,omitempty"`
	// Own: the operator has said that it has nothing to do with the escrow. It stays on disk, or the
	// next start would ask him again.
	Own bool `json:"own,omitempty"`
}

// strayMargin is how much earlier than the store's last sign of life a payment may have been
// sent and still not be in it; clocks differ.
const strayMargin = time.Hour

// strayAge is how much older than a trade a payment is that cannot have been for it: a node that has
// long been paid from over the usual amounts is not asked about each of those. It is much more than
// a trade lasts, or than a clock is ahead without being seen.
const strayAge = 30 * 24 * time.Hour

// debt is what may be paid now for an order or a bond that was made at a time.
type debt struct {
	order.Due
	born int64
}

// fits tells whether a payment that was sent at a time may have been for the debt.
func (d debt) fits(amount order.Msat, at, now int64) bool {
	return d.Fits(amount) && !longBefore(at, d.born, now)
}

// longBefore tells that a payment was sent so long before a trade was made that it is not for that. Of a
// trade that was made in the future nothing is known.
func longBefore(at, born, now int64) bool {
	return born <= now && at < born-int64(strayAge/time.Second)
}

// markRestored makes payouts wait.
func markRestored(txn *badger.Txn, w *writes, why string, now int64) error {
	r := restoredRow{At: now, Why: why}
	if _, err := get(txn, []byte{tableAlive}, &r.Since); err != nil {
		return err
	}
	r.Since = max(0, r.Since-int64(strayMargin/time.Second))
	var waits restoredRow // of a restore that was not examined yet
	if there, err := get(txn, []byte{tableRestored}, &waits); err != nil {
		return err
	} else if there {
		r.Since = min(r.Since, waits.Since)
	}
	return first(w.set([]byte{tableRestored}, r), w.set([]byte{tableOld}, now))
}

func (e *Engine) loadRestored(txn *badger.Txn) error {
	var r restoredRow
	there, err := get(txn, []byte{tableRestored}, &r)
	if err != nil {
		return err
	}
	if there {
		e.guards.restored = &r
		if r.Doubt {
			e.log.Info("no payout until the Lightning node's payments have been read: " + r.Why)
		} else {
			e.log.Error("alarm: no payout until the Lightning node's payments have been read: " + r.Why)
		}
	}
	return scan(txn, []byte{tableStray, 0}, true, func(key, value []byte) error {
		var s Stray
		if err := json.Unmarshal(value, &s); err != nil {
			return fmt.Errorf("decode row %q: %w", key, err)
		}
		if !s.Own {
			e.guards.strays[s.Hash] = s
		}
		return nil
	})
}

// examine reads the node's payments when the store may be old, however long it takes to reach it.
func (e *Engine) examine(ctx context.Context) {
	e.awaitNode(ctx)
	for {
		e.guards.mu.Lock()
		r := e.guards.restored
		e.guards.mu.Unlock()
		if r == nil {
			select {
			case <-e.doubted:
			case <-ctx.Done():
				return
			}
			continue
		}
		if e.node.ready() {
			err := e.findStrays(ctx, *r)
			if err == nil {
				continue
			}
			if ctx.Err() == nil {
				e.log.Error("read the Lightning node's payments, will try again; payouts wait for that", "error", err)
			}
		}
		if !sleep(ctx, nodeEvery) {
			return
		}
	}
}

// findStrays lists the payments that the store does not know, and ends the wait.
func (e *Engine) findStrays(ctx context.Context, r restoredRow) error {
	known, booked := map[order.Hash]bool{}, map[order.Hash]bool{}
	var due []debt
	now := e.now()
	found := now // or later, where the clock was ahead: what is there now is not younger
	if err := e.db.View(func(txn *badger.Txn) error {
		owes := func(id string, list []order.Due, made int64) {
			born, err := bornIn(txn, id)
			if err != nil {
				born = 0 // then any payment may be for it
			}
			for _, d := range list {
				due = append(due, debt{d, born})
			}
			found = max(found, made)
		}
		return eachLive(txn, func(o *order.Order) {
			owes(o.ID, order.Dues(o), o.CreatedAt)
		}, func(b *order.Bond) {
			owes(b.ID, b.Dues(), b.CreatedAt)
		})
	}); err != nil {
		return err
	}
	if err := e.Books(func(a audit.Account) error {
		if a.Unread {
			e.log.Error("alarm: an order cannot be read; what was paid for it is not known", "order", a.ID)
		}
		if a.Stray != nil && a.Stray.Own {
			known[a.Stray.Hash] = true
		}
		for _, h := range a.Payout.Claims {
			known[h] = true
		}
		if a.DevFee != nil {
			for _, h := range a.DevFee.Claims {
				known[h] = true
			}
		}
		for _, entry := range a.Ledger {
			known[entry.Hash] = true
			booked[entry.Hash] = booked[entry.Hash] || entry.State == order.Paid
		}
		return nil
	}); err != nil {
		return err
	}
	strays, anchored := []Stray{}, false
	before := func(at int64) bool { return at < r.Since }
	owed := func(amount order.Msat, at int64) bool {
		return slices.ContainsFunc(due, func(d debt) bool { return d.fits(amount, at, now) })
	}
	err := e.cfg.Node.Payments(ctx, func(p lightning.PaymentRecord) error {
		if booked[p.Hash] {
			// The store knew of this one, so what the node sent before is in it, or nobody's here; unless it was sent
			// and booked again after the start. So what could be what is owed now is asked about all the same.
			anchored = true
		}
		if p.State != lightning.Failed && !known[p.Hash] && (owed(p.Amount, p.CreatedAt) || !(anchored && before(p.CreatedAt))) {
			strays = append(strays, Stray{Hash: p.Hash, Amount: p.Amount, Routing: p.RoutingFee, At: p.CreatedAt, Found: found, Doubt: r.Doubt})
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Without a payment that both know only the clock tells what is older than the store, and the clock may have been
	// ahead: what could be what is owed now is asked about all the same, and so is what is not much older. What it paid may
	// be owed only when the trade has come as far again.
	strays = slices.DeleteFunc(strays, func(s Stray) bool {
		return !owed(s.Amount, s.At) && (r.Doubt || !anchored && longBefore(s.At, r.Since, now))
	})
	for some := range slices.Chunk(strays, straysAtOnce) {
		if err := e.keepStrays(ctx, some); err != nil {
			return err
		}
	}
	// All are on disk; only now payouts may go on.
	if err := e.submit(ctx, "", func(txn *badger.Txn, w *writes) error { return e.endDoubt(txn, w, r) }); err != nil {
		return err
	}
	for _, s := range strays {
		e.log.Error("alarm: a payment that the store does not know; payouts over the same amount wait until it is explained: see mostro status",
			"hash", s.Hash, "msat", s.Amount, "sent", time.Unix(s.At, 0).UTC().Format(time.RFC3339))
	}
	e.log.Info("the Lightning node's payments have been read; payouts go on", "unexplained", len(strays))
	return nil
}

// straysAtOnce is how many strays are written in one transaction, which has a size.
const straysAtOnce = 1000

func (e *Engine) keepStrays(ctx context.Context, list []Stray) error {
	return e.submit(ctx, "", func(txn *badger.Txn, w *writes) error {
		var kept []Stray
		for _, s := range list {
			// An order that was made since is paid meanwhile, with a hash that was not known when the reading began.
			if claimed, err := has(txn, rowKey(tableHash, s.Hash.String())); err != nil {
				return err
			} else if claimed {
				continue
			}
			kept = append(kept, s)
			if err := w.set(rowKey(tableStray, s.Hash.String()), s); err != nil {
				return err
			}
		}
		w.then(func() {
			e.guards.mu.Lock()
			defer e.guards.mu.Unlock()
			for _, s := range kept {
				e.guards.strays[s.Hash] = s
			}
		})
		return nil
	})
}

// errStray is errLater for a payout that a stray may have paid.
var errStray = fmt.Errorf("an operator has to say so: %w", errLater)

// notPaidBefore lets a payout of an order wait that a stray may have paid.
func (e *Engine) notPaidBefore(ctx context.Context, id string, amount order.Msat) error {
	e.guards.mu.Lock()
	r := e.guards.restored
	var suspects []Stray
	for _, s := range e.guards.strays {
		if s.Amount == amount {
			suspects = append(suspects, s)
		}
	}
	e.guards.mu.Unlock()
	if r != nil {
		// What was born after a start in good order has no forgotten time.
		if young, err := e.bornAfter(id, r.At); err != nil || !young || !r.Doubt {
			return first(err, fmt.Errorf("the node's payments are not read yet: %w", errLater))
		}
	}
	for _, s := range suspects {
		born, err := e.born(id)
		if err != nil {
			return err
		}
		if born > s.Found || longBefore(s.At, born, e.now()) {
			continue
		}
		p, err := e.track(ctx, s.Hash)
		if err == nil && p.State == lightning.Failed {
			if err := e.forgetStray(ctx, s.Hash); err != nil {
				return err
			}
			continue
		}
		if e.sayOnce(id) {
			e.log.Error("alarm: a payout waits, because a payment that the store does not know was over the same amount: see mostro status",
				"order", id, "msat", amount, "payment", s.Hash)
		}
		return fmt.Errorf("payment %s may have been this one: %w", s.Hash, errStray)
	}
	return nil
}

// born is when an order or a bond was made; what is left of a bond was there when the bond was.
func (e *Engine) born(id string) (at int64, err error) {
	err = e.db.View(func(txn *badger.Txn) error { at, err = bornIn(txn, id); return err })
	return at, err
}

func bornIn(txn *badger.Txn, id string) (at int64, err error) {
	var row struct {
		CreatedAt int64 `json:"created_at"`
	}
	if ok, err := get(txn, rowKey(tableOrder, id), &row); err != nil || ok {
		return row.CreatedAt, err
	}
	for id != "" {
		var b order.Bond
		if _, err := get(txn, rowKey(tableBond, id), &b); err != nil {
			return 0, err
		}
		at, id = b.CreatedAt, b.Parent
	}
	return at, nil
}

func (e *Engine) sayOnce(id string) bool {
	e.guards.mu.Lock()
	defer e.guards.mu.Unlock()
	said := e.guards.told[id]
	e.guards.told[id] = true
	return !said
}

func (e *Engine) forgetStray(ctx context.Context, h order.Hash) error {
	return e.submit(ctx, "", func(_ *badger.Txn, w *writes) error { e.dropStray(w, h); return nil })
}

func (e *Engine) dropStray(w *writes, h order.Hash) {
	w.delete(rowKey(tableStray, h.String()))
	e.endStray(w, h)
}

// endStray lets payouts that a stray has kept waiting go on.
func (e *Engine) endStray(w *writes, h order.Hash) {
	w.then(func() {
		e.guards.mu.Lock()
		defer e.guards.mu.Unlock()
		delete(e.guards.strays, h)
		e.guards.told = map[string]bool{}
	})
}

// ExplainStray says whose a stray is: the payout of an order, its development fee, or the share
// of a bond of that id, which is booked as paid; or with id "" nobody's here, a payment that the
// operator made himself.
func (e *Engine) ExplainStray(ctx context.Context, h order.Hash, id, reason string) error {
	e.guards.mu.Lock()
	stray, there := e.guards.strays[h]
	e.guards.mu.Unlock()
	if !there {
		return fmt.Errorf("payment %s waits for no explanation", h)
	}
	if id == "" {
		return e.change(ctx, "", "payment "+h.String()+" is not the escrow's", reason, func(_ *badger.Txn, w *writes, _ *guardRow) error {
			stray.Own = true
			e.endStray(w, h)
			return w.set(rowKey(tableStray, h.String()), stray)
		})
	}
	p, err := e.track(ctx, h)
	switch {
	case err != nil:
		return fmt.Errorf("ask the Lightning node about payment %s: %w", h, err)
	case p.State != lightning.Succeeded:
		return fmt.Errorf("payment %s is %s: only one that has arrived can be booked", h, p.State)
	}
	due, own, bond, err := e.payable(id)
	if err != nil {
		return err
	}
	if due != stray.Amount {
		return fmt.Errorf("payment %s is over %d msat, and %q has %d to pay now", h, stray.Amount, id, due)
	}
	for _, hash := range own { // what the node proves counts, whatever the payee says
		if p, err := e.track(ctx, hash); err == nil && p.State != lightning.Failed {
			return fmt.Errorf("payment %s, which the books have for %q, is %s: that counts, and is booked by itself when it has ended", hash, id, p.State)
		} else if err != nil && !errors.Is(err, lightning.ErrNotFound) {
			return fmt.Errorf("ask the Lightning node about payment %s: %w", hash, err)
		}
	}
	return e.change(ctx, id, "payment "+h.String()+" paid order "+id, reason, func(txn *badger.Txn, w *writes, _ *guardRow) error {
		p.Hash = h
		ev := e.paymentEvent(order.PayFound, p, 0)
		if ev.Order = id; bond {
			ev.Order, ev.Bond = "", id
		}
		if err := e.stepOrder(txn, w, *ev, nil); err != nil {
			return err
		}
		if len(w.entries) == 0 {
			return errors.New("a payment is under way for it: wait until it has ended")
		}
		e.dropStray(w, h)
		return nil
	})
}

// payable is what is to be paid now to the buyer of an order, as its development fee, or to the
// winner of a bond; 0 = nothing. own are the payments that were tried for it.
func (e *Engine) payable(id string) (due order.Msat, own []order.Hash, bond bool, err error) {
	var row struct {
		Ledger order.Ledger  `json:"ledger"`
		Payout order.Payout  `json:"payout"`
		DevFee *order.DevFee `json:"dev_fee"`
	}
	err = e.db.View(func(txn *badger.Txn) error {
		there, err := get(txn, rowKey(tableOrder, id), &row)
		if err != nil || there {
			return err
		}
		bond, err = get(txn, rowKey(tableBond, id), &row)
		return err
	})
	for _, entry := range row.Ledger {
		if entry.Kind.Payable() && entry.State == order.Owed {
			due, own = entry.Amount, row.Payout.Hashes() // one at a time
			if entry.Kind == order.OwedDev {
				own = row.DevFee.Payout.Hashes()
			}
		}
	}
	return due, own, bond, err
}

func sortStrays(list []Stray) {
	slices.SortFunc(list, func(a, b Stray) int { return cmp.Or(cmp.Compare(a.At, b.At), bytes.Compare(a.Hash[:], b.Hash[:])) })
}
