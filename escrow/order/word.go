package order

import (
	"fmt"
	"slices"

	"mostro/escrow/mostro"
)

// Where the node cannot say what has become of a payment, a person must: an operator who has asked
// the payee, or has paid by hand. His word is an event like any other, and counts only where the node
// has none. What it books bears his reason in the ledger.

// Words of an operator.
const (
	PayVouched EventName = "pay-vouched" // the payment that the node has lost has arrived
	PayDenied  EventName = "pay-denied"  // it has not, and never will
	PayByHand  EventName = "pay-by-hand" // he has given back what was paid in too much
)

// wordRows are what the word of an operator does to an order.
func wordRows() []Row {
	return []Row{
		{From: settled, On: PayVouched, By: Node, If: payoutLost, To: mostro.StatusSuccess, Do: do(bookVouched, oweDevFee, tellPurchaseCompleted)},
		{From: settled, On: PayDenied, By: Node, If: all(payoutLost, toAddress), To: same, Do: do(payoutDenied)},
		{From: settled, On: PayDenied, By: Node, If: payoutLost, To: same, Do: do(payoutDenied, askInvoice)},
		{From: success, On: PayVouched, By: Node, If: devFeeLost, To: same, Do: do(bookVouchedDevFee)},
		{From: success, On: PayDenied, By: Node, If: devFeeLost, To: same, Do: do(devFeeDenied)},
		{From: join(settled, success), On: PayByHand, By: Node, If: owesSeller, To: same, Do: do(bookByHand)},
	}
}

var (
	payoutLost = Guard{"the node has lost this payout", func(s *step) bool { return s.o.Payout.isLost(s.e.Payment) }}
	devFeeLost = devFeeIs("the node has lost this development fee", func(s *step, d *DevFee) bool { return d.Payout.isLost(s.e.Payment) })
	toAddress  = Guard{"it goes to an address", func(s *step) bool { return s.o.Payout.Address != "" }}
	owesSeller = Guard{"the seller is owed what he paid too much", func(s *step) bool { return s.o.Ledger.owes(OwedSeller) }}

	bookVouched       = Effect{"the buyer is paid, as the operator says", func(s *step) { s.paying().vouched(s.o.Ledger.entry(OwedBuyer), s.e.Payment) }}
	payoutDenied      = Effect{"another payment, when the lost one had the time to show", func(s *step) { s.paying().denied() }}
	bookVouchedDevFee = Effect{"the development fee is paid, as the operator says", func(s *step) {
		s.payingDevFee().vouched(s.o.Ledger.entry(OwedDev), s.e.Payment)
	}}
	devFeeDenied = Effect{"another payment, when the lost one had the time to show", func(s *step) { s.payingDevFee().denied() }}
	bookByHand   = Effect{"the seller has back what he paid too much", func(s *step) {
		s.o.Ledger.byHand(OwedSeller, s.e, s.o.Terms.RoutingSubsidy)
	}}

	bondPayoutLost = BondGuard{"the node has lost this payout", func(s *bondStep) bool { return s.b.Payout.isLost(s.e.Payment) }}
	bondToAddress  = BondGuard{"it goes to an address", func(s *bondStep) bool { return s.b.Payout.Address != "" }}
	owesOwner      = BondGuard{"the owner is owed what he paid too much", func(s *bondStep) bool { return s.b.Ledger.owes(OwedOwner) }}

	bookShareVouched = BondEffect{"the winner is paid, as the operator says", func(s *bondStep) { s.paying().vouched(s.b.Ledger.entry(OwedWinner), s.e.Payment) }}
	bondPayDenied    = BondEffect{"another payment, when the lost one had the time to show", func(s *bondStep) { s.paying().denied() }}
	bookOwnerByHand  = BondEffect{"the owner has back what he paid too much", func(s *bondStep) {
		s.b.Ledger.byHand(OwedOwner, s.e, s.b.Terms.RoutingSubsidy)
	}}
)

// isLost tells that the node has lost the very payment that an operator speaks of.
func (p *Payout) isLost(n *PaymentNotice) bool { return p.State == PayoutUnknown && p.Hash == n.Hash }

// ask tells the operator what to do about a payout of an owner that the node has lost, or that hangs there, "" for any other.
func (p *Payout) ask(owner string) string {
	switch p.State {
	case PayoutFlying:
		// lnd: after a start a payment gets no new attempts; it ends with the HTLCs that are out.
		return ": it is in flight at the Lightning node, and nothing else is paid before it ends. If lncli listchannels shows no HTLC of it, starting LND again mostly ends it; one that its payee holds back ends when its HTLC expires"
	case PayoutUnknown:
	default:
		return ""
	}
	return fmt.Sprintf(": ask the payee whether it has arrived, then mostro payout %s --paid %s, or --unpaid, with --reason WHY", owner, p.Hash)
}

// vouched books a payment that nobody but its payee knows of.
func (p paying) vouched(due *Entry, n *PaymentNotice) {
	p.paid(due, n)
	due.Word = n.Reason
}

// denied gives a payment up that the node has lost. Its hash is never paid again, stays recorded as
// tried, and is asked about before any other is paid: what the node remembers after all counts.
func (p paying) denied() {
	p.FailedAt, p.FailedUptime = p.at, p.uptime+1
	p.leave(0) // it was sent, whichever run knows that
	p.State, p.Since, p.NextTry = PayoutFailed, p.at, p.at+max(p.retry, p.graceLeft())
}

// owes tells whether something of a kind is owed now.
func (l Ledger) owes(kind EntryKind) bool {
	due := l.entry(kind)
	return due != nil && due.State == Owed
}

// Overpaid is what somebody is owed who paid in too much; nobody but the operator can give it back.
func (l Ledger) Overpaid() Msat { return l.sum(OwedSeller, Owed) + l.sum(OwedOwner, Owed) }

// byHand books what an operator has given back. Its routing fee is booked as far as the trade covers
// it: what he spends beyond that is his.
func (l Ledger) byHand(kind EntryKind, e Event, subsidy Sat) {
	due := l.entry(kind)
	due.State, due.Hash, due.Word, due.At = Paid, e.Payment.Hash, e.Payment.Reason, e.At
	due.Routing = min(e.Payment.Routing, max(0, l.SettledIn()+subsidy.Msat()-l.Out()))
}

// handed are the hashes of payments that operators have made by hand.
func (l Ledger) handed() (list []Hash) {
	for _, e := range l {
		if slices.Contains([]EntryKind{OwedSeller, OwedOwner}, e.Kind) && e.State == Paid {
			list = append(list, e.Hash)
		}
	}
	return list
}
