package order

import (
	"testing"

	"mostro/escrow/mostro"
)

// Another address is not taken while one is being resolved, nor when many wait already for one try;
// otherwise it is.
func TestAnotherAddress(t *testing.T) {
	m := NewMachine()
	for _, c := range []struct {
		payout Payout
		want   mostro.Reason
	}{
		{Payout{State: PayoutResolving, Address: "a@ln.example"}, mostro.NotAllowedByStatus},
		{Payout{State: PayoutFailed, Address: "a@ln.example", Replaced: maxReplaced - 1}, ""},
		{Payout{State: PayoutFailed, Address: "a@ln.example", Replaced: maxReplaced}, mostro.TooManyRequests},
		{Payout{State: PayoutAsking, Address: "a@ln.example"}, ""},
	} {
		o := orderIn(mostro.Sell, mostro.StatusSettledHoldInvoice)
		o.Payout = c.payout
		out, err := m.Step(o, Event{On: on(mostro.AddInvoice), Order: o.ID, At: 3000, Sender: o.Buyer.Trade, Identity: o.Buyer.Identity,
			Message: &mostro.Message{Action: mostro.AddInvoice}}, Facts{Address: "b@ln.example"})
		if err != nil {
			t.Fatal(err)
		}
		if out.Refusal != c.want {
			t.Errorf("%+v: %q, want %q", c.payout, out.Refusal, c.want)
		}
	}
}
