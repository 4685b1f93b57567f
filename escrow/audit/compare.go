package audit

import (
	"cmp"
	"maps"
	"slices"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// Derive gives the payment hash of an order's escrow attempt, when the escrow secret is at
// hand.
type Derive func(id string, attempt uint32) order.Hash

// Compare audits the accounts against the node. derive may be nil: then a memo is believed. written
// is when the accounts were: what the node did after that, by its own clock, is news. 0 is now.
func Compare(accounts []Account, node Node, derive Derive, now, written int64) *Report {
	c := &comparison{
		node: node, derive: derive, written: written, accounts: map[string]*Account{}, payer: map[order.Hash]string{}, ours: map[order.Hash]bool{}, in: map[order.Hash]order.Msat{},
		invoice: map[order.Hash]string{}, maker: map[order.Hash]string{}, away: map[string]*Elsewhere{},
		r: &Report{
			At: now, Pubkey: node.Pubkey, Alias: node.Alias, Network: node.Network,
			Lines: []Line{}, Owed: []Liability{}, Differences: []Finding{}, News: []Finding{}, OthersHolds: []OthersHold{}, Elsewhere: []Elsewhere{},
		},
	}
	strays := map[order.Hash]*Stray{}
	for i := range accounts {
		if stray := accounts[i].Stray; stray != nil {
			strays[stray.Hash] = stray
			continue
		}
		c.accounts[accounts[i].ID] = &accounts[i]
		if hold := accounts[i].Hold; hold.Invoice != "" {
			c.invoice[hold.Hash] = hold.Invoice
		}
		if accounts[i].Order == "" {
			c.r.Orders++
		} else {
			c.r.Bonds++
		}
		for _, e := range accounts[i].Ledger {
			if e.Kind == order.SettledIn {
				c.in[e.Hash] += e.Amount
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.accounts)) {
		c.account(c.accounts[id])
	}
	c.invoices()
	c.strays(strays)
	c.others()
	c.othersHolds()
	c.sort()
	c.nameBonds()
	return c.r
}

// nameBonds says of which order each bond is that the report speaks of.
func (c *comparison) nameBonds() {
	of := func(id string) string {
		if a := c.accounts[id]; a != nil {
			return a.Order
		}
		return ""
	}
	for i := range c.r.Owed {
		c.r.Owed[i].BondOf = of(c.r.Owed[i].Order)
	}
	for _, list := range [][]Finding{c.r.Differences, c.r.News} {
		for i := range list {
			list[i].BondOf = of(list[i].Order)
		}
	}
}

// comparison is an audit under way.
type comparison struct {
	node     Node
	derive   Derive
	written  int64 // unix seconds, 0 = now
	accounts map[string]*Account
	payer    map[order.Hash]string // payment hash -> the order that claims it
	ours     map[order.Hash]bool   // invoices of the node that are the escrow's
	// in is what the books have of each hold invoice: what a bond brought may be divided
	// between two accounts.
	in map[order.Hash]order.Msat
	// invoice is the text of each hold invoice, maker the node that signed it where that was asked, and
	// away what lies at another node.
	invoice, maker map[order.Hash]string
	away           map[string]*Elsewhere
	r              *Report
}

func finding(kind Kind, id string, hash order.Hash, books, node order.Msat) Finding {
	return Finding{Kind: kind, Order: id, Hash: hash, Books: books, Node: node, Text: texts()[kind], Do: remedies()[kind]}
}

func (c *comparison) differ(kind Kind, id string, hash order.Hash, books, node order.Msat) {
	c.r.Differences = append(c.r.Differences, finding(kind, id, hash, books, node))
}

// differSince is a difference, or news if the node did it after the books were written.
func (c *comparison) differSince(at int64, kind Kind, id string, hash order.Hash, books, node order.Msat) {
	if c.written == 0 || at <= c.written {
		c.differ(kind, id, hash, books, node)
		return
	}
	f := finding(kind, id, hash, books, node)
	f.Kind, f.Text, f.Do = LaterNews, f.Text+"; that was after the books were written", ""
	c.r.News = append(c.r.News, f)
}

func (c *comparison) news(kind Kind, id string, hash order.Hash, books, node order.Msat) {
	c.r.News = append(c.r.News, finding(kind, id, hash, books, node))
}

// account audits one order.
func (c *comparison) account(a *Account) {
	if a.Unread {
		f := finding(Unread, a.ID, order.Hash{}, 0, 0)
		f.Text += ": " + a.Broken
		c.r.Differences = append(c.r.Differences, f)
		return
	}
	if a.Broken != "" {
		f := finding(HeldBack, a.ID, order.Hash{}, 0, 0)
		f.Text += ": " + a.Broken
		c.r.News = append(c.r.News, f)
	}
	sums, strange := sum(a.Ledger, a.Order != "")
	if strange != nil {
		c.differ(StrangeEntry, a.ID, strange.Hash, strange.Amount, 0)
	}
	if gap := sums.Gap(); gap != 0 {
		c.differ(Unbalanced, a.ID, order.Hash{}, sums.SettledIn, sums.SettledIn-gap)
	}
	if out := sums.PaidOut + sums.DevFee + sums.Routing; out > sums.SettledIn+a.Subsidy {
		c.differ(Overspent, a.ID, order.Hash{}, sums.SettledIn+a.Subsidy, out)
	}
	c.settledIn(a)
	sums.Held = c.hold(a)
	c.payments(a)
	c.liabilities(a)
	c.r.Total.add(sums)
	if sums != (Sums{}) {
		line := Line{Order: a.ID, BondOf: a.Order, Status: a.Status, At: a.Hold.Since, Sums: sums}
		for _, e := range a.Ledger {
			line.At = max(line.At, e.At)
		}
		c.r.Lines = append(c.r.Lines, line)
	}
}

// settledIn looks for what the books say came in.
func (c *comparison) settledIn(a *Account) {
	for _, e := range a.Ledger {
		if e.Kind != order.SettledIn || e.State != order.Booked {
			continue
		}
		invoice, ok := c.node.Invoices[e.Hash]
		c.ours[e.Hash] = true
		missing := !ok || invoice.State != lightning.Settled
		switch {
		case missing && e.Word != "":
			c.word(a, e, e.Amount, 0)
		case !ok && c.elsewhere(a, e):
		case missing:
			c.differ(InMissing, a.ID, e.Hash, e.Amount, 0)
		case invoice.AmountPaid != c.in[e.Hash]:
			c.differ(InAmount, a.ID, e.Hash, c.in[e.Hash], invoice.AmountPaid)
		}
	}
}

// books tells whether the ledger counts a hold invoice as settled.
func (a *Account) books(hash order.Hash) bool {
	return slices.ContainsFunc(a.Ledger, func(e order.Entry) bool { return e.Kind == order.SettledIn && e.Hash == hash })
}

// hold compares the present hold invoice, and returns what is held in it.
func (c *comparison) hold(a *Account) (held order.Msat) {
	hash := a.Hold.Hash
	if hash.IsZero() || a.books(hash) {
		return 0
	}
	c.ours[hash] = true
	invoice, known := c.node.Invoices[hash]
	state := invoice.State
	if !known {
		state = ""
	}
	switch a.Hold.State {
	case order.EscrowSettled: // and the ledger has no entry of it
		c.differSince(invoice.SettledAt, InUnbooked, a.ID, hash, 0, invoice.AmountPaid)
	case order.EscrowAccepted, order.EscrowSettling:
		asked := a.Hold.State == order.EscrowSettling
		switch {
		case state == lightning.Canceled:
			c.news(GoneNews, a.ID, hash, a.Hold.Paid, 0)
		case state == lightning.Settled && !asked:
			c.differSince(invoice.SettledAt, InUnbooked, a.ID, hash, 0, invoice.AmountPaid)
		case state == lightning.Settled || state == lightning.Accepted:
			switch {
			case invoice.AmountPaid != a.Hold.Paid:
				c.differ(HeldAmount, a.ID, hash, a.Hold.Paid, invoice.AmountPaid)
			case state == lightning.Settled:
				c.news(SettledNews, a.ID, hash, 0, invoice.AmountPaid)
			}
			if state == lightning.Accepted {
				return a.Hold.Paid
			}
		default:
			c.heldMissing(a)
		}
	case order.EscrowOpening, order.EscrowOpen:
		switch state {
		case lightning.Accepted:
			c.news(AcceptedNews, a.ID, hash, 0, invoice.AmountPaid)
		case lightning.Settled:
			c.differSince(invoice.SettledAt, InUnbooked, a.ID, hash, 0, invoice.AmountPaid)
		case lightning.Canceled:
			c.news(GoneNews, a.ID, hash, 0, 0)
		}
	default:
		c.given(a, invoice)
	}
	return 0
}

// given compares a hold invoice that the books have given up.
func (c *comparison) given(a *Account, invoice lightning.InvoiceRecord) {
	canceling := slices.Contains(a.Canceling, invoice.Hash)
	switch {
	case invoice.State == lightning.Settled:
		c.differSince(invoice.SettledAt, InUnbooked, a.ID, invoice.Hash, 0, invoice.AmountPaid)
	case invoice.State == lightning.Accepted && !canceling:
		c.differ(Orphan, a.ID, invoice.Hash, 0, invoice.AmountPaid)
	case invoice.State == lightning.Accepted, invoice.State == lightning.Open && canceling:
		c.news(CancelWaits, a.ID, invoice.Hash, 0, invoice.AmountPaid)
	case invoice.State == lightning.Open:
		c.news(ExpiresItself, a.ID, invoice.Hash, 0, 0)
	}
}

// invoices looks at what the node has of this escrow, and the books do not name.
func (c *comparison) invoices() {
	for hash, invoice := range c.node.Invoices {
		id, attempt, ok := order.ParseMemo(invoice.Memo)
		if c.ours[hash] || !ok {
			continue
		}
		if c.derive != nil && c.derive(id, attempt) != hash {
			continue // whoever wrote this memo, it was not this escrow
		}
		c.ours[hash] = true
		a := c.accounts[id]
		switch {
		case a != nil && a.Unread:
		case a != nil && attempt < a.Hold.Attempt:
			c.given(a, invoice)
		case invoice.State != lightning.Canceled:
			c.differSince(invoice.CreatedAt, Orphan, id, hash, 0, invoice.AmountPaid)
		}
	}
}

// strays compares the payments that no order claims with those that the escrow has found, and with what is
// owed: after a restore one of them may have paid that.
func (c *comparison) strays(found map[order.Hash]*Stray) {
	for hash, p := range c.node.Payments {
		if p.State == lightning.Failed || c.payer[hash] != "" {
			continue
		}
		switch stray := found[hash]; {
		case stray != nil && !stray.Own:
			c.differ(Unexplained, "", hash, 0, p.Amount+p.RoutingFee)
		case stray == nil:
			i := slices.IndexFunc(c.r.Owed, func(l Liability) bool {
				return l.Amount == p.Amount && c.accounts[l.Order].CreatedAt <= p.CreatedAt
			})
			if i >= 0 {
				c.news(MayBePaid, c.r.Owed[i].Order, hash, c.r.Owed[i].Amount, p.Amount)
			}
		}
	}
}

// others counts what is the escrow's at the node, and what is beside it.
func (c *comparison) others() {
	c.r.OthersIn = c.node.Nameless
	for hash, invoice := range c.node.Invoices {
		if invoice.State != lightning.Settled {
			continue
		}
		if c.ours[hash] {
			c.r.Settled.add(invoice.AmountPaid, 0)
		} else {
			c.r.OthersIn.add(invoice.AmountPaid, 0)
		}
	}
	for hash, payment := range c.node.Payments {
		if payment.State != lightning.Succeeded {
			continue
		}
		if c.payer[hash] != "" {
			c.r.Paid.add(payment.Amount, payment.RoutingFee)
		} else {
			c.r.OthersPaid.add(payment.Amount, payment.RoutingFee)
		}
	}
}

func (c *comparison) sort() {
	byOrder := func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Hash.String(), b.Hash.String()))
	}
	for _, pubkey := range slices.Sorted(maps.Keys(c.away)) {
		c.r.Elsewhere = append(c.r.Elsewhere, *c.away[pubkey])
	}
	slices.SortFunc(c.r.Differences, byOrder)
	slices.SortFunc(c.r.News, byOrder)
	sortLines(c.r.Lines)
	slices.SortFunc(c.r.Owed, func(a, b Liability) int { return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.Order, b.Order)) })
}

func sortLines(lines []Line) {
	slices.SortFunc(lines, func(a, b Line) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Order, b.Order)) })
}
