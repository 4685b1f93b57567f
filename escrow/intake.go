package escrow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// Receive takes a message to this node; the caller has checked the event's id and
// signature. nil means durably accepted: the answer follows as a message to the trade key.
// The text of an error begins with a NIP-01 prefix and can be the reason of an OK false.
func (e *Engine) Receive(ctx context.Context, ev *nostr.Event) error {
	switch by, known, err := e.seen(ev.ID); {
	case err != nil:
		return err
	case known && by == "": // of an earlier version
		return nil
	case known:
		return e.hear(ctx, by) // its author may read where this copy comes from, and nowhere else
	}
	done, err := e.begin(ctx)
	if err != nil {
		return err
	}
	defer func() { <-e.opened }()
	got, err := e.open(ev, done)
	var bad *mostro.DecodeError
	switch {
	case errors.As(err, &bad) && bad.Answerable():
		if err := e.ration(ctx, ev, got); err != nil {
			return err
		}
		if err := e.hear(ctx, got.Sender); err != nil {
			return err
		}
		got.Message = bad.Partial
		return e.refuse(ctx, ev, got, bad.Reason)
	case err != nil:
		return fmt.Errorf("invalid: %w", err)
	}
	if err := e.checkAge(got); err != nil {
		return err
	}
	if err := e.ration(ctx, ev, got); err != nil {
		return err
	}
	if err := e.hear(ctx, got.Sender); err != nil {
		return err
	}
	if !order.Handles(got.Message.Action) && queries[got.Message.Action] == nil {
		return e.refuse(ctx, ev, got, mostro.InvalidAction)
	}
	if reason, ok := got.Message.CheckShape(); !ok {
		return e.refuse(ctx, ev, got, reason)
	}
	event := e.eventOf(ev, got)
	if query := queries[got.Message.Action]; query != nil {
		return e.query(ctx, ev.ID, got, event, query)
	}
	return e.act(ctx, got, event)
}

// begin waits for the turn of a message, which ends with done, and takes one of the slots in it: before it, one address
// whose messages wait for their turns could have all of them.
func (e *Engine) begin(ctx context.Context) (done func(), err error) {
	done = func() {}
	if e.cfg.Turn != nil {
		done = e.cfg.Turn(ctx)
	}
	select {
	case e.opened <- struct{}{}:
		return done, nil
	default:
		done()
		return nil, errors.New("rate-limited: too many messages are being read, send it again in a moment")
	}
}

// open decrypts a message in its turn.
func (e *Engine) open(ev *nostr.Event, done func()) (mostro.Received, error) {
	defer done() // also when it panics
	return e.opener.Open(ev)
}

// ration keeps strangers from having more answers stored than there is room for. Who has a trade is never refused, nor
// who proves to be a person that has: he asks for his trades with a new key when he has lost his device.
func (e *Engine) ration(ctx context.Context, ev *nostr.Event, got mostro.Received) error {
	if e.cfg.Stranger == nil || e.Known(got.Sender) || e.live.knowsPerson(got.Identity) || e.level(nil, got.Identity) != order.NoSolver {
		return nil
	}
	return e.cfg.Stranger(ctx, ev)
}

// hear says which key has proven itself.
func (e *Engine) hear(ctx context.Context, key string) error {
	if e.cfg.Heard == nil {
		return nil
	}
	if err := e.cfg.Heard(ctx, key); err != nil {
		return fmt.Errorf("error: note where the answer goes: %w", err)
	}
	return nil
}

// act applies a message to its order: the mark that it was heard, and all that follows from
// it, in one transaction.
func (e *Engine) act(ctx context.Context, got mostro.Received, event order.Event) error {
	given := e.look(ctx, got.Message, got.Sender)
	event.At = e.now() // it took a while, and clients take no message that is older than the last
	return e.submit(ctx, event.Order, func(txn *badger.Txn, w *writes) error {
		done, err := e.markSeen(txn, w, event.ID, got)
		if done || err != nil {
			return err
		}
		return e.stepOrder(txn, w, event, given)
	})
}

// refuse answers a message that cannot be acted on.
func (e *Engine) refuse(ctx context.Context, ev *nostr.Event, got mostro.Received, reason mostro.Reason) error {
	event := e.eventOf(ev, got)
	return e.submit(ctx, "", func(txn *badger.Txn, w *writes) error {
		done, err := e.markSeen(txn, w, ev.ID, got)
		if done || err != nil {
			return err
		}
		return e.answer(txn, w, event, order.Refusal(got.Sender, got.Message, reason, e.level(nil, got.Identity) != order.NoSolver), laneOf(event), 0)
	})
}

func (e *Engine) eventOf(ev *nostr.Event, got mostro.Received) order.Event {
	id := got.Message.ID
	switch got.Message.Action {
	case mostro.NewOrder:
		id = "" // the node names its orders
	case mostro.AdminTakeDispute:
		id = e.orderOfDispute(id)
	}
	return order.Event{
		ID: ev.ID, On: order.EventName(got.Message.Action), Order: id, At: e.now(), Seed: e.newSeed(),
		Sender: got.Sender, Identity: got.Identity, Transport: int(got.Transport), Message: &got.Message,
	}
}

// seen tells whether a message was handled before, and which key had sent it. What is not proven leaves no mark.
func (e *Engine) seen(id string) (by string, known bool, err error) {
	err = e.db.View(func(txn *badger.Txn) error {
		if known, err = has(txn, rowKey(tableSeen, id)); err != nil || !known {
			return err
		}
		by, err = text(txn, rowKey(tableSeen, id))
		return err
	})
	if err != nil {
		return "", false, fmt.Errorf("error: look up message: %w", err)
	}
	return by, known, nil
}

// markSeen makes the second hearing of a message do nothing, and notes on which transport
// its key is to be answered.
func (e *Engine) markSeen(txn *badger.Txn, w *writes, id string, got mostro.Received) (done bool, err error) {
	key := rowKey(tableSeen, id)
	if done, err = has(txn, key); done || err != nil {
		return done, err
	}
	w.markFor(key, []byte(got.Sender), seenFor)
	return false, e.noteTransport(txn, w, got)
}

// noteTransport notes how a key speaks. Of parties and solvers, who are told things later, it is
// kept; keep does so for who becomes a party. Strangers, of whom there is no end, have their answer
// with the message itself, and are forgotten like it.
func (e *Engine) noteTransport(txn *badger.Txn, w *writes, got mostro.Received) error {
	key, spoken := rowKey(tableKey, got.Sender), []byte{byte(got.Transport)}
	if e.live.knows(got.Sender) || e.level(txn, got.Sender) != order.NoSolver {
		w.mark(key, spoken)
		return nil
	}
	kept, err := text(txn, key)
	if err == nil && kept != string(spoken) {
		w.markFor(key, spoken, seenFor)
	}
	return err
}

func (e *Engine) checkAge(got mostro.Received) error {
	now, at := e.cfg.Clock(), time.Unix(got.CreatedAt, 0)
	limit := maxAge
	switch got.Message.Action {
	case mostro.NewOrder, mostro.TakeBuy, mostro.TakeSell:
		limit = maxAgeOfOffers
	}
	if age := now.Sub(at); age > limit {
		return fmt.Errorf("invalid: the message is %s old, at most %s is taken for %s; check the clock", age.Round(time.Second), limit, got.Message.Action)
	}
	if at.Sub(now) > maxAhead {
		return fmt.Errorf("invalid: the message is dated %s in the future; check the clock", at.Sub(now).Round(time.Second))
	}
	return nil
}

// look finds out what takes time, before the writer: what the invoice says, and whether
// there is a way to its payee.
func (e *Engine) look(ctx context.Context, m mostro.Message, sender string) *request {
	var text string
	switch p := m.Payload; {
	case p == nil:
	case p.PaymentRequest != nil:
		text = p.PaymentRequest.Invoice
	case p.Order != nil:
		text = p.Order.BuyerInvoice
	}
	if text == "" && m.Action != mostro.TakeBuy && m.Action != mostro.TakeSell {
		return nil
	}
	e.awaitNode(ctx)
	if text == "" {
		return nil
	}
	if e.cfg.IsAddress != nil && e.cfg.IsAddress(text) {
		return &request{address: text}
	}
	inv, err := lightning.Decode(text)
	if err != nil {
		return &request{invoiceBad: err.Error()}
	}
	r := &request{invoice: &inv}
	amount := e.payoutOf(m, sender)
	if inv.Amount > 0 && amount != 0 {
		amount = inv.Amount
	}
	if amount > 0 && e.node.ready() && inv.Payee != e.node.info().Pubkey {
		ctx, cancel := context.WithTimeout(ctx, routeTimeout)
		defer cancel()
		// What the node itself lacks, say with a channel away, is no fault of the invoice.
		r.noRoute = errors.Is(e.cfg.Node.CanRoute(ctx, inv, amount), lightning.ErrRefused) && e.node.local() >= amount
	}
	return r
}

// routeTimeout bounds the question for a route; no answer in time is no objection.
const routeTimeout = 3 * time.Second

// payoutOf is about what an invoice would be paid, 0 when the message will be refused anyhow:
// nobody makes the node look for routes in vain.
func (e *Engine) payoutOf(m mostro.Message, sender string) order.Msat {
	if m.Action == mostro.NewOrder {
		return order.Sat(max(1, m.Payload.Order.Amount)).Msat()
	}
	o, ok, err := e.Order(m.ID)
	switch {
	case err != nil || !ok:
		return 0
	case m.Action == mostro.AddInvoice && o.Buyer.Trade == sender && !o.Payout.State.Busy():
	case m.Action == mostro.TakeSell && o.Status == mostro.StatusPending:
	default:
		return 0
	}
	return max(1000, o.BuyerGets().Msat())
}

// Known tells whether a key is a party of a trade that has not ended, or a solver's. It is exact at every
// moment; the PoW policy asks it.
func (e *Engine) Known(pubkey string) bool {
	return e.live.knows(pubkey) || e.level(nil, pubkey) != order.NoSolver
}
