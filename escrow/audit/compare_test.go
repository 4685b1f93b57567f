package audit

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// books are accounts and a node that agree: an order that was paid, one whose payout was tried
// twice and is owed, one whose sats are held, one that was canceled, and payments and invoices
// of the node that have nothing to do with the escrow.
type books struct {
	accounts map[string]*Account
	node     Node
}

func hash(name string) order.Hash {
	var h order.Hash
	copy(h[:], name)
	return h
}

// derive is the escrow secret of these tests.
func derive(id string, attempt uint32) order.Hash { return hash(fmt.Sprintf("%s/%d", id, attempt)) }

func (b *books) add(a Account) { b.accounts[a.ID] = &a }
func (b *books) list() (l []Account) {
	for _, a := range b.accounts {
		l = append(l, *a)
	}
	return l
}

// hold puts a hold invoice into the node's books.
func (b *books) hold(id string, attempt uint32, state lightning.HoldState, paid order.Msat) {
	h := derive(id, attempt)
	b.node.Invoices[h] = lightning.InvoiceRecord{
		HoldInvoice: lightning.HoldInvoice{Hash: h, State: state, Amount: 100_300_000, AmountPaid: paid},
		Memo:        order.EscrowMemo(&order.Order{ID: id, Escrow: order.Escrow{Attempt: attempt}}),
	}
}

func (b *books) pay(name string, state lightning.PaymentState, amount, routing order.Msat) {
	b.node.Payments[hash(name)] = lightning.PaymentRecord{Payment: lightning.Payment{
		Hash: hash(name), State: state, Amount: amount, RoutingFee: routing}}
}

func goodBooks() *books {
	b := &books{accounts: map[string]*Account{}, node: Node{
		Invoices: map[order.Hash]lightning.InvoiceRecord{}, Payments: map[order.Hash]lightning.PaymentRecord{}}}
	b.hold("paid", 1, lightning.Canceled, 0)
	b.hold("paid", 2, lightning.Settled, 100_300_000)
	b.pay("payout", lightning.Succeeded, 99_700_000, 1_234)
	b.add(Account{
		ID: "paid", Status: mostro.StatusSuccess, Hold: Hold{Attempt: 2, Hash: derive("paid", 2), State: order.EscrowSettled, Paid: 100_300_000},
		Payout: Payout{State: order.PayoutPaid, Hash: hash("payout"), Claims: []order.Hash{hash("payout")}},
		Ledger: order.Ledger{
			{Kind: order.OwedBuyer, State: order.Paid, Amount: 99_700_000, Routing: 1_234, Hash: hash("payout"), At: 60},
			{Kind: order.SettledIn, State: order.Booked, Amount: 100_300_000, Hash: derive("paid", 2), At: 50},
			{Kind: order.NodeFee, State: order.Booked, Amount: 600_000, At: 50},
		}})
	b.hold("owing", 1, lightning.Settled, 100_300_500)
	b.pay("first try", lightning.Failed, 99_700_000, 0)
	b.pay("second try", lightning.InFlight, 99_700_000, 0)
	b.add(Account{
		ID: "owing", Status: mostro.StatusSettledHoldInvoice, Hold: Hold{Attempt: 1, Hash: derive("owing", 1), State: order.EscrowSettled, Paid: 100_300_500},
		Payout: Payout{State: order.PayoutFlying, Hash: hash("second try"), Claims: []order.Hash{hash("first try"), hash("second try")}, Tries: 2},
		Ledger: order.Ledger{
			{Kind: order.OwedBuyer, State: order.Owed, Amount: 99_700_000, At: 70},
			{Kind: order.OwedSeller, State: order.Owed, Amount: 500, At: 70},
			{Kind: order.SettledIn, State: order.Booked, Amount: 100_300_500, Hash: derive("owing", 1), At: 70},
			{Kind: order.NodeFee, State: order.Booked, Amount: 600_000, At: 70},
		}})
	b.hold("held", 1, lightning.Accepted, 50_000_000)
	b.add(Account{ID: "held", Status: mostro.StatusActive,
		Hold: Hold{Attempt: 1, Hash: derive("held", 1), State: order.EscrowAccepted, Paid: 50_000_000, Since: 80}})
	b.hold("gone", 1, lightning.Canceled, 0)
	b.add(Account{ID: "gone", Status: mostro.StatusCanceled, Hold: Hold{Attempt: 1, Hash: derive("gone", 1), State: order.EscrowCanceled},
		Ledger: order.Ledger{{Kind: order.OwedBuyer, State: order.Void, Amount: 99_700_000, At: 40}}})
	b.add(Account{ID: "pending", Status: mostro.StatusPending})
	// A bond of 10,000 sat, of which 4,000 were slashed, half for the winner; its rest is a
	// bond of its own that the same hold invoice has brought in.
	b.hold("bond", 1, lightning.Settled, 10_000_000)
	b.pay("share", lightning.Succeeded, 2_000_000, 0)
	b.add(Account{
		ID: "bond", Order: "paid", Status: "bond slashed", Hold: Hold{Attempt: 1, Hash: derive("bond", 1), State: order.EscrowSettled, Paid: 10_000_000},
		Payout: Payout{State: order.PayoutPaid, Hash: hash("share"), Claims: []order.Hash{hash("share")}},
		Ledger: order.Ledger{
			{Kind: order.OwedWinner, State: order.Paid, Amount: 2_000_000, Hash: hash("share"), At: 90},
			{Kind: order.SettledIn, State: order.Booked, Amount: 3_990_000, Hash: derive("bond", 1), At: 90},
			{Kind: order.NodeFee, State: order.Booked, Amount: 1_990_000, At: 90},
		}})
	b.add(Account{
		ID: "refund", Order: "paid", Status: "bond pending-payout", Payout: Payout{State: order.PayoutAsking, Asked: 1},
		Ledger: order.Ledger{
			{Kind: order.OwedWinner, State: order.Owed, Amount: 6_000_000, At: 90},
			{Kind: order.SettledIn, State: order.Booked, Amount: 6_010_000, Hash: derive("bond", 1), At: 90},
			{Kind: order.NodeFee, State: order.Booked, Amount: 10_000, At: 90},
		}})
	b.node.Invoices[hash("coffee")] = lightning.InvoiceRecord{HoldInvoice: lightning.HoldInvoice{Hash: hash("coffee"), State: lightning.Settled, AmountPaid: 7}, Memo: "coffee"}
	b.pay("rent", lightning.Succeeded, 9, 1)
	return b
}

func TestAgrees(t *testing.T) {
	b := goodBooks()
	r := Compare(b.list(), b.node, derive, 100, 0)
	if !r.Agrees() || len(r.News) != 0 {
		t.Fatalf("differences %+v, news %+v", r.Differences, r.News)
	}
	want := Sums{SettledIn: 210_600_500, PaidOut: 101_700_000, Routing: 1_234, NodeFee: 1_200_000, Bonds: 2_000_000, Owed: 105_700_500, Held: 50_000_000}
	if r.Total != want || r.Total.Gap() != 0 {
		t.Errorf("sums %+v, want %+v", r.Total, want)
	}
	if len(r.Lines) != 5 || r.Orders != 5 || r.Bonds != 2 {
		t.Errorf("%d lines of %d orders and %d bonds", len(r.Lines), r.Orders, r.Bonds)
	}
	for _, l := range r.Lines {
		if want := map[string]string{"bond": "paid", "refund": "paid"}[l.Order]; l.BondOf != want {
			t.Errorf("%s is the bond of %q, want %q", l.Order, l.BondOf, want)
		}
	}
	if r.Settled != (Tally{3, 210_600_500, 0}) || r.Paid != (Tally{2, 101_700_000, 1_234}) ||
		r.OthersIn != (Tally{1, 7, 0}) || r.OthersPaid != (Tally{1, 9, 1}) {
		t.Errorf("node: %+v %+v, beside %+v %+v", r.Settled, r.Paid, r.OthersIn, r.OthersPaid)
	}
	if len(r.Owed) != 3 || r.Owed[0].Why != "the payment is in flight" || r.Owed[0].Amount != 99_700_000 || r.Owed[1].To != "seller" || r.Owed[1].BondOf != "" || r.Owed[2].BondOf != "paid" {
		t.Errorf("owed %+v", r.Owed)
	}
}

// change alters one thing in books that agree.
type change struct {
	what string
	do   func(*books)
	want Kind
	news bool
}

func (b *books) entry(id string, kind order.EntryKind) *order.Entry {
	l := b.accounts[id].Ledger
	return &l[slices.IndexFunc(l, func(e order.Entry) bool { return e.Kind == kind })]
}

func (b *books) invoice(id string, attempt uint32, f func(*lightning.InvoiceRecord)) {
	r := b.node.Invoices[derive(id, attempt)]
	f(&r)
	b.node.Invoices[derive(id, attempt)] = r
}

func (b *books) payment(name string, f func(*lightning.PaymentRecord)) {
	r := b.node.Payments[hash(name)]
	f(&r)
	b.node.Payments[hash(name)] = r
}

// The routing subsidy counts to the millisat: what it covers agrees, one more does not.
func TestSubsidyAgreesToTheMsat(t *testing.T) {
	for routing, agrees := range map[order.Msat]bool{600_000: true, 605_000: true, 605_001: false} {
		b := goodBooks()
		b.accounts["paid"].Subsidy = 5000
		b.entry("paid", order.OwedBuyer).Routing = routing
		b.payment("payout", func(p *lightning.PaymentRecord) { p.RoutingFee = routing })
		if r := Compare(b.list(), b.node, derive, 100, 0); r.Agrees() != agrees {
			t.Errorf("routing of %d with a subsidy of 5000: %+v", routing, r.Differences)
		}
	}
}

// Every difference of a millisat is found, as what it is and as nothing else. Two that are
// one fault of the books come together.
func TestDifferences(t *testing.T) {
	succeed := func(p *lightning.PaymentRecord) { p.State = lightning.Succeeded }
	for _, c := range []change{
		{"in of the ledger", func(b *books) { b.entry("paid", order.SettledIn).Amount++ }, Unbalanced, false},
		{"the fee", func(b *books) { b.entry("paid", order.NodeFee).Amount-- }, Unbalanced, false},
		{"what is owed", func(b *books) { b.entry("owing", order.OwedBuyer).Amount-- }, Unbalanced, false},
		{"a liability that was forgotten", func(b *books) { b.entry("owing", order.OwedSeller).State = order.Void }, Unbalanced, false},
		{"an unknown kind", func(b *books) { b.entry("gone", order.OwedBuyer).State = "odd" }, StrangeEntry, false},
		{"more routing than the fee", func(b *books) {
			b.entry("paid", order.OwedBuyer).Routing = 600_001
			b.payment("payout", func(p *lightning.PaymentRecord) { p.RoutingFee = 600_001 })
		}, Overspent, false},
		{"the node has no such invoice", func(b *books) { delete(b.node.Invoices, derive("paid", 2)) }, InMissing, false},
		{"the node has not settled it", func(b *books) {
			b.invoice("paid", 2, func(r *lightning.InvoiceRecord) { r.State = lightning.Accepted })
		}, InMissing, false},
		{"the node got one more", func(b *books) { b.invoice("paid", 2, func(r *lightning.InvoiceRecord) { r.AmountPaid++ }) }, InAmount, false},
		{"the node got one less", func(b *books) { b.invoice("paid", 2, func(r *lightning.InvoiceRecord) { r.AmountPaid-- }) }, InAmount, false},
		{"a bond brought one more", func(b *books) { b.invoice("bond", 1, func(r *lightning.InvoiceRecord) { r.AmountPaid++ }) }, InAmount, false},
		{"the rest of a bond is one less", func(b *books) { b.entry("refund", order.SettledIn).Amount-- }, InAmount, false},
		{"the winner of a bond got one less", func(b *books) { b.payment("share", func(p *lightning.PaymentRecord) { p.Amount-- }) }, OutAmount, false},
		{"a bond of a lost order", func(b *books) {
			h := derive("bonded", 1)
			b.node.Invoices[h] = lightning.InvoiceRecord{HoldInvoice: lightning.HoldInvoice{Hash: h, State: lightning.Accepted, AmountPaid: 1},
				Memo: order.BondMemo(&order.Bond{ID: "bonded", Order: "x", Hold: order.Escrow{Attempt: 1}})}
		}, Orphan, false},
		{"an earlier attempt was settled too", func(b *books) { b.hold("paid", 1, lightning.Settled, 1) }, InUnbooked, false},
		{"a canceled escrow was settled", func(b *books) { b.hold("gone", 1, lightning.Settled, 1) }, InUnbooked, false},
		{"a held escrow was settled by nobody", func(b *books) { b.hold("held", 1, lightning.Settled, 50_000_000) }, InUnbooked, false},
		{"an open escrow was settled by nobody", func(b *books) {
			b.accounts["held"].Hold.State = order.EscrowOpen
			b.hold("held", 1, lightning.Settled, 50_000_000)
		}, InUnbooked, false},
		{"a settled order without its entry", func(b *books) { b.accounts["paid"].Ledger = nil }, InUnbooked, false},
		{"one more is held", func(b *books) { b.hold("held", 1, lightning.Accepted, 50_000_001) }, HeldAmount, false},
		{"settled with one more than was held", func(b *books) {
			b.accounts["held"].Hold.State = order.EscrowSettling
			b.hold("held", 1, lightning.Settled, 50_000_001)
		}, HeldAmount, false},
		{"nothing is held", func(b *books) { delete(b.node.Invoices, derive("held", 1)) }, HeldMissing, false},
		{"held, and never paid", func(b *books) { b.hold("held", 1, lightning.Open, 0) }, HeldMissing, false},
		{"sats of a canceled order", func(b *books) { b.hold("gone", 1, lightning.Accepted, 1) }, Orphan, false},
		{"an invoice of a lost order", func(b *books) { b.hold("lost", 1, lightning.Open, 0) }, Orphan, false},
		{"sats of a lost order", func(b *books) { b.hold("lost", 1, lightning.Accepted, 1) }, Orphan, false},
		{"money of a lost order", func(b *books) { b.hold("lost", 1, lightning.Settled, 1) }, Orphan, false},
		{"an attempt that the books do not know", func(b *books) { b.hold("held", 2, lightning.Accepted, 1) }, Orphan, false},
		{"the node has no such payment", func(b *books) { delete(b.node.Payments, hash("payout")) }, OutMissing, false},
		{"the payment failed", func(b *books) {
			b.payment("payout", func(p *lightning.PaymentRecord) { p.State = lightning.Failed })
		}, OutMissing, false},
		{"one more was paid", func(b *books) { b.payment("payout", func(p *lightning.PaymentRecord) { p.Amount++ }) }, OutAmount, false},
		{"one more of routing", func(b *books) { b.payment("payout", func(p *lightning.PaymentRecord) { p.RoutingFee++ }) }, RoutingFee, false},
		{"both tries arrived", func(b *books) { b.payment("first try", succeed); b.payment("second try", succeed) }, PaidTwice, false},
		{"the first try arrived, the second flies", func(b *books) { b.payment("first try", succeed) }, PaidTwice, false},
		{"paid, and an earlier try flies", func(b *books) {
			b.accounts["paid"].Payout.Claims = []order.Hash{hash("earlier"), hash("payout")}
			b.pay("earlier", lightning.InFlight, 99_700_000, 0)
		}, PaidTwice, false},
		{"paid before it was owed", func(b *books) {
			b.accounts["held"].Payout = Payout{Claims: []order.Hash{hash("early")}}
			b.pay("early", lightning.Succeeded, 1, 0)
		}, OutUnbooked, false},
		{"flies before it is owed", func(b *books) {
			b.accounts["held"].Payout = Payout{Claims: []order.Hash{hash("early")}}
			b.pay("early", lightning.InFlight, 1, 0)
		}, OutUnbooked, false},
		{"two orders with one hash", func(b *books) { b.accounts["held"].Payout.Claims = []order.Hash{hash("payout")} }, HashShared, false},
		{"a row that does not decode", func(b *books) { b.add(Account{ID: "bad", Unread: true, Broken: "no JSON"}) }, Unread, false},

		{"held back", func(b *books) { b.accounts["held"].Broken = "a defect" }, HeldBack, true},
		{"paid by the seller", func(b *books) { b.accounts["held"].Hold.State = order.EscrowOpen }, AcceptedNews, true},
		{"settled as asked", func(b *books) {
			b.accounts["held"].Hold.State = order.EscrowSettling
			b.hold("held", 1, lightning.Settled, 50_000_000)
		}, SettledNews, true},
		{"canceled by the node", func(b *books) { b.hold("held", 1, lightning.Canceled, 0) }, GoneNews, true},
		{"the payout arrived", func(b *books) { b.payment("second try", succeed) }, PaidNews, true},
		{"sats that are to be canceled", func(b *books) {
			b.accounts["gone"].Canceling = []order.Hash{derive("gone", 1)}
			b.hold("gone", 1, lightning.Accepted, 1)
		}, CancelWaits, true},
		{"an old invoice", func(b *books) { b.hold("paid", 1, lightning.Open, 0) }, ExpiresItself, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			b := goodBooks()
			c.do(b)
			r := Compare(b.list(), b.node, derive, 100, 0)
			list, other := r.Differences, r.News
			if c.news {
				list, other = other, list
			}
			if len(other) > 0 && c.want != PaidTwice { // one of the two is the payout itself
				t.Errorf("also %+v", other)
			}
			if !slices.ContainsFunc(list, func(f Finding) bool { return f.Kind == c.want && f.Text != "" && (f.Do != "") == !c.news }) {
				t.Errorf("found %+v, want %s", list, c.want)
			}
			if r.Agrees() != c.news {
				t.Errorf("agrees: %v", r.Agrees())
			}
		})
	}
}

// A memo is believed only as far as the escrow secret says that it is ours.
func TestForgedMemo(t *testing.T) {
	b := goodBooks()
	b.node.Invoices[hash("forged")] = lightning.InvoiceRecord{
		HoldInvoice: lightning.HoldInvoice{Hash: hash("forged"), State: lightning.Accepted, AmountPaid: 1}, Memo: "Mostro escrow held/7: trust me"}
	if r := Compare(b.list(), b.node, derive, 100, 0); !r.Agrees() {
		t.Errorf("with the secret: %+v", r.Differences)
	}
	if r := Compare(b.list(), b.node, nil, 100, 0); len(r.Differences) != 1 || r.Differences[0].Kind != Orphan {
		t.Errorf("without the secret: %+v", r.Differences)
	}
}

// Whatever kind of entry package order knows counts in a column.
func TestEveryEntryKindHasAColumn(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../order/ledger.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "EntryKind" {
			found++
			value := order.EntryKind(strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`))
			if columns()[value] == nil {
				t.Errorf("no column for entries of kind %q", value)
			}
		}
		return true
	})
	if found < 4 {
		t.Errorf("%d kinds found", found)
	}
}

// A month's bookings add up to what the month changed.
func TestBookings(t *testing.T) {
	b := goodBooks()
	var wallet, income order.Msat
	for _, booking := range Bookings(b.list(), 50, 71) {
		wallet += booking.Wallet
		income += booking.Income
	}
	if wallet-income != 99_700_500 {
		t.Errorf("the wallet has %d more, of which %d are the node's; owed is 99,700,500 more", wallet, income)
	}
	if got := Bookings(b.list(), 60, 70); len(got) != 2 || got[0].What != "paid-buyer" || got[1].What != "routing" {
		t.Errorf("bookings of the payout: %+v", got)
	}
	r := Compare(b.list(), b.node, derive, 100, 0)
	r.Between(b.list(), 60, 70)
	if len(r.Lines) != 1 || r.Total.PaidOut != 99_700_000 || r.Total.SettledIn != 0 {
		t.Errorf("between: %+v", r.Total)
	}
	r.Between(b.list(), 0, 1000)
	bonds := 0
	for _, l := range r.Lines {
		if l.BondOf != "" {
			bonds++
		}
	}
	if bonds != 2 {
		t.Errorf("between, %d are bonds: %+v", bonds, r.Lines)
	}
}

// The books of a backup are old: what the node did since is news, and what it did before is a
// difference all the same.
func TestBooksOfABackup(t *testing.T) {
	const written = 1000
	for name, c := range map[string]struct {
		change func(b *books, at int64)
		kind   Kind
	}{
		"an escrow is settled": {func(b *books, at int64) {
			b.hold("held", 1, lightning.Settled, 50_000_000)
			h := b.node.Invoices[derive("held", 1)]
			h.SettledAt = at
			b.node.Invoices[h.Hash] = h
		}, InUnbooked},
		"an order is made": {func(b *books, at int64) {
			b.hold("new", 1, lightning.Accepted, 100_300_000)
			h := b.node.Invoices[derive("new", 1)]
			h.CreatedAt = at
			b.node.Invoices[h.Hash] = h
		}, Orphan},
		"a payout is made that is not owed in them": {func(b *books, at int64) {
			b.accounts["held"].Payout.Claims = []order.Hash{hash("later")}
			b.pay("later", lightning.Succeeded, 99_700_000, 0)
			p := b.node.Payments[hash("later")]
			p.CreatedAt = at
			b.node.Payments[p.Hash] = p
		}, OutUnbooked},
	} {
		for at, later := range map[int64]bool{written: false, written + 1: true} {
			b := goodBooks()
			c.change(b, at)
			r := Compare(b.list(), b.node, derive, 2000, written)
			if later && (!r.Agrees() || !slices.ContainsFunc(r.News, func(f Finding) bool { return f.Kind == LaterNews && f.Do == "" })) {
				t.Errorf("%s after the backup: differences %+v, news %+v", name, r.Differences, r.News)
			}
			if !later && (len(r.Differences) != 1 || r.Differences[0].Kind != c.kind) {
				t.Errorf("%s before the backup: differences %+v", name, r.Differences)
			}
			if r.Later() != later {
				t.Errorf("%s at %d: that something came later is %v", name, at, r.Later())
			}
			if r := Compare(b.list(), b.node, derive, 2000, 0); len(r.Differences) != 1 || r.Differences[0].Kind != c.kind {
				t.Errorf("%s, and the books are of now: differences %+v", name, r.Differences)
			}
		}
	}
}

// A second payment is a difference also when it is younger than the books.
func TestPaidTwiceAfterABackup(t *testing.T) {
	b := goodBooks()
	for _, try := range []string{"first try", "second try"} {
		b.payment(try, func(p *lightning.PaymentRecord) { p.State, p.CreatedAt = lightning.Succeeded, 1500 })
	}
	r := Compare(b.list(), b.node, derive, 2000, 1000)
	if r.Agrees() || !slices.ContainsFunc(r.Differences, func(f Finding) bool { return f.Kind == PaidTwice && f.Do != "" }) {
		t.Errorf("differences %+v, news %+v", r.Differences, r.News)
	}
}

// Of a node that does not run nobody is told to pay by hand what it books and pays when it starts.
func TestNotRunningPaysNothingByHand(t *testing.T) {
	b := goodBooks()
	b.hold("held", 1, lightning.Settled, 50_000_000)
	r := Compare(b.list(), b.node, derive, 100, 0)
	r.NotRunning()
	if len(r.Differences) != 1 || !strings.Contains(r.Differences[0].Do, "start the node") || strings.Contains(r.Differences[0].Do, "--own") {
		t.Errorf("%+v", r.Differences)
	}
}
