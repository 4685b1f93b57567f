package order

import "slices"

// DevFee is the payment of what an order owes to who develops the software: a share of the
// node's fee that the operator has set, to an address that he has set. The users do not pay it
// beside the fee, and nothing of their trade waits for it. The amount is in the ledger.
//
// It goes the way of every payout, by rows of its own: in success, once the buyer is paid.
type DevFee struct {
	Payout  Payout `json:"payout"`
	Alarmed int64  `json:"alarmed,omitempty"`
}

// devFeeTries is after how many failures the operator is told, once.
const devFeeTries = 5

// longestRetry is the longest wait between two tries, in seconds; it doubles up to that.
const longestRetry = 86400

// devFeeRows are the way of the development fee.
func devFeeRows() []Row {
	return []Row{
		{From: success, On: PayResolved, By: Node, If: all(devFeeResolving, devFeeResolvedWell), To: same, Do: do(keepDevFeeInvoice, sendDevFee)},
		{From: success, On: PayResolved, By: Node, If: devFeeResolving, To: same, Do: do(devFeeFailed)},
		{From: success, On: PayUnresolved, By: Node, If: devFeeResolving, To: same, Do: do(devFeeFailed)},
		{From: success, On: PayAcked, By: Node, If: all(presentDevFee, devFeeSending), To: same, Do: do(devFeeFlying)},
		{From: success, On: PaySucceeded, By: Node, If: anyDevFee, To: same, Do: do(bookDevFee)},
		{From: success, On: PayFailed, By: Node, If: all(presentDevFee, devFeeOut), To: same, Do: do(devFeeFailed)},
		{From: success, On: PayRefused, By: Node, If: all(presentDevFee, devFeeSending), To: same, Do: do(devFeeFailed)},
		{From: success, On: PayUnheard, By: Node, If: all(presentDevFee, devFeeSending), To: same, Do: do(devFeeUnheard)},
		{From: success, On: PayUnknown, By: Node, If: all(presentDevFee, devFeeFlies), To: same, Do: do(devFeeUnknown)},
		{From: success, On: PayFound, By: Node, If: devFeeNothingFlies, To: same, Do: do(keepFoundDevFee, bookDevFee)},
		{From: success, On: RetryPayout, By: Clock, To: same, Do: do(payDevFee)},
		{From: success, On: Overdue, By: Clock, To: same, Do: do(alarmDevFeeLate)},
	}
}

// devFeeWakes are its deadlines.
func devFeeWakes() []Wake {
	is := func(at func(*DevFee) int64, states ...PayoutState) func(*Order) int64 {
		return func(o *Order) int64 {
			if o.DevFee == nil || !slices.Contains(states, o.DevFee.Payout.State) {
				return 0
			}
			return at(o.DevFee)
		}
	}
	return []Wake{
		{On: RetryPayout, In: success, At: is(func(d *DevFee) int64 { return d.Payout.NextTry }, PayoutFailed)},
		{On: Overdue, In: success, At: is(func(d *DevFee) int64 { return max(d.Payout.Since, d.Alarmed) + overdueAfter },
			PayoutResolving, PayoutSending, PayoutFlying, PayoutUnknown)},
	}
}

// devFeeIs is a guard about the development fee, where there is one.
func devFeeIs(name string, holds func(*step, *DevFee) bool) Guard {
	return Guard{name, func(s *step) bool { return s.o.DevFee != nil && holds(s, s.o.DevFee) }}
}

var (
	presentDevFee   = devFeeIs("present development fee", func(s *step, d *DevFee) bool { return d.Payout.speaksOf(s.e.Payment) })
	devFeeResolving = devFeeIs("the address of the development fee is being resolved", func(s *step, d *DevFee) bool { return d.Payout.resolves(s.e.Payment) })
	// Each try has an invoice of its own, and never one that was paid, or tried, before.
	devFeeResolvedWell = devFeeIs("the invoice fits", func(s *step, _ *DevFee) bool {
		due := s.o.Ledger.entry(OwedDev).Amount
		return s.e.Invoice.Amount == due && unfit(s.f, s.e.At, s.o.ID, Claims(s.o), s.e.Invoice, due, resolvedLife) == ""
	})
	devFeeSending      = devFeeIs("not acknowledged yet", func(_ *step, d *DevFee) bool { return d.Payout.State == PayoutSending })
	devFeeFlies        = devFeeIs("it is on its way", func(_ *step, d *DevFee) bool { return d.Payout.State == PayoutFlying })
	devFeeOut          = devFeeIs("it is out", func(_ *step, d *DevFee) bool { return d.Payout.State.Busy() })
	devFeeNothingFlies = devFeeIs("no payment of the development fee is under way", func(_ *step, d *DevFee) bool { return d.Payout.nothingFlies() })
	anyDevFee          = devFeeIs("a development fee that is owed", func(s *step, d *DevFee) bool {
		return s.o.Ledger.entry(OwedDev).State == Owed && slices.Contains(d.Payout.Hashes(), s.e.Payment.Hash)
	})
)

var (
	// oweDevFee owes it when the buyer is paid, out of what the node has left then. Where to is
	// for the present settings to say.
	oweDevFee = Effect{"owe the development fee", func(s *step) {
		o := s.o
		amount := DevFeeOf(o)
		if amount <= 0 || s.f.Terms.DevFeeAddress == "" {
			return
		}
		// The fee that is booked stays as it is: it may be in the accounts of a month that is over.
		o.Ledger = append(o.Ledger,
			Entry{Kind: NodeFee, State: Booked, Amount: -amount.Msat(), At: s.e.At},
			Entry{Kind: OwedDev, State: Owed, Amount: amount.Msat(), At: s.e.At})
		o.DevFee = &DevFee{}
		payDevFee.Apply(s)
	}}
	payDevFee = Effect{"pay the development fee", func(s *step) {
		if s.f.Terms.DevFeeAddress != "" {
			s.o.DevFee.Payout.Address = s.f.Terms.DevFeeAddress
		}
		s.payingDevFee().begin()
	}}
	keepDevFeeInvoice = Effect{"keep the invoice of the address", func(s *step) { s.payingDevFee().resolved(s.e.Invoice) }}
	sendDevFee        = Effect{"send the payment", func(s *step) { s.payingDevFee().send() }}
	devFeeFlying      = Effect{"the payment is on its way", func(s *step) { s.payingDevFee().flies() }}
	devFeeFailed      = Effect{"try again later", func(s *step) {
		s.payingDevFee().failed(s.e.On == PayFailed)
		if s.o.DevFee.Payout.Attempts == devFeeTries {
			s.alarm("order %s: the development fee could not be paid to %s %d times, the last time: %s; mostro.dev_fee_address says where to",
				s.o.ID, s.o.DevFee.Payout.Address, devFeeTries, s.e.Payment.Reason)
		}
	}}
	devFeeUnheard = Effect{"pay another invoice later", func(s *step) {
		s.payingDevFee().unheard()
		s.alarm("order %s: development fee: payment %s: %s; it is not sent again; the log of the Lightning node may say why", s.o.ID, s.e.Payment.Hash, s.e.Payment.Reason)
	}}
	devFeeUnknown = Effect{"wait: the node has lost the payment", func(s *step) {
		s.payingDevFee().lost()
		s.alarm("order %s: the node no longer knows payment %s of the development fee, which it had acknowledged; it is not sent again%s", s.o.ID, s.o.DevFee.Payout.Hash, s.o.DevFee.Payout.ask(s.o.ID))
	}}
	keepFoundDevFee = Effect{"keep the payment that was found", func(s *step) { s.o.DevFee.Payout.found(s.e.Payment.Hash) }}
	bookDevFee      = Effect{"the development fee is paid", func(s *step) {
		p := s.payingDevFee()
		if text := p.overtaken(s.e.Payment); text != "" {
			s.alarm("order %s: development fee: %s", s.o.ID, text)
		}
		p.paid(s.o.Ledger.entry(OwedDev), s.e.Payment)
	}}
	alarmDevFeeLate = Effect{"alarm", func(s *step) {
		s.o.DevFee.Alarmed = s.e.At
		s.alarm("order %s: the development fee is %s for longer than usual%s", s.o.ID, s.o.DevFee.Payout.State, s.o.DevFee.Payout.ask(s.o.ID))
	}}
)

// payingDevFee is the payment of the development fee, to be moved on. Its routing fee, like it
// itself, comes out of what the node has left of its fee.
func (s *step) payingDevFee() paying {
	o, p := s.o, &s.o.DevFee.Payout
	amount := o.Ledger.entry(OwedDev).Amount
	return paying{
		Payout: p, at: s.e.At, uptime: s.f.Uptime, run: s.f.Run, amount: amount, feeLimit: routingCap(o.Terms, amount.Sat(), o.Ledger.NodeFee()-routed(o)),
		retry: min(o.Terms.PaymentRetrySeconds<<min(p.Attempts, 16), longestRetry), grace: o.Terms.PayoutGraceSeconds,
		call: func(c Call) { c.DevFee = true; s.call(c) },
	}
}

// DevFeeOf is the development fee of an order whose buyer is paid: its share of both sides' fees,
// rounded to whole sats, halves up, and no more than nine tenths of what routing has left of
// them: the fee has a way to go, too.
func DevFeeOf(o *Order) Sat { return devFeeOf(o, o.Ledger.NodeFee()-routed(o)) }

// routed is what the routing of an order's payments has cost. Nobody knows what that of a payment did which an operator
// has vouched for: it counts with all that it could.
func routed(o *Order) Msat {
	cost := o.Ledger.Routing()
	if buyer := o.Ledger.entry(OwedBuyer); buyer != nil && buyer.State == Paid && buyer.Word != "" {
		cost += RoutingBudget(o.Terms, o.Amount, o.Fee) - buyer.Routing
	}
	return cost
}

func devFeeOf(o *Order, left Msat) Sat { return min(devFeeShare(o), left.Sat()*9/10) }

func devFeeShare(o *Order) Sat {
	return Sat(mulDiv(uint64(2*o.Fee), uint64(o.Terms.DevFeePPM), ppm, ppm/2))
}

// DevFeePaid is what was paid as the development fee of an order, nil = nothing yet.
func DevFeePaid(o *Order) *Entry {
	if due := o.Ledger.entry(OwedDev); due != nil && due.State == Paid {
		return due
	}
	return nil
}

// Over tells that nothing will ever change an order, nor be paid for it.
func Over(o *Order) bool {
	due := o.Ledger.entry(OwedDev)
	return Ended(o.Status) && (due == nil || due.State != Owed)
}
