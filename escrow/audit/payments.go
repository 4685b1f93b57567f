package audit

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// payments compares every payment that was ever recorded for an order: one to its people, and
// one of the development fee.
func (c *comparison) payments(a *Account) {
	c.payout(a, a.Payout.Claims, func(kind order.EntryKind) bool { return kind != order.OwedDev })
	if a.DevFee != nil {
		c.payout(a, a.DevFee.Claims, func(kind order.EntryKind) bool { return kind == order.OwedDev })
	}
}

// payout compares the payments of one liability: its claims, and what its entries say was paid.
func (c *comparison) payout(a *Account, claims []order.Hash, its func(order.EntryKind) bool) {
	paid, owed := map[order.Hash]bool{}, false
	hashes := slices.Clone(claims)
	for _, e := range a.Ledger {
		if !its(e.Kind) {
			continue
		}
		switch e.State {
		case order.Paid:
			if e.Amount == 0 && e.Hash.IsZero() {
				continue // nothing was due
			}
			paid[e.Hash] = true
			hashes = append(hashes, e.Hash)
			c.paidEntry(a, e)
		case order.Owed, order.Conditional:
			owed = true
		}
	}
	// One payment may be on its way, or have arrived without the books knowing.
	var out []lightning.PaymentRecord
	seen := map[order.Hash]bool{{}: true}
	for _, hash := range hashes {
		if seen[hash] {
			continue
		}
		seen[hash] = true
		if other := c.payer[hash]; other != "" {
			c.differ(HashShared, a.ID, hash, 0, c.node.Payments[hash].Amount)
			continue
		}
		c.payer[hash] = a.ID
		p := c.node.Payments[hash]
		switch {
		case paid[hash]:
		case p.State == lightning.Succeeded:
			out = slices.Insert(out, 0, p)
		case p.State == lightning.InFlight:
			out = append(out, p)
		}
	}
	for i, p := range out {
		switch {
		case len(paid) > 0 || i > 0:
			// However young: no time makes a second payment right.
			c.differ(PaidTwice, a.ID, p.Hash, 0, p.Amount+p.RoutingFee)
		case !owed:
			c.differSince(p.CreatedAt, OutUnbooked, a.ID, p.Hash, 0, p.Amount+p.RoutingFee)
		case p.State == lightning.Succeeded:
			c.news(PaidNews, a.ID, p.Hash, 0, p.Amount)
		}
	}
}

// word is news of what stands in the books because an operator says so.
func (c *comparison) word(a *Account, e order.Entry, books, node order.Msat) {
	f := finding(WordNews, a.ID, e.Hash, books, node)
	f.Text += ": " + e.Word
	c.r.News = append(c.r.News, f)
}

// paidEntry looks for a payment that the books say was made.
func (c *comparison) paidEntry(a *Account, e order.Entry) {
	p, ok := c.node.Payments[e.Hash]
	arrived := ok && p.State == lightning.Succeeded
	if e.Word != "" && !(arrived && p.Amount == e.Amount && p.RoutingFee == e.Routing) {
		c.word(a, e, e.Amount+e.Routing, p.Amount+p.RoutingFee)
		return
	}
	if !ok && c.elsewhere(a, e) {
		return
	}
	if !arrived {
		c.differ(OutMissing, a.ID, e.Hash, e.Amount, 0)
		return
	}
	if p.Amount != e.Amount {
		c.differ(OutAmount, a.ID, e.Hash, e.Amount, p.Amount)
	}
	if p.RoutingFee != e.Routing {
		c.differ(RoutingFee, a.ID, e.Hash, e.Routing, p.RoutingFee)
	}
}

// liabilities lists what an order owes now.
func (c *comparison) liabilities(a *Account) {
	for _, e := range a.Ledger {
		if e.State != order.Owed && e.State != order.Conditional {
			continue
		}
		due := Liability{Order: a.ID, To: owedTo[e.Kind], Amount: e.Amount, Since: e.At, Conditional: e.State == order.Conditional, Why: why(a, e)}
		if e.Kind == order.OwedBuyer || e.Kind == order.OwedWinner {
			due.Hash = a.Payout.Hash
		}
		if e.Kind == order.OwedDev && a.DevFee != nil {
			due.Hash = a.DevFee.Hash
		}
		c.r.Owed = append(c.r.Owed, due)
	}
}

var owedTo = map[order.EntryKind]string{
	order.OwedBuyer: "buyer", order.OwedSeller: "seller", order.OwedWinner: "winner", order.OwedOwner: "owner", order.OwedDev: "development",
}

// why says why something is not paid yet.
func why(a *Account, e order.Entry) string {
	p := a.Payout
	if e.Kind == order.OwedDev && a.DevFee != nil {
		p = *a.DevFee
	}
	switch {
	case a.Broken != "":
		return "the order is held back after a defect"
	case e.State == order.Conditional && a.Order != "":
		return "slashed; the node has not confirmed it"
	case e.State == order.Conditional:
		return "released; the node has not confirmed the settle"
	case e.Kind == order.OwedSeller, e.Kind == order.OwedOwner:
		return "paid in too much; return it by hand, then: mostro payout " + a.ID + " --paid HASH --reason WHY"
	}
	switch p.State {
	case order.PayoutResolving:
		return "the payee's server is asked for an invoice"
	case order.PayoutSending:
		return "the payment is being handed to the node, which has not confirmed it yet"
	case order.PayoutFlying:
		return "the payment is in flight"
	case order.PayoutFailed:
		return fmt.Sprintf("try %d failed; the next is due at %s", p.Tries, clock(p.NextTry))
	case order.PayoutAsking:
		return fmt.Sprintf("waits for an invoice of the payee; how often he was asked: %d", p.Asked)
	case order.PayoutUnknown:
		return fmt.Sprintf("the node has lost the payment; find out at the payee what became of it, then: mostro payout %s --paid %s, or --unpaid, with --reason WHY", a.ID, p.Hash)
	}
	return "nothing pays it"
}

func clock(at int64) string { return time.Unix(at, 0).UTC().Format("2 Jan 15:04") + " UTC" }

// Booking is one movement of money, for a month's accounts.
type Booking struct {
	At     int64
	Order  string
	BondOf string // as in Line
	What   string
	// Wallet is what it changed in the node's channels, Income what of it is the node's own.
	Wallet, Income order.Msat
	Hash           order.Hash
}

// Bookings lists what moved from one time on and before another, in its order. The sum of
// Wallet less the sum of Income is by how much more is owed at the end than at the beginning.
func Bookings(accounts []Account, from, before int64) (list []Booking) {
	for _, a := range accounts {
		for _, e := range a.Ledger {
			if e.At < from || e.At >= before {
				continue
			}
			b := Booking{At: e.At, Order: a.ID, BondOf: a.Order, What: string(e.Kind), Hash: e.Hash}
			switch {
			case e.State == order.Booked && e.Kind == order.SettledIn:
				b.Wallet = e.Amount
			case e.State == order.Booked && e.Kind == order.NodeFee:
				b.Income = e.Amount
				if a.Order != "" {
					b.What = "bond-share"
				}
			case e.State == order.Paid:
				b.What, b.Wallet = "paid-"+owedTo[e.Kind], -e.Amount
			default:
				continue
			}
			list = append(list, b)
			if e.Routing != 0 {
				list = append(list, Booking{At: e.At, Order: a.ID, BondOf: a.Order, What: "routing", Wallet: -e.Routing, Income: -e.Routing, Hash: e.Hash})
			}
		}
	}
	// What came in stands before what went out of it in the same second.
	slices.SortStableFunc(list, func(a, b Booking) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(max(b.Wallet, 0), max(a.Wallet, 0)))
	})
	return list
}

// Between makes the table of the report one of what was booked from one time on and before
// another. What is owed, held and different stays as it is now.
func (r *Report) Between(accounts []Account, from, before int64) {
	held := r.Total.Held
	r.Lines, r.Total = []Line{}, Sums{}
	for _, a := range accounts {
		var ledger order.Ledger
		at := int64(0)
		for _, e := range a.Ledger {
			if e.At >= from && e.At < before {
				ledger, at = append(ledger, e), max(at, e.At)
			}
		}
		sums, _ := sum(ledger, a.Order != "")
		r.Total.add(sums)
		if sums != (Sums{}) {
			r.Lines = append(r.Lines, Line{Order: a.ID, BondOf: a.Order, Status: a.Status, At: at, Sums: sums})
		}
	}
	r.Total.Held = held
	sortLines(r.Lines)
}
