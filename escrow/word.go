package escrow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// Some liabilities only a person can end: a payout that the node has forgotten after it took it over,
// and what somebody paid in too much. An operator finds out, or pays by hand, and says so here. The
// node is asked first: what it knows counts, whatever he says.

// Payout is what an operator says of the payout of an order, of its development fee, or of the
// share of a bond of that id.
type Payout struct {
	ID string
	// Paid is the payment that has arrived: the one that the node has lost, or one that the operator
	// has made himself for what was paid in too much. Zero: the lost one has not, and never will.
	Paid   order.Hash
	Sure   bool // also though the lost one may still arrive
	Reason string
}

// blockTime is how long a block takes, as far as a wait that only warns is concerned.
const blockTime = 10 * time.Minute

// TellPayout does what follows from the word of an operator, and says what that was.
func (e *Engine) TellPayout(ctx context.Context, p Payout) (string, error) {
	d, err := e.unclear(p.ID)
	if err == nil {
		err = e.nodeKnown()
	}
	if err != nil {
		return "", err
	}
	switch {
	case d.lost != nil && (p.Paid.IsZero() || p.Paid == d.lost.Hash):
		return e.tellLost(ctx, p, d)
	case d.over > 0 && !p.Paid.IsZero():
		return e.tellByHand(ctx, p, d)
	case d.over > 0:
		return "", fmt.Errorf("%q owes %d msat that were paid in too much: give them back, then say with which payment: --paid HASH", p.ID, d.over)
	case d.lost != nil:
		return "", fmt.Errorf("payment %s is not the one of %q that the node has lost, which is %s: say of that whether it has arrived", p.Paid, p.ID, d.lost.Hash)
	}
	return "", fmt.Errorf("nothing of %q waits for your word: the node knows how its payments stand, and nothing was paid in too much", p.ID)
}

// unclear is what of an order or a bond waits for the word of an operator.
type unclear struct {
	bond bool
	lost *order.Payout // the node has forgotten it; nil = none
	over order.Msat    // owed to who paid too much
}

func (e *Engine) unclear(id string) (d unclear, err error) {
	err = e.db.View(func(txn *badger.Txn) error {
		var o order.Order
		if there, err := get(txn, rowKey(tableOrder, id), &o); err != nil || there {
			d.over, d.lost = o.Ledger.Overpaid(), lostOf(&o.Payout)
			if o.DevFee != nil && d.lost == nil {
				d.lost = lostOf(&o.DevFee.Payout)
			}
			return err
		}
		var b order.Bond
		there, err := get(txn, rowKey(tableBond, id), &b)
		if err != nil || !there {
			return first(err, fmt.Errorf("there is no order and no bond %q: mostro audit lists them", id))
		}
		d.bond, d.over, d.lost = true, b.Ledger.Overpaid(), lostOf(&b.Payout)
		return nil
	})
	return d, err
}

func lostOf(p *order.Payout) *order.Payout {
	if p.State != order.PayoutUnknown {
		return nil
	}
	return p
}

// tellLost is about a payment that the node has lost.
func (e *Engine) tellLost(ctx context.Context, p Payout, d unclear) (string, error) {
	hash := d.lost.Hash
	now, err := e.track(ctx, hash)
	now.Hash = hash
	switch {
	case errors.Is(err, lightning.ErrNotFound):
	case err != nil:
		return "", fmt.Errorf("ask the Lightning node about payment %s: %w", hash, err)
	case now.State == lightning.InFlight:
		return "", fmt.Errorf("the Lightning node knows payment %s again: it is in flight, and ends by itself", hash)
	default:
		what := fmt.Sprintf("payment %s of %s: the node knows it again, it is %s", hash, p.ID, now.State)
		err := e.sayStep(ctx, p, d, what, e.paymentEvent(finalEvent[now.State], now, d.lost.Tries))
		return fmt.Sprintf("The Lightning node knows the payment again: it is %s. That counts and is booked, whatever you have found out.", now.State), err
	}
	now = lightning.Payment{Hash: hash, Reason: p.Reason}
	if !p.Paid.IsZero() {
		err := e.sayStep(ctx, p, d, fmt.Sprintf("payment %s has paid %s", hash, p.ID), e.paymentEvent(order.PayVouched, now, 0))
		return "It is booked as paid, with your reason.", err
	}
	// The payee may still hold the HTLC, and take it once another payment has reached him.
	if until := time.Unix(d.lost.Since, 0).Add(time.Duration(e.cfg.Settings.PayoutCLTV) * blockTime); !p.Sure && e.cfg.Clock().Before(until) {
		return "", fmt.Errorf("payment %s may be on its way until about %s, whatever its payee says: wait until then, or say it again with --yes if no channel of the node has an HTLC of it any more",
			hash, until.UTC().Format("2 January 2006"))
	}
	err = e.sayStep(ctx, p, d, fmt.Sprintf("payment %s has not paid %s", hash, p.ID), e.paymentEvent(order.PayDenied, now, 0))
	return "It is given up and is never sent again; the payee is asked for another invoice, or his address is.", err
}

// tellByHand is about a payment that an operator has made for what was paid in too much.
func (e *Engine) tellByHand(ctx context.Context, p Payout, d unclear) (string, error) {
	said := "It is booked as given back, with your reason."
	now, err := e.track(ctx, p.Paid)
	switch {
	case errors.Is(err, lightning.ErrNotFound):
		now = lightning.Payment{}
		said += " The Lightning node does not know that payment: it is your word that counts."
	case err != nil:
		return "", fmt.Errorf("ask the Lightning node about payment %s: %w", p.Paid, err)
	case now.State != lightning.Succeeded:
		return "", fmt.Errorf("payment %s is %s: only one that has arrived can be booked", p.Paid, now.State)
	case now.Amount < d.over || now.Amount >= d.over+1000: // wallets ask for whole sats
		return "", fmt.Errorf("payment %s is over %d msat, and %q owes %d that were paid in too much", p.Paid, now.Amount, p.ID, d.over)
	}
	now.Hash, now.Reason = p.Paid, p.Reason
	return said, e.sayStep(ctx, p, d, fmt.Sprintf("payment %s has given back what was paid too much for %s", p.Paid, p.ID), e.paymentEvent(order.PayByHand, now, 0))
}

// sayStep applies what an operator's word comes to, and keeps it in the log of the guards.
func (e *Engine) sayStep(ctx context.Context, p Payout, d unclear, what string, ev *order.Event) error {
	if ev.Order = p.ID; d.bond {
		ev.Order, ev.Bond = "", p.ID
	}
	return e.change(ctx, p.ID, what, p.Reason, func(txn *badger.Txn, w *writes, _ *guardRow) error {
		if ev.On == order.PayByHand {
			owner, err := text(txn, rowKey(tableHash, ev.Payment.Hash.String()))
			switch {
			case err != nil:
				return err
			case owner != "" || e.live.isHold(ev.Payment.Hash):
				return fmt.Errorf("payment %s is in the books already, of %q: it has not paid this too", ev.Payment.Hash, owner)
			}
			e.dropStray(w, ev.Payment.Hash)
		}
		if err := e.stepOrder(txn, w, *ev, nil); err != nil {
			return err
		}
		if len(w.entries) == 0 {
			return fmt.Errorf("%q has moved on meanwhile: look again with mostro audit", p.ID)
		}
		return nil
	})
}
