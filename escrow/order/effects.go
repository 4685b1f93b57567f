package order

import (
	"cmp"
	"fmt"

	"mostro/escrow/mostro"
)

// Effect is one thing that a row does: to the order, to people, to the node.
type Effect struct {
	Name  string // as the diagram prints it
	Apply func(*step)
}

// do lists the effects of a row.
func do(effects ...Effect) []Effect { return effects }

// holdSlack is how many seconds a hold invoice outlives the time that the seller has, so
// that it is the clock that ends the wait and not the node.
const holdSlack = 60

func (s *step) call(c Call) { s.out.Calls = append(s.out.Calls, c) }
func (s *step) alarm(format string, args ...any) {
	s.out.Alarms = append(s.out.Alarms, fmt.Sprintf(format, args...))
}

var (
	makeOrder = Effect{"make the order", func(s *step) {
		a, o := asked(s), s.o
		expires := s.e.At + s.f.Rules.PendingTime
		if a.ExpiresAt != nil && *a.ExpiresAt != 0 {
			expires = min(*a.ExpiresAt, s.e.At+s.f.Rules.MaxPending)
		}
		*o = Order{
			ID: newID(s.e, "order"), Rev: o.Rev, Kind: a.Kind, Status: o.Status,
			FiatCode: a.FiatCode, FiatAmount: a.FiatAmount, PaymentMethod: a.PaymentMethod, Premium: a.Premium,
			Amount: Sat(a.Amount), Market: a.Amount == 0, Fee: FeeSide(Sat(a.Amount), s.f.Terms.FeePPM), Terms: s.f.Terms,
			CreatedAt: s.e.At, ExpiresAt: expires,
		}
		*o.Maker() = s.author()
		if a.MaxAmount != nil {
			o.FiatAmount, o.MinFiat, o.MaxFiat = 0, *a.MinAmount, *a.MaxAmount
		}
		if a.Kind == mostro.Buy && offered(s) != "" {
			o.Payout = given(s, Payout{})
		}
	}}
	takeOrder = Effect{"take it at the present price", func(s *step) {
		o := s.o
		o.Amount, o.FiatAmount = quoted(s), chosenFiat(s)
		o.Fee = FeeSide(o.Amount, o.Terms.FeePPM)
		*o.Taker() = s.author()
		o.TakenAt = s.e.At
		s.startDuty()
	}}
	// backToBook forgets the taker and everything that was agreed with him, but for what he may say of the node.
	backToBook = Effect{"back into the book", func(s *step) {
		o := s.o
		o.leave()
		*o.Taker() = Party{}
		o.TakenAt, o.DutySince, o.DutyUptime, o.CancelBy, o.Awaits = 0, 0, 0, "", nil
		o.Escrow.AcceptedAt, o.BuyerReview, o.SellerReview = 0, nil, nil // the next trade earns its own
		if o.Kind == mostro.Sell {
			o.Payout = Payout{}
		}
		if o.Market {
			o.Amount, o.Fee = 0, 0
		}
		if o.Range() {
			o.FiatAmount = 0
		}
	}}
	keepInvoice = Effect{"keep the buyer's invoice", func(s *step) {
		s.o.Payout = given(s, Payout{})
	}}
	replaceInvoice = Effect{"replace the buyer's invoice", func(s *step) {
		s.o.Payout = s.o.Payout.replaced(given(s, Payout{}), s.f.Run)
	}}
	awaitNode = Effect{"answer when the node has", func(s *step) {
		s.o.Awaits = &Awaited{By: s.e.Sender, RequestID: s.e.Message.RequestID}
	}}
	giveTimeBack = Effect{"give the time back", func(s *step) {
		s.o.DutySince += s.e.lost(s.o.DutySince, s.o.PausedUntil)
		s.o.PausedUntil = s.e.At
	}}
	restartDuty = Effect{"the clock starts anew", func(s *step) { s.startDuty() }}

	openEscrow = Effect{"open a hold invoice", func(s *step) {
		o := s.o
		s.startDuty()
		o.Escrow = Escrow{Attempt: o.Escrow.Attempt + 1, Hash: s.f.NextHash, State: EscrowOpening}
		s.call(openCall(o))
	}}
	// leaveUsed gives an invoice up that a store put back from a copy has forgotten. Sats in it
	// belong to a trade which it does not know either, so they are left where they are.
	leaveUsed = Effect{"leave an invoice that was used", func(s *step) {
		if h := s.e.Hold; h.Paid > 0 {
			s.alarm("order %s: the node has an earlier hold invoice %s with %d msat in it, of a trade that this store does not know. It was put back from a copy, or another mostro with the same keys uses this node: stop that one, and run mostro audit", s.o.ID, h.Hash, h.Paid)
			return
		}
		s.call(cancelCall(s.o.Escrow))
	}}
	escrowOpened = Effect{"keep the hold invoice", func(s *step) {
		s.o.Escrow.Invoice, s.o.Escrow.State = s.e.Hold.Invoice, EscrowOpen
		s.startDuty() // of the seller, who can pay from now on
	}}
	escrowAccepted = Effect{"the sats are held", func(s *step) {
		o := s.o
		o.Escrow.State, o.Escrow.AcceptedAt, o.Escrow.Missing, o.Awaits = EscrowAccepted, s.e.At, false, nil
		o.Escrow.Paid, o.Escrow.ExpiryHeight, o.Escrow.AcceptedHeight = s.e.Hold.Paid, s.e.Hold.ExpiryHeight, s.f.Node.Height
	}}
	cancelEscrow = Effect{"cancel the hold invoice", func(s *step) {
		o := s.o
		o.Awaits = nil
		switch o.Escrow.State {
		case EscrowOpening, EscrowOpen, EscrowAccepted:
			o.Escrow.State = EscrowCanceled
			s.call(cancelCall(o.Escrow))
		}
	}}
	escrowGone = Effect{"the hold invoice is gone", func(s *step) {
		s.o.Escrow.State, s.o.Awaits = EscrowCanceled, nil
	}}

	escrowLost = Effect{"the escrow is missed", func(s *step) {
		s.o.Escrow.Missing = true
		s.alarm("order %s: the node does not know the escrow %s any more, which it had accepted; the trade is told to wait. Was LND put back from its seed, or does it delete invoices (gc-canceled-invoices)? Run mostro audit", s.o.ID, s.o.Escrow.Hash)
	}}
	// cannotBePaid remembers that nobody can do what he is waited for, so that it costs no bond when his
	// time is over.
	cannotBePaid = Effect{"the hold invoice cannot be paid", func(s *step) {
		s.o.Escrow.Missing = true
		s.alarm("order %s: the node does not know the hold invoice %s any more, which it had made; nobody can pay it, and the order ends without blame when its time is over. Was LND put back from its seed, or does it delete invoices (gc-canceled-invoices)?", s.o.ID, s.o.Escrow.Hash)
	}}
	escrowFound = Effect{"the escrow is there again", func(s *step) { s.o.Escrow.Missing = false }}

	// intendSettle is the point of no return: from here nothing cancels.
	intendSettle = Effect{"settle the hold invoice", func(s *step) {
		o := s.o
		o.SettlingFrom, o.DutySince = s.prev.Status, s.e.At
		o.Escrow.State = EscrowSettling
		// Solvers are answered at their identity key, from whatever key they write.
		o.Awaits = &Awaited{By: cmp.Or(o.SettledBy, s.e.Sender), RequestID: s.e.Message.RequestID}
		oweLater.Apply(s)
		s.call(settleCall(o.Escrow))
	}}
	// oweLater writes down what a settle will make owed.
	oweLater = Effect{"owe the buyer once it is settled", func(s *step) {
		o := s.o
		o.Ledger = append(o.Ledger, Entry{Kind: OwedBuyer, State: Conditional, Amount: o.BuyerGets().Msat(), At: s.e.At})
		if over := o.Escrow.Paid - o.SellerPays().Msat(); over > 0 {
			o.Ledger = append(o.Ledger, Entry{Kind: OwedSeller, State: Conditional, Amount: over, At: s.e.At})
		}
	}}
	bookSettled = Effect{"owe the buyer his sats", func(s *step) {
		o := s.o
		in, fee := o.Escrow.Paid, o.Escrow.Paid
		for _, kind := range []EntryKind{OwedBuyer, OwedSeller} {
			if due := o.Ledger.entry(kind); due != nil {
				due.State, due.At = Owed, s.e.At
				fee -= due.Amount
			}
		}
		o.Ledger = append(o.Ledger,
			Entry{Kind: SettledIn, State: Booked, Amount: in, Hash: o.Escrow.Hash, At: s.e.At, Word: s.e.Hold.Word},
			Entry{Kind: NodeFee, State: Booked, Amount: fee, At: s.e.At})
		o.Escrow.State, o.SettlingFrom = EscrowSettled, ""
		if over := o.Ledger.entry(OwedSeller); over != nil {
			s.alarm("order %s: the seller paid %d msat too much; they are owed to him: give them back by hand, then mostro payout %s --paid HASH --reason WHY", o.ID, over.Amount, o.ID)
			s.say(o.Seller, "You paid %d msat more than the invoice of order %s asked for. They are owed to you: ask the operator.", over.Amount, o.ID)
		}
	}}
	voidLiability = Effect{"owe nothing", func(s *step) {
		for _, kind := range []EntryKind{OwedBuyer, OwedSeller} {
			if due := s.o.Ledger.entry(kind); due != nil {
				due.State, due.At = Void, s.e.At
			}
		}
		s.o.SettlingFrom = ""
	}}

	pay           = Effect{"pay the buyer", func(s *step) { s.paying().begin() }}
	payAgain      = Effect{"pay the buyer, the same invoice in its time", func(s *step) { s.paying().again() }}
	keepResolved  = Effect{"keep the invoice of the address", func(s *step) { s.paying().resolved(s.e.Invoice) }}
	send          = Effect{"send the payment", func(s *step) { s.paying().send() }}
	payoutFlying  = Effect{"the payment is on its way", func(s *step) { s.paying().flies() }}
	payoutFailed  = Effect{"try again later", func(s *step) { s.paying().failed(s.e.On == PayFailed) }}
	lookAgain     = Effect{"look whether one was paid after all", func(s *step) { s.paying().lookAgain() }}
	payoutUnheard = Effect{"pay another invoice when this one had the time to show", func(s *step) {
		s.paying().unheard()
		s.alarm("order %s: payment %s: %s; it is not sent again, and the buyer is asked for another invoice; the log of the Lightning node may say why", s.o.ID, s.e.Payment.Hash, s.e.Payment.Reason)
	}}
	payoutUnknown = Effect{"wait: the node has lost the payment", func(s *step) {
		s.paying().lost()
		s.alarm("order %s: the node no longer knows payment %s, which it had acknowledged; it is not sent again%s", s.o.ID, s.o.Payout.Hash, s.o.Payout.ask(s.o.ID))
	}}
	// askInvoice asks the buyer for another invoice, and again, at growing intervals, for
	// ever: a settled order is never forfeited.
	askInvoice = Effect{"ask the buyer for another invoice", func(s *step) {
		s.paying().asks(int64(askFirst) << min(s.o.Payout.Asked, askDoublings))
		tellBuyerAddInvoice.Apply(s)
	}}
	bookPaid = Effect{"the buyer is paid", func(s *step) {
		if text := s.paying().overtaken(s.e.Payment); text != "" {
			s.alarm("order %s: %s", s.o.ID, text)
		}
		s.paying().paid(s.o.Ledger.entry(OwedBuyer), s.e.Payment)
	}}

	// keepFound records the hash of a payment that an operator has found to be this payout.
	keepFound = Effect{"keep the payment that was found", func(s *step) { s.o.Payout.found(s.e.Payment.Hash) }}

	// keepNext notes the key for the remainder of a range order; it is the maker's to name.
	keepNext = Effect{"keep the maker's next key", func(s *step) {
		p := s.e.Message.Payload
		if p == nil || p.NextTrade == nil || s.o.Maker().Trade != s.e.Sender || !freeNext(s, *p.NextTrade) {
			return
		}
		next := Party{Trade: p.NextTrade.Pubkey, Identity: s.o.Maker().Identity, Index: p.NextTrade.Index}
		if s.o.Maker().FullPrivacy() {
			next.Identity, next.Index = next.Trade, 0
		}
		s.o.Next = &next
	}}
	// makeChild offers the remainder of a range again, as a clean order of its own: nothing
	// of what happened to this one goes with it.
	makeChild = Effect{"offer the remainder again", func(s *step) {
		o := s.o
		least, most := o.MinFiat, o.MaxFiat-o.FiatAmount
		if !o.Range() || most <= 0 {
			return
		}
		open, covered := s.bondCovers(o.ExpiresAt - o.CreatedAt)
		if o.Next == nil || most < least || !covered {
			tellRestGone.Apply(s)
			return
		}
		child := Order{
			ID: newID(s.e, "child"), Rev: 1, Kind: o.Kind, Status: mostro.StatusPending,
			FiatCode: o.FiatCode, PaymentMethod: o.PaymentMethod, Premium: o.Premium, Market: true, Terms: o.Terms,
			CreatedAt: s.e.At, ExpiresAt: s.e.At + o.ExpiresAt - o.CreatedAt, Parent: o.ID,
		}
		child.ExpiresAt = min(child.ExpiresAt, s.e.At+open)
		if most > least {
			child.MinFiat, child.MaxFiat = least, most
		} else {
			child.FiatAmount = least
		}
		*child.Maker() = *o.Next
		if !o.Next.FullPrivacy() {
			s.out.UseIndex, s.out.UsedBy = o.Next.Index, o.Next.Identity
		}
		s.out.Child = &child
		index := o.Next.Index
		m := mostro.Message{Wrapper: mostro.WrapOrder, ID: child.ID, Action: mostro.NewOrder, Payload: orderPayload(Small(&child, 0))}
		if index != 0 {
			m.TradeIndex = &index
		}
		s.out.Tells = append(s.out.Tells, Tell{To: o.Next.Trade, Message: m, Like: o.Maker().Trade})
	}}
	renew = Effect{"show it anew", func(s *step) {
		s.o.RenewedAt = s.e.At
		s.out.Republish = true
	}}
	changeMakerKey = Effect{"change the maker's trade key", func(s *step) {
		s.o.Maker().Trade = s.e.Sender
		if index := s.e.Message.TradeIndex; index != nil && *index > s.f.LastIndex && !s.o.Maker().FullPrivacy() {
			s.o.Maker().Index = *index
			s.out.UseIndex, s.out.UsedBy = *index, s.o.Maker().Identity
		}
	}}

	// countRating counts the first rating of each side. Ratings between keys of one identity
	// are answered and do not count.
	countRating = Effect{"count the rating", func(s *step) {
		mine, rated := &s.o.BuyerRated, s.o.Seller
		if s.e.Sender == s.o.Seller.Trade {
			mine, rated = &s.o.SellerRated, s.o.Buyer
		}
		if *mine != 0 {
			return
		}
		*mine = *s.e.Message.Payload.RatingUser
		if s.o.Buyer.Identity == s.o.Seller.Identity {
			return
		}
		s.out.Rated = &Rated{Trade: rated.Trade, Rating: *mine}
		if !rated.FullPrivacy() {
			s.out.Rated.Identity = rated.Identity
		}
	}}

	openDispute = Effect{"open a dispute", func(s *step) {
		initiator := "buyer"
		if s.e.Sender == s.o.Seller.Trade {
			initiator = "seller"
		}
		s.o.Dispute = &Dispute{
			ID: newID(s.e, "dispute"), Status: DisputeInitiated, Initiator: initiator,
			Previous: s.prev.Status, CreatedAt: s.e.At,
		}
	}}
	assignSolver = Effect{"the solver takes it", func(s *step) {
		d := s.o.Dispute
		if d.Solver != s.e.Identity {
			d.TakenAt = s.e.At
		}
		d.Status, d.Solver, d.SolverLevel = DisputeInProgress, s.e.Identity, s.f.Level
	}}
	decidedBySolver = Effect{"for the buyer", func(s *step) { s.o.SettledBy = s.e.Identity }}

	climb = Effect{"next rung", func(s *step) { s.o.Rung++ }}

	openDisputeForBuyer = Effect{"open a dispute for the buyer", func(s *step) {
		s.o.Dispute = &Dispute{
			ID: newID(s.e, "dispute"), Status: DisputeInitiated, Initiator: "buyer",
			Previous: s.prev.Status, CreatedAt: s.e.At,
		}
	}}
	closeDisputeSettled  = Effect{"close the dispute as settled", func(s *step) { closeDispute(s, DisputeSettled) }}
	closeDisputeRefunded = Effect{"close the dispute as refunded", func(s *step) { closeDispute(s, DisputeSellerRefunded) }}

	alarmEscrowLost = Effect{"alarm", func(s *step) {
		s.alarm("order %s: the node canceled the escrow %s in status %s by itself", s.o.ID, s.prev.Escrow.Hash, s.prev.Status)
	}}
	alarmSettleLate = Effect{"alarm", func(s *step) {
		s.o.Alarmed = s.e.At
		s.alarm("order %s: the escrow %s is released and not settled yet; it must be before block %d%s", s.o.ID, s.o.Escrow.Hash, s.o.Escrow.ExpiryHeight, s.o.Escrow.askGone(s.o.ID, s.f.Node.Height))
	}}
	alarmPayoutLate = Effect{"alarm", func(s *step) {
		s.o.Alarmed = s.e.At
		s.alarm("order %s: the payout %s is %s for longer than usual%s", s.o.ID, s.o.Payout.Hash, s.o.Payout.State, s.o.Payout.ask(s.o.ID))
	}}
	alarmDeadline = Effect{"alarm", func(s *step) {
		s.alarm("order %s: the escrow is canceled at block %d unless the trade ends before", s.o.ID, ladderBase(s.o))
	}}
	alarmForeignSettle = Effect{"alarm", func(s *step) {
		s.alarm("order %s: the node says that escrow %s is settled, but nobody here settled it in status %s; if the store was put back from a copy see mostro status, else run mostro audit", s.o.ID, s.e.Hold.Hash, s.prev.Status)
	}}
	alarmSecondPayout = Effect{"alarm", func(s *step) {
		s.alarm("order %s: a second payment %s succeeded", s.o.ID, s.e.Payment.Hash)
		s.out.Stray += s.o.BuyerGets().Msat() + s.e.Payment.Routing
	}}
)

// The waits between two reminders for an invoice: 5 minutes, doubled up to 1.8 days.
const (
	askFirst     = 300
	askDoublings = 9
)

// paying is the order's payout, to be moved on.
func (s *step) paying() paying {
	return paying{
		Payout: &s.o.Payout, at: s.e.At, uptime: s.f.Uptime, run: s.f.Run, amount: s.o.BuyerGets().Msat(), feeLimit: RoutingBudget(s.o.Terms, s.o.Amount, s.o.Fee),
		retry: s.o.Terms.PaymentRetrySeconds, grace: s.o.Terms.PayoutGraceSeconds, call: s.call,
	}
}

// author is the sender of the message as a party of the trade.
func (s *step) author() Party {
	p := Party{Trade: s.e.Sender, Identity: s.e.Identity}
	if p.FullPrivacy() {
		return p
	}
	p.Index = *s.e.Message.TradeIndex
	s.out.UseIndex, s.out.UsedBy = p.Index, p.Identity
	return p
}

// nextIndexes is how far ahead of the last trade index the one of a next key may be.
const nextIndexes = 1000

// freeNext tells whether a maker may have a key for the rest of a range: one that nobody has
// used, least of all the other party, with an index that rises as for any new order.
func freeNext(s *step, next mostro.NextTrade) bool {
	for _, p := range []Party{s.o.Buyer, s.o.Seller} {
		if next.Pubkey == p.Trade || next.Pubkey == p.Identity {
			return false
		}
	}
	if s.f.NextTaken {
		return false
	}
	return s.o.Maker().FullPrivacy() || next.Index > s.f.LastIndex && next.Index <= s.f.LastIndex+nextIndexes
}

// given is the invoice or the address in the message.
func given(s *step, p Payout) Payout {
	if s.f.Address != "" {
		p.Address = s.f.Address
		return p
	}
	p.Invoice, p.Hash = s.f.Invoice.Text, s.f.Invoice.Hash
	return p
}

func closeDispute(s *step, as DisputeStatus) {
	if s.o.Dispute != nil {
		s.o.Dispute.Status = as
	}
}
