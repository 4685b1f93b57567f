package order

import "fmt"

// paying is a payout under way: the way of one liability from an invoice to a payment that
// the node knows. The payout of an order and that of a bond go the same way, by the same
// rules: one hash at a time, and no other before the node says that the last has failed.
type paying struct {
	*Payout
	at       int64  // unix seconds
	uptime   int64  // Facts.Uptime
	run      uint64 // Facts.Run
	amount   Msat
	feeLimit Msat // of the routing fee
	retry    int64
	grace    int64 // seconds from the failure of a hash to the try of another
	call     func(Call)
}

// begin makes the next try: with the invoice that is there, or with one of the address.
func (p paying) begin() {
	// M1: a node has called a payment failed that succeeded minutes later. No other hash is tried
	// before that had the time to show; then all earlier ones are looked up once more.
	if p.EarlierFailedAt != 0 && p.EarlierFailedUptime == 0 {
		p.EarlierFailedUptime = p.uptime + 1 // the row is of a version that did not count it
	}
	if left := p.graceLeft(); left > 0 {
		p.State, p.Since, p.NextTry = PayoutFailed, p.at, p.at+left
		return
	}
	p.Tries++
	p.Since, p.NextTry, p.Replaced = p.at, 0, 0
	if p.Invoice == "" {
		p.State = PayoutResolving
		p.call(p.resolveCall())
		return
	}
	p.send()
}

// again goes on with what the payee has given. The same as before is worth no try of its own: it
// waits for its time, though no longer than another would. Else whoever names what cannot be paid
// once more, and once more, would keep the node trying without an end. An address in place of another
// waits as long as between two tries: whoever names them chooses the server that is asked.
func (p paying) again() {
	left := min(p.NextTry-p.at, max(p.retry, p.grace))
	if p.Address != "" {
		left = min(left, p.Since+p.retry-p.at)
	} else {
		p.Since = p.at
	}
	if left > 0 {
		p.State, p.NextTry = PayoutFailed, p.at+left
		return
	}
	p.begin()
}

// maxReplaced is how many invoices and addresses a payee may give before one of them is tried: each
// is kept in the order's history.
const maxReplaced = 10

func (p paying) send() {
	p.State, p.UnsentIn = PayoutSending, 0
	p.call(p.payCall())
}

// resolved keeps the invoice that the payee's server has given.
func (p paying) resolved(inv *Invoice) { p.Invoice, p.Hash = inv.Text, inv.Hash }

func (p paying) flies() { p.State, p.Since = PayoutFlying, p.at }

// failed counts a failure; the next try waits. sent: the node had taken the payment over.
func (p paying) failed(sent bool) {
	p.Attempts++
	if sent {
		p.FailedAt, p.FailedUptime = p.at, p.uptime+1
	}
	if p.Address != "" { // the next try asks for another invoice
		p.leave(p.run)
	}
	p.State, p.Since, p.NextTry = PayoutFailed, p.at, p.at+max(p.retry, p.graceLeft())
}

// graceLeft is for how many more seconds no other hash than the earlier ones may be tried, 0 when
// none was sent. It counts time in which the node could have shown a payment (M42): a clock that is
// set forward brings none, and neither does an hour in which the node is away.
func (p paying) graceLeft() int64 {
	switch {
	case p.EarlierFailedAt == 0:
		return 0
	case p.EarlierFailedUptime == 0: // not counted yet
		return p.grace
	}
	return max(0, p.EarlierFailedUptime-1+p.grace-p.uptime)
}

// unheard gives up a payment of which the node has never said a word and which it does not know, or has
// called failed. It counts like one that has failed now: no other hash is paid before this one had the
// time to show after all. Its own is paid no more.
func (p paying) unheard() {
	p.failed(true)
	p.leave(p.run)
}

func (p paying) lost() { p.State, p.Since = PayoutUnknown, p.at }

// asks waits for another invoice, and says when to ask again.
func (p paying) asks(wait int64) {
	p.State, p.Since, p.NextTry = PayoutAsking, p.at, p.at+wait
	p.Asked++
}

// lookAgain asks the node whether a payment that it called failed has succeeded since.
func (p paying) lookAgain() {
	if hashes := p.Hashes(); len(hashes) > 0 {
		p.call(Call{Do: LookAgain, Try: p.Tries, Earlier: hashes})
	}
}

// leave makes room for another hash than the present one. One that the node was never asked to
// pay is forgotten: nothing but the payee's patience bounds how many he names while a try waits.
// Only the run that has heard of it knows that (M40): the store may be an old copy, and the node have
// been asked since.
func (p *Payout) leave(run uint64) {
	if !p.Hash.IsZero() && (p.UnsentIn == 0 || p.UnsentIn != run) {
		p.Earlier = append(p.Earlier, p.Hash)
		p.EarlierFailedAt = max(p.EarlierFailedAt, p.FailedAt)
		p.EarlierFailedUptime = max(p.EarlierFailedUptime, p.FailedUptime)
	}
	p.Invoice, p.Hash, p.FailedAt, p.FailedUptime = "", Hash{}, 0, 0
}

// found records the hash of a payment that an operator has found to be this payout.
func (p *Payout) found(hash Hash) {
	if !p.Hash.IsZero() && p.Hash != hash {
		p.Earlier = append(p.Earlier, p.Hash)
	}
	p.Hash = hash
}

// nothingFlies tells that a payment which an operator has found may be booked.
func (p *Payout) nothingFlies() bool {
	return p.State != PayoutFlying && p.State != PayoutUnknown && p.State != PayoutPaid
}

// replaced is the payout with another invoice or address in place of the one that failed.
func (p Payout) replaced(by Payout, run uint64) Payout {
	by.UnsentIn, by.Replaced = p.UnsentIn, p.Replaced+1
	if p.Hash == by.Hash && !by.Hash.IsZero() { // of an address each try is another, and waits for the grace
		by.Attempts, by.NextTry = p.Attempts, p.NextTry
	}
	if p.Address != "" && by.Address != "" {
		by.NextTry, by.Since = p.NextTry, p.Since
		if p.Address == by.Address {
			by.Attempts = p.Attempts
		}
	}
	if p.Hash != by.Hash {
		p.leave(run)
		by.UnsentIn = run
	}
	by.Tries, by.Earlier, by.FailedAt, by.EarlierFailedAt = p.Tries, p.Earlier, p.FailedAt, p.EarlierFailedAt
	by.FailedUptime, by.EarlierFailedUptime = p.FailedUptime, p.EarlierFailedUptime
	return by
}

// paid marks the liability that a payment has covered.
func (p paying) paid(due *Entry, n *PaymentNotice) {
	due.State, due.Hash, due.Routing, due.At = Paid, n.Hash, n.Routing, p.at
	p.State, p.Since = PayoutPaid, p.at
}

// speaksOf tells whether news of the node is about the try that is under way.
func (p *Payout) speaksOf(n *PaymentNotice) bool {
	return n.Hash == p.Hash && n.Try == p.Tries
}

// resolves tells whether news is about the address that is being resolved.
func (p *Payout) resolves(n *PaymentNotice) bool {
	return p.State == PayoutResolving && n.Try == p.Tries
}

// overtaken says what an operator should know when another payment than the present one has
// succeeded, "" when there is nothing to say.
func (p paying) overtaken(n *PaymentNotice) string {
	switch {
	case n.Hash == p.Hash || !p.State.Busy():
		return ""
	case p.State == PayoutSending:
		return fmt.Sprintf("the node had called payment %s failed, and it has succeeded; %s is not paid in its place", n.Hash, p.Hash)
	}
	return fmt.Sprintf("payment %s succeeded while %s is under way", n.Hash, p.Hash)
}
