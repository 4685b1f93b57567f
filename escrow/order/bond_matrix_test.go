package order

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"mostro/escrow/mostro"
)

// The matrix of bonds: what every event does to a bond in every state, whoever it comes from.
// bondCells says by hand what may happen; in every other cell nothing may change.

// bondCell is what somebody may say to a bond in a state, where that leads, and what it does.
type bondCell struct {
	on   EventName
	by   string
	in   BondState
	to   BondState // "=" stays
	does string
}

var bondCells = []bondCell{
	{HoldOpened, "node", BondRequested, "=", "pay-bond-invoice to owner"},
	{HoldUsed, "node", BondRequested, BondReleased, "canceled to owner"},
	{HoldAccepted, "node", BondRequested, BondLocked, "add-invoice to owner, waiting-buyer-invoice to maker, pay-invoice to maker"},
	{HoldCanceled, "node", BondRequested, BondReleased, "canceled to owner"},
	{CallWaits, "clock", BondRequested, "=", "send-dm to owner"},
	{BondTimeout, "clock", BondRequested, BondReleased, "cancel-hold, canceled to owner"},
	{BondRemind, "order", BondRequested, "=", "pay-bond-invoice to owner"},
	{BondWithdraw, "order", BondRequested, BondReleased, "cancel-hold, canceled to owner"},
	{BondFree, "order", BondRequested, BondReleased, "cancel-hold, canceled to owner"},

	{HoldCanceled, "node", BondLocked, BondReleased, "alarm"},
	{HoldSettled, "node", BondLocked, BondPayout, "bond-slashed to owner, add-bond-invoice to maker, alarm"},
	{BondFree, "order", BondLocked, BondReleased, "cancel-hold"},
	{BondCarry, "order", BondLocked, "=", ""},
	{BondSlash, "order", BondLocked, BondSettling, "settle-hold"},

	{HoldSettled, "node", BondSettling, BondPayout, "bond-slashed to owner, add-bond-invoice to winner"},
	{HoldCanceled, "node", BondSettling, BondReleased, "alarm"},
	{HoldGone, "node", BondSettling, BondReleased, "alarm"},
	{Overdue, "clock", BondSettling, "=", "alarm"},

	{on(mostro.AddBondInvoice), "winner", BondPayout, "=", "pay, bond-invoice-accepted to winner"},
	{PayFound, "node", BondPayout, BondSlashed, "bond-payout-completed to winner"},
	{AskAgain, "clock", BondPayout, "=", "add-bond-invoice to winner"},
	{RetryPayout, "clock", BondPayout, "=", "resolve"},
	{Overdue, "clock", BondPayout, "=", "alarm"},
	{Resumed, "clock", BondPayout, "=", ""},
	{Forfeit, "clock", BondPayout, BondForfeited, ""},

	{HoldSettled, "node", BondRequested, "=", "alarm"},
	{HoldSettled, "node", BondReleased, BondPayout, "bond-slashed to owner, add-bond-invoice to maker, alarm"},
	{PaySucceeded, "node", BondReleased, "=", "alarm"},
	{PaySucceeded, "node", BondForfeited, "=", "alarm"},
}

var bondEvents = []EventName{
	HoldOpened, HoldUsed, HoldAccepted, HoldSettled, HoldCanceled, HoldGone, PayResolved, PayUnresolved, PayAcked, PaySucceeded, PayFailed, PayRefused, PayUnheard, PayUnknown, PayFound, PayVouched, PayDenied, PayByHand,
	CallWaits, BondTimeout, Forfeit, RetryPayout, AskAgain, Overdue, Expire, WaitingTimeout, Resumed, Renew, LadderDeadline,
	BondFree, BondSlash, BondWithdraw, BondRemind, BondCarry, on(mostro.AddBondInvoice), on(mostro.AddInvoice), on(mostro.Cancel), on(mostro.TakeSell),
}

// bondIn is a taker's bond as it stands in a state, and its order.
func bondIn(state BondState) (Bond, Order) {
	status := mostro.StatusFiatSent
	if state == BondRequested {
		status = mostro.StatusWaitingTakerBond
	}
	o := orderIn(mostro.Sell, status)
	terms := BondTerms{AmountPPM: 10_000, Base: 1000, Taker: true, SlashOnTimeout: true, NodeSharePPM: 300_000, AskSeconds: 300, Attempts: 3, ClaimSeconds: 86400}
	o.Terms.Bond = &terms
	id := uint64(8)
	b := Bond{
		ID: "0e7a3c5e-7f5c-4b3e-9c54-6d1f8d8d0a01", Rev: 3, Order: o.ID, Role: TakerBond, State: state, Amount: 1000, Terms: o.Terms, CreatedAt: 1000, Since: 2000,
		Owner: Party{Trade: "taker", Identity: "taker-identity", Index: 1},
		Hold:  Escrow{Attempt: 1, Hash: Hash{7}, State: EscrowOpen, Invoice: "lnbc7"},
		Take:  &Take{Fiat: 50, Amount: 100_000}, Awaits: &Awaited{By: "taker", RequestID: &id},
	}
	if state == BondRequested {
		return b, o
	}
	b.Awaits = nil
	b.Hold.State, b.Hold.Paid = EscrowAccepted, 1_000_000
	switch state {
	case BondReleased:
		b.Hold.State = EscrowCanceled
	case BondSettling, BondPayout, BondSlashed, BondForfeited:
		b.Slash = b.slashed(LostDispute, Party{Trade: "winner", Identity: "winner-identity"}, 50, 2500)
		b.Hold.State = EscrowSettling
		b.Ledger = Ledger{{Kind: OwedWinner, State: Conditional, Amount: 700_000}}
	}
	switch state {
	case BondPayout, BondSlashed, BondForfeited:
		b.Hold.State = EscrowSettled
		b.Payout.State = PayoutAsking
		b.Ledger = Ledger{{Kind: OwedWinner, State: Owed, Amount: 700_000}, {Kind: SettledIn, State: Booked, Amount: 1_000_000}, {Kind: NodeFee, State: Booked, Amount: 300_000}}
	}
	switch state {
	case BondSlashed:
		b.Payout, b.Ledger[0].State, b.Ledger[0].Hash = Payout{State: PayoutPaid, Hash: Hash{5}}, Paid, Hash{5}
	case BondForfeited:
		b.Payout.State, b.Ledger[0].State, b.Ledger[2].Amount = PayoutNone, Void, 1_000_000
	}
	return b, o
}

// sayTo lets somebody say something to a bond, past all that would stop it before.
func sayTo(t *testing.T, m *Machine, b Bond, o Order, e Event, by string) Out {
	f := Facts{
		Rules: Rules{InvoiceWindow: 60, MaxFinalCLTV: 144}, Bonds: []Bond{b}, NextHash: Hash{9},
		Invoice: &Invoice{Text: "lnbc2", Hash: Hash{3}, Payee: "them", Amount: 700_000, ExpiresAt: time.Unix(1_000_000, 0), PaymentSecret: true},
	}
	child := o
	child.ID = "c0ffee00-0000-4000-8000-000000000000"
	d := &drive{m: m, e: e, f: f, out: Out{Order: o, Row: -1, Child: &child}}
	switch by {
	case "order":
		e.inside = true
	case "node":
		e.Hold, e.Payment = &HoldNotice{Hash: b.Hold.Hash, Invoice: "lnbc7", Paid: 1_000_000, ExpiryHeight: 900}, &PaymentNotice{Hash: Hash{5}}
		e.Invoice = f.Invoice
	case "clock":
	default:
		e.Sender, e.Identity = by, by+"-identity"
	}
	if by != "node" && by != "clock" {
		e.Message = &mostro.Message{Action: mostro.Action(e.On)}
	}
	err := d.bond(b.ID, e, b.slashed(TimedOut, Party{Trade: "winner"}, 50, 3000))
	for err == nil && len(d.out.signals) > 0 { // what the bond has to say to its order
		s := d.out.signals[0]
		d.out.signals = d.out.signals[1:]
		err = d.order(d.said(s.on))
	}
	if err != nil {
		t.Fatalf("%s by the %s in %s: %v", e.On, by, b.State, err)
	}
	return d.out
}

func TestBondMatrix(t *testing.T) {
	m, cells, used := NewMachine(), 0, map[int]bool{}
	for _, state := range allBonds {
		for _, event := range bondEvents {
			for _, by := range []string{"node", "clock", "order", "winner", "owner", "taker", "maker", "stranger", "solver"} {
				cells++
				b, o := bondIn(state)
				out := sayTo(t, m, b, o, Event{On: event, Order: o.ID, At: 3000, Bond: b.ID}, by)
				i := slices.IndexFunc(bondCells, func(c bondCell) bool { return c.on == event && c.by == by && c.in == state })
				where := fmt.Sprintf("%s by the %s in %s", event, by, state)
				if i < 0 {
					if len(out.Bonds) > 0 || len(out.Calls) > 0 || len(out.Tells) > 0 || len(out.Alarms) > 0 {
						t.Errorf("%s: does %s, and nothing is allowed", where, doesOf(out))
					}
					continue
				}
				used[i] = true
				want := bondCells[i].to
				if want == sameBond {
					want = state
				}
				if len(out.Bonds) == 0 || out.Bonds[0].Is.State != want || doesOf(out) != bondCells[i].does {
					t.Errorf("%s: changes %d bonds and does %q, want %s and %q", where, len(out.Bonds), doesOf(out), want, bondCells[i].does)
				}
			}
		}
	}
	for i, c := range bondCells {
		if !used[i] {
			t.Errorf("no cell is like %s by the %s in %s", c.on, c.by, c.in)
		}
	}
	t.Logf("%d cells", cells)
}

// doesOf says what a step does beside changing bonds.
func doesOf(out Out) string {
	text := ""
	add := func(s string) {
		if text != "" {
			text += ", "
		}
		text += s
	}
	for _, c := range out.Calls {
		add(string(c.Do))
	}
	for _, tell := range out.Tells {
		to := map[string]string{"taker": "owner"}[tell.To]
		if to == "" {
			to = tell.To
		}
		add(string(tell.Message.Action) + " to " + to)
	}
	if len(out.Alarms) > 0 {
		add("alarm")
	}
	return text
}

// What news of the node does to a share in each state of its payout; everything else changes
// nothing (I2: no other hash while one may still succeed).
func TestBondPayoutMatrix(t *testing.T) {
	cells := map[PayoutState]map[EventName]string{
		PayoutResolving: {PayResolved: "sending: pay", PayUnresolved: "failed: "},
		PayoutSending:   {PayAcked: "flying: ", PaySucceeded: "paid: bond-payout-completed to winner", PayFailed: "failed: ", PayRefused: "asking: add-bond-invoice to winner", PayUnheard: "asking: add-bond-invoice to winner, alarm"},
		PayoutFlying:    {PaySucceeded: "paid: bond-payout-completed to winner", PayFailed: "failed: ", PayUnknown: "unknown: alarm"},
		PayoutUnknown:   {PaySucceeded: "paid: bond-payout-completed to winner", PayFailed: "failed: "},
		PayoutFailed:    {PaySucceeded: "paid: bond-payout-completed to winner"},
		PayoutAsking:    {PaySucceeded: "paid: bond-payout-completed to winner", on(mostro.AddBondInvoice): "sending: pay, bond-invoice-accepted to winner"},
		PayoutPaid:      {},
	}
	m := NewMachine()
	for state, may := range cells {
		for _, event := range []EventName{PayResolved, PayUnresolved, PayAcked, PaySucceeded, PayFailed, PayRefused, PayUnheard, PayUnknown, on(mostro.AddBondInvoice)} {
			for _, other := range []bool{false, true} { // of another hash, or another try
				in := BondPayout
				if state == PayoutPaid {
					in = BondSlashed
				}
				b, o := bondIn(in)
				b.Payout = Payout{State: state, Hash: Hash{5}, Invoice: "lnbc5", Tries: 0}
				by := "node"
				if event == on(mostro.AddBondInvoice) {
					by = "winner"
				}
				if state == PayoutResolving {
					b.Payout.Hash, b.Payout.Invoice, b.Payout.Address = Hash{}, "", "winner@example"
				}
				want, may := may[event]
				if other && by == "node" {
					b.Payout.Tries = 4
					if b.Payout.Hash != (Hash{}) {
						b.Payout.Hash = Hash{6}
					}
					may = false
				}
				before, _ := json.Marshal(b)
				out := sayTo(t, m, b, o, Event{On: event, Order: o.ID, At: 3000, Bond: b.ID}, by)
				where := fmt.Sprintf("%s while the payout is %s, of another %v", event, state, other)
				if !may {
					if len(out.Bonds) > 0 {
						after, _ := json.Marshal(out.Bonds[0].Is)
						t.Errorf("%s: %s\nbecomes %s", where, before, after)
					}
					continue
				}
				if len(out.Bonds) != 1 {
					t.Errorf("%s: changes nothing", where)
					continue
				}
				if got := fmt.Sprintf("%s: %s", out.Bonds[0].Is.Payout.State, doesOf(out)); got != want {
					t.Errorf("%s: %q, want %q", where, got, want)
				}
			}
		}
	}
}
