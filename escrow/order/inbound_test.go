package order

import (
	"strings"
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

// Who is refused because of the Lightning node hears why beside the reason, which clients show for much else, and no figure of it.
func TestTakesThatTheNodeCannotCarrySayWhy(t *testing.T) {
	for _, c := range []struct {
		node func(*NodeFacts)
		says string
	}{
		{func(n *NodeFacts) { n.Ready = false }, "Lightning node is away"},
		{func(n *NodeFacts) { n.Holds = 0 }, "as many trades as it can"},
		{func(n *NodeFacts) { n.Outbound = 99_699_999 }, "no room for this amount"},
		{func(n *NodeFacts) { n.Inbound = 1 }, "no room for this amount"},
	} {
		for _, kind := range []mostro.OrderKind{mostro.Buy, mostro.Sell} {
			before := orderIn(kind, mostro.StatusPending)
			f := somebody{}.factsFor(&before)
			c.node(&f.Node)
			take := mostro.TakeSell
			if kind == mostro.Buy {
				take = mostro.TakeBuy
			}
			index := int64(7)
			out, err := NewMachine().Step(before, Event{ID: "e", On: on(take), Order: before.ID, At: 3000, Sender: "taker", Identity: "taker-identity",
				Message: &mostro.Message{Action: take, ID: before.ID, TradeIndex: &index}}, f)
			if err != nil || out.Refusal != mostro.NotAllowedByStatus || len(out.Tells) != 2 {
				t.Fatalf("%s, %q: refused for %q with %d messages, %v", take, c.says, out.Refusal, len(out.Tells), err)
			}
			said := out.Tells[1]
			if p := said.Message.Payload; said.To != "taker" || said.Message.Action != mostro.SendDM || p == nil || p.TextMessage == nil ||
				!strings.Contains(*p.TextMessage, c.says) || strings.ContainsAny(*p.TextMessage, "0123456789") {
				t.Errorf("%s: %+v does not say %q", take, said, c.says)
			}
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
