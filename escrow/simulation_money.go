package escrow

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/audit"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// wrote looks at a row that has just been committed: the money rules, and that the order has gone
// where its table leads (I5).
func (s *Simulation) wrote(key, value []byte) {
	decode := func(v any) bool {
		err := json.Unmarshal(value, v)
		s.breach = first(s.breach, err)
		return err == nil
	}
	switch key[0] {
	case tableOrder:
		var o order.Order
		if decode(&o) {
			s.tellOrder(s.rows[o.ID], &o)
			s.breach = first(s.breach, s.checkOrder(cmp.Or(s.rows[o.ID], &order.Order{}), &o))
			s.rows[o.ID] = &o
		}
	case tableBond:
		var b order.Bond
		if decode(&b) {
			was := cmp.Or(s.bonds[b.ID], &order.Bond{})
			s.breach = first(s.breach, order.CheckBond(&b), s.checkBlame(was, &b), s.noteBond(was, &b))
			s.bonds[b.ID] = &b
		}
	case tableGuard:
		var row guardRow
		if decode(&row) {
			s.latched = row.Latch != nil
			if beyond, _ := row.uncovered(s.e.now()); s.restored == 0 && (s.latched || beyond > 0) {
				s.breach = first(s.breach, fmt.Errorf("I10: trading has paid out %d msat more than came in, the circuit breaker is %v", beyond, s.latched))
			}
		}
	case tableHeld:
		s.breach = first(s.breach, fmt.Errorf("order %s is held back: %s", key[2:], value))
	}
}

// checkBlame is I8: whoever loses his bond for being late had all his time, and in all of it this
// process ran and the node could be used. It is counted here, not by the engine.
func (s *Simulation) checkBlame(was, is *order.Bond) error {
	if is.Slash == nil || was.ID == "" || was.Slash != nil || is.Slash.Reason != order.TimedOut { // a refund is a bond that begins slashed
		return nil
	}
	if s.forgot(is.Hold.Hash) {
		if h, _ := s.hold(is.Hold.Hash); h.State == lightning.Settled { // it was slashed in the forgotten time, for whatever reason
			return nil
		}
	}
	if o := s.rows[is.Order]; o != nil && o.Status == mostro.StatusWaitingPayment {
		if _, ok := s.node.HoldState(o.Escrow.Hash); !ok {
			return fmt.Errorf("I8: bond %s is slashed, and the node does not know the hold invoice that was to be paid", is.ID)
		}
	}
	had, due := s.usable-s.duties[is.Order], time.Duration(is.Terms.WaitingSeconds)*time.Second
	if had < due-time.Second { // the engine counts whole seconds
		return fmt.Errorf("I8: bond %s is slashed after %s of %s", is.ID, had, due)
	}
	return nil
}

// intended is I3: the node is asked for nothing that is not on disk, its try counted.
func (s *Simulation) intended(m lightning.SimMethod, hash order.Hash) error {
	do := map[lightning.SimMethod]order.CallName{
		lightning.SimOpenHold: order.OpenHold, lightning.SimSettle: order.SettleHold, lightning.SimCancel: order.CancelHold, lightning.SimSend: order.Pay,
	}[m]
	if do == "" {
		return nil
	}
	for _, l := range s.e.work.lanes {
		for _, r := range l.rows {
			if r.Call == nil || r.Call.Do != do || r.Call.Hash != hash {
				continue
			}
			var kept row
			err := s.db.View(func(txn *badger.Txn) error {
				_, err := get(txn, r.key(), &kept)
				return err
			})
			if err != nil || kept.Call != nil && kept.Tries > 0 {
				return err
			}
		}
	}
	return fmt.Errorf("I3: the node is asked to %s %s, and nothing on disk says so", do, hash)
}

// tellOrder says what has become of an order.
func (s *Simulation) tellOrder(was, is *order.Order) {
	if s.trace == nil {
		return
	}
	if was == nil {
		was = &order.Order{}
	}
	var news []string
	note := func(what, was, is string) {
		if was != is {
			news = append(news, fmt.Sprintf("%s %s", what, is))
		}
	}
	note("now", string(was.Status), string(is.Status))
	note("escrow", string(was.Escrow.State), string(is.Escrow.State))
	note("payout", fmt.Sprintf("%s %.4s", was.Payout.State, was.Payout.Hash), fmt.Sprintf("%s %.4s", is.Payout.State, is.Payout.Hash))
	if len(news) > 0 {
		s.say("order %.4s: %s", is.ID, strings.Join(news, ", "))
	}
}

func (s *Simulation) checkOrder(was, is *order.Order) error {
	if s.oddity != nil {
		if err := s.oddity(*is); err != nil {
			return err
		}
	}
	if is.Status != was.Status {
		s.duties[is.ID] = s.usable
	}
	switch {
	case is.Rev <= was.Rev:
		return fmt.Errorf("I5: order %s goes from revision %d to %d", is.ID, was.Rev, is.Rev)
	case is.Status != was.Status && !s.leads(was.Status, is.Status) && is.Parent == "":
		return fmt.Errorf("I5: order %s goes from %q to %q, and no row leads there", is.ID, was.Status, is.Status)
	case was.Escrow.State == order.EscrowSettling && is.Escrow.State == order.EscrowCanceled && s.settledAtNode(is.Escrow.Hash):
		return fmt.Errorf("I6: the escrow of %s is canceled after it was settled", is.ID)
	}
	return first(order.CheckMoney(is), s.noteOrder(was, is), s.withinVolume(was, is))
}

func (s *Simulation) settledAtNode(h order.Hash) bool {
	hold, ok := s.hold(h)
	return ok && hold.State == lightning.Settled
}

// leads tells whether a row of the table goes from one status to another.
func (s *Simulation) leads(from, to mostro.Status) bool {
	return slices.ContainsFunc(s.table, func(r order.Row) bool {
		return r.Refuse == "" && r.To == to && slices.Contains(r.From, from)
	})
}

// load is an order as it was last committed.
func (s *Simulation) load(id string) (o order.Order) {
	if row := s.rows[id]; row != nil {
		o = *row
	}
	return o
}

// finishTrades lets everybody do his part, without faults.
func (s *Simulation) finishTrades() error {
	if err := s.settleDown(); err != nil {
		return err
	}
	for _, id := range s.e.live.ids() {
		o := s.load(id)
		// I7: with the engine at rest and the node up, no trade stands on a dead escrow.
		if h, ok := s.hold(o.Escrow.Hash); ok && o.Escrow.State == order.EscrowAccepted && h.State != lightning.Accepted {
			return fmt.Errorf("I7: order %s is %s and its escrow is %s", id, o.Status, h.State)
		}
		if o.Status != mostro.StatusPending {
			if err := s.actOn(o); err != nil {
				return err
			}
		}
	}
	for _, id := range s.e.live.bondIDs() {
		if err := s.actOnBond(id); err != nil {
			return err
		}
	}
	for len(s.holds) > 0 {
		s.payee(0)
	}
	// What hangs ends, also what the store no longer watches, since an old copy of it takes that for failed.
	if err := s.node.Payments(context.Background(), func(p lightning.PaymentRecord) error {
		if p.State == lightning.InFlight {
			s.node.Unstick(p.Hash)
		}
		return nil
	}); err != nil {
		return err
	}
	s.explain(context.Background())
	s.mine(1)
	s.advance(15 * time.Minute)
	return s.settleDown()
}

// settleDown lets everything happen that can happen now.
func (s *Simulation) settleDown() error {
	ctx := context.Background()
	s.e.askNode(ctx)
	s.retry()
	for range 200 {
		for range len(s.e.work.ready[true]) + len(s.e.work.ready[false]) {
			s.work(ctx)
		}
		if err := s.hear(ctx); err != nil {
			return err
		}
		if err := s.ring(ctx); err != nil {
			return err
		}
		if len(s.e.work.ready[true])+len(s.e.work.ready[false]) == 0 {
			return nil
		}
	}
	return fmt.Errorf("the engine does not come to rest")
}

// counted checks that what the engine keeps in memory of live orders is what their rows say.
func (s *Simulation) counted() error {
	fresh := newLiveSet()
	for _, id := range s.e.live.ids() {
		o := s.load(id)
		fresh.moved(&order.Order{}, &o)
	}
	for _, id := range s.e.live.bondIDs() {
		b := s.loadBond(id)
		fresh.movedBond(&order.Bond{}, &b)
	}
	if held, want := s.e.live.heldBonds(), fresh.heldBonds(); held != want {
		return fmt.Errorf("in memory %d bonds are held; the rows say %d", held, want)
	}
	promised, holds := s.e.live.load()
	wantPromised, wantHolds := fresh.load()
	if promised != wantPromised || holds != wantHolds || !maps.Equal(s.e.live.keys, fresh.keys) {
		return fmt.Errorf("in memory %d msat promised, %d holds, %d keys; the rows say %d, %d, %d",
			promised, holds, len(s.e.live.keys), wantPromised, wantHolds, len(fresh.keys))
	}
	return nil
}

// invariants holds after each step, whatever happened.
func (s *Simulation) invariants() error {
	if s.Stats.Steps%16 == 0 {
		if err := s.counted(); err != nil {
			return err
		}
	}
	if s.breach != nil {
		return s.breach
	}
	for _, id := range s.e.live.ids() {
		if err := s.check(s.rows[id]); err != nil {
			return err
		}
	}
	return first(s.bondInvariants(), s.steps())
}

// check compares an order with the node's truth.
func (s *Simulation) check(o *order.Order) error {
	if o == nil {
		return nil
	}
	if err := s.onePayment(o, buyers, o.Payout.Hashes()); err != nil {
		return err
	}
	if o.DevFee != nil {
		if err := s.onePayment(o, devFee, o.DevFee.Payout.Hashes()); err != nil {
			return err
		}
	}
	// I4, I6: nothing is settled without a release or a decision, nothing canceled after one.
	if h, ok := s.hold(o.Escrow.Hash); ok {
		switch {
		case h.State == lightning.Settled && o.Escrow.State != order.EscrowSettling && o.Escrow.State != order.EscrowSettled && !s.forgot(h.Hash):
			return fmt.Errorf("I4: the escrow of %s is settled at the node and %q here", o.ID, o.Escrow.State)
		case h.State != lightning.Settled && o.Escrow.State == order.EscrowSettled:
			return fmt.Errorf("the escrow of %s is %s at the node and settled here", o.ID, h.State)
		case h.State != lightning.Accepted && o.Escrow.State == order.EscrowAccepted && s.told[h.Hash] == string(h.State) && !s.forgot(h.Hash):
			return fmt.Errorf("I7: order %s is %s, and it was told that its escrow is %s", o.ID, o.Status, h.State)
		}
	}
	return nil
}

// forgot tells that a copy of the store was put back since a hold invoice was first written down.
func (s *Simulation) forgot(hold order.Hash) bool {
	d := s.byHold[hold]
	return d != nil && d.forgotten
}

// payment is the truth about a payment, also where the node has deleted it: also when a call that comes late has then
// tried it anew, in vain, since the payee has been paid.
func (s *Simulation) payment(h order.Hash) (lightning.Payment, bool) {
	if p, ok := s.forgotten[h]; ok && p.State == lightning.Succeeded {
		return p, true
	}
	if p, ok := s.node.PaymentState(h); ok {
		return p, true
	}
	p, ok := s.forgotten[h]
	return p, ok
}

// onePayment is I2: at most one payment of a liability is not failed, over all hashes ever
// recorded for it.
func (s *Simulation) onePayment(o *order.Order, of string, hashes []order.Hash) error {
	alive := 0
	for _, h := range hashes {
		if p, ok := s.payment(h); ok && p.State != lightning.Failed {
			alive++
			// No payment before the escrow is settled.
			if of := s.byPayment[h]; o.Escrow.State != order.EscrowSettled && !s.forgot(o.Escrow.Hash) && (of == nil || !of.forgotten) {
				return fmt.Errorf("order %s: payment %s with its escrow %s", o.ID, h, o.Escrow.State)
			}
		}
	}
	if alive > 1 {
		return fmt.Errorf("I2: order %s has %d payments of the %s under way or done", o.ID, alive, of)
	}
	return nil
}

// simBegin is what the node has at first.
const simBegin = 100 * 100_000_000 * 1000

// accounts are drawn at the end: every trade has ended, the public book says so, and the
// node owns exactly what the ledgers say.
func (s *Simulation) accounts() error {
	var net order.Msat
	for _, id := range s.orders {
		o, _, err := s.e.Order(id)
		if err != nil {
			return err
		}
		if kept := s.load(id); !reflect.DeepEqual(o, kept) {
			return fmt.Errorf("order %s is not as it was last committed: %+v and %+v", id, o, kept)
		}
		s.Stats.Ends[o.Status]++
		if err := first(s.check(&o), order.CheckMoney(&o), s.countEvents(id)); err != nil {
			return err
		}
		if !order.Ended(o.Status) {
			return fmt.Errorf("order %s has not ended: %s, payout %q, escrow %q", id, o.Status, o.Payout.State, o.Escrow.State)
		}
		if public, _ := mostro.PublicStatus(o.Kind, o.Status); string(public) != s.public[id] {
			return fmt.Errorf("I9: order %s is %s and the book says %s", id, o.Status, s.public[id])
		}
		net += o.Ledger.SettledIn() - o.Ledger.PaidOut() - o.Ledger.Routing() - s.unbooked(o.Ledger)
		if o.Ledger.PaidOut() > 0 {
			s.Stats.Payouts++
		}
		if !reflect.DeepEqual(o.Terms, s.terms) {
			s.Stats.Kinds[simOldTerms]++
		}
		if len(o.Payout.Earlier) > 0 {
			s.Stats.Kinds[simReplaced]++
		}
		if o.Payout.Address != "" {
			s.Stats.Kinds[simAddress]++
		}
		if order.DevFeePaid(&o) != nil {
			s.Stats.DevFees++
		}
		if !order.Over(&o) {
			return fmt.Errorf("order %s still owes: %+v", id, o.DevFee)
		}
		if h, ok := s.hold(o.Escrow.Hash); ok && !h.State.Final() && !s.orphans[h.Hash] {
			return fmt.Errorf("the escrow of %s is left %s at the node", id, h.State)
		}
	}
	bonds, err := s.bondAccounts()
	if err != nil {
		return err
	}
	net += bonds
	if got := s.node.Funds() - simBegin; got != net && s.restored == 0 { // orders that a copy has forgotten are in no ledger
		return fmt.Errorf("I1: the node has %d msat more than at the beginning, the ledgers say %d", got, net)
	}
	if routed, booked := s.net.Routed(), s.routing(); routed != booked {
		return fmt.Errorf("I1: routing has cost %d msat, and the payments of the ledgers %d", routed, booked)
	}
	if total, minted := s.net.Total(); total != minted {
		return fmt.Errorf("the network holds %d of %d msat", total, minted)
	}
	return s.shownAsOwed()
}

// shownAsOwed is the rest of I1: the operator is shown each sat that a ledger owes, also of what has ended.
func (s *Simulation) shownAsOwed() error {
	status, err := s.e.Status()
	if err != nil {
		return err
	}
	var owed order.Msat
	if err := s.e.Books(func(a audit.Account) error {
		due, _ := a.Ledger.Owes()
		owed += due
		return nil
	}); err != nil {
		return err
	}
	if status.Owed != owed || status.Ended() && owed > 0 {
		return fmt.Errorf("I1: %d msat are owed, and the operator is shown %d; ended %v", owed, status.Owed, status.Ended())
	}
	return nil
}

// routing is what the payments of all deals have cost, also of those that a copy has forgotten.
func (s *Simulation) routing() (sum order.Msat) {
	for hash := range s.byPayment {
		if p, ok := s.payment(hash); ok && p.State == lightning.Succeeded {
			sum += p.RoutingFee
		}
	}
	return sum
}

// countEvents counts what happened to an order, by what is left of its history.
func (s *Simulation) countEvents(id string) error {
	var steps []past
	err := s.db.View(func(txn *badger.Txn) error {
		_, err := get(txn, rowKey(tablePast, id), &steps)
		return err
	})
	for _, each := range steps {
		s.Stats.Events[each.On]++
	}
	return err
}
