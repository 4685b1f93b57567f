package escrow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// errLater means: not now, and not a fault. It is tried again soon, however often.
var errLater = errors.New("waits")

const laterAfter = 2 * time.Second

// callWorker makes the calls to the Lightning node that the outbox holds, for ever: what is
// owed to the node's answer is never given up.
func (e *Engine) callWorker(ctx context.Context) {
	e.awaitNode(ctx)
	for {
		lanes := e.work.take(true, 1)
		if lanes == nil {
			return
		}
		if l := lanes[0]; e.work.rows(l)[0].Call.Do == order.Resolve {
			e.askPayee(ctx, l)
		} else {
			e.callLane(ctx, l)
		}
	}
}

// askPayee makes a call to a payee's server beside the workers: strangers choose the server, and
// however many of them do not answer, the calls to the node go on.
func (e *Engine) askPayee(ctx context.Context, l *laneRows) {
	select {
	case e.resolving <- struct{}{}:
	default:
		e.work.retry(l, laterAfter)
		return
	}
	e.running.Go(func() {
		defer func() { <-e.resolving }()
		e.callLane(ctx, l)
	})
}

// callLane makes the first call of a lane.
func (e *Engine) callLane(ctx context.Context, l *laneRows) {
	r := e.work.rows(l)[0]
	mention := e.mentionLater(ctx, r)
	answer, err := e.call(ctx, r)
	if err == nil {
		err = e.finishCall(ctx, r, answer)
	}
	mention(err != nil)
	if err == nil {
		e.work.finish(l, 1)
		return
	}
	if errors.Is(err, errLater) {
		e.work.retry(l, laterAfter)
		return
	}
	if ctx.Err() == nil {
		e.log.Warn("call to the Lightning node, will try again", "call", r.Call.Do, "hash", r.Call.Hash, "tries", r.Tries, "error", err)
	}
	e.work.retry(l, backoff(r.Tries+r.looks))
}

// How long a person waits at most until he hears what comes of his request: clients read their answer
// after 8 seconds, or forget a take after 10. To whom the node's delay means a refusal, it is given more time.
const (
	answerWithin = 5 * time.Second // that a release counts
	openWithin   = 7 * time.Second // for a hold invoice, however often the node was asked
)

// mentionLater sees to it that who waits for a call hears so: when the call takes long, or, of a settle, when
// it has failed, which the function that it returns is told. Once is enough; after a start it
// is said again only to who was not told.
func (e *Engine) mentionLater(ctx context.Context, r *row) (done func(failed bool)) {
	if r.mentioned || r.Call.Do != order.OpenHold && r.Call.Do != order.SettleHold {
		return func(bool) {}
	}
	var once sync.Once
	mention := func() {
		once.Do(func() {
			ev := e.newEvent(order.CallWaits, r.owner())
			if r.Call.Bond != "" {
				ev.Order, ev.Bond = "", r.Call.Bond
			}
			err := e.apply(ctx, ev)
			if err != nil && ctx.Err() == nil {
				e.log.Warn("tell who waits that the node is away", "call", r.Call.Do, "hash", r.Call.Hash, "error", err)
			}
		})
	}
	stop := func() bool { return true }
	switch {
	case e.inline && r.Call.Do == order.OpenHold: // one step at a time waits by the clock
		return func(failed bool) {
			if failed && r.Since > 0 && e.now()-r.Since >= int64(openWithin/time.Second) {
				mention()
			}
		}
	case e.inline:
	case r.Call.Do == order.OpenHold:
		if r.opens == nil {
			r.opens = time.AfterFunc(openWithin, mention)
		}
		return func(failed bool) {
			if !failed {
				r.opens.Stop()
			}
		}
	default:
		stop = time.AfterFunc(answerWithin, mention).Stop
	}
	return func(failed bool) {
		r.mentioned = !stop() || failed
		if failed {
			mention()
		}
	}
}

// finishCall takes a call off the outbox and applies its answer, in one transaction. There is
// one answer at most: two steps of an order cannot share a transaction.
func (e *Engine) finishCall(ctx context.Context, r *row, answer *order.Event) error {
	id := r.owner()
	return e.submit(ctx, e.blamed(r), func(txn *badger.Txn, w *writes) error {
		if answer != nil {
			ev := *answer
			if ev.Order = id; r.Call.Bond != "" {
				ev.Order, ev.Bond = "", id
			}
			if err := e.stepOrder(txn, w, ev, nil); err != nil {
				return err
			}
		}
		w.delete(r.key())
		return nil
	})
}

// call makes one call and says what is known afterwards. An error means that nothing is
// known, and that the same call is to be made again.
func (e *Engine) call(ctx context.Context, r *row) (*order.Event, error) {
	if err := e.nodeKnown(); err != nil && r.Call.Do != order.Resolve {
		return nil, err
	}
	if err := e.mayCall(ctx, r); err != nil {
		if answer := e.arrived(ctx, r, err); answer != nil {
			return answer, nil
		}
		return nil, err
	}
	if answer, err := e.beforeSettle(ctx, r); answer != nil || err != nil {
		return answer, err
	}
	wanted, err := e.claim(ctx, r)
	if err != nil || !wanted {
		return nil, err
	}
	c := *r.Call
	if c.Do == order.Resolve {
		return e.resolve(ctx, c)
	}
	inTime, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch c.Do {
	case order.OpenHold:
		return e.openHold(inTime, c, r)
	case order.SettleHold:
		return e.settleHold(inTime, c, r)
	case order.CancelHold:
		return e.cancelHold(inTime, c)
	// These ask about all payments that were tried before, and each question has its own time.
	case order.Pay:
		return e.pay(ctx, c, r)
	case order.LookAgain:
		p, err := e.trackEarlier(ctx, c)
		if err != nil || p.State != lightning.Succeeded {
			return nil, err
		}
		return e.paymentEvent(order.PaySucceeded, p, c.Try), nil
	}
	return nil, fmt.Errorf("unknown call %q", c.Do)
}

// claim counts the try on disk before it is made, and finds out whether the order still
// wants the call: it may have moved on since it was queued.
func (e *Engine) claim(ctx context.Context, r *row) (wanted bool, err error) {
	err = e.submit(ctx, e.blamed(r), func(txn *badger.Txn, w *writes) error {
		if wanted, err = stillWanted(txn, r); err != nil || !wanted {
			return err
		}
		if waitsWhileHeld[r.Call.Do] {
			if err := notHeld(txn, r); err != nil {
				return err
			}
		}
		counted := *r
		counted.Tries++
		if counted.Since == 0 {
			counted.Since, counted.Uptime = e.now(), e.up()+1
		}
		if r.Call.Do == order.Pay {
			if counted.epoch, err = nextEpoch(txn, w); err != nil {
				return err
			}
		}
		w.then(func() {
			r.Tries, r.Since, r.Uptime, r.epoch = counted.Tries, counted.Since, counted.Uptime, counted.epoch
		})
		return w.set(r.key(), counted)
	})
	return wanted, err
}

// blamed is the order that a defect of a call is held against.
func (e *Engine) blamed(r *row) string {
	if r.Call.Bond != "" {
		return e.live.orderOf(r.Call.Bond)
	}
	return r.owner()
}

// waitsWhileHeld are the calls that are not made for an order that is held back: its books are in
// doubt, so nothing goes out and nothing more comes in. A settle and a cancel still go out. Both
// were decided and written down before the defect, and both have a deadline: of a settle that
// waits, the node would give the sats back to a seller who has released them; of a cancel, it
// would lock a seller's sats for nothing. What they bring about is booked once the order is freed.
var waitsWhileHeld = map[order.CallName]bool{order.Pay: true, order.Resolve: true, order.OpenHold: true}

// notHeld refuses, with errLater, a call for an order that is held back.
func notHeld(txn *badger.Txn, r *row) error {
	id := r.owner()
	if r.Call.Bond != "" {
		var b order.Bond
		if _, err := get(txn, rowKey(tableBond, id), &b); err != nil {
			return &defect{err}
		}
		id = b.Order
	}
	held, err := has(txn, rowKey(tableHeld, id))
	if err == nil && held {
		err = fmt.Errorf("order %s is held back: %w", id, errLater)
	}
	return err
}

// stillWanted asks the order or the bond that a call is for.
func stillWanted(txn *badger.Txn, r *row) (bool, error) {
	var o order.Order
	var b order.Bond
	if r.Call.Bond != "" {
		if _, err := get(txn, rowKey(tableBond, r.owner()), &b); err != nil {
			return false, &defect{err}
		}
		return order.WantedBond(&b, *r.Call), nil
	}
	if _, err := get(txn, rowKey(tableOrder, r.owner()), &o); err != nil {
		return false, &defect{err}
	}
	return order.Wanted(&o, *r.Call), nil
}

func (e *Engine) holdEvent(name order.EventName, h lightning.HoldInvoice) *order.Event {
	ev := e.newEvent(name, "")
	ev.Hold = &order.HoldNotice{Hash: h.Hash, Invoice: h.Invoice, Paid: h.AmountPaid, ExpiryHeight: h.ExpiryHeight}
	return &ev
}

func (e *Engine) openHold(ctx context.Context, c order.Call, r *row) (*order.Event, error) {
	inv, err := e.cfg.Node.OpenHold(ctx, lightning.HoldRequest{
		Hash: c.Hash, Amount: c.Amount, Memo: c.Memo, CLTVDelta: c.CLTVDelta, Expiry: time.Duration(c.Expiry) * time.Second,
	})
	if err != nil {
		return nil, err
	}
	if usedBefore(inv, c, r) {
		return e.holdEvent(order.HoldUsed, inv), nil
	}
	if inv.Amount != c.Amount {
		return nil, fmt.Errorf("alarm: the node has a hold invoice %s over %d msat instead of %d", c.Hash, inv.Amount, c.Amount)
	}
	return e.holdEvent(order.HoldOpened, inv), nil
}

// clockSkew is how far the node's clock and ours may be apart.
const clockSkew = time.Minute

// usedBefore tells that the node had a hold invoice before this store asked for it: the store was
// put back from a copy which has forgotten that attempt, and whose trade it was. Only one that is
// open and was made after our first try is ours, whose answer was lost.
func usedBefore(inv lightning.HoldInvoice, c order.Call, r *row) bool {
	made := inv.ExpiresAt.Add(-time.Duration(c.Expiry) * time.Second)
	ours := r.Tries > 1 && inv.State == lightning.Open && !made.Before(time.Unix(r.Since, 0).Add(-clockSkew))
	return inv.Existed && !ours
}

func (e *Engine) cancelHold(ctx context.Context, c order.Call) (*order.Event, error) {
	err := e.cfg.Node.Cancel(ctx, c.Hash)
	switch {
	case errors.Is(err, lightning.ErrNotFound), errors.Is(err, lightning.ErrAlreadyCanceled):
		return nil, nil // never opened, or gone already
	case errors.Is(err, lightning.ErrAlreadySettled):
		// A store that was put back from a copy does not know; what came in says the node.
		inv, err := e.cfg.Node.Lookup(ctx, c.Hash)
		if err != nil {
			return nil, err
		}
		return e.holdEvent(order.HoldSettled, inv), nil
	case err != nil:
		return nil, err
	}
	return nil, nil
}

func (e *Engine) paymentEvent(name order.EventName, p lightning.Payment, try int64) *order.Event {
	ev := e.newEvent(name, "")
	ev.Payment = &order.PaymentNotice{Hash: p.Hash, Try: try, Routing: p.RoutingFee, Reason: strings.ToValidUTF8(p.Reason[:min(len(p.Reason), maxReason)], "")}
	return &ev
}

// maxReason bounds the words of others that go into a history [bytes].
const maxReason = 300

// pay sends a payment, after making sure that none of the order is under way: the hashes
// tried before must still be known as failed, and this one must not have been sent already.
func (e *Engine) pay(ctx context.Context, c order.Call, r *row) (*order.Event, error) {
	earlier, err := e.trackEarlier(ctx, c)
	switch {
	case err != nil:
		return nil, err
	case earlier.State == lightning.Succeeded:
		if r.Tries > 1 { // an earlier try, whose answer was lost, may have sent this one
			if p, err := e.track(ctx, c.Hash); err == nil && p.State != lightning.Failed {
				e.log.Error("alarm: two payments of one liability", "hash", earlier.Hash, "and", c.Hash, "state", p.State)
			}
		}
		return e.paymentEvent(order.PaySucceeded, earlier, c.Try), nil
	case earlier.State == lightning.InFlight:
		if r.Tries%60 == 1 {
			e.log.Error("alarm: a payment that was reported failed is in flight; nothing else is paid until it ends", "hash", earlier.Hash, "instead_of", c.Hash)
		}
		return nil, fmt.Errorf("payment %s is in flight: %w", earlier.Hash, errLater)
	}
	p, err := e.track(ctx, c.Hash)
	switch {
	case errors.Is(err, lightning.ErrNotFound), err == nil && p.State == lightning.Failed:
		p, err = e.send(ctx, c, r)
	}
	p.Hash = c.Hash
	switch {
	case errors.Is(err, errUnheard):
		p.Reason = err.Error()
		return e.paymentEvent(order.PayUnheard, p, c.Try), nil
	case errors.Is(err, lightning.ErrRefused) && e.tried(r) < unknownAfter && r.Tries > 1:
		// lnd refuses an expired invoice before it looks whether it has paid it. An earlier
		// try whose answer was lost must have had the time to show up first.
		return nil, fmt.Errorf("%w, after a try without an answer: %w", err, errLater)
	case errors.Is(err, lightning.ErrRefused):
		p.Reason = err.Error()
		return e.paymentEvent(order.PayRefused, p, c.Try), nil
	case errors.Is(err, lightning.ErrInFlight), errors.Is(err, lightning.ErrAlreadyPaid):
		return e.paymentEvent(order.PayAcked, p, c.Try), nil
	case err != nil:
		return nil, err
	}
	name, final := finalEvent[p.State]
	if !final {
		name = order.PayAcked
	}
	return e.paymentEvent(name, p, c.Try), nil
}

// trackEarlier finds the first of the earlier payments that has not failed, if there is one.
func (e *Engine) trackEarlier(ctx context.Context, c order.Call) (lightning.Payment, error) {
	for _, h := range c.Earlier {
		p, err := e.track(ctx, h)
		if errors.Is(err, lightning.ErrNotFound) {
			continue // reported failed, and deleted since
		}
		if p.Hash = h; err != nil || p.State != lightning.Failed {
			return p, err
		}
	}
	return lightning.Payment{}, nil
}

// arrived finds the payment of a payout that waits because of a stray, when it was made in the time that the store has
// forgotten: with a hash that it knows, no operator has to say so, and no other payment over the same amount is taken for it.
func (e *Engine) arrived(ctx context.Context, r *row, why error) *order.Event {
	if r.Call.Do != order.Pay || !errors.Is(why, errStray) {
		return nil
	}
	for _, h := range append(slices.Clone(r.Call.Earlier), r.Call.Hash) {
		p, err := e.track(ctx, h)
		if p.Hash = h; err == nil && p.State == lightning.Succeeded {
			return e.paymentEvent(order.PaySucceeded, p, r.Call.Try)
		}
	}
	return nil
}

// finalEvent is the event of a final state of a payment.
var finalEvent = map[lightning.PaymentState]order.EventName{
	lightning.Succeeded: order.PaySucceeded,
	lightning.Failed:    order.PayFailed,
}

// resolve asks the payee's server for an invoice. Whatever it answers is an answer: the order
// counts it as a try, and asks the buyer for an invoice after the last.
func (e *Engine) resolve(ctx context.Context, c order.Call) (*order.Event, error) {
	unresolved := func(reason string) (*order.Event, error) {
		return e.paymentEvent(order.PayUnresolved, lightning.Payment{Reason: reason}, c.Try), nil
	}
	if e.cfg.Resolve == nil {
		return unresolved("addresses are not resolved here")
	}
	asked, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	text, err := e.cfg.Resolve(asked, c.Address, c.Amount)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return unresolved(err.Error())
	}
	inv, err := lightning.Decode(text)
	if err != nil {
		return unresolved(err.Error())
	}
	ev := e.paymentEvent(order.PayResolved, lightning.Payment{Hash: inv.Hash}, c.Try)
	ev.Invoice = &inv
	return ev, nil
}

// track asks for the present state of a payment. It does not wait for the node for ever: whoever
// asks is a worker that others need, or an operator.
func (e *Engine) track(ctx context.Context, h order.Hash) (p lightning.Payment, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got := false
	err = e.cfg.Node.Track(ctx, h, func(now lightning.Payment) {
		if !got {
			p, got = now, true
			cancel()
		}
	})
	if got {
		return p, nil
	}
	if err == nil {
		err = errors.New("the node said nothing")
	}
	return p, err
}
