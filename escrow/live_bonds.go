package escrow

import (
	"maps"
	"slices"

	"mostro/escrow/order"
)

// liveBond is what the engine keeps in memory of a bond that has not ended.
type liveBond struct {
	order   string
	at      int64 // when the clock is due
	hold    order.Hash
	payment order.Hash
	try     int64
	waits   bool // its deadline waits until the node has spoken about hold
	asked   bool // it has
}

// movedBond takes note of a step of a bond.
func (l *liveSet) movedBond(was, is *order.Bond) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.countBond(was, -1)
	l.countBond(is, +1)
	old, lb := l.bonds[is.ID], liveBond{order: is.Order}
	if is.Ended() {
		delete(l.bonds, is.ID)
	} else {
		lb.at = order.NextBondWake(is)
		if is.Held() || is.State == order.BondRequested {
			lb.hold, lb.waits = is.Hold.Hash, is.State == order.BondRequested
			lb.asked = old.asked && old.hold == lb.hold
		}
		switch is.Payout.State {
		case order.PayoutFlying, order.PayoutUnknown:
			lb.payment, lb.try = is.Payout.Hash, is.Payout.Tries
		}
		l.bonds[is.ID] = lb
	}
	l.rewatchBond(is.ID, old, lb)
}

func (l *liveSet) rewatchBond(id string, was, is liveBond) {
	if was.hold != is.hold {
		l.changeHold(watch{hash: was.hold, order: was.order, bond: id}, watch{hash: is.hold, order: is.order, bond: id})
	}
	if was.payment != is.payment || was.try != is.try {
		l.change(watch{hash: was.payment, order: was.order, bond: id, payment: true},
			watch{hash: is.payment, order: is.order, bond: id, payment: true, try: is.try})
	}
	if len(l.watches) > 0 {
		signal(l.rewatched)
	}
}

// countBond adds a bond's shares to the sums, or takes them off.
func (l *liveSet) countBond(b *order.Bond, n int) {
	if b.ID == "" || b.Ended() {
		return
	}
	keys := []string{b.Owner.Trade}
	if b.Slash != nil {
		keys = append(keys, b.Slash.Winner.Trade)
	}
	for _, k := range keys {
		if l.keys[k] += n; l.keys[k] <= 0 {
			delete(l.keys, k)
		}
	}
	if b.Held() {
		l.holds += n
		l.held += n
	}
	if b.State == order.BondPayout {
		l.promised += order.Msat(n) * b.WinnerGets()
	}
}

// heldBonds counts the bonds that are held.
func (l *liveSet) heldBonds() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// orderOf is the order of a live bond.
func (l *liveSet) orderOf(id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bonds[id].order
}

// dropBonds forgets the bonds of an order that is held back; the caller holds the lock.
func (l *liveSet) dropBonds(id string) {
	for bond, b := range l.bonds {
		if b.order == id {
			delete(l.bonds, bond)
			l.rewatchBond(bond, b, liveBond{order: id})
		}
	}
}

// bondIDs lists the live bonds.
func (l *liveSet) bondIDs() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.bonds))
}

// unpaidBonds lists the slashed ones whose winners are not paid, nor about to be.
func (l *liveSet) unpaidBonds() (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, b := range l.bonds {
		if b.hold.IsZero() && b.payment.IsZero() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// dueBonds lists the bonds that the clock has something to say about.
func (l *liveSet) dueBonds(now int64, ready bool) (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, b := range l.bonds {
		if b.at > 0 && b.at <= now && (!b.waits || ready && b.asked) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
