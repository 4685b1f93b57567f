package lightning

import (
	"fmt"
	"slices"
	"time"

	"mostro/escrow/order"
)

// Why a payment failed, in lnd's words.
const (
	reasonNoRoute          = "FAILURE_REASON_NO_ROUTE"
	reasonNoBalance        = "FAILURE_REASON_INSUFFICIENT_BALANCE"
	reasonIncorrectDetails = "FAILURE_REASON_INCORRECT_PAYMENT_DETAILS"
	reasonTimeout          = "FAILURE_REASON_TIMEOUT"
)

// simPayment is an outgoing payment at its node.
type simPayment struct {
	node     *SimNode
	invoice  order.Invoice
	state    PaymentState // the truth
	amount   order.Msat
	fee      order.Msat // of the parts that are held or settled
	reason   string
	preimage [32]byte
	parts    []*simHTLC // that are held
	feeLimit order.Msat
	sentAt   time.Time
	fate     SimFate
	told     PaymentState // the last state that went out as a notice
	streams  []*simWatch[Payment]
}

// SimPay describes a payment as any wallet may make it, also one that Send refuses.
type SimPay struct {
	Invoice  string
	Amount   order.Msat // whatever the invoice asks; 0 = what it asks
	Parts    int        // HTLCs, 0 = 1
	FeeLimit order.Msat // 0 = as much as it takes
}

// SimRoute says what it takes to reach a node from the others.
type SimRoute struct {
	None    bool       // there is no route
	BaseFee order.Msat // for each payment
	FeePPM  int64      // parts per million of the amount
}

func (r SimRoute) fee(amount order.Msat) order.Msat {
	return r.BaseFee + amount/1_000_000*order.Msat(r.FeePPM) + amount%1_000_000*order.Msat(r.FeePPM)/1_000_000
}

// SetRoute says how the node is reached. The zero value is a free route.
func (s *SimNode) SetRoute(route SimRoute) { s.network.update(func() { s.route = route }) }

// Pay pays an invoice as a wallet does, with no fault of the node's in between. The answer
// is what became of it: Accepted at the payee is InFlight here. Errors are those of Send.
func (s *SimNode) Pay(pay SimPay) (payment Payment, err error) {
	invoice, decodeErr := s.network.read(pay.Invoice)
	s.network.update(func() {
		if err = s.checkInvoice(invoice, decodeErr); err != nil {
			return
		}
		if pay.Amount == 0 {
			pay.Amount = invoice.Amount
		}
		if pay.FeeLimit == 0 {
			pay.FeeLimit = s.capacity
		}
		var sent *simPayment
		if sent, err = s.newPayment(invoice, pay.Amount, pay.FeeLimit); err != nil {
			return
		}
		sent.attempt(max(1, pay.Parts))
		payment = sent.truth()
	})
	return payment, err
}

// PayHold pays a hold invoice in full: the seller's part of a trade.
func (s *SimNode) PayHold(bolt11 string) (Payment, error) { return s.Pay(SimPay{Invoice: bolt11}) }

// PayShard sends one HTLC as a part of a payment of total, on its own. The parts that make
// up the total may come from several calls and several nodes; each is at least 1 msat.
func (s *SimNode) PayShard(bolt11 string, amount, total order.Msat) (payment Payment, err error) {
	invoice, decodeErr := s.network.read(bolt11)
	s.network.update(func() {
		if err = s.checkInvoice(invoice, decodeErr); err != nil {
			return
		}
		sent := s.payments[invoice.Hash]
		if sent == nil || sent.state != InFlight {
			if sent, err = s.newPayment(invoice, total, s.capacity); err != nil {
				return
			}
		}
		if failure := sent.sendPart(amount, 0, total); failure != "" {
			sent.giveUp(failure)
		}
		payment = sent.truth()
	})
	return payment, err
}

// PaymentState is the truth about a payment of the node, whatever faults its calls have.
func (s *SimNode) PaymentState(hash order.Hash) (payment Payment, ok bool) {
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	if found := s.payments[hash]; found != nil {
		return found.truth(), true
	}
	return Payment{}, false
}

// ForgetPayment deletes the node's record of a payment, whatever its state, as an operator
// does who deletes payments or swaps the node. Its HTLCs go their way, in silence. What is
// returned brings the record back, as another database of the node would.
func (s *SimNode) ForgetPayment(hash order.Hash) (remember func()) {
	s.network.mu.Lock()
	payment := s.payments[hash]
	s.network.mu.Unlock()
	s.network.update(func() { delete(s.payments, hash) })
	return func() {
		s.network.update(func() {
			if payment != nil {
				s.payments[hash] = payment
			}
		})
	}
}

// checkInvoice refuses what lnd refuses before it looks at anything else. That an invoice is
// paid already does not count here: once it has expired, lnd says so even then.
func (s *SimNode) checkInvoice(invoice order.Invoice, decodeErr error) error {
	switch {
	case s.stopped:
		return ErrSimUnavailable
	case decodeErr != nil:
		return fmt.Errorf("%w: %w", ErrRefused, decodeErr)
	case invoice.Network != s.network.config.Network:
		return fmt.Errorf("%w: invoice not for current active network '%s'", ErrRefused, s.network.config.Network)
	case s.network.now().After(invoice.ExpiresAt):
		return fmt.Errorf("%w: invoice expired. Valid until %v", ErrRefused, invoice.ExpiresAt)
	case !invoice.PaymentSecret:
		return fmt.Errorf("%w: payment request must contain either a payment address or blinded paths", ErrRefused)
	}
	return nil
}

// newPayment writes down a payment that is about to be tried.
func (s *SimNode) newPayment(invoice order.Invoice, amount, feeLimit order.Msat) (*simPayment, error) {
	if amount <= 0 {
		return nil, fmt.Errorf("%w: amount must be specified", ErrRefused)
	}
	if invoice.Payee == s.pubkey {
		return nil, fmt.Errorf("%w: self-payments not allowed", ErrRefused)
	}
	if earlier := s.payments[invoice.Hash]; earlier != nil {
		switch earlier.state {
		case InFlight:
			return nil, fmt.Errorf("%w: payment is in transition", ErrInFlight)
		case Succeeded:
			return nil, ErrAlreadyPaid
		}
	}
	payment := &simPayment{
		node:     s,
		invoice:  invoice,
		state:    InFlight,
		amount:   amount,
		feeLimit: feeLimit,
		sentAt:   s.network.now(),
	}
	s.payments[invoice.Hash] = payment
	payment.changed()
	return payment, nil
}

// attempt sends the payment in a number of parts. Either all of them arrive or it fails.
func (p *simPayment) attempt(parts int) {
	payee := p.node.network.byPubkey[p.invoice.Payee]
	if failure := p.unreachable(payee, p.amount); failure != "" {
		p.giveUp(failure)
		return
	}
	fee := payee.route.fee(p.amount)
	if fee > p.feeLimit {
		p.giveUp(reasonNoRoute)
		return
	}
	left := p.amount
	for part := range parts {
		amount := left / order.Msat(parts-part)
		if failure := p.sendPart(amount, fee, p.amount); failure != "" {
			p.giveUp(failure)
			return
		}
		left -= amount
		fee = 0 // the first part carries it
	}
}

// unreachable says why an amount cannot get to the payee, if it cannot. lnd looks at its
// own channels first.
func (p *simPayment) unreachable(payee *SimNode, amount order.Msat) (failure string) {
	switch {
	case amount <= 0:
		return reasonIncorrectDetails
	case amount > p.node.local || p.node.htlcsOut >= p.node.slots:
		return reasonNoBalance
	case payee == nil || payee.stopped || payee.route.None:
		return reasonNoRoute
	case amount > payee.receivable() || payee.htlcsIn >= payee.slots:
		return reasonNoRoute
	}
	return ""
}

// sendPart brings one HTLC to the payee. It says why when it did not stay there.
func (p *simPayment) sendPart(amount, fee, total order.Msat) (failure string) {
	payer, payee := p.node, p.node.network.byPubkey[p.invoice.Payee]
	if failure := p.unreachable(payee, amount); failure != "" {
		return failure
	}
	if amount+fee > payer.local {
		return reasonNoBalance
	}
	invoice := payee.invoices[p.invoice.Hash]
	if invoice == nil {
		return reasonIncorrectDetails
	}
	htlc := &simHTLC{
		payment:      p,
		invoice:      invoice,
		amount:       amount,
		fee:          fee,
		total:        total,
		expiryHeight: payer.network.height + p.invoice.FinalCLTV + simBlockPadding,
		arrivedAt:    payer.network.now(),
	}
	htlc.lock()
	p.parts = append(p.parts, htlc)
	p.fee += fee
	if refusal := invoice.receive(htlc); refusal != "" {
		p.parts = p.parts[:len(p.parts)-1]
		p.fee -= fee
		htlc.unlock()
		payer.local += amount + fee
		return refusal
	}
	return ""
}

// giveUp fails a payment once nothing of it is held any more. The payee lets its parts go
// when they time out.
func (p *simPayment) giveUp(reason string) {
	p.reason = reason
	if len(p.parts) == 0 && p.state == InFlight {
		p.state, p.fee = Failed, 0
		p.changed()
	}
}

// partSettled ends the payment well when its last part is settled.
func (p *simPayment) partSettled(part *simHTLC, preimage [32]byte) {
	p.parts = slices.DeleteFunc(p.parts, func(other *simHTLC) bool { return other == part })
	if len(p.parts) == 0 && p.state == InFlight {
		p.state, p.preimage, p.reason = Succeeded, preimage, ""
		p.changed()
	}
}

// partReleased ends the payment badly when its last part has come back.
func (p *simPayment) partReleased(part *simHTLC, reason string) {
	p.parts = slices.DeleteFunc(p.parts, func(other *simHTLC) bool { return other == part })
	p.giveUp(reason)
}

// truth is the payment as it is.
func (p *simPayment) truth() Payment {
	return Payment{
		Hash:       p.invoice.Hash,
		State:      p.state,
		Amount:     p.amount,
		RoutingFee: p.fee,
		Reason:     p.failure(),
	}
}

func (p *simPayment) failure() string {
	if p.state != Failed {
		return ""
	}
	return p.reason
}

// view is the payment as its node reports it: the truth, unless a fault has it otherwise.
func (p *simPayment) view() Payment {
	view := p.truth()
	switch {
	case p.fate == SimFrozen:
		view.State, view.Reason = InFlight, ""
	case p.fate == SimLying && p.state != Failed:
		view.State, view.Reason, view.RoutingFee = Failed, reasonTimeout, 0
	}
	return view
}

// changed tells watchers and listeners what they do not know yet. A node that has
// forgotten the payment has nothing to tell.
func (p *simPayment) changed() {
	view := p.view()
	if view.State == p.told || p.node.payments[p.invoice.Hash] != p {
		return
	}
	p.told = view.State
	p.node.notify(SimChange{Node: p.node.name, Hash: view.Hash, Payment: &view}, func() {
		for _, stream := range p.streams {
			stream.push(view)
		}
	})
}

// lock takes an HTLC's money out of the payer's hands and a slot of each side.
func (h *simHTLC) lock() {
	payer, payee := h.payment.node, h.invoice.node
	payer.local -= h.amount + h.fee
	payer.lockedOut += h.amount + h.fee
	payer.htlcsOut++
	payee.lockedIn += h.amount
	payee.htlcsIn++
}

// unlock takes the HTLC off the channels. Its money must then be given to somebody.
func (h *simHTLC) unlock() {
	payer, payee := h.payment.node, h.invoice.node
	payer.lockedOut -= h.amount + h.fee
	payer.htlcsOut--
	payee.lockedIn -= h.amount
	payee.htlcsIn--
}

// release gives the HTLC's money back to the payer.
func (h *simHTLC) release(reason string) {
	h.unlock()
	h.payment.node.local += h.amount + h.fee
	h.payment.partReleased(h, reason)
}

// Proof is the preimage of a payment that has arrived, which tests know and Node does not tell.
func (s *SimNode) Proof(hash order.Hash) (proof order.Preimage, ok bool) {
	s.network.update(func() {
		if p := s.payments[hash]; p != nil && p.state == Succeeded {
			proof, ok = order.NewPreimage(p.preimage), true
		}
	})
	return proof, ok
}
