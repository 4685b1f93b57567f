package order

import (
	"testing"

	"mostro/escrow/mostro"
)

// The seller chooses how long his HTLC lasts, and by that not how long the trade does: bonds last as
// long as the terms say.
func TestLadderIsTheTermsNotThePayers(t *testing.T) {
	for _, c := range []struct{ height, expires, deadline uint32 }{
		{height: 1000, expires: 1288, deadline: 1258},
		{height: 1000, expires: 1291, deadline: 1261}, // lnd adds three
		{height: 1000, expires: 3016, deadline: 1270}, // through others, as long as they let him
		{height: 1000, expires: 1100, deadline: 1070}, // as it may be after a restart
		{height: 0, expires: 3016, deadline: 2986},    // the chain is not known
	} {
		before := orderIn(mostro.Sell, mostro.StatusWaitingPayment)
		f := somebody{}.factsFor(&before)
		f.Node.Height = c.height
		out, err := NewMachine().Step(before, Event{ID: "e", On: HoldAccepted, Order: before.ID, At: 3000,
			Hold: &HoldNotice{Hash: before.Escrow.Hash, Paid: before.SellerPays().Msat(), ExpiryHeight: c.expires}}, f)
		if err != nil || out.Order.Status != mostro.StatusActive {
			t.Fatalf("the order is %s: %v", out.Order.Status, err)
		}
		o := out.Order
		o.Rung = 2
		if _, height := NextWake(&o); height != c.deadline {
			t.Errorf("heard at block %d, HTLC until %d: the deadline is block %d and not %d", c.height, c.expires, height, c.deadline)
		}
		if o.Escrow.ExpiryHeight != c.expires {
			t.Errorf("the HTLC is taken to expire at %d, and does at %d", o.Escrow.ExpiryHeight, c.expires)
		}
	}
}
