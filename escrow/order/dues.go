package order

// Due is a payment that the node has to make, or will once another is made: it is between the two
// amounts.
type Due struct{ Least, Most Msat }

// Fits tells whether a payment over an amount may be this one.
func (d Due) Fits(amount Msat) bool { return d.Least <= amount && amount <= d.Most }

// Payable tells whether the node pays a liability by itself.
func (k EntryKind) Payable() bool { return k == OwedBuyer || k == OwedDev || k == OwedWinner }

// dues are what a ledger still has to pay, now or once a settle is confirmed.
func (l Ledger) dues() (list []Due) {
	for _, e := range l {
		if e.Kind.Payable() && (e.State == Owed || e.State == Conditional) {
			list = append(list, Due{e.Amount, e.Amount})
		}
	}
	return list
}

// Dues are the payments that follow from what an order owes. The development fee is owed once the
// buyer is paid, and his routing decides how much of it is left.
func Dues(o *Order) []Due {
	list := o.Ledger.dues()
	share := devFeeShare(o)
	if buyer := o.Ledger.entry(OwedBuyer); len(list) > 0 && buyer != nil && buyer.State != Paid && share > 0 {
		least := devFeeOf(o, (2*o.Fee).Msat()-RoutingBudget(o.Terms, o.Amount, o.Fee))
		list = append(list, Due{max(1, least).Msat(), share.Msat()})
	}
	return list
}

// Dues are the payments that follow from what a bond owes: what is left of it is owed to its owner
// once the node has confirmed the slash.
func (b *Bond) Dues() []Due {
	list := b.Ledger.dues()
	if b.Hold.State == EscrowSettling && b.Slash != nil {
		if rest := (b.Amount - b.Slash.Slice).Msat(); rest > 0 {
			list = append(list, Due{rest, rest})
		}
	}
	return list
}
