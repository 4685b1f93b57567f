package audit

import "mostro/escrow/order"

// Sums are the columns of the audit, in millisats.
type Sums struct {
	SettledIn order.Msat `json:"settled_in"` // hold invoices
	PaidOut   order.Msat `json:"paid_out"`   // to people
	Routing   order.Msat `json:"routing"`    // fees of payments; from the node's fee
	NodeFee   order.Msat `json:"node_fee"`   // before routing
	DevFee    order.Msat `json:"dev_fee"`    // paid
	Bonds     order.Msat `json:"bonds"`      // the node's share of slashed bonds, before routing
	Owed      order.Msat `json:"owed"`
	// Conditional is owed once a settle that was asked for is confirmed; nothing came in for it yet.
	Conditional order.Msat `json:"conditional"`
	Held        order.Msat `json:"held"` // in hold invoices that are accepted
}

// column is where an entry of the ledger counts, by its state. Void entries count nowhere.
type column map[order.EntryState]func(*Sums) *order.Msat

func settledIn(s *Sums) *order.Msat   { return &s.SettledIn }
func paidOut(s *Sums) *order.Msat     { return &s.PaidOut }
func nodeFee(s *Sums) *order.Msat     { return &s.NodeFee }
func bonds(s *Sums) *order.Msat       { return &s.Bonds }
func devFee(s *Sums) *order.Msat      { return &s.DevFee }
func owed(s *Sums) *order.Msat        { return &s.Owed }
func conditional(s *Sums) *order.Msat { return &s.Conditional }

// columns say in which column each kind of entry counts. A kind that is not here is itself a
// difference: nobody must book what the audit does not see.
func columns() map[order.EntryKind]column {
	liability := column{order.Paid: paidOut, order.Owed: owed, order.Conditional: conditional}
	return map[order.EntryKind]column{
		order.SettledIn:  {order.Booked: settledIn},
		order.OwedBuyer:  liability,
		order.OwedSeller: liability,
		order.OwedWinner: liability,
		order.OwedOwner:  liability,
		order.OwedDev:    {order.Paid: devFee, order.Owed: owed},
		order.NodeFee:    {order.Booked: nodeFee},
	}
}

// sum adds up a ledger, of a bond or of an order; strange is an entry that no column takes.
func sum(l order.Ledger, bond bool) (s Sums, strange *order.Entry) {
	table := columns()
	if bond {
		table[order.NodeFee] = column{order.Booked: bonds}
	}
	for i, e := range l {
		s.Routing += e.Routing
		if e.State == order.Void {
			continue
		}
		place := table[e.Kind][e.State]
		if place == nil {
			strange = &l[i]
			continue
		}
		*place(&s) += e.Amount
	}
	return s, strange
}

// Gap is by how much the sums do not add up: everything that came in is with somebody, with
// the node, or owed.
func (s Sums) Gap() order.Msat {
	return s.SettledIn - s.PaidOut - s.NodeFee - s.DevFee - s.Bonds - s.Owed
}

// Kept is what the node has of it in the end.
func (s Sums) Kept() order.Msat { return s.NodeFee + s.Bonds - s.Routing }

func (s *Sums) add(other Sums) {
	s.SettledIn += other.SettledIn
	s.PaidOut += other.PaidOut
	s.Routing += other.Routing
	s.NodeFee += other.NodeFee
	s.DevFee += other.DevFee
	s.Bonds += other.Bonds
	s.Owed += other.Owed
	s.Conditional += other.Conditional
	s.Held += other.Held
}
