package order

import "fmt"

// EntryKind is what a ledger entry counts.
type EntryKind string

const (
	// SettledIn is what the settled hold invoice brought.
	SettledIn EntryKind = "settled-in"
	// OwedBuyer is the payout.
	OwedBuyer EntryKind = "owed-buyer"
	// OwedSeller is what the seller paid beyond the hold invoice's amount.
	OwedSeller EntryKind = "owed-seller"
	// OwedWinner is the winner's share of a slashed bond.
	OwedWinner EntryKind = "owed-winner"
	// OwedOwner is what the owner of a slashed bond paid beyond its amount.
	OwedOwner EntryKind = "owed-owner"
	// OwedDev is the development fee, taken out of NodeFee.
	OwedDev EntryKind = "owed-dev"
	// NodeFee is the part of SettledIn that is nobody's but the node's; routing is paid from it.
	NodeFee EntryKind = "node-fee"
)

// EntryState is the state of a liability.
type EntryState string

const (
	Conditional EntryState = "conditional" // the settle is intended, not confirmed
	Owed        EntryState = "owed"
	Paid        EntryState = "paid"
	Void        EntryState = "void"
	Booked      EntryState = "booked" // an entry that is not a liability
)

// Entry is one line of an order's ledger, in millisats.
type Entry struct {
	Kind    EntryKind  `json:"kind"`
	State   EntryState `json:"state"`
	Amount  Msat       `json:"amount"`
	Routing Msat       `json:"routing,omitempty"` // routing fee of the payment that paid it
	Hash    Hash       `json:"hash"`              // of the payment that paid it
	At      int64      `json:"at"`
	// Word is why an operator says that it is so, where the node's own record is not what tells.
	Word string `json:"word,omitempty"`
}

// liabilities are the kinds that somebody else is owed.
var liabilities = []EntryKind{OwedBuyer, OwedSeller, OwedWinner, OwedOwner, OwedDev}

// Ledger holds the entries of one order, or of one bond.
type Ledger []Entry

// sum adds up the entries of a kind that are in one of the states.
func (l Ledger) sum(kind EntryKind, states ...EntryState) (total Msat) {
	for _, e := range l {
		for _, s := range states {
			if e.Kind == kind && e.State == s {
				total += e.Amount
			}
		}
	}
	return total
}

// Owes is what is owed to anyone, certain and conditional.
func (l Ledger) Owes() (owed, conditional Msat) {
	for _, kind := range liabilities {
		owed += l.sum(kind, Owed)
		conditional += l.sum(kind, Conditional)
	}
	return owed, conditional
}

// Routing is the routing fee that payments of this order cost.
func (l Ledger) Routing() (total Msat) {
	for _, e := range l {
		total += e.Routing
	}
	return total
}

// PaidOut is what payments of this order brought to people.
func (l Ledger) PaidOut() (total Msat) {
	for _, kind := range liabilities {
		total += l.sum(kind, Paid)
	}
	return total
}

// Out is all that payments of this order took, to whomever, with their routing.
func (l Ledger) Out() (total Msat) {
	for _, e := range l {
		if total += e.Routing; e.State == Paid {
			total += e.Amount
		}
	}
	return total
}

// Uncovered is how much more went out than came in.
func (l Ledger) Uncovered() Msat { return max(0, l.Out()-l.SettledIn()) }

// SettledIn is what the escrow of this order brought.
func (l Ledger) SettledIn() Msat { return l.sum(SettledIn, Booked) }

// NodeFee is what the node keeps, before routing.
func (l Ledger) NodeFee() Msat { return l.sum(NodeFee, Booked) }

// entry finds the liability of a kind; there is at most one of each.
func (l Ledger) entry(kind EntryKind) *Entry {
	for i := range l {
		if l[i].Kind == kind {
			return &l[i]
		}
	}
	return nil
}

// CheckMoney is the last word on every step: what must hold of an order whatever happened.
func CheckMoney(o *Order) error {
	in, fee := o.Ledger.SettledIn(), o.Ledger.NodeFee()
	owed, conditional := o.Ledger.Owes()
	out, routing := o.Ledger.PaidOut(), o.Ledger.Routing()
	if in != out+owed+fee {
		return fmt.Errorf("ledger of %s does not add up: %d in, %d out, %d owed, %d fee", o.ID, in, out, owed, fee)
	}
	if fee < 0 {
		return fmt.Errorf("order %s owes %d more than came in", o.ID, -fee)
	}
	if out+routing > in+o.Terms.RoutingSubsidy.Msat() {
		return fmt.Errorf("order %s paid %d and %d routing of %d settled in", o.ID, out, routing, in)
	}
	if conditional > 0 && o.Escrow.State != EscrowSettling {
		return fmt.Errorf("order %s has a conditional liability with its escrow %q", o.ID, o.Escrow.State)
	}
	if o.Payout.State != PayoutNone && o.Escrow.State != EscrowSettled {
		return fmt.Errorf("order %s has a payout %q with its escrow %q", o.ID, o.Payout.State, o.Escrow.State)
	}
	if (in > 0) != (o.Escrow.State == EscrowSettled) {
		return fmt.Errorf("order %s settled %d in with its escrow %q", o.ID, in, o.Escrow.State)
	}
	return nil
}
