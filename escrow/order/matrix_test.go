package order

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/mostro"
)

// The matrix: what every action does in every status for everybody, on sell and on buy
// orders. allowed says by hand, from the protocol, who may do what when; every other cell
// must be a refusal that changes nothing. testdata/matrix.txt shows each answer.

// who are the people of the matrix.
var who = []string{"maker", "taker", "stranger", "solver", "assigned", "admin"}

// asker is the identity and the level with which somebody of the matrix speaks.
func asker(name string) (trade, identity string, level Level) {
	switch name {
	case "maker", "taker":
		return name, name + "-identity", NoSolver
	case "stranger":
		return "stranger", "stranger-identity", NoSolver
	case "solver", "assigned":
		return name, name, ReadWrite
	}
	return "admin", "admin", AdminKey
}

func sides(kind mostro.OrderKind) (buyer, seller string) {
	if kind == mostro.Sell {
		return "taker", "maker"
	}
	return "maker", "taker"
}

// orderIn is an order as it stands in a status.
func orderIn(kind mostro.OrderKind, status mostro.Status) Order {
	o := Order{
		ID: "308e1272-d5f4-47e6-bd97-3504baea9c23", Rev: 5, Kind: kind, Status: status, FiatCode: "USD", FiatAmount: 50,
		PaymentMethod: "cash", Amount: 100_000, Fee: 300, CreatedAt: 1000, ExpiresAt: 1_000_000,
		Terms: Terms{FeePPM: 6000, RoutingFeePPM: 2000, WaitingSeconds: 900, PaymentAttempts: 3, PaymentRetrySeconds: 60, CLTVDelta: 288, HoldExpiryDelta: 12},
	}
	*o.Maker() = Party{Trade: "maker", Identity: "maker-identity", Index: 1}
	if status == mostro.StatusPending || status == mostro.StatusExpired {
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
		o.Escrow.State, o.Escrow.Paid = EscrowOpen, 0
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
func payloadOf(a mostro.Action) *mostro.Payload {
	five := 5
	switch a {
	case mostro.AddInvoice:
		return &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: "lnbc2"}}
	case mostro.RateUser:
		return &mostro.Payload{RatingUser: &five}
	}
	return nil
}

// allowed says who may do what: "b" buyer, "s" seller, "m" maker, "t" taker, "?" anybody who
// is no party, "a" the assigned solver, "o" an admin, in "sell" and "buy" orders.
var allowed = map[mostro.Action]map[mostro.Status]string{
	mostro.TakeSell:   {mostro.StatusPending: "?"}, // sell orders only
	mostro.TakeBuy:    {mostro.StatusPending: "?"}, // buy orders only
	mostro.AddInvoice: {mostro.StatusWaitingBuyerInvoice: "b", mostro.StatusSettledHoldInvoice: "b"},
	mostro.FiatSent:   {mostro.StatusActive: "b"},
	mostro.Release:    {mostro.StatusFiatSent: "s", mostro.StatusDispute: "s"},
	mostro.Cancel: {mostro.StatusPending: "m", mostro.StatusWaitingBuyerInvoice: "mt", mostro.StatusWaitingPayment: "mt",
		mostro.StatusActive: "bs", mostro.StatusFiatSent: "bs", mostro.StatusDispute: "bs"},
	mostro.Dispute:          {mostro.StatusActive: "bs", mostro.StatusFiatSent: "bs"},
	mostro.RateUser:         {mostro.StatusSuccess: "bs", mostro.StatusSettledHoldInvoice: "s"},
	mostro.TradePubkey:      {mostro.StatusPending: "m"},
	mostro.AdminTakeDispute: {mostro.StatusDispute: "ao"},
	mostro.AdminSettle:      {mostro.StatusDispute: "a", mostro.StatusCooperativelyCanceled: "a"},
	mostro.AdminCancel:      {mostro.StatusDispute: "a", mostro.StatusCooperativelyCanceled: "a"},
}

func isAllowed(a mostro.Action, kind mostro.OrderKind, status mostro.Status, name string) bool {
	letters := allowed[a][status]
	buyer, seller := sides(kind)
	switch {
	case a == mostro.TakeSell && kind == mostro.Buy, a == mostro.TakeBuy && kind == mostro.Sell:
		return false
	case strings.Contains(letters, "?"):
		return name != "maker"
	}
	return name == buyer && strings.Contains(letters, "b") || name == seller && strings.Contains(letters, "s") ||
		name == "maker" && strings.Contains(letters, "m") || name == "taker" && strings.Contains(letters, "t") && status != mostro.StatusPending ||
		name == "assigned" && strings.Contains(letters, "a") || name == "admin" && strings.Contains(letters, "o")
}

func TestMatrix(t *testing.T) {
	machine := NewMachine()
	var actions []mostro.Action
	for a := range refusals {
		actions = append(actions, mostro.Action(a))
	}
	actions = append(actions, mostro.PayInvoice, mostro.AddBondInvoice, mostro.SendDM, mostro.AdminAddSolver, mostro.Orders, mostro.RestoreSession,
		mostro.LastTradeIndex, mostro.Canceled, mostro.Released, mostro.Rate, mostro.PurchaseCompleted, mostro.NewOrder, mostro.CantDo, mostro.AdminSettled)
	slices.Sort(actions)
	facts := Facts{
		Rules:   Rules{MinAmount: 100, MaxAmount: 1_000_000, InvoiceWindow: 60, MaxFinalCLTV: 144},
		Invoice: &Invoice{Text: "lnbc2", Hash: Hash{3}, Amount: 99_700_000, ExpiresAt: time.Unix(1_000_000, 0), PaymentSecret: true, Network: "simnet"},
		Node:    NodeFacts{Ready: true, Pubkey: "us", Network: "simnet", Outbound: 1 << 60, Holds: 100}, NextHash: Hash{9},
	}
	var b strings.Builder
	cells := 0
	for _, kind := range []mostro.OrderKind{mostro.Sell, mostro.Buy} {
		for _, action := range actions {
			for _, status := range existing {
				var answers []string
				for _, name := range who {
					cells++
					before := orderIn(kind, status)
					trade, identity, level := asker(name)
					index := int64(7)
					f := facts
					f.Level, f.AssignedLevel = level, ReadWrite
					e := Event{ID: "e", On: on(action), Order: before.ID, At: 3000, Sender: trade, Identity: identity,
						Message: &mostro.Message{Action: action, ID: before.ID, TradeIndex: &index, Payload: payloadOf(action)}}
					out, err := machine.Step(before, e, f)
					if err != nil {
						t.Fatalf("%s in %s %s by the %s: %v", action, kind, status, name, err)
					}
					refused := out.Refusal != ""
					if refused == isAllowed(action, kind, status, name) {
						t.Errorf("%s in %s %s by the %s: allowed %v, refused with %q", action, kind, status, name, !refused, out.Refusal)
					}
					if refused {
						unchanged(t, before, out, action, name)
						answers = append(answers, name+" "+string(out.Refusal))
					} else {
						answers = append(answers, fmt.Sprintf("%s -> %s", name, out.Order.Status))
					}
				}
				fmt.Fprintf(&b, "%-4s %-22s %-18s %s\n", kind, status, action, together(answers))
			}
		}
	}
	if cells < 2500 {
		t.Errorf("%d cells", cells)
	}
	if *update {
		if err := os.WriteFile("testdata/matrix.txt", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/matrix.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(b.String(), "\n")); diff != "" {
		t.Errorf("answers have changed (-update rewrites them):\n%s", diff)
	}
	t.Logf("%d cells", cells)
}

// unchanged checks that a refusal does nothing but say so, to who asked.
func unchanged(t *testing.T, before Order, out Out, action mostro.Action, name string) {
	t.Helper()
	a, _ := json.Marshal(before)
	b, _ := json.Marshal(out.Order)
	if string(a) != string(b) || len(out.Calls) > 0 || out.Child != nil || out.Rated != nil || out.UseIndex != 0 || out.Republish {
		t.Errorf("%s by the %s is refused and changes something", action, name)
	}
	trade, _, _ := asker(name)
	if len(out.Tells) != 1 || out.Tells[0].To != trade || out.Tells[0].Message.Action != mostro.CantDo {
		t.Errorf("%s by the %s: the refusal is told as %+v", action, name, out.Tells)
	}
}

// together joins equal answers.
func together(answers []string) string {
	names := map[string][]string{}
	var order []string
	for _, a := range answers {
		name, what, _ := strings.Cut(a, " ")
		if names[what] == nil {
			order = append(order, what)
		}
		names[what] = append(names[what], name)
	}
	var parts []string
	for _, what := range order {
		parts = append(parts, strings.Join(names[what], ",")+": "+what)
	}
	return strings.Join(parts, "; ")
}
