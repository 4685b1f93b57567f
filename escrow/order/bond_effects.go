package order

import "fmt"

// BondEffect is one thing that a row of the bond's table does.
type BondEffect struct {
	Name  string
	Apply func(*bondStep)
}

func bondDo(effects ...BondEffect) []BondEffect { return effects }

var (
	holdOpened = BondEffect{"keep the hold invoice", func(s *bondStep) {
		s.b.Hold.Invoice, s.b.Hold.State, s.b.Since = s.e.Hold.Invoice, EscrowOpen, s.e.At
	}}
	holdAccepted = BondEffect{"the sats are held", func(s *bondStep) {
		h := &s.b.Hold
		h.State, h.AcceptedAt, h.Paid, h.ExpiryHeight = EscrowAccepted, s.e.At, s.e.Hold.Paid, s.e.Hold.ExpiryHeight
		s.b.Awaits, s.b.Since = nil, s.e.At
	}}
	cancelHold = BondEffect{"cancel the hold invoice", func(s *bondStep) {
		s.b.Hold.State, s.b.Since = EscrowCanceled, s.e.At
		s.call(cancelCall(s.b.Hold))
	}}
	holdGone = BondEffect{"the hold invoice is gone", func(s *bondStep) {
		s.b.Hold.State, s.b.Since = EscrowCanceled, s.e.At
	}}
	remind = BondEffect{"owner: the same pay-bond-invoice", func(s *bondStep) {
		if s.b.Hold.Invoice == "" {
			s.b.Awaits = &Awaited{By: s.e.Sender, RequestID: s.e.Message.RequestID}
			return
		}
		tellPayBond.Apply(s)
	}}
	carry = BondEffect{"go along with the rest of the range", func(s *bondStep) {
		s.b.Order, s.b.Owner = s.child.ID, *s.child.Maker()
	}}

	sayLocked = BondEffect{"order: bond-locked", func(s *bondStep) { s.say(TellLocked) }}
	sayGone   = BondEffect{"order: bond-gone", func(s *bondStep) { s.say(TellGone) }}
	sayLost   = BondEffect{"order: bond-lost", func(s *bondStep) { s.say(TellLost) }}

	// intendSlash is the point of no return: from here the bond is not given back.
	intendSlash = BondEffect{"settle the hold invoice", func(s *bondStep) {
		s.oweSlash(s.slash)
		s.call(settleCall(s.b.Hold))
	}}
	slashForgotten = BondEffect{"as it must have been slashed", func(s *bondStep) {
		s.b.Hold.Paid = s.e.Hold.Paid
		s.oweSlash(s.forgotten())
		s.alarm("bond %s of order %s: it was slashed, and this store, which was put back from a copy, does not know; its share is owed to %s. If it was paid already: mostro restored explain HASH --order %s",
			s.b.ID, s.b.Order, s.b.Slash.Winner.Trade, s.b.ID)
	}}
	voidSlash = BondEffect{"owe nothing", func(s *bondStep) {
		for i := range s.b.Ledger {
			s.b.Ledger[i].State, s.b.Ledger[i].At = Void, s.e.At
		}
	}}
	// bookSlash divides what came in: the winner's share, what was paid too much, the node's
	// share; and what was not slashed, which becomes a bond of its own that its owner wins.
	bookSlash = BondEffect{"owe the winner his share, and the owner the rest", func(s *bondStep) {
		b := s.b
		in := b.Hold.Paid
		node := in - (b.Amount - b.Slash.Slice).Msat()
		for _, kind := range []EntryKind{OwedWinner, OwedOwner} {
			if due := b.Ledger.entry(kind); due != nil {
				due.State, due.At = Owed, s.e.At
				node -= due.Amount
			}
		}
		if rest := b.Amount - b.Slash.Slice; rest > 0 {
			reserve := b.routingReserve(node, rest)
			in, node = in-rest.Msat()-reserve, node-reserve
			s.refund(rest, reserve)
		}
		b.Ledger = append(b.Ledger,
			Entry{Kind: SettledIn, State: Booked, Amount: in, Hash: b.Hold.Hash, At: s.e.At, Word: s.e.Hold.Word},
			Entry{Kind: NodeFee, State: Booked, Amount: node, At: s.e.At})
		if due := b.Ledger.entry(OwedWinner); due.Amount == 0 {
			due.State = Paid // nothing is left to do
		}
		b.Hold.State, b.Since = EscrowSettled, s.e.At
		if over := b.Ledger.entry(OwedOwner); over != nil {
			s.alarm("bond %s of order %s: its owner paid %d msat too much; they are owed to him: give them back by hand, then mostro payout %s --paid HASH --reason WHY", b.ID, b.Order, over.Amount, b.ID)
		}
	}}
	bookForfeit = BondEffect{"the share is the node's", func(s *bondStep) {
		due := s.b.Ledger.entry(OwedWinner)
		due.State, due.At = Void, s.e.At
		s.b.Ledger = append(s.b.Ledger, Entry{Kind: NodeFee, State: Booked, Amount: due.Amount, At: s.e.At})
		s.b.Payout.State, s.b.Payout.NextTry, s.b.Since = PayoutNone, 0, s.e.At
	}}

	keepClaim = BondEffect{"keep the winner's invoice", func(s *bondStep) {
		next := Payout{Address: s.f.Address}
		if next.Address == "" {
			next.Invoice, next.Hash = s.f.Invoice.Text, s.f.Invoice.Hash
		}
		s.b.Payout = s.b.Payout.replaced(next, s.f.Run)
	}}
	payWinner       = BondEffect{"pay the winner", func(s *bondStep) { s.paying().begin() }}
	payWinnerAgain  = BondEffect{"pay the winner, the same invoice in its time", func(s *bondStep) { s.paying().again() }}
	keepBondInvoice = BondEffect{"keep the invoice of the address", func(s *bondStep) { s.paying().resolved(s.e.Invoice) }}
	sendBond        = BondEffect{"send the payment", func(s *bondStep) { s.paying().send() }}
	bondFlying      = BondEffect{"the payment is on its way", func(s *bondStep) { s.paying().flies() }}
	bondPayFailed   = BondEffect{"try again later", func(s *bondStep) { s.paying().failed(s.e.On == PayFailed) }}
	bondLookAgain   = BondEffect{"look whether one was paid after all", func(s *bondStep) { s.paying().lookAgain() }}
	bondPayUnheard  = BondEffect{"pay another invoice when this one had the time to show", func(s *bondStep) {
		s.paying().unheard()
		s.alarm("bond %s of order %s: payment %s: %s; it is not sent again, and the winner is asked for another invoice; the log of the Lightning node may say why", s.b.ID, s.b.Order, s.e.Payment.Hash, s.e.Payment.Reason)
	}}
	bondPayLost = BondEffect{"wait: the node has lost the payment", func(s *bondStep) {
		s.paying().lost()
		s.alarm("bond %s of order %s: the node no longer knows payment %s, which it had acknowledged; it is not sent again%s", s.b.ID, s.b.Order, s.b.Payout.Hash, s.b.Payout.ask(s.b.ID))
	}}
	keepFoundShare = BondEffect{"keep the payment that was found", func(s *bondStep) { s.b.Payout.found(s.e.Payment.Hash) }}
	// askWinner asks for an invoice, and again at intervals. Time to claim runs from the slash,
	// and anew from each invoice that could not be paid: who has answered does not forfeit.
	askWinner = BondEffect{"ask the winner for an invoice", func(s *bondStep) {
		if s.e.On != AskAgain {
			s.b.Since = s.e.At
		}
		s.paying().asks(s.b.Terms.Bond.AskSeconds)
		tellAddBondInvoice.Apply(s)
	}}
	giveClaimTimeBack = BondEffect{"give the time back", func(s *bondStep) {
		s.b.Since += s.e.lost(s.b.Since, s.b.PausedUntil)
		s.b.PausedUntil = s.e.At
	}}
	bookShare = BondEffect{"the winner is paid", func(s *bondStep) {
		b := s.b
		if text := s.paying().overtaken(s.e.Payment); text != "" {
			s.alarm("bond %s of order %s: %s", b.ID, b.Order, text)
		}
		s.paying().paid(b.Ledger.entry(OwedWinner), s.e.Payment)
	}}

	alarmBondLost = BondEffect{"alarm", func(s *bondStep) {
		s.alarm("bond %s of order %s: the node canceled it by itself while it was %s", s.b.ID, s.b.Order, s.prev.State)
	}}
	alarmBondLate = BondEffect{"alarm", func(s *bondStep) {
		s.b.Alarmed = s.e.At
		s.alarm("bond %s of order %s is %s for longer than usual, its payout %q%s%s", s.b.ID, s.b.Order, s.b.State, s.b.Payout.State, s.b.Payout.ask(s.b.ID), s.b.Hold.askGone(s.b.ID, s.f.Node.Height))
	}}
	alarmForeignBond = BondEffect{"alarm", func(s *bondStep) {
		s.alarm("bond %s of order %s: the node says that it is settled, but nobody here slashed it while it was %s; run mostro audit, which says what to do", s.b.ID, s.b.Order, s.prev.State)
	}}
	alarmSecondShare = BondEffect{"alarm", func(s *bondStep) {
		s.alarm("bond %s of order %s: a second payment %s succeeded", s.b.ID, s.b.Order, s.e.Payment.Hash)
		s.out.Stray += s.b.WinnerGets() + s.e.Payment.Routing
	}}
)

// oweSlash writes down a slash, and what its settle will make owed.
func (s *bondStep) oweSlash(slash *Slash) {
	b := s.b
	b.Slash, b.Since, b.Hold.State = slash, s.e.At, EscrowSettling
	if b.Role == MakerBond { // who may have changed his key since
		b.Owner = *s.order.Maker()
	}
	b.Ledger = append(b.Ledger, Entry{Kind: OwedWinner, State: Conditional, Amount: b.Slash.Share.Msat(), At: s.e.At})
	if over := b.Hold.Paid - b.Amount.Msat(); over > 0 {
		b.Ledger = append(b.Ledger, Entry{Kind: OwedOwner, State: Conditional, Amount: over, At: s.e.At})
	}
}

// refund gives birth to the bond that its own owner wins: what is left of a slashed one.
func (s *bondStep) refund(rest Sat, reserve Msat) {
	b := s.b
	r := Bond{
		ID: newID(s.e, "refund"), Rev: 1, Order: b.Order, Role: b.Role, State: BondPayout, Owner: b.Owner, Parent: b.ID, Amount: rest,
		Terms: b.Terms, CreatedAt: s.e.At, Seq: b.Seq, Since: s.e.At,
		Slash: &Slash{Reason: b.Slash.Reason, Winner: b.Owner, Slice: rest, Share: rest, At: s.e.At},
		Ledger: Ledger{
			{Kind: OwedWinner, State: Owed, Amount: rest.Msat(), At: s.e.At},
			{Kind: SettledIn, State: Booked, Amount: rest.Msat() + reserve, Hash: b.Hold.Hash, At: s.e.At, Word: s.e.Hold.Word},
			{Kind: NodeFee, State: Booked, Amount: reserve, At: s.e.At},
		},
	}
	born := &bondStep{b: &r, prev: r, order: s.order, e: s.e, f: s.f, out: s.out}
	askWinner.Apply(born)
	s.born = append(s.born, r)
}

// paying is the payout of the winner's share, to be moved on.
func (s *bondStep) paying() paying {
	return paying{
		Payout: &s.b.Payout, at: s.e.At, uptime: s.f.Uptime, run: s.f.Run, amount: s.b.WinnerGets(), call: s.call,
		retry: s.b.Terms.PaymentRetrySeconds, grace: s.b.Terms.PayoutGraceSeconds,
		feeLimit: routingCap(s.b.Terms, s.b.WinnerGets().Sat(), s.b.Ledger.NodeFee()+s.b.Terms.RoutingSubsidy.Msat()),
	}
}

func (s *bondStep) call(c Call) {
	c.Bond = s.b.ID
	s.out.Calls = append(s.out.Calls, c)
}

func (s *bondStep) alarm(format string, args ...any) {
	s.out.Alarms = append(s.out.Alarms, fmt.Sprintf(format, args...))
}

// say leaves word for the order.
func (s *bondStep) say(what EventName) {
	s.out.signals = append(s.out.signals, signal{on: what, from: s.b.ID})
}
