package order

import (
	"testing"

	"mostro/escrow/mostro"
)

// Nobody may take what the node cannot receive: the seller's bond, which is small, would come in, and
// the escrow would not.
func TestTakesThatTheNodeCannotReceive(t *testing.T) {
	for inbound, want := range map[Msat]mostro.Reason{0: "", 100_300_000: "", 100_299_999: mostro.NotAllowedByStatus, 1: mostro.NotAllowedByStatus} {
		before := orderIn(mostro.Buy, mostro.StatusPending)
		f := somebody{}.factsFor(&before)
		f.Node.Inbound = inbound
		index := int64(7)
		out, err := NewMachine().Step(before, Event{ID: "e", On: on(mostro.TakeBuy), Order: before.ID, At: 3000, Sender: "taker", Identity: "taker-identity",
			Message: &mostro.Message{Action: mostro.TakeBuy, ID: before.ID, TradeIndex: &index}}, f)
		if err != nil || out.Refusal != want {
			t.Errorf("a take of 100300 sat with room for %d msat: %q, %v; want %q", inbound, out.Refusal, err, want)
		}
	}
}

// I8: a seller who cannot pay because the node has no room for it does not lose his bond.
func TestNoBlameForWhatTheNodeCannotReceive(t *testing.T) {
	for inbound, want := range map[Msat]BondState{0: BondSettling, 100_300_000: BondSettling, 100_299_999: BondReleased} {
		before := orderIn(mostro.Buy, mostro.StatusWaitingPayment)
		before.Terms.Bond = &BondTerms{AmountPPM: 10_000, Base: 1000, Taker: true, SlashOnTimeout: true, Attempts: 3, AskSeconds: 300, ClaimSeconds: 86400, NodeSharePPM: 500_000}
		f := somebody{}.factsFor(&before)
		f.Node.Inbound, f.Uptime = inbound, 10_000
		f.Bonds = []Bond{{ID: "b", Order: before.ID, Role: TakerBond, State: BondLocked, Owner: before.Seller, Amount: 1000, Terms: before.Terms,
			Hold: Escrow{Attempt: 1, Hash: Hash{7}, State: EscrowAccepted, Paid: 1_000_000}}}
		out, err := NewMachine().Step(before, Event{ID: "e", On: WaitingTimeout, Order: before.ID, At: 3000}, f)
		if err != nil || len(out.Bonds) != 1 || out.Order.Status != mostro.StatusPending {
			t.Fatalf("the order is %s, %d bonds have changed: %v", out.Order.Status, len(out.Bonds), err)
		}
		if got := out.Bonds[0].Is.State; got != want {
			t.Errorf("with room for %d msat the bond is %s, want %s", inbound, got, want)
		}
	}
}
