package escrow

import (
	"context"
	"fmt"
	"slices"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// deal is a hold invoice that an order or a bond has had, and all payments that were ever written
// down for its money. It is kept outside the store, so that it stays where a copy of the store is
// put back that knows less.
type deal struct {
	id      string // of the order or of the bond
	hold    order.Hash
	asked   map[string][]order.Hash // payments, by what they are for
	decided bool                    // its settle was on disk
	terms   order.Terms             // of the order or the bond
	// forgotten: the store was put back from a copy since.
	forgotten bool
}

// dealOf is the deal of a hold invoice.
func (s *Simulation) dealOf(id string, hold order.Hash) *deal {
	d := s.byHold[hold]
	if d == nil {
		d = &deal{id: id, hold: hold, asked: map[string][]order.Hash{}}
		s.byHold[hold] = d
		s.deals = append(s.deals, d)
	}
	return d
}

// ask writes down what a deal pays. What was paid for one that an old copy has forgotten stays that one's, also when the
// copy knows the invoice and takes it for another escrow.
func (s *Simulation) ask(d *deal, what string, hashes []order.Hash) {
	for _, h := range hashes {
		if old := s.byPayment[h]; old != nil && old != d && old.forgotten {
			if p, ok := s.payment(h); ok && p.State != lightning.Failed {
				continue
			}
		}
		if !slices.Contains(d.asked[what], h) {
			d.asked[what] = append(d.asked[what], h)
		}
		s.byPayment[h] = d
	}
}

// noteOrder keeps what a row of an order says of its deal.
func (s *Simulation) noteOrder(was, is *order.Order) error {
	if is.Escrow.Hash.IsZero() {
		return nil
	}
	d := s.dealOf(is.ID, is.Escrow.Hash)
	d.terms = is.Terms
	s.ask(d, buyers, is.Payout.Hashes())
	if is.DevFee != nil {
		s.ask(d, devFee, is.DevFee.Payout.Hashes())
	}
	if settling := order.EscrowSettling; is.Escrow.State == settling && was.Escrow.State != settling {
		d.decided = true
		if _, conditional := is.Ledger.Owes(); was.Escrow.State != order.EscrowAccepted || conditional == 0 {
			return fmt.Errorf("I4: order %s is to be settled with its escrow %q, %d msat owed then", is.ID, was.Escrow.State, conditional)
		}
	}
	return first(s.booked(is.ID, d, was.Ledger, is.Ledger), s.hasDeadline(is))
}

// What a deal pays: the buyer, and who develops the software.
const (
	buyers = "buyer"
	devFee = "development fee"
)

// winnerOf stands before the id of a bond whose winner is paid.
const winnerOf = "winner of "

// noteBond does so for a bond. The rest of a slashed one comes out of the same hold invoice.
func (s *Simulation) noteBond(was, is *order.Bond) error {
	hold := is.Hold.Hash
	for _, entry := range is.Ledger {
		if entry.Kind == order.SettledIn && hold.IsZero() {
			hold = entry.Hash
		}
	}
	if hold.IsZero() {
		return nil
	}
	d := s.dealOf(is.ID, hold)
	d.terms = is.Terms
	s.ask(d, winnerOf+is.ID, is.Payout.Hashes())
	d.decided = d.decided || is.Hold.State == order.EscrowSettling
	return s.booked(is.ID, d, was.Ledger, is.Ledger)
}

// booked is I1 entry by entry: what is booked now has come in at the node, or has arrived.
func (s *Simulation) booked(id string, d *deal, was, is order.Ledger) error {
	for _, entry := range is {
		if slices.Contains(was, entry) || entry.Amount == 0 {
			continue
		}
		switch {
		case entry.Kind == order.SettledIn:
			if h, _ := s.hold(d.hold); h.State != lightning.Settled || entry.Amount > h.AmountPaid {
				return fmt.Errorf("I1: %s books %d msat as settled in, and the node has %s over %d", id, entry.Amount, h.State, h.AmountPaid)
			}
		case entry.State == order.Paid:
			p, _ := s.payment(entry.Hash)
			cost := p.RoutingFee
			if _, gone := s.forgotten[entry.Hash]; gone && entry.Word != "" { // who has vouched for it does not know
				cost = 0
			} else if entry.Word != "" {
				return fmt.Errorf("I1: %s books what %s has paid by somebody's word, and the node knows that payment", id, entry.Hash)
			}
			of := s.byPayment[entry.Hash] // or of a trade that an old copy has forgotten, whose payee is paid no second time with it
			if p.State != lightning.Succeeded || p.Amount != entry.Amount || cost != entry.Routing || of == nil || of != d && !of.forgotten {
				return fmt.Errorf("I1: %s books %d and %d routing as paid with %s, and the node has %s over %d and %d", id, entry.Amount, entry.Routing, entry.Hash, p.State, p.Amount, p.RoutingFee)
			}
		}
	}
	if out := is.Out() - was.Out(); out > 0 {
		s.flow = append(s.flow, simFlow{s.e.now(), out})
	}
	return nil
}

// hasDeadline is the first half of I7: who holds sats has a time or a block at which something
// happens, and once fiat may have been sent a block, early enough, of the HTLC as the node has it.
func (s *Simulation) hasDeadline(o *order.Order) error {
	if o.Escrow.State != order.EscrowAccepted {
		return nil
	}
	if h, ok := s.hold(o.Escrow.Hash); ok && h.State == lightning.Accepted && h.ExpiryHeight != o.Escrow.ExpiryHeight {
		return fmt.Errorf("I7: order %s says that its HTLC expires at %d, the node says %d", o.ID, o.Escrow.ExpiryHeight, h.ExpiryHeight)
	}
	at, height := order.NextWake(o)
	if fiatMoves(o.Status) && (height == 0 || height > s.lastBlock(o)) || at == 0 && height == 0 {
		return fmt.Errorf("I7: order %s is %s and the next that happens is at %d, or at block %d", o.ID, o.Status, at, height)
	}
	return nil
}

func fiatMoves(status mostro.Status) bool {
	return status == mostro.StatusActive || status == mostro.StatusFiatSent || status == mostro.StatusDispute
}

// lastBlock is where an escrow must be given up: 30 blocks before its first HTLC expires, or more where its node cancels early.
func (s *Simulation) lastBlock(o *order.Order) uint32 {
	return o.Escrow.ExpiryHeight - min(max(30, o.Terms.HoldExpiryDelta+12), o.Escrow.ExpiryHeight)
}

// clockRounds is how often the clock looks until it has climbed the whole ladder at once.
const clockRounds = 5

// clockLooked is the other half of I7: nobody stands on an escrow whose time is over once the node
// can be asked and the clock has looked.
func (s *Simulation) clockLooked() error {
	if s.down || s.behind || !s.e.node.ready() || s.e.node.tip() < s.net.Height() {
		return nil
	}
	for _, id := range s.e.live.ids() {
		o := s.rows[id]
		if o.Escrow.State != order.EscrowAccepted || !fiatMoves(o.Status) || s.told[o.Escrow.Hash] == "" || s.net.Height() < s.lastBlock(o) {
			delete(s.overdue, id)
			continue
		}
		if s.overdue[id]++; s.overdue[id] > clockRounds {
			return fmt.Errorf("I7: order %s is %s at block %d, and its HTLC expires at %d", id, o.Status, s.net.Height(), o.Escrow.ExpiryHeight)
		}
	}
	return nil
}

// steps are the invariants of all deals and of the book, after each step.
func (s *Simulation) steps() error {
	var in, out order.Msat
	for _, d := range s.deals {
		h, there := s.hold(d.hold)
		settled := there && h.State == lightning.Settled
		if settled {
			in += h.AmountPaid
			if !d.decided {
				return fmt.Errorf("I4: the hold invoice of %s is settled at the node, and nobody has decided so", d.id)
			}
		}
		for what, hashes := range d.asked {
			alive := 0
			for _, hash := range hashes {
				p, ok := s.payment(hash)
				if !ok || p.State == lightning.Failed || s.byPayment[hash] != d {
					continue
				}
				if alive++; p.State == lightning.Succeeded {
					out += p.Amount + p.RoutingFee
				}
				if limit := s.limits[hash]; p.RoutingFee > limit {
					return fmt.Errorf("M28: payment %s of %s costs %d, and could cost %d at most", hash, d.id, p.RoutingFee, limit)
				}
			}
			switch {
			case alive > 1:
				return fmt.Errorf("I2: %s has %d payments of the %s under way or done", d.id, alive, what)
			case alive > 0 && !settled:
				return fmt.Errorf("%s has a payment of the %s, and its hold invoice is %s", d.id, what, h.State)
			}
		}
	}
	if got := s.node.Owned() - simBegin; got != in-out {
		return fmt.Errorf("I1: the node has %d msat more than at the beginning; by what was written down %d came in and %d went out", got, in, out)
	}
	if latched := s.e.guards.latched(); latched != s.latched {
		return fmt.Errorf("I10: the circuit breaker is %v on disk and %v in memory", s.latched, latched)
	}
	return s.bookIsTrue()
}

// bookIsTrue is I9: what was published last of an order, or is on its way, is how it stands.
func (s *Simulation) bookIsTrue() error {
	for _, id := range s.orders {
		o := s.rows[id]
		if o == nil {
			continue
		}
		if want, _ := mostro.PublicStatus(o.Kind, o.Status); string(want) != s.newest(mostro.KindOrder, id, s.public[id], id) {
			return fmt.Errorf("I9: order %s is %s, and the book says or will say %q", id, o.Status, s.newest(mostro.KindOrder, id, s.public[id], id))
		}
		if d := o.Dispute; d != nil && string(d.Status) != s.newest(mostro.KindDispute, d.ID, s.public[d.ID], id) {
			return fmt.Errorf("I9: dispute %s of order %s is %s, and the world hears %q", d.ID, id, d.Status, s.newest(mostro.KindDispute, d.ID, s.public[d.ID], id))
		}
	}
	return nil
}

// newest is the status in the last event of an address that waits to be published, or in the one
// that was.
func (s *Simulation) newest(kind int, address, published, id string) string {
	if l := s.e.work.lanes[lane(id, laneTells)]; l != nil {
		for _, r := range slices.Backward(l.rows) {
			if r.Event != nil && r.Event.Kind == kind && r.Event.Tags.GetD() == address {
				return r.Event.Tags.Find("s")[1]
			}
		}
	}
	return published
}

// booksSay is how the hold invoice of a deal stands by the rows.
func (s *Simulation) booksSay(d *deal) order.EscrowState {
	if o := s.rows[d.id]; o != nil && o.Escrow.Hash == d.hold {
		return o.Escrow.State
	}
	if b := s.bonds[d.id]; b != nil && b.Hold.Hash == d.hold {
		return b.Hold.State
	}
	return order.EscrowNone
}

// mayEnd is I4 and I6, at the moment in which the node is asked: nothing is settled that nobody
// has decided, or so late that its HTLC may be gone; nothing is canceled that was to be settled.
func (s *Simulation) mayEnd(m lightning.SimMethod, hash order.Hash) error {
	d := s.byHold[hash]
	if d == nil || m != lightning.SimSettle && m != lightning.SimCancel {
		return nil
	}
	state := s.booksSay(d)
	switch h, _ := s.hold(hash); {
	case m == lightning.SimCancel && d.decided && !d.forgotten:
		return fmt.Errorf("I6: the hold invoice of %s is to be canceled after its settle was decided", d.id)
	case m == lightning.SimCancel:
	case state != order.EscrowSettling && state != order.EscrowSettled:
		return fmt.Errorf("I6: the hold invoice of %s is to be settled, and is %q here", d.id, state)
	case h.State == lightning.Accepted && s.e.node.tip()+10 >= h.ExpiryHeight: // lnd goes on chain
		return fmt.Errorf("I4: the hold invoice of %s is to be settled at block %d, and its HTLC expires at %d", d.id, s.e.node.tip(), h.ExpiryHeight)
	}
	return nil
}

// maySend is I10, at the moment in which the node is asked to pay: with the routing fee that it may
// cost, and all that was paid before or is under way, no more goes out than came in and the routing
// subsidy of each payee. Nothing goes out at all once the circuit breaker has tripped.
func (s *Simulation) maySend(req lightning.PayRequest, hash order.Hash) error {
	d := s.byPayment[hash]
	switch {
	case d == nil:
		return fmt.Errorf("I3: payment %s is for nobody", hash)
	case s.latched:
		return fmt.Errorf("I10: payment %s goes out, and the circuit breaker has tripped", hash)
	case req.FeeLimit < 0 || req.FeeLimit > s.mayCost(d, req.Amount, hash):
		return fmt.Errorf("M28: payment %s of %d may cost %d", hash, req.Amount, req.FeeLimit)
	}
	s.limits[hash] = max(s.limits[hash], req.FeeLimit)
	h, _ := s.hold(d.hold)
	left := h.AmountPaid - req.Amount - req.FeeLimit
	for what, hashes := range d.asked {
		if what != devFee { // it pays its own way
			left += d.terms.RoutingSubsidy.Msat()
		}
		for _, other := range hashes {
			if p, ok := s.payment(other); ok && other != hash && p.State != lightning.Failed {
				left -= p.Amount + p.RoutingFee
			}
		}
	}
	if left < 0 {
		return fmt.Errorf("I10: %s has %d msat, and with a payment of %d and its fee of up to %d goes %d beyond", d.id, h.AmountPaid, req.Amount, req.FeeLimit, -left)
	}
	return nil
}

// mayCost is what routing may cost a payment: a part of it, for a buyer of the amount of his order, and
// 10 sat in any case.
func (s *Simulation) mayCost(d *deal, amount order.Msat, hash order.Hash) order.Msat {
	if o := s.rows[d.id]; o != nil && slices.Contains(d.asked[buyers], hash) {
		amount = o.Amount.Msat()
	}
	return max(10_000, amount*order.Msat(d.terms.RoutingFeePPM)/1_000_000)
}

// simFlow is what was booked as paid.
type simFlow struct {
	at     int64
	amount order.Msat
}

// withinVolume is the rest of I10: nobody takes an order once as much was paid out as may be in an
// hour. The engine counts in buckets, so it may count a little less than an hour.
func (s *Simulation) withinVolume(was, is *order.Order) error {
	limit := s.e.cfg.Settings.Guards.VolumeHour.Msat()
	if limit == 0 || was.Status != mostro.StatusPending || is.TakenAt == 0 { // who has to lock a bond first has asked before
		return nil
	}
	var sum order.Msat
	for _, f := range s.flow {
		if now := s.e.now(); f.at > now-int64((time.Hour-flowBucket)/time.Second) && f.at <= now {
			sum += f.amount
		}
	}
	if sum >= limit {
		return fmt.Errorf("I10: order %s is taken after %d msat were paid in an hour", is.ID, sum)
	}
	return nil
}

// Send is seen before it is sent.
func (s *Simulation) seeSend(_ context.Context, req lightning.PayRequest) {
	if inv, err := lightning.Decode(req.Invoice); err == nil && !s.quiet {
		s.breach = first(s.breach, s.maySend(req, inv.Hash))
	}
}

// unbooked is what the routing of payments has cost that an operator has vouched for: the node has lost the record of it,
// and no ledger can say so.
func (s *Simulation) unbooked(l order.Ledger) (cost order.Msat) {
	for _, entry := range l {
		if entry.State == order.Paid && entry.Word != "" {
			p, _ := s.payment(entry.Hash)
			cost += p.RoutingFee - entry.Routing
		}
	}
	return cost
}
