package order

import (
	"testing"

	"mostro/escrow/mostro"
)

// The word of an operator counts only where the node has lost a payment, and only of that payment.
func TestWordsOnlyOfWhatIsLost(t *testing.T) {
	m := NewMachine()
	for _, on := range []EventName{PayVouched, PayDenied} {
		for _, state := range []PayoutState{PayoutResolving, PayoutSending, PayoutFlying, PayoutFailed, PayoutAsking, PayoutUnknown, PayoutPaid} {
			for _, hash := range []Hash{{2}, {9}} {
				may := state == PayoutUnknown && hash == Hash{2}
				e := Event{On: on, At: 3000, Payment: &PaymentNotice{Hash: hash, Reason: "so he says"}}

				o := orderIn(mostro.Sell, mostro.StatusSettledHoldInvoice)
				o.Payout.State, o.Payout.Tries = state, 2
				if out, err := m.Step(o, e, Facts{}); err != nil || (out.Row >= 0) != may {
					t.Errorf("%s of %s while the payout is %q: row %d, %v", on, hash, state, out.Row, err)
				}

				o = orderIn(mostro.Sell, mostro.StatusSuccess)
				o.DevFee = &DevFee{Payout: Payout{Invoice: "lnbc3", Hash: Hash{2}, State: state}}
				o.Ledger = append(o.Ledger, Entry{Kind: OwedDev, State: Owed, Amount: 100_000}, Entry{Kind: NodeFee, State: Booked, Amount: -100_000})
				if out, err := m.Step(o, e, Facts{}); err != nil || (out.Row >= 0) != may {
					t.Errorf("%s of %s while the development fee is %q: row %d, %v", on, hash, state, out.Row, err)
				}

				b, bo := bondIn(BondPayout)
				b.Payout = Payout{Invoice: "lnbc2", Hash: Hash{2}, State: state}
				e.Bond = b.ID
				if out, err := m.Step(bo, e, Facts{Bonds: []Bond{b}}); err != nil || (len(out.Bonds) > 0) != may {
					t.Errorf("%s of %s while the share is %q: %d bonds, %v", on, hash, state, len(out.Bonds), err)
				}
			}
		}
	}
}

// What was paid in too much is given back once, and its routing costs no more than the trade has left.
func TestByHandOnce(t *testing.T) {
	m := NewMachine()
	o := orderIn(mostro.Sell, mostro.StatusSuccess)
	e := Event{On: PayByHand, At: 3000, Payment: &PaymentNotice{Hash: Hash{9}, Routing: 1_000_000, Reason: "given back"}}
	if out, err := m.Step(o, e, Facts{}); err != nil || out.Row >= 0 {
		t.Errorf("nothing is owed, and row %d fits, %v", out.Row, err)
	}
	o.Escrow.Paid += 100_000
	o.Ledger[1].Amount += 100_000
	o.Ledger = append(o.Ledger, Entry{Kind: OwedSeller, State: Owed, Amount: 100_000})
	out, err := m.Step(o, e, Facts{})
	if err != nil || out.Row < 0 || out.Order.Ledger.Overpaid() != 0 || out.Order.Ledger.Routing() != 2*o.Fee.Msat() {
		t.Fatalf("row %d, %v: %+v", out.Row, err, out.Order.Ledger)
	}
	if again, err := m.Step(out.Order, e, Facts{}); err != nil || again.Row >= 0 {
		t.Errorf("it is given back twice: row %d, %v", again.Row, err)
	}
}

// I10: the routing of a payment that an operator vouches for is not known. The development fee and its way come out of what is
// left if it has cost all that it could.
func TestI10DevFeeAfterAWord(t *testing.T) {
	o := &Order{Amount: 100_000, Fee: 300, Terms: Terms{FeePPM: 6000, RoutingFeePPM: 2000, DevFeePPM: 1_000_000}}
	for word, want := range map[string]Sat{"": 540, "asked the payee": 360} {
		o.Ledger = Ledger{
			{Kind: OwedBuyer, State: Paid, Amount: 99_700_000, Hash: Hash{1}, Word: word},
			{Kind: SettledIn, State: Booked, Amount: 100_300_000},
			{Kind: NodeFee, State: Booked, Amount: 600_000},
		}
		if got := DevFeeOf(o); got != want {
			t.Errorf("vouched for with %q: the development fee is %d, want %d", word, got, want)
		}
	}
}
