package escrow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// A payment that the node has not acknowledged is sent again: it writes a payment down before the first
// HTLC goes out, so that one it does not know was never begun. But there may be invoices that it never
// acknowledges. It once died of one, and would do so again at each try, and while it is down the HTLCs
// of all other trades run out. So there is an end to the tries.

const (
	// maxUnheard is how often the node is told to send a payment of which it says nothing.
	maxUnheard = 5
	// quickUnheard of them follow each other soon: mostly the node was just started anew. Before each
	// later one, and before the payment is given up, it has unknownAfter to show what it knows.
	quickUnheard = 2
)

// errUnheard means that a payment is not to be sent any more.
var errUnheard = fmt.Errorf("the node was told %d times to send it, without a word of it, and does not know of any payment under way", maxUnheard)

// send tells the node to send a payment that it was just asked about, and does not know or has called
// failed. errUnheard, once it was told so often enough.
func (e *Engine) send(ctx context.Context, c order.Call, r *row) (lightning.Payment, error) {
	left := unknownAfter - time.Duration(e.up()-r.SentUptime)*time.Second
	switch {
	case r.Unheard >= quickUnheard && left > 0:
		return lightning.Payment{}, fmt.Errorf("the node was told %d times to send it, without a word of it; it has %v more to show it", r.Unheard, left)
	case r.Unheard >= maxUnheard:
		return lightning.Payment{}, errUnheard
	}
	if err := e.beforeSend(ctx, r); err != nil {
		return lightning.Payment{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	p, err := e.cfg.Node.Send(ctx, lightning.PayRequest{
		Invoice: c.Invoice, Amount: c.Amount, FeeLimit: c.FeeLimit, CLTVLimit: e.cfg.Settings.PayoutCLTV,
		MaxParts: e.cfg.Settings.PayoutParts, Timeout: e.cfg.Settings.PayoutTimeout,
	})
	if unheard(err) { // on disk with the claim of the next try
		r.Unheard, r.SentUptime = r.Unheard+1, e.up()
	}
	return p, err
}

// unheard tells that nothing is known of a payment after an answer to Send.
func unheard(err error) bool {
	for _, known := range []error{nil, lightning.ErrRefused, lightning.ErrInFlight, lightning.ErrAlreadyPaid} {
		if errors.Is(err, known) {
			return false
		}
	}
	return true
}
