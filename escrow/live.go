package escrow

import (
	"maps"
	"slices"
	"sync"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// liveSet is what the engine keeps in memory of orders that have not ended: enough to know
// whom to watch and when to look, and no more.
type liveSet struct {
	mu        sync.Mutex
	orders    map[string]liveOrder
	bonds     map[string]liveBond
	dropped   map[string]bool     // orders that are held back, and counted still
	keys      map[string]int      // trade keys of live orders, counted
	persons   map[string]int      // identity keys of live orders, counted
	promised  order.Msat          // payouts that taken orders will need, routing included
	trades    int                 // orders that are taken
	holds     int                 // hold invoices that occupy a channel, or may
	held      int                 // those of them that are bonds
	ours      map[order.Hash]bool // hold invoices that are watched
	watches   []watch             // to begin or to end, not yet fetched
	changed   chan struct{}       // deadlines have changed
	rewatched chan struct{}       // there are watches to fetch
}

// watch is a hash that the node has to be asked about, or no longer.
type watch struct {
	hash    order.Hash
	order   string
	bond    string // "" = the order's own
	payment bool
	try     int64 // of the payment
	end     bool
}

type liveOrder struct {
	at      int64      // when the clock is due
	height  uint32     // at which block it is due
	hold    order.Hash // watched
	blamed  bool       // its deadlines wait until the node has spoken about hold
	payment order.Hash
	try     int64
	offer   bool // not taken
	// asked: the node has said how the hold invoice stands since this process began. Before
	// that the clock does not blame anybody: the seller may have paid while we were away.
	asked bool
}

func newLiveSet() *liveSet {
	return &liveSet{orders: map[string]liveOrder{}, bonds: map[string]liveBond{}, dropped: map[string]bool{}, keys: map[string]int{}, persons: map[string]int{}, ours: map[order.Hash]bool{}, changed: make(chan struct{}, 1), rewatched: make(chan struct{}, 1)}
}

// moved takes note of a step. An order that begins comes from the zero order; one that is
// over leaves the set.
func (l *liveSet) moved(was, is *order.Order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(was, -1)
	l.count(is, +1)
	old, lo := l.orders[is.ID], liveOrder{}
	if order.Over(is) {
		delete(l.orders, is.ID)
	} else {
		lo.at, lo.height = order.NextWake(is)
		lo.offer = order.Offer(is.Status)
		switch is.Escrow.State {
		case order.EscrowOpening, order.EscrowOpen, order.EscrowAccepted, order.EscrowSettling:
			lo.hold, lo.asked = is.Escrow.Hash, old.asked && old.hold == is.Escrow.Hash
			lo.blamed = is.Escrow.State != order.EscrowSettling
		}
		switch is.Payout.State {
		case order.PayoutFlying, order.PayoutUnknown:
			lo.payment, lo.try = is.Payout.Hash, is.Payout.Tries
		}
		if d := is.DevFee; d != nil && (d.Payout.State == order.PayoutFlying || d.Payout.State == order.PayoutUnknown) {
			lo.payment, lo.try = d.Payout.Hash, d.Payout.Tries // the buyer is paid by then
		}
		l.orders[is.ID] = lo
	}
	l.rewatch(is.ID, old, lo)
	if len(l.watches) > 0 {
		signal(l.rewatched)
	}
}

// drop forgets an order that is held back: nobody watches it, and the clock is silent.
func (l *liveSet) drop(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.orders[id]
	delete(l.orders, id)
	l.dropped[id] = true
	l.rewatch(id, old, liveOrder{})
	l.dropBonds(id)
	signal(l.rewatched)
}

// takeUp takes note of an order, and of its bonds, that is not held back any more. Its shares
// are in the sums already, unless this process has found it held back.
func (l *liveSet) takeUp(o *order.Order, bonds []order.Bond) {
	l.mu.Lock()
	counted := l.dropped[o.ID]
	delete(l.dropped, o.ID)
	l.mu.Unlock()
	was := order.Order{}
	if counted {
		was = *o
	}
	l.moved(&was, o)
	for _, b := range bonds {
		was := order.Bond{}
		if counted {
			was = b
		}
		l.movedBond(&was, &b)
	}
}

// wake makes the clock look again.
func (l *liveSet) wake() { signal(l.changed) }

// signal leaves word in a channel of length one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (l *liveSet) rewatch(id string, was, is liveOrder) {
	if was.hold != is.hold {
		l.changeHold(watch{hash: was.hold, order: id}, watch{hash: is.hold, order: id})
	}
	if was.payment != is.payment || was.try != is.try {
		l.change(watch{hash: was.payment, order: id, payment: true}, watch{hash: is.payment, order: id, payment: true, try: is.try})
	}
}

// changeHold is change for hold invoices, of which it keeps a list.
func (l *liveSet) changeHold(end, begin watch) {
	delete(l.ours, end.hash)
	if !begin.hash.IsZero() {
		l.ours[begin.hash] = true
	}
	l.change(end, begin)
}

// isHold tells that a hash is that of a hold invoice of this node that has not ended.
func (l *liveSet) isHold(h order.Hash) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ours[h]
}

// change ends one watch and begins another; the zero hash is none.
func (l *liveSet) change(end, begin watch) {
	if end.end = true; !end.hash.IsZero() {
		l.watches = append(l.watches, end)
	}
	if !begin.hash.IsZero() {
		l.watches = append(l.watches, begin)
	}
}

// fetch returns the watches to begin or to end since the last call.
func (l *liveSet) fetch() []watch {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.watches
	l.watches = nil
	return w
}

// heard notes that the node has spoken about the hold invoice of an order or a bond.
func (l *liveSet) heard(w watch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o, ok := l.orders[w.order]; ok && w.bond == "" && o.hold == w.hash {
		o.asked = true
		l.orders[w.order] = o
	}
	if b, ok := l.bonds[w.bond]; ok && b.hold == w.hash {
		b.asked = true
		l.bonds[w.bond] = b
	}
}

// count adds an order's shares to the sums, or takes them off.
func (l *liveSet) count(o *order.Order, n int) {
	if o.ID == "" || order.Ended(o.Status) {
		return
	}
	for _, p := range []order.Party{o.Buyer, o.Seller} {
		tally(l.keys, p.Trade, n)
		tally(l.persons, p.Identity, n)
	}
	if o.TakenAt != 0 {
		l.trades += n
		l.promised += order.Msat(n) * (o.BuyerGets().Msat() + order.RoutingBudget(o.Terms, o.Amount, o.Fee))
	}
	switch o.Escrow.State {
	case order.EscrowOpening, order.EscrowOpen, order.EscrowAccepted, order.EscrowSettling:
		l.holds += n
	default:
		if o.Status == mostro.StatusWaitingBuyerInvoice { // it will want one
			l.holds += n
		}
	}
}

// tally counts a key n times more.
func tally(counts map[string]int, key string, n int) {
	if key == "" {
		return
	}
	if counts[key] += n; counts[key] <= 0 {
		delete(counts, key)
	}
}

// claims are what orders want of the node: sats to pay out, and hold invoices.
type claims struct {
	promised order.Msat
	holds    int
}

func (c *claims) add(more claims) { c.promised, c.holds = c.promised+more.promised, c.holds+more.holds }

// claimed is what a step adds to the claims, or takes off them.
func claimed(was, is *order.Order) claims {
	l := liveSet{keys: map[string]int{}, persons: map[string]int{}}
	l.count(was, -1)
	l.count(is, +1)
	return claims{l.promised, l.holds}
}

func (l *liveSet) knows(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keys[key] > 0
}

// knowsPerson tells whether an identity has an order that has not ended.
func (l *liveSet) knowsPerson(identity string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.persons[identity] > 0
}

// load is what live orders claim of the node.
func (l *liveSet) load() (promised order.Msat, holds int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.promised, l.holds
}

// size counts the live orders, and those of them that are taken.
func (l *liveSet) size() (live, trades int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.orders), l.trades
}

// ids lists the live orders.
func (l *liveSet) ids() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.orders))
}

// offers lists up to most of the orders that are not taken.
func (l *liveSet) offers(most int) (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, o := range l.orders {
		if o.offer && len(ids) < most {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// due lists the orders that the clock has something to say about. ready tells whether the
// node can be asked: while it cannot, deadlines of orders with a hold invoice wait.
func (l *liveSet) due(now int64, height uint32, ready bool) (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, o := range l.orders {
		if o.blamed && !(ready && o.asked) {
			continue
		}
		if o.at > 0 && o.at <= now || o.height > 0 && o.height <= height {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
