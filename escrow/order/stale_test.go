package order

import (
	"reflect"
	"testing"

	"mostro/escrow/mostro"
)

// M5: what the node says of another hold invoice than the present one moves no order, in whatever
// status; the most it may do is to raise an alarm.
func TestM5NewsOfAnotherEscrow(t *testing.T) {
	m := NewMachine()
	for _, kind := range []mostro.OrderKind{mostro.Sell, mostro.Buy} {
		for _, status := range existing {
			for _, news := range []EventName{HoldOpened, HoldUsed, HoldAccepted, HoldSettled, HoldCanceled} {
				o := orderIn(kind, status)
				out, err := m.Step(o, Event{On: news, Order: o.ID, At: 3000,
					Hold: &HoldNotice{Hash: Hash{9}, Invoice: "lnbc9", Paid: o.SellerPays().Msat(), ExpiryHeight: 900}}, Facts{NextHash: Hash{3}})
				if err != nil {
					t.Fatalf("%s in %s: %v", news, status, err)
				}
				out.Order.Rev = o.Rev
				if !reflect.DeepEqual(out.Order, o) || len(out.Calls)+len(out.Tells) > 0 {
					t.Errorf("%s of another escrow moves a %s order in %s to %s, with %d calls", news, kind, status, out.Order.Status, len(out.Calls))
				}
			}
		}
	}
}

// M5: what the node says of an earlier try of the same invoice moves no payout: that one failed
// says nothing of the one that is under way.
func TestM5NewsOfAnEarlierTry(t *testing.T) {
	m := NewMachine()
	for _, state := range []PayoutState{PayoutSending, PayoutFlying, PayoutUnknown} {
		for _, news := range []EventName{PayAcked, PayFailed, PayRefused, PayUnheard, PayUnknown} {
			o := orderIn(mostro.Sell, mostro.StatusSettledHoldInvoice)
			o.Payout.State, o.Payout.Tries = state, 2
			out, err := m.Step(o, Event{On: news, Order: o.ID, At: 3000, Payment: &PaymentNotice{Hash: o.Payout.Hash, Try: 1}}, Facts{})
			if err != nil || out.Row >= 0 {
				t.Errorf("%s of the first try while the second is %s: row %d, payout %s, %v", news, state, out.Row, out.Order.Payout.State, err)
			}
		}
	}
}

// M1, M5: so it is with the development fee.
func TestM5NewsOfAnEarlierDevFee(t *testing.T) {
	m := NewMachine()
	for _, state := range []PayoutState{PayoutSending, PayoutFlying, PayoutUnknown} {
		for _, news := range []EventName{PayAcked, PayFailed, PayRefused, PayUnheard, PayUnknown} {
			o := orderIn(mostro.Sell, mostro.StatusSuccess)
			o.DevFee = &DevFee{Payout: Payout{State: state, Hash: Hash{7}, Tries: 2, Address: "dev@ln.example", Invoice: "lnbc7"}}
			o.Ledger = append(o.Ledger, Entry{Kind: OwedDev, State: Owed, Amount: 100_000}, Entry{Kind: NodeFee, State: Booked, Amount: -100_000})
			for try, stale := range map[int64]bool{1: true, 2: false} {
				out, err := m.Step(o, Event{On: news, Order: o.ID, At: 3000, Payment: &PaymentNotice{Hash: Hash{7}, Try: try}}, Facts{})
				if err != nil || stale && out.Row >= 0 {
					t.Errorf("%s of try %d while the second is %s: row %d, %v", news, try, state, out.Row, err)
				}
				if !stale && news == PayFailed && out.Row < 0 {
					t.Errorf("%s of the present try while it is %s is not heard", news, state)
				}
			}
		}
	}
}

// M2: an operator cannot book a payment that he found while another may still succeed.
func TestM2NothingIsFoundBesideAPayment(t *testing.T) {
	m := NewMachine()
	for state, may := range map[PayoutState]bool{PayoutFlying: false, PayoutUnknown: false, PayoutPaid: false, PayoutAsking: true, PayoutFailed: true, PayoutSending: true} {
		o := orderIn(mostro.Sell, mostro.StatusSettledHoldInvoice)
		o.Payout.State, o.Payout.Tries = state, 2
		out, err := m.Step(o, Event{On: PayFound, Order: o.ID, At: 3000, Payment: &PaymentNotice{Hash: Hash{9}}}, Facts{})
		if err != nil || (out.Row >= 0) != may {
			t.Errorf("while the payout is %q a payment is found: row %d, %v", state, out.Row, err)
		}
	}
}

// M19: a pause that is told twice gives a winner who has to claim his share its time once.
func TestM19PauseOfAShareCountsOnce(t *testing.T) {
	m := NewMachine()
	b, o := bondIn(BondPayout)
	b.Since = 1000
	for range 2 {
		out, err := m.Step(o, Event{On: Resumed, Order: o.ID, Bond: b.ID, At: 3000, Pause: 100}, Facts{Bonds: []Bond{b}})
		if err != nil || len(out.Bonds) != 1 {
			t.Fatalf("%d bonds, %v", len(out.Bonds), err)
		}
		b = out.Bonds[0].Is
	}
	if b.Since != 1100 {
		t.Errorf("100 s away, told twice, are %d s", b.Since-1000)
	}
}
