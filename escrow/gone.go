package escrow

import (
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// goneMargin is how many blocks after its HTLC has expired a hold invoice counts as gone for good: a
// day, so that no reorganization and no wrong view of the chain brings it back.
const goneMargin = 144

// missedSettle says what follows when the node does not know a hold invoice that is to be settled: it
// was put back from its seed, or has canceled the invoice and deletes such (gc-canceled-invoices). Nothing
// does before its HTLC is gone: the node may find it again, and a settled one wins then (beforeSettle
// looks each time). After that the liability is void, as when the node cancels, if all of this holds:
//
//   - The node was never asked to settle it. A try is counted on disk before it is made, and nobody but
//     this escrow can make the preimage. So the preimage has left it for nobody, the HTLC cannot have been
//     claimed, and the sats are the seller's: the node has none of them, wherever it was put back from.
//     What the buyer is owed was conditional on them.
//   - This store has not forgotten a try: it was not found to be a copy since the order was made. A try in
//     the forgotten time may have brought the sats in, and they may have been paid out.
//   - No try can follow: the order is canceled in the transaction that takes this call off the outbox.
//
// Else the answer to a try may have been lost with the node's database, and the sats may lie in what was
// recovered of its channels. No record tells; the seller's wallet does. An operator ends it (TellEscrow).
// Either way nothing is paid before somebody has said that it came in.
func (e *Engine) missedSettle(r *row) (*order.Event, error) {
	c, wanted := r.Call, false
	err := e.db.View(func(txn *badger.Txn) (err error) { wanted, err = stillWanted(txn, r); return err })
	if err != nil || !wanted {
		return nil, err // an operator has ended it
	}
	if !e.goneBy(c.Before) {
		return nil, fmt.Errorf("alarm: settle %s: the node does not know the hold invoice any more; its HTLC expires at block %d", c.Hash, c.Before)
	}
	remembered, err := e.remembered(r.owner())
	if err != nil {
		return nil, err
	}
	if r.Tries > 0 || !remembered {
		return nil, fmt.Errorf("alarm: settle %s: the node has lost the hold invoice, and it may have settled it before: find out whether its sats came in, then mostro escrow %s --settled, or --gone, with --reason WHY", c.Hash, r.owner())
	}
	return e.holdEvent(order.HoldGone, lightning.HoldInvoice{Hash: c.Hash}), nil
}

// goneBy tells that an HTLC that expires at a block is gone for good. A node that is behind the chain
// tells nothing.
func (e *Engine) goneBy(expiry uint32) bool {
	return expiry > 0 && e.node.ready() && e.node.tip() >= expiry+goneMargin
}

// Escrow is what an operator says of a hold invoice that was to be settled and that the node has lost:
// the escrow of an order, or the bond of that id.
type Escrow struct {
	ID      string
	Settled bool // its sats have come in; else they never will
	Reason  string
}

// TellEscrow does what follows from the word of an operator, and says what that was.
func (e *Engine) TellEscrow(ctx context.Context, s Escrow) (string, error) {
	hold, u, err := e.settlingHold(s.ID)
	if err == nil {
		err = e.nodeKnown()
	}
	if err != nil {
		return "", err
	}
	look, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	inv, err := e.cfg.Node.Lookup(look, hold.Hash)
	switch {
	case errors.Is(err, lightning.ErrNotFound):
	case err != nil:
		return "", fmt.Errorf("ask the Lightning node about hold invoice %s: %w", hold.Hash, err)
	case inv.State == lightning.Accepted:
		return "", fmt.Errorf("the Lightning node knows hold invoice %s: it is held. If its HTLC has expired (block %d), lncli cancelinvoice %s ends it", hold.Hash, hold.ExpiryHeight, hold.Hash)
	default:
		return "", fmt.Errorf("the Lightning node knows hold invoice %s: it is %s. That counts, and is booked by itself within a minute", hold.Hash, inv.State)
	}
	what, on := "has not brought anything in", order.HoldGone
	if s.Settled {
		what, on = "was settled", order.HoldSettled
		if never, err := e.neverAsked(s.ID, hold.Hash); err != nil || never {
			return "", first(err, fmt.Errorf("LND was never asked to settle hold invoice %s, so nothing has come in, whatever a wallet shows; its HTLC expires at block %d, and %q ends by itself at block %d", hold.Hash, hold.ExpiryHeight, s.ID, hold.ExpiryHeight+goneMargin))
		}
	} else if !e.goneBy(hold.ExpiryHeight) {
		return "", fmt.Errorf("its HTLC expires at block %d, and is gone for good at block %d; it is %d: until then it may still bring its sats in", hold.ExpiryHeight, hold.ExpiryHeight+goneMargin, e.node.tip())
	}
	ev := e.holdEvent(on, lightning.HoldInvoice{Hash: hold.Hash, AmountPaid: hold.Paid, ExpiryHeight: hold.ExpiryHeight})
	ev.Hold.Word = s.Reason
	err = e.sayStep(ctx, Payout{ID: s.ID, Reason: s.Reason}, u, fmt.Sprintf("hold invoice %s of %s %s", hold.Hash, s.ID, what), ev)
	if s.Settled {
		return "It is booked as settled, with your reason; what follows from it is owed and paid.", err
	}
	return "It is canceled, and nothing is owed for it.", err
}

// neverAsked tells that the node was not asked to settle a hold invoice, for all that this store may have forgotten.
func (e *Engine) neverAsked(owner string, hash order.Hash) (never bool, err error) {
	asked := true
	err = e.db.View(func(txn *badger.Txn) (err error) { asked, err = askedToSettle(txn, owner, hash); return err })
	if err != nil || asked {
		return false, err
	}
	return e.remembered(owner)
}

// remembered tells that this store was not found to be a copy since an order or a bond was made: it knows all of it.
func (e *Engine) remembered(owner string) (bool, error) {
	var old int64
	if err := e.db.View(func(txn *badger.Txn) error { _, err := get(txn, []byte{tableOld}, &old); return err }); err != nil {
		return false, err
	}
	return e.bornAfter(owner, old)
}

// settlingHold is the hold invoice of an order or a bond that is to be settled.
func (e *Engine) settlingHold(id string) (hold order.Escrow, u unclear, err error) {
	err = e.db.View(func(txn *badger.Txn) error {
		var o order.Order
		there, err := get(txn, rowKey(tableOrder, id), &o)
		if hold = o.Escrow; err != nil || there {
			return err
		}
		var b order.Bond
		there, err = get(txn, rowKey(tableBond, id), &b)
		if hold, u.bond = b.Hold, true; err != nil || there {
			return err
		}
		return fmt.Errorf("there is no order and no bond %q: mostro audit lists them", id)
	})
	if err == nil && hold.State != order.EscrowSettling {
		err = fmt.Errorf("no settle of %q waits for your word: its hold invoice is %q", id, hold.State)
	}
	return hold, u, err
}
