package order

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"mostro/escrow/mostro"
)

// The matrix: what every action does in every status for everybody, on sell and on buy orders.
// testdata/cells.txt says it by hand; every cell must come out as it says, with its effects or
// with its exact refusal, and nothing else may change.

// somebody is one of the people of the matrix, and how things stand when he asks.
type somebody struct {
	name            string
	trade, identity string
	level           Level
	words           string       // of cells.txt, beside those that follow from the order
	before          func(*Order) // how things stand
	holds           Level        // what the solver who has the dispute may do
}

func dispute(solver string, level Level) func(*Order) {
	return func(o *Order) {
		if o.Dispute == nil {
			return
		}
		o.Dispute.Solver, o.Dispute.SolverLevel = solver, level
		if solver == "" && o.Dispute.Status == DisputeInProgress {
			o.Dispute.Status = DisputeInitiated
		}
	}
}

// private makes one side one without an identity.
func private(trade string) func(*Order) {
	return func(o *Order) {
		for _, p := range []*Party{&o.Buyer, &o.Seller} {
			if p.Trade == trade {
				*p = Party{Trade: trade, Identity: trade}
			}
		}
	}
}

func asks(by string) func(*Order) {
	return func(o *Order) {
		if contains(held, o.Status) {
			o.CancelBy = by
		}
	}
}

// left lets a take of this key have gone back into the book, whose taker has asked for no proof.
func left(taker string) func(*Order) {
	return func(o *Order) {
		if o.ID != "" {
			o.Left = []LeftTake{{Taker: taker, Week: "2026-W22"}}
		}
	}
}

// everybody are the people of the matrix. Without a word on it, "assigned" has the dispute.
var everybody = []somebody{
	{name: "maker", trade: "maker", identity: "maker-identity"},
	{name: "taker", trade: "taker", identity: "taker-identity"},
	{name: "maker in full privacy", trade: "maker", identity: "maker", words: "private", before: private("maker")},
	{name: "taker in full privacy", trade: "taker", identity: "taker", words: "private", before: private("taker")},
	{name: "maker who is a solver", trade: "maker", identity: "maker-identity", level: ReadWrite},
	{name: "taker who is a solver and has the dispute", trade: "taker", identity: "taker-identity", level: ReadWrite, before: dispute("taker-identity", ReadWrite), holds: ReadWrite},
	{name: "maker who has asked to cancel", trade: "maker", identity: "maker-identity", words: "again", before: asks("maker")},
	{name: "taker whom the maker asks to cancel", trade: "taker", identity: "taker-identity", words: "asked", before: asks("maker")},
	{name: "maker whom the taker asks to cancel", trade: "maker", identity: "maker-identity", words: "asked", before: asks("taker")},
	{name: "maker whose trade came to nothing before", trade: "maker", identity: "maker-identity", before: left("earlier")},
	{name: "taker who had left before", trade: "taker", identity: "taker-identity", before: left("taker")},
	{name: "taker who left", trade: "earlier", identity: "earlier-identity", before: left("earlier")},
	{name: "taker who left in full privacy", trade: "earlier", identity: "earlier", words: "private", before: left("earlier")},
	{name: "stranger", trade: "stranger", identity: "stranger-identity"},
	{name: "stranger in full privacy", trade: "stranger", identity: "stranger", words: "private"},
	{name: "solver", trade: "solver", identity: "solver", level: ReadWrite, words: "private"},
	{name: "reader", trade: "reader", identity: "reader", level: ReadOnly, words: "private"},
	{name: "assigned solver", trade: "assigned", identity: "assigned", level: ReadWrite, words: "private"},
	{name: "assigned reader", trade: "reader", identity: "reader", level: ReadOnly, words: "private", before: dispute("reader", ReadOnly), holds: ReadOnly},
	{name: "assigned solver who may only look now", trade: "assigned", identity: "assigned", level: ReadOnly, words: "private demoted", holds: ReadOnly},
	{name: "assigned solver who is none any more", trade: "assigned", identity: "assigned", words: "private", holds: NoSolver},
	{name: "solver of a free dispute", trade: "solver", identity: "solver", level: ReadWrite, words: "private free", before: dispute("", NoSolver)},
	{name: "reader of a free dispute", trade: "reader", identity: "reader", level: ReadOnly, words: "private free", before: dispute("", NoSolver)},
	{name: "solver after a reader", trade: "solver", identity: "solver", level: ReadWrite, words: "private reader's", before: dispute("other", ReadOnly), holds: ReadOnly},
	{name: "reader after a reader", trade: "reader", identity: "reader", level: ReadOnly, words: "private reader's", before: dispute("other", ReadOnly), holds: ReadOnly},
	{name: "solver after an admin", trade: "solver", identity: "solver", level: ReadWrite, words: "private admin's", before: dispute("boss", AdminKey), holds: AdminKey},
	{name: "admin", trade: "admin", identity: "admin", level: AdminKey, words: "private"},
	{name: "admin who has the dispute", trade: "admin", identity: "admin", level: AdminKey, words: "private", before: dispute("admin", AdminKey), holds: AdminKey},
}

// wordsFor are the words of cells.txt that fit somebody in an order.
func (p somebody) wordsFor(o *Order) []string {
	words := append(strings.Fields(p.words), "anyone")
	buyer, seller := p.trade == o.Buyer.Trade, p.trade == o.Seller.Trade
	maker, taker := seller, buyer
	if o.Kind == mostro.Buy {
		maker, taker = taker, maker
	}
	party := buyer || seller
	for word, holds := range map[string]bool{
		"left": !party && o.hasLeft(p.trade), "retaken": party && len(o.Left) > 0,
		"buyer": buyer, "seller": seller, "maker": maker, "taker": taker, "party": party,
		"solver": !party && p.level == ReadWrite, "reader": !party && p.level == ReadOnly, "admin": !party && p.level == AdminKey,
		"assigned": !party && p.level != NoSolver && o.Dispute != nil && o.Dispute.Solver == p.identity,
	} {
		if holds {
			words = append(words, word)
		}
	}
	return words
}

// orderIn is an order as it stands in a status.
func orderIn(kind mostro.OrderKind, status mostro.Status) Order {
	if status == none {
		return Order{}
	}
	o := Order{
		ID: "308e1272-d5f4-47e6-bd97-3504baea9c23", Rev: 5, Kind: kind, Status: status, FiatCode: "USD", FiatAmount: 50,
		PaymentMethod: "cash", Amount: 100_000, Fee: 300, CreatedAt: 1000, ExpiresAt: 1_000_000,
		Terms: Terms{FeePPM: 6000, RoutingFeePPM: 2000, WaitingSeconds: 900, PaymentAttempts: 3, PaymentRetrySeconds: 60, PayoutGraceSeconds: 300, CLTVDelta: 288, HoldExpiryDelta: 12},
	}
	*o.Maker() = Party{Trade: "maker", Identity: "maker-identity", Index: 1}
	switch status {
	case mostro.StatusWaitingTakerBond, mostro.StatusWaitingMakerBond:
		o.Terms.Bond = &BondTerms{AmountPPM: 10_000, Base: 1000, Taker: true, Maker: true, Attempts: 3, AskSeconds: 300, ClaimSeconds: 15 * 86400, NodeSharePPM: 500_000}
		return o
	case mostro.StatusPending, mostro.StatusExpired:
		return o
	}
	*o.Taker() = Party{Trade: "taker", Identity: "taker-identity", Index: 1}
	o.TakenAt, o.DutySince = 2000, 2000
	o.Escrow = Escrow{Attempt: 1, Hash: Hash{1}, State: EscrowAccepted, Paid: o.SellerPays().Msat(), ExpiryHeight: 1300, AcceptedAt: 2500}
	o.Payout = Payout{Invoice: "lnbc1", Hash: Hash{2}}
	switch status {
	case mostro.StatusWaitingBuyerInvoice:
		o.Payout = Payout{}
		if kind == mostro.Sell {
			o.Escrow = Escrow{}
		}
	case mostro.StatusWaitingPayment:
		o.Escrow.State, o.Escrow.Paid, o.Escrow.AcceptedAt = EscrowOpen, 0, 0
		if kind == mostro.Buy {
			o.Payout = Payout{}
		}
	case mostro.StatusSettling:
		o.Escrow.State, o.SettlingFrom = EscrowSettling, mostro.StatusFiatSent
		o.Ledger = Ledger{{Kind: OwedBuyer, State: Conditional, Amount: o.BuyerGets().Msat()}}
	case mostro.StatusSettledHoldInvoice, mostro.StatusSuccess:
		state := Owed
		o.Payout.State = PayoutAsking
		if status == mostro.StatusSuccess {
			state, o.Payout.State = Paid, PayoutPaid
		}
		o.Escrow.State = EscrowSettled
		o.Ledger = Ledger{{Kind: OwedBuyer, State: state, Amount: o.BuyerGets().Msat()},
			{Kind: SettledIn, State: Booked, Amount: o.SellerPays().Msat()}, {Kind: NodeFee, State: Booked, Amount: 2 * o.Fee.Msat()}}
	case mostro.StatusCanceled, mostro.StatusCooperativelyCanceled, mostro.StatusCanceledByAdmin:
		o.Escrow.State = EscrowCanceled
	}
	switch status {
	case mostro.StatusDispute, mostro.StatusCanceledByAdmin, mostro.StatusCooperativelyCanceled:
		o.Dispute = &Dispute{ID: "d", Status: DisputeInProgress, Initiator: "buyer", Previous: mostro.StatusFiatSent, Solver: "assigned", SolverLevel: ReadWrite}
		if status != mostro.StatusDispute {
			o.Dispute.Status = DisputeSellerRefunded
		}
	}
	return o
}

// payloadOf is what a client sends along.
func payloadOf(a mostro.Action, kind mostro.OrderKind) *mostro.Payload {
	five := 5
	switch a {
	case mostro.NewOrder:
		return &mostro.Payload{Order: &mostro.SmallOrder{Kind: kind, Amount: 100_000, FiatCode: "USD", FiatAmount: 50, PaymentMethod: "cash"}}
	case mostro.AddInvoice:
		return &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: "lnbc2"}}
	case mostro.ProveReview:
		key := "review key"
		return &mostro.Payload{ReviewKey: &key}
	case mostro.RateUser:
		return &mostro.Payload{RatingUser: &five}
	}
	return nil
}

// cell is a line of cells.txt.
type cell struct {
	line          int
	actions       []string
	statuses, who []string
	outcome       string
	used          bool
}

func readCells(t *testing.T) (cells []*cell) {
	text, err := os.ReadFile("testdata/cells.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Split(line, " | ")
		if len(parts) != 4 {
			t.Fatalf("cells.txt:%d: %d columns", n, len(parts))
		}
		cells = append(cells, &cell{line: n, actions: strings.Split(parts[0], ", "), statuses: strings.Split(parts[1], ", "), who: strings.Split(parts[2], ", "), outcome: parts[3]})
	}
	return cells
}

// speaksOf tells whether a line is about an action in an order by somebody with these words.
func (c *cell) speaksOf(action mostro.Action, o *Order, words []string) bool {
	status := string(o.Status)
	if status == "" {
		status = "none"
	}
	in := slices.ContainsFunc(c.statuses, func(s string) bool {
		if kind, rest, ok := strings.Cut(s, " "); ok && kind == string(o.Kind) {
			s = rest
		}
		return s == status || s == "any" && status != "none"
	})
	by := slices.ContainsFunc(c.who, func(w string) bool {
		return !slices.ContainsFunc(strings.Split(w, "+"), func(word string) bool { return !slices.Contains(words, word) })
	})
	return slices.Contains(c.actions, string(action)) && in && by
}

// factsFor is what a step has to know, the same for all cells but for the asker.
func (p somebody) factsFor(o *Order) Facts {
	f := Facts{
		Rules:   Rules{MinAmount: 100, MaxAmount: 1_000_000, InvoiceWindow: 60, MaxFinalCLTV: 144, PendingTime: 86400, MaxPending: 86400},
		Invoice: &Invoice{Text: "lnbc2", Hash: Hash{3}, Amount: 99_700_000, ExpiresAt: time.Unix(1_000_000, 0), PaymentSecret: true, Network: "simnet"},
		Node:    NodeFacts{Ready: true, Pubkey: "us", Network: "simnet", Outbound: 1 << 60, Holds: 100}, NextHash: Hash{9},
		Level: p.level, AssignedLevel: p.holds, Solvers: []string{"desk"},
		Proof: &mostro.ReviewProof{Sig: "signature"},
	}
	if o.Dispute != nil && o.Dispute.Solver == "assigned" && p.identity != "assigned" {
		f.AssignedLevel = ReadWrite
	}
	return f
}

func TestMatrix(t *testing.T) {
	machine, lines, cells, asked := NewMachine(), readCells(t), 0, map[string]bool{}
	for _, line := range lines {
		for _, action := range line.actions {
			asked[action] = true
		}
	}
	for _, kind := range []mostro.OrderKind{mostro.Sell, mostro.Buy} {
		for name := range asked {
			action := mostro.Action(name)
			statuses := existing
			if action == mostro.NewOrder {
				statuses = append(slices.Clone(existing), none)
			}
			for _, status := range statuses {
				for _, p := range everybody {
					cells++
					before := orderIn(kind, status)
					if p.before != nil {
						p.before(&before)
					}
					index := int64(7)
					f := p.factsFor(&before)
					e := Event{ID: "e", On: on(action), Order: before.ID, At: 3000, Sender: p.trade, Identity: p.identity,
						Message: &mostro.Message{Action: action, ID: before.ID, TradeIndex: &index, Payload: payloadOf(action, kind)}}
					out, err := machine.Step(before, e, f)
					if err != nil {
						t.Fatalf("%s in %s %s by the %s: %v", action, kind, status, p.name, err)
					}
					words := p.wordsFor(&before)
					i := slices.IndexFunc(lines, func(c *cell) bool { return c.speaksOf(action, &before, words) })
					if i < 0 {
						t.Errorf("%s in %s %s by the %s: cells.txt does not speak of it", action, kind, status, p.name)
						continue
					}
					lines[i].used = true
					got := outcome(&before, out, p)
					if got != lines[i].outcome {
						t.Errorf("%s in %s %s by the %s:\n  %s, cells.txt:%d wants\n  %s", action, kind, status, p.name, got, lines[i].line, lines[i].outcome)
					}
					if out.Refusal != "" {
						unchanged(t, before, out, action, p)
					}
				}
			}
		}
	}
	for _, line := range lines {
		if !line.used {
			t.Errorf("cells.txt:%d: no cell is like that", line.line)
		}
	}
	for a := range refusals {
		if !asked[string(a)] {
			t.Errorf("cells.txt does not speak of %s", a)
		}
	}
	if cells < 2500 {
		t.Errorf("%d cells", cells)
	}
	t.Logf("%d cells", cells)
}

// outcome is what a step does, in the words of cells.txt.
func outcome(before *Order, out Out, p somebody) string {
	if out.Refusal != "" {
		return string(out.Refusal)
	}
	after := &out.Order
	parts := []string{"stays"}
	if before.Status != after.Status {
		parts[0] = "-> " + string(after.Status)
	}
	parts = append(parts, told(before, after, out, p)...)
	for _, c := range out.Calls {
		parts = append(parts, "call "+string(c.Do))
	}
	if out.UseIndex != 0 {
		parts = append(parts, "index")
	}
	if out.Rated != nil {
		parts = append(parts, "rates "+out.Rated.Trade)
		if out.Rated.Trade == before.Seller.Trade {
			parts[len(parts)-1] = "rates seller"
		} else if out.Rated.Trade == before.Buyer.Trade {
			parts[len(parts)-1] = "rates buyer"
		}
	}
	if book := Book(after); book != nil && !reflect.DeepEqual(book, Book(before)) {
		parts = append(parts, "book "+string(book.Status))
	}
	if d := after.Dispute; d != nil && !reflect.DeepEqual(d, before.Dispute) {
		parts = append(parts, "dispute "+string(d.Status))
	}
	if out.Child != nil || out.Republish || len(out.Alarms) > 0 {
		parts = append(parts, "and more")
	}
	if changed := changes(before, after); len(changed) > 0 {
		parts = append(parts, "changes "+strings.Join(changed, " "))
	}
	return strings.Join(parts, "; ")
}

// told lists the messages by receiver, in the order in which each was first told something.
func told(before, after *Order, out Out, p somebody) (parts []string) {
	actions, receivers := map[string][]string{}, []string{}
	for _, tell := range out.Tells {
		to := tell.To
		parties := *after
		if after.Status == mostro.StatusPending && before.ID != "" { // the taker is gone
			parties = *before
		}
		switch {
		case tell.To == p.trade && slices.Contains(p.wordsFor(before), "left") && slices.Contains(p.wordsFor(after), "left"):
			to = "left"
		case before.ID == "" || contains(inBook, after.Status) || after.Status == mostro.StatusCanceled:
			for side, key := range map[string]string{"maker": parties.Maker().Trade, "taker": parties.Taker().Trade} {
				if key == tell.To {
					to = side
				}
			}
		case tell.To == parties.Buyer.Trade:
			to = "buyer"
		case tell.To == parties.Seller.Trade:
			to = "seller"
		case tell.To == p.identity:
			to = "solver"
		}
		if actions[to] == nil {
			receivers = append(receivers, to)
		}
		actions[to] = append(actions[to], string(tell.Message.Action))
	}
	for _, to := range receivers {
		parts = append(parts, to+": "+strings.Join(actions[to], ", "))
	}
	return parts
}

// changes lists the parts of an order that a step has changed, beside its status and revision.
func changes(before, after *Order) (names []string) {
	if before.ID == "" {
		return []string{"all"}
	}
	fields := func(o *Order) (m map[string]json.RawMessage) {
		b, _ := json.Marshal(o)
		_ = json.Unmarshal(b, &m)
		return m
	}
	was, is := fields(before), fields(after)
	for name := range is {
		if was[name] == nil {
			was[name] = nil
		}
	}
	for name := range was {
		if string(was[name]) != string(is[name]) && name != "rev" && name != "status" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// unchanged checks that a refusal does nothing but say so, to who asked, with a reason that he
// may know.
func unchanged(t *testing.T, before Order, out Out, action mostro.Action, p somebody) {
	t.Helper()
	a, _ := json.Marshal(before)
	b, _ := json.Marshal(out.Order)
	if string(a) != string(b) || len(out.Calls) > 0 || len(out.Alarms) > 0 || out.Child != nil || out.Rated != nil || out.UseIndex != 0 || out.Republish {
		t.Errorf("%s by the %s is refused and changes something", action, p.name)
	}
	if len(out.Tells) != 1 || out.Tells[0].To != p.trade || out.Tells[0].Message.Action != mostro.CantDo ||
		*out.Tells[0].Message.Payload.CantDo != mostro.ClientReason(out.Refusal, p.level != NoSolver) {
		t.Errorf("%s by the %s: the refusal is told as %+v", action, p.name, out.Tells)
	}
}
