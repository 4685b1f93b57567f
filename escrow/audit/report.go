package audit

import (
	"slices"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// Report is what an audit found.
type Report struct {
	At      int64  `json:"at"` // unix seconds
	Pubkey  string `json:"lightning_node"`
	Alias   string `json:"alias,omitempty"`
	Network string `json:"network,omitempty"`

	Orders int    `json:"orders"` // all, also those without money
	Bonds  int    `json:"bonds"`
	Lines  []Line `json:"lines"` // orders and bonds that money has moved in
	Total  Sums   `json:"total"`

	Owed        []Liability `json:"owed"`
	Differences []Finding   `json:"differences"`
	News        []Finding   `json:"news"`

	// Settled and Paid are what the node itself has of the escrow; Others is what it took in
	// and paid beside it.
	Settled    Tally `json:"settled"`
	Paid       Tally `json:"paid"`
	OthersIn   Tally `json:"others_in"`
	OthersPaid Tally `json:"others_paid"`
	// Elsewhere is what the books have of other Lightning nodes. It is part of Total, and is not compared.
	Elsewhere []Elsewhere `json:"elsewhere"`
	// OthersHolds are the hold invoices that other software has at the node, the held ones first.
	OthersHolds []OthersHold `json:"others_holds"`
}

// Agrees tells that the books and the node agree to the millisat, but for what came Later.
func (r *Report) Agrees() bool { return len(r.Differences) == 0 }

// Standing drops the differences that an earlier look at the same books has not found.
func (r *Report) Standing(before *Report) {
	r.Differences = slices.DeleteFunc(r.Differences, func(f Finding) bool {
		return !slices.ContainsFunc(before.Differences, func(was Finding) bool {
			return was.Kind == f.Kind && was.Order == f.Order && was.Hash == f.Hash
		})
	})
}

// Later tells that the node did things after the books were written which would be differences else.
func (r *Report) Later() bool {
	return slices.ContainsFunc(r.News, func(f Finding) bool { return f.Kind == LaterNews })
}

// Line is one order in the table, or one bond.
type Line struct {
	Order  string        `json:"order"`             // its id, or that of the bond
	BondOf string        `json:"bond_of,omitempty"` // the order that a bond stands for
	Status mostro.Status `json:"status"`
	At     int64         `json:"at"` // of its last entry, or of the sats being held
	Sums
}

// Tally counts records of the node.
type Tally struct {
	Count   int        `json:"count"`
	Amount  order.Msat `json:"amount"`
	Routing order.Msat `json:"routing,omitempty"`
}

func (t *Tally) add(amount, routing order.Msat) {
	t.Count++
	t.Amount += amount
	t.Routing += routing
}

// Liability is something that is owed now.
type Liability struct {
	Order       string     `json:"order"`
	BondOf      string     `json:"bond_of,omitempty"` // as in Line
	To          string     `json:"to"`                // "buyer" or "seller"
	Amount      order.Msat `json:"amount"`
	Since       int64      `json:"since"`
	Conditional bool       `json:"conditional,omitempty"`
	Why         string     `json:"why"` // it is not paid yet
	Hash        order.Hash `json:"hash"`
}

// Finding is a difference or news.
type Finding struct {
	Kind   Kind       `json:"kind"`
	Order  string     `json:"order,omitempty"`
	BondOf string     `json:"bond_of,omitempty"` // as in Line
	Hash   order.Hash `json:"hash"`
	Books  order.Msat `json:"books"` // what the books say
	Node   order.Msat `json:"node"`  // what the node says
	Text   string     `json:"text"`
	Do     string     `json:"do,omitempty"` // what the operator does about a difference
}

// Kind is what a finding is about.
type Kind string

// Differences.
const (
	Unread       Kind = "unread"        // an order of the books cannot be read
	Unbalanced   Kind = "unbalanced"    // the ledger of an order does not add up
	StrangeEntry Kind = "strange-entry" // an entry that counts in no column
	Overspent    Kind = "overspent"     // more went out than came in
	InMissing    Kind = "in-missing"    // booked as settled, and the node has not settled it
	InAmount     Kind = "in-amount"     // settled with another amount
	InUnbooked   Kind = "in-unbooked"   // settled at the node, and not in the books
	HeldMissing  Kind = "held-missing"  // held in the books, and not at the node
	HeldAmount   Kind = "held-amount"   // held with another amount
	Orphan       Kind = "orphan"        // a hold invoice that belongs to no order
	OutMissing   Kind = "out-missing"   // booked as paid, and the node has not paid it
	OutAmount    Kind = "out-amount"    // paid with another amount
	RoutingFee   Kind = "routing-fee"   // paid with another routing fee
	OutUnbooked  Kind = "out-unbooked"  // paid by the node, and not owed in the books
	PaidTwice    Kind = "paid-twice"    // a second payment for what is owed once
	HashShared   Kind = "hash-shared"   // one payment hash in two orders
	Unexplained  Kind = "unexplained"   // a payment that the store does not know, and may have forgotten
)

// News.
const (
	HeldBack      Kind = "held-back"      // an order waits for the operator after a defect
	AcceptedNews  Kind = "accepted-news"  // paid by the seller
	SettledNews   Kind = "settled-news"   // settled as asked
	GoneNews      Kind = "gone-news"      // the node gave the sats back
	PaidNews      Kind = "paid-news"      // the payout has arrived
	MayBePaid     Kind = "may-be-paid"    // a payment of nobody's over just what is owed
	CancelWaits   Kind = "cancel-waits"   // the node is to be asked to cancel it
	LaterNews     Kind = "later-news"     // a difference that is younger than the books
	ExpiresItself Kind = "expires-itself" // an old invoice that nobody has paid
	WordNews      Kind = "word-news"      // booked because an operator says so
)

// remedies say what to do about each difference. HASH and ORDER are those of the finding.
func remedies() map[Kind]string {
	const report = "take nothing new (mostro mode maintenance) and report it with the output of mostro audit --json"
	return map[Kind]string{
		Unread:       "nothing is done for it until the program can read it; mostro status says why",
		Unbalanced:   report,
		StrangeEntry: report,
		Overspent:    report,
		InMissing:    "ask LND: lncli lookupinvoice HASH; if LND itself was put back from a copy, the sats may be gone",
		InAmount:     "compare with lncli lookupinvoice HASH; " + report,
		InUnbooked: "if the store was put back from a copy, this trade or this slash went on without it: ask both parties who got what; what is listed as owed the node pays by itself, " +
			"so pay only what is not by hand; a payment that mostro status lists is explained with --order ORDER, and with --own only if that is refused; " +
			"if nothing was put back, somebody else has the escrow secret: stop the node",
		HeldMissing: "tell both parties that no sats are held and no money must be sent; a solver ends the order; one that is released already: mostro escrow ORDER --settled, or --gone, with --reason WHY",
		HeldAmount:  "compare with lncli lookupinvoice HASH; " + report,
		Orphan: "if the store was put back from a copy, or another mostro uses this node with the same keys (stop that one), its trade is not known here: ask both parties; " +
			"lncli cancelinvoice HASH gives sats that are held back to who paid them",
		OutMissing:  "if payments were deleted at LND this is no loss; else ask the payee whether he was paid",
		OutAmount:   "compare with lncli trackpayment HASH; " + report,
		RoutingFee:  "compare with lncli trackpayment HASH; " + report,
		OutUnbooked: "if mostro status lists it: mostro restored explain HASH --order ORDER; else " + report,
		PaidTwice:   "stop payouts and look: mostro mode maintenance; ask the payee to send the second one back; " + report,
		HashShared:  report,
		Unexplained: "mostro status lists what it may have paid; ask the payee, then: mostro restored explain HASH --order ORDER, or --own if it has nothing to do with the escrow",
	}
}

// NotRunning has the report say what to do about the books of a node that does not run: it hears of
// most by itself when it starts, and what is done by hand before that is done twice.
func (r *Report) NotRunning() {
	for i := range r.Differences {
		if r.Differences[i].Kind == InUnbooked {
			r.Differences[i].Do = "start the node, if it does not run: it books this if the store was put back from a copy, and pays nothing before it has read LND's payments; " +
				"pay and explain nothing by hand before; then run mostro status and mostro audit again"
		}
	}
}

// texts say each kind to a person.
func texts() map[Kind]string {
	return map[Kind]string{
		Unread:       "the books have a row that cannot be read",
		Unbalanced:   "the ledger does not add up: what came in is not what went out, was kept or is owed",
		StrangeEntry: "the ledger has an entry that the audit does not know",
		Overspent:    "more was paid, with routing, than came in",
		InMissing:    "the books say that the escrow was settled, the node does not",
		InAmount:     "the escrow was settled with another amount",
		InUnbooked:   "the node has settled an escrow that the books do not count",
		HeldMissing:  "the books say that sats are held, the node holds none",
		HeldAmount:   "another amount is held",
		Orphan:       "a hold invoice of this escrow belongs to no order",
		OutMissing:   "the books say that it was paid, the node does not",
		OutAmount:    "another amount was paid",
		RoutingFee:   "the payment cost another routing fee",
		OutUnbooked:  "the node has paid what the books do not owe",
		PaidTwice:    "a second payment went out for what is owed once",
		HashShared:   "two orders claim the same payment",
		Unexplained:  "the node has paid what the store does not know; payouts over the same amount wait",

		HeldBack:      "the order is held back after a defect",
		AcceptedNews:  "the seller has paid",
		SettledNews:   "the escrow is settled",
		GoneNews:      "the node has given the sats back",
		PaidNews:      "the payout has arrived",
		MayBePaid:     "the node has made a payment over just as much, which no order claims; the escrow asks about it when it starts",
		CancelWaits:   "the hold invoice is to be canceled",
		ExpiresItself: "an earlier hold invoice that nobody has paid will expire",
		WordNews:      "booked on the word of an operator, and the node knows it otherwise or not at all",
	}
}
