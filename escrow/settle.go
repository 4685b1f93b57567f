package escrow

import (
	"context"
	"errors"
	"fmt"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// settledInFull refuses an invoice that the node calls settled without having got its sats.
func settledInFull(h lightning.HoldInvoice) error {
	// M9: lnd once said settled when the HTLC had timed out.
	if h.State == lightning.Settled && h.AmountPaid < h.Amount {
		return fmt.Errorf("alarm: the node calls hold invoice %s settled with %d msat of %d; ask it what became of the rest", h.Hash, h.AmountPaid, h.Amount)
	}
	return nil
}

// beforeSettle looks at a hold invoice before the node is asked for the first time to settle it:
// one that is settled already shows that this store is old (doubt.go).
func (e *Engine) beforeSettle(ctx context.Context, r *row) (*order.Event, error) {
	if r.Call.Do != order.SettleHold {
		return nil, nil
	}
	// A node that is behind the chain may not see that the HTLC is about to time out.
	if !e.node.ready() {
		return nil, fmt.Errorf("settle: the node is not ready: %w", errLater)
	}
	if r.Tries > 0 {
		return nil, nil
	}
	r.looks++
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	inv, err := e.cfg.Node.Lookup(ctx, r.Call.Hash)
	switch {
	case errors.Is(err, lightning.ErrNotFound):
		return e.missedSettle(r)
	case err != nil:
		return nil, err
	case inv.State == lightning.Settled:
		return e.holdEvent(order.HoldSettled, inv), settledInFull(inv)
	case e.tooLate(*r.Call): // without counting it as asked: the preimage stays here
		return e.settledLate(*r.Call, inv)
	}
	return nil, nil
}

// settleMargin is how many blocks before its HTLC expires a hold invoice is settled at the latest.
// lnd closes the channel from there on to claim it on the chain (its incoming broadcast delta), and
// then the payer's side may be faster. lnd gives an invoice back before that, at its hold expiry
// delta, unless that is set lower than it warns of.
const settleMargin = 10

func (e *Engine) settleHold(ctx context.Context, c order.Call, r *row) (*order.Event, error) {
	preimage := e.preimage(r.owner(), c.Attempt)
	if preimage.Hash() != c.Hash {
		return nil, fmt.Errorf("alarm: settle %s: the escrow secret is not the one that it was opened with", c.Hash)
	}
	late := e.tooLate(c)
	var err error
	if !late {
		err = e.cfg.Node.Settle(ctx, preimage)
	}
	switch {
	case errors.Is(err, lightning.ErrAlreadyCanceled):
		return e.holdEvent(order.HoldCanceled, lightning.HoldInvoice{Hash: c.Hash}), nil
	case errors.Is(err, lightning.ErrNotFound):
		return e.missedSettle(r)
	case err != nil:
		return nil, err
	}
	// The node's own record, not the absence of an error, moves the order.
	inv, err := e.cfg.Node.Lookup(ctx, c.Hash)
	switch {
	case errors.Is(err, lightning.ErrNotFound):
		return e.missedSettle(r)
	case err != nil:
		return nil, err
	case late && inv.State != lightning.Settled:
		return e.settledLate(c, inv)
	case inv.State != lightning.Settled:
		return nil, fmt.Errorf("hold invoice is %s after it was settled", inv.State)
	}
	if err := settledInFull(inv); err != nil {
		return nil, err
	}
	return e.holdEvent(order.HoldSettled, inv), nil
}

// tooLate tells that a hold invoice must not be settled any more.
func (e *Engine) tooLate(c order.Call) bool {
	return c.Before > 0 && e.node.tip()+settleMargin >= c.Before
}

// settledLate is what follows from a hold invoice that is not settled when it is too late for that.
func (e *Engine) settledLate(c order.Call, inv lightning.HoldInvoice) (*order.Event, error) {
	if inv.State == lightning.Canceled {
		return e.holdEvent(order.HoldCanceled, inv), nil
	}
	return nil, fmt.Errorf("alarm: settle %s: its HTLC expires at block %d, and it is %d: whether the sats would still come in is not certain", c.Hash, c.Before, e.node.tip())
}
