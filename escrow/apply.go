package escrow

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

func (e *Engine) preimage(id string, attempt uint32) order.Preimage {
	return Preimage(e.cfg.EscrowSecret, id, attempt)
}

// Preimage derives the secret of an order's escrow attempt. It is never stored: whoever has
// the escrow secret and the memo of a hold invoice can make it again.
func Preimage(secret EscrowSecret, id string, attempt uint32) order.Preimage {
	info := fmt.Sprintf("mostro escrow preimage v1 %s/%d", id, attempt)
	b, err := hkdf.Key(sha256.New, secret.bytes(), nil, info, 32)
	if err != nil {
		panic(err) // only for absurd lengths
	}
	return order.NewPreimage([32]byte(b))
}

// apply submits an event of the node or the clock. Stale ones change nothing.
func (e *Engine) apply(ctx context.Context, ev order.Event) error {
	return e.submit(ctx, ev.Order, func(txn *badger.Txn, w *writes) error {
		return e.stepOrder(txn, w, ev, nil)
	})
}

// stepOrder loads, steps, and collects what to write. A refusal is written too: as the
// answer to who asked.
func (e *Engine) stepOrder(txn *badger.Txn, w *writes, ev order.Event, given *request) error {
	var prev order.Order
	if ev.Bond != "" { // which says whose it is: a maker's bond moves on with his range
		var b order.Bond
		if ok, err := get(txn, rowKey(tableBond, ev.Bond), &b); err != nil || !ok {
			return err
		}
		ev.Order = b.Order
	}
	w.blame = ev.Order
	if w.stepped {
		return &defect{fmt.Errorf("a second step in one operation: %s", ev.On)} // it would not see the first
	}
	w.stepped = true
	if ev.Order == "" && ev.Message != nil && ev.Message.Action != mostro.NewOrder {
		return e.answer(txn, w, ev, order.Refusal(ev.Sender, *ev.Message, mostro.NotFound, false), laneOf(ev), 0)
	}
	if ev.Order != "" {
		held, err := has(txn, rowKey(tableHeld, ev.Order))
		if err != nil || held {
			return first(err, errHeld)
		}
		ok, err := get(txn, rowKey(tableOrder, ev.Order), &prev)
		if err != nil {
			return &defect{err}
		}
		if !ok {
			if ev.Message == nil {
				return nil
			}
			return e.answer(txn, w, ev, order.Refusal(ev.Sender, *ev.Message, mostro.NotFound, false), laneOf(ev), 0)
		}
	}
	facts, err := e.facts(txn, &prev, ev, given)
	if err != nil {
		return err
	}
	out, err := e.machine.Step(prev, ev, facts)
	if err != nil {
		return &defect{err}
	}
	for _, alarm := range out.Alarms {
		e.log.Error("alarm: " + alarm)
	}
	next := &out.Order
	if err := e.disproved(txn, w, &prev, ev); err != nil {
		return err
	}
	if out.Row < 0 || out.Refusal != "" {
		if out.Refusal == "" && len(out.Bonds) == 0 {
			e.log.Debug("stale event", "event", ev.On, "order", ev.Order, "status", prev.Status)
		}
	} else if err := e.keep(txn, w, &prev, next, ev, facts, out); err != nil {
		return err
	}
	if err := e.keepBonds(txn, w, &prev, next, ev, facts, out); err != nil {
		return err
	}
	if err := e.guard(txn, w, &prev, next, ev, out); err != nil {
		return err
	}
	if out.Child != nil {
		if err := e.bear(txn, w, next, out.Child, ev, facts); err != nil {
			return err
		}
	}
	if out.Rated != nil {
		if err := e.rate(txn, w, ev, *out.Rated); err != nil {
			return err
		}
	}
	tell := e.tell
	if len(out.Bonds) == 0 && (out.Row < 0 || out.Refusal != "") || said(&prev, ev, out) {
		tell = e.answer
	}
	for i, t := range out.Tells {
		if err := tell(txn, w, ev, t, laneOf(ev, next.ID), i); err != nil {
			return err
		}
	}
	for _, c := range out.Calls {
		owner := next.ID
		if c.Bond != "" {
			owner = c.Bond
		}
		if err := e.queue(w, lane(owner, laneCalls), row{Call: &c}); err != nil {
			return err
		}
	}
	return nil
}

// keep writes the order and everything that is a function of it.
func (e *Engine) keep(txn *badger.Txn, w *writes, prev, next *order.Order, ev order.Event, facts order.Facts, out order.Out) (err error) {
	if ev.Transport != 0 {
		w.mark(rowKey(tableKey, ev.Sender), []byte{byte(ev.Transport)})
	}
	if said(prev, ev, out) {
		return nil
	}
	if err := w.set(rowKey(tableOrder, next.ID), next); err != nil {
		return err
	}
	if err := keepHistory(txn, w, next, history{Event: ev, Facts: facts, From: string(prev.Status), To: string(next.Status), Row: out.Row}); err != nil {
		return err
	}
	if over := order.Over(next); over && !order.Over(prev) {
		w.delete(rowKey(tableLive, next.ID))
	} else if !over && prev.Status == "" {
		w.mark(rowKey(tableLive, next.ID), nil)
	}
	keepByHand(w, next.ID, order.Over(prev) && prev.Ledger.Overpaid() > 0, order.Over(next) && next.Ledger.Overpaid() > 0)
	for _, h := range order.Claims(prev) {
		if !slices.Contains(order.Claims(next), h) {
			w.delete(rowKey(tableHash, h.String()))
		}
	}
	for _, h := range order.Claims(next) {
		w.mark(rowKey(tableHash, h.String()), []byte(next.ID))
	}
	if err := keepStandings(txn, w, prev, next, out.Bonds); err != nil {
		return err
	}
	if err := keepLive(w, prev, next); err != nil {
		return err
	}
	if out.UseIndex > 0 {
		u := user{Since: ev.At}
		if _, err := get(txn, rowKey(tableUser, out.UsedBy), &u); err != nil {
			return &defect{err}
		}
		u.LastIndex = max(u.LastIndex, out.UseIndex)
		if err := w.set(rowKey(tableUser, out.UsedBy), u); err != nil {
			return err
		}
	}
	if out.FreeIndex > 0 {
		var u user
		if _, err := get(txn, rowKey(tableUser, out.UsedBy), &u); err != nil {
			return &defect{err}
		}
		if u.LastIndex == out.FreeIndex { // else he has used a later one
			u.LastIndex--
			if err := w.set(rowKey(tableUser, out.UsedBy), u); err != nil {
				return err
			}
		}
	}
	// What was never in the book, for want of the maker's bond, does not leave it either.
	shown := order.Book(prev)
	if book := order.Book(next); book != nil && (shown != nil || book.Status == mostro.StatusPending) && (out.Republish || !reflect.DeepEqual(book, shown)) {
		offer, err := e.bookEvent(txn, next, book, ev.At)
		if err != nil {
			return err
		}
		if err := e.publish(txn, w, lane(next.ID, laneTells), offer, next.ID); err != nil {
			return err
		}
	}
	if d := next.Dispute; d != nil && !reflect.DeepEqual(d, prev.Dispute) {
		w.mark(rowKey(tableDispute, d.ID), []byte(next.ID))
		state := mostro.DisputeState{ID: d.ID, Status: string(d.Status), Initiator: d.Initiator, CreatedAt: d.CreatedAt,
			Expiration: ev.At + int64(e.cfg.Settings.DisputeDays)*86400}
		if err := e.publish(txn, w, lane(next.ID, laneTells), mostro.DisputeEvent(state, e.instance()), d.ID); err != nil {
			return err
		}
	}
	if paid := order.DevFeePaid(next); paid != nil && order.DevFeePaid(prev) == nil {
		fee := mostro.DevFeePayment{OrderID: next.ID, Amount: int64(paid.Amount.Sat()), Hash: paid.Hash.String(), Destination: next.DevFee.Payout.Address,
			Expiration: ev.At + int64(e.cfg.Settings.DevFeeDays)*86400}
		if err := e.publish(txn, w, lane(next.ID, laneTells), mostro.DevFeeEvent(fee, e.instance()), next.ID); err != nil {
			return err
		}
	}
	was, is := *prev, *next
	w.claims.add(claimed(&was, &is))
	w.then(func() { e.live.moved(&was, &is) })
	return nil
}

// keepByHand notes what is over and owes something still: what was paid in too much, which nobody but the operator gives
// back. It is not among what is live, and must be shown as owed all the same.
func keepByHand(w *writes, id string, was, is bool) {
	switch {
	case is && !was:
		w.mark(rowKey(tableByHand, id), nil)
	case was && !is:
		w.delete(rowKey(tableByHand, id))
	}
}

// said tells that a message was answered and has changed nothing, like a rating that comes again.
// Nothing is kept of it: whoever repeats himself must not make an order's history grow for ever.
func said(prev *order.Order, ev order.Event, out order.Out) bool {
	same := out.Order
	same.Rev = prev.Rev
	return ev.Message != nil && len(out.Bonds) == 0 && out.UseIndex == 0 && out.Child == nil && !out.Republish && reflect.DeepEqual(*prev, same)
}

// request is what was found out about a message before it reached the writer.
type request struct {
	invoice    *order.Invoice
	invoiceBad string
	address    string
	noRoute    bool
}

// facts loads what Step must know of other rows and of the world.
func (e *Engine) facts(txn *badger.Txn, o *order.Order, ev order.Event, given *request) (f order.Facts, err error) {
	f = order.Facts{Terms: e.cfg.Settings.Terms, Rules: e.cfg.Settings.Rules}
	f.Node, f.Closed, f.Uptime, f.Run = e.nodeFacts(), e.closed(ev.At), e.up(), e.run
	if err := e.bondFacts(txn, o, ev, &f); err != nil {
		return f, err
	}
	if ev.Invoice != nil {
		if f.HashOwner, err = e.hashOwner(txn, ev.Invoice); err != nil {
			return f, err
		}
	}
	if o.ID != "" && (ev.Message != nil || ev.Bond != "" || ev.On == order.HoldUsed) {
		f.NextHash = e.preimage(o.ID, o.Escrow.Attempt+1).Hash()
	}
	if ev.Message == nil {
		return f, e.peopleFacts(txn, o, ev, &f)
	}
	fiat := o.FiatCode
	if o.ID == "" {
		fiat = ev.Message.Payload.Order.FiatCode
	}
	if p, ok := e.cfg.Prices(fiat); ok {
		f.Price = &p
	}
	if f.Proof, err = e.proof(o, ev); err != nil {
		return f, err
	}
	if given != nil {
		f.Invoice, f.InvoiceBad, f.Address, f.Node.NoRoute = given.invoice, given.invoiceBad, given.address, given.noRoute
	}
	if f.Invoice != nil {
		if f.HashOwner, err = e.hashOwner(txn, f.Invoice); err != nil {
			return f, err
		}
	}
	return f, e.userFacts(txn, o, ev, &f)
}

// holdOwner is the owner of the hashes of hold invoices: nobody who may be paid. The preimage is
// this node's, so a payment of such a hash could come back to it as the payment of an escrow.
const holdOwner = "a hold invoice of this node"

// hashOwner is whose the payment hash of an invoice is already, "" for nobody's.
func (e *Engine) hashOwner(txn *badger.Txn, inv *order.Invoice) (string, error) {
	if e.live.isHold(inv.Hash) {
		return holdOwner, nil
	}
	return text(txn, rowKey(tableHash, inv.Hash.String()))
}

// tell queues a message to a person, on the transport that his key last used.
func (e *Engine) tell(txn *badger.Txn, w *writes, ev order.Event, t order.Tell, lane string, n int) error {
	return e.tellFor(txn, w, ev, t, lane, n, int64(e.cfg.Settings.MessageDays))
}

// answer is tell for the answer to a message that has changed nothing. Anybody can ask for as many as he likes, from keys
// that are made for one each: what is for nobody with a trade is not kept longer than clients look back for answers.
func (e *Engine) answer(txn *badger.Txn, w *writes, ev order.Event, t order.Tell, lane string, n int) error {
	days := int64(e.cfg.Settings.MessageDays)
	if !e.live.knows(t.To) && e.level(txn, t.To) == order.NoSolver {
		days = min(days, answerDays)
	}
	return e.tellFor(txn, w, ev, t, lane, n, days)
}

// answerDays is how long answers to strangers stay on the relay. mostro-cli reads two days back.
const answerDays = 2

func (e *Engine) tellFor(txn *badger.Txn, w *writes, ev order.Event, t order.Tell, lane string, n int, days int64) error {
	transport := mostro.NIP44
	for _, key := range []string{t.Like, t.To} {
		kept, err := text(txn, rowKey(tableKey, key))
		if err != nil {
			return err
		}
		if kept != "" {
			transport = mostro.Transport(kept[0])
		}
	}
	if ev.Transport != 0 && (t.To == ev.Sender || t.To == ev.Identity) {
		transport = mostro.Transport(ev.Transport)
	}
	t.Message.Version = transport.Version()
	plain, err := t.Message.Encode()
	if err != nil {
		return &defect{fmt.Errorf("encode %s: %w", t.Message.Action, err)}
	}
	return e.queue(w, lane, row{Tell: &mostro.Outgoing{
		Transport: transport, To: t.To, Plaintext: plain, CreatedAt: ev.At,
		Expiration: ev.At + days*86400,
		Seed:       sha256.Sum256(binary.BigEndian.AppendUint32(ev.Seed[:], uint32(n))),
	}})
}

// publish queues a public event. Its created_at rises strictly for each address, over
// restarts too, because readers keep the lowest id of two events of the same second. One that has a
// created_at comes after it.
func (e *Engine) publish(txn *badger.Txn, w *writes, lane string, event nostr.Event, d string) error {
	key := rowKey(tableStamp, fmt.Sprint(event.Kind), d)
	var last int64
	if _, err := get(txn, key, &last); err != nil {
		return &defect{err}
	}
	last = max(last, int64(event.CreatedAt))
	now := e.now()
	if last > now+60 {
		e.log.Error("alarm: the clock was wrong once: an event was stamped in the future, and other relays refuse its successors until then",
			"kind", event.Kind, "d", d, "seconds_ahead", last-now)
	}
	stamp := max(now, last+1)
	if err := w.set(key, stamp); err != nil {
		return err
	}
	event.CreatedAt = nostr.Timestamp(stamp)
	return e.queue(w, lane, row{Event: &event})
}

// instance describes this node in public events; the network comes from LND once it is known.
func (e *Engine) instance() mostro.Instance {
	in := e.cfg.Instance
	if info := e.node.info(); info.Network != "" {
		in.Network = info.Network
	}
	return in
}

// text reads a row that is not JSON; "" when it is not there.
func text(txn *badger.Txn, key []byte) (s string, err error) {
	item, err := txn.Get(key)
	if err == badger.ErrKeyNotFound {
		return "", nil
	}
	if err == nil {
		err = item.Value(func(v []byte) error { s = string(v); return nil })
	}
	if err != nil {
		return "", fmt.Errorf("read row %q: %w", key, err)
	}
	return s, nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// newEvent is news of the node or the clock.
func (e *Engine) newEvent(name order.EventName, id string) order.Event {
	return order.Event{On: name, Order: id, At: e.now(), Seed: e.newSeed()}
}
