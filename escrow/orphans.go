package escrow

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// A hold invoice is canceled by a call that stands in the outbox from the moment at which its order or bond gives it
// up, so none is left behind. What is found here was left by a defect, by a store that was put back from a copy, or by
// another mostro with the same keys: its sats are locked, or can be, and no row will ever give them back (M36). It is told to the
// operator and left alone: of whose trade it is, this store does not know. What other software holds at the same node
// does not bear the escrow's mark, a memo whose preimage is the invoice's, and is none of ours.

// Limits of the search.
const (
	orphansEvery = 5 * time.Minute
	orphansTold  = 20 // a round, beside their number
	// oldEnough in a row, made well before the newest of the last round, end a round: there is nothing new behind them.
	oldEnough    = 1000
	orphanMargin = time.Hour // the Lightning node's clock may be set back
)

// Orphan is a hold invoice of this escrow that no order and no bond wants.
type Orphan struct {
	Hash         order.Hash          `json:"hash"`
	Of           string              `json:"of"` // the order or the bond that its memo names
	Attempt      uint32              `json:"attempt"`
	State        lightning.HoldState `json:"state"`                   // open or accepted
	Amount       order.Msat          `json:"amount"`                  // that it asks for
	Paid         order.Msat          `json:"paid,omitempty"`          // that is held in it
	ExpiryHeight uint32              `json:"expiry_height,omitempty"` // of its HTLC
	ExpiresAt    int64               `json:"expires_at"`              // while nobody has paid it
}

// orphanWatch is what is known of the hold invoices of this escrow at the node.
type orphanWatch struct {
	pending map[order.Hash]Orphan // of this escrow, not final when last seen; the search's own
	newest  int64                 // when the newest invoice that was read was made, by the node's clock; the search's own
	failed  bool                  // the last round; the search's own

	mu    sync.Mutex
	found map[order.Hash]Orphan
}

// all lists the orphans, those that hold sats first.
func (w *orphanWatch) all() (list []Orphan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.found {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b Orphan) int {
		return cmp.Or(cmp.Compare(a.State, b.State), bytes.Compare(a.Hash[:], b.Hash[:])) // accepted, open
	})
	return list
}

// watchOrphans looks for them at the start, and every few minutes.
func (e *Engine) watchOrphans(ctx context.Context) {
	e.awaitNode(ctx)
	for {
		wait := orphansEvery
		if e.nodeKnown() != nil { // it may be another one
			wait = nodeEvery
		} else if err := e.findOrphans(ctx); err != nil && ctx.Err() == nil && !e.orphans.failed {
			e.log.Warn("look for hold invoices without an order, will try again", "error", err)
			e.orphans.failed = true
		} else if err == nil {
			e.orphans.failed = false
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// findOrphans is one round. The first reads all invoices of the node, a later one those that are new; what was not final
// then is asked about by its hash.
func (e *Engine) findOrphans(ctx context.Context) error {
	if err := e.readPending(ctx); err != nil {
		return err
	}
	suspects, err := e.unwanted()
	if err != nil {
		return err
	}
	found := map[order.Hash]Orphan{}
	for _, o := range suspects {
		// It may have ended since it was read, and the row that wanted it with it.
		one, cancel := context.WithTimeout(ctx, callTimeout)
		inv, err := e.cfg.Node.Lookup(one, o.Hash)
		cancel()
		switch {
		case errors.Is(err, lightning.ErrNotFound), err == nil && inv.State.Final():
			delete(e.orphans.pending, o.Hash)
			continue
		case err != nil:
			return err
		}
		o.State, o.Amount, o.Paid, o.ExpiryHeight, o.ExpiresAt = inv.State, inv.Amount, inv.AmountPaid, inv.ExpiryHeight, inv.ExpiresAt.Unix()
		found[o.Hash] = o
	}
	e.orphans.mu.Lock()
	was := e.orphans.found
	e.orphans.found = found
	e.orphans.mu.Unlock()
	e.tellOrphans(was)
	return nil
}

// readPending reads the node's invoices back to those that the last round has read.
func (e *Engine) readPending(ctx context.Context) error {
	enough := errors.New("enough")
	newest, old := e.orphans.newest, 0
	err := e.cfg.Node.LatestInvoices(ctx, func(r lightning.InvoiceRecord) error {
		newest = max(newest, r.CreatedAt)
		if old++; r.CreatedAt >= e.orphans.newest-int64(orphanMargin/time.Second) {
			old = 0
		}
		if old > oldEnough {
			return enough
		}
		id, attempt, ok := order.ParseMemo(r.Memo)
		if ok && !r.State.Final() && e.preimage(id, attempt).Hash() == r.Hash {
			e.orphans.pending[r.Hash] = Orphan{Hash: r.Hash, Of: id, Attempt: attempt}
		}
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		return err
	}
	e.orphans.newest = newest
	return nil
}

// unwanted are those of them that no row wants, nor is about to cancel. What an order that is held back wants is not known.
func (e *Engine) unwanted() (list []Orphan, err error) {
	for hash, o := range e.orphans.pending {
		if !e.live.isHold(hash) {
			list = append(list, o)
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	wanted := map[order.Hash]bool{}
	err = e.db.View(func(txn *badger.Txn) error {
		canceling, err := cancels(txn)
		if err != nil {
			return err
		}
		for _, hash := range slices.Concat(slices.Collect(maps.Values(canceling))...) {
			wanted[hash] = true
		}
		if err := eachLive(txn, func(o *order.Order) {
			wanted[o.Escrow.Hash] = wanted[o.Escrow.Hash] || o.Escrow.State.Live()
		}, func(b *order.Bond) {
			wanted[b.Hold.Hash] = wanted[b.Hold.Hash] || b.Held() || b.State == order.BondRequested
		}); err != nil {
			return err
		}
		for _, o := range list {
			back, err := heldBack(txn, o.Of)
			if err != nil {
				return err
			}
			wanted[o.Hash] = wanted[o.Hash] || back
		}
		return nil
	})
	list = slices.DeleteFunc(list, func(o Orphan) bool { return wanted[o.Hash] })
	slices.SortFunc(list, func(a, b Orphan) int { return bytes.Compare(a.Hash[:], b.Hash[:]) })
	return list, err
}

// heldBack tells that an order, or that of a bond, waits for the operator after a defect.
func heldBack(txn *badger.Txn, owner string) (bool, error) {
	var o order.Order
	if _, err := get(txn, rowKey(tableOrder, owner), &o); err != nil {
		return true, nil // it cannot be read
	}
	var b order.Bond
	if there, err := get(txn, rowKey(tableBond, owner), &b); err != nil {
		return true, nil
	} else if there {
		owner = b.Order
	}
	return has(txn, rowKey(tableHeld, owner))
}

// tellOrphans tells each once, and again when it has been paid; and that it has ended.
func (e *Engine) tellOrphans(was map[order.Hash]Orphan) {
	list, told := e.orphans.all(), 0
	for _, o := range list {
		if was[o.Hash].State == o.State {
			continue
		}
		if told++; told > orphansTold {
			continue
		}
		const why = " and belongs to no order and no bond here: was this store put back from a copy, or does another mostro with the same keys use this Lightning node (stop that one)? Ask both parties, run mostro audit; "
		if o.State == lightning.Accepted {
			e.log.Error("alarm: a hold invoice of this escrow holds sats"+why+"lncli cancelinvoice gives them back to who paid them, and the Lightning node does so by itself before the block at which they expire",
				"hash", o.Hash, "of", o.Of, "msat", o.Paid, "expires_at_block", o.ExpiryHeight)
		} else {
			e.log.Error("alarm: a hold invoice of this escrow can be paid"+why+"lncli cancelinvoice ends it, and so does its time",
				"hash", o.Hash, "of", o.Of, "msat", o.Amount, "until", time.Unix(o.ExpiresAt, 0).UTC().Format(time.RFC3339))
		}
	}
	if told > orphansTold {
		e.log.Error("alarm: more hold invoices belong to no order and no bond: mostro status --json lists all", "more", told-orphansTold, "all", len(list))
	}
	for hash, o := range was {
		if !slices.ContainsFunc(list, func(is Orphan) bool { return is.Hash == hash }) {
			e.log.Info("a hold invoice that belonged to no order has ended, or is wanted again", "hash", hash, "of", o.Of)
		}
	}
}
