package order

import (
	"fmt"
	"testing"

	"mostro/escrow/mostro"
)

// M20: over all outcomes of a dispute, with bonds of different sizes, each side's bond goes to
// the other side and to nobody else, in its own amount; what is not slashed comes back.
func TestDisputeOutcomes(t *testing.T) {
	const makerSats, takerSats = 7001, 1303
	for _, kind := range []mostro.OrderKind{mostro.Sell, mostro.Buy} {
		for _, action := range []mostro.Action{mostro.AdminSettle, mostro.AdminCancel} {
			for verdict := range 4 {
				for has := range 4 {
					for _, node := range []int64{0, 1, 300_000, 999_999, 1_000_000} {
						for _, maxFiat := range []int64{0, 50, 70, 1000} {
							slashBuyer, slashSeller := verdict&1 > 0, verdict&2 > 0
							name := fmt.Sprintf("%s %s, buyer %v seller %v, bonds %b, node %d, range %d", kind, action, slashBuyer, slashSeller, has, node, maxFiat)
							o := orderIn(kind, mostro.StatusDispute)
							o.Terms.Bond = &BondTerms{Base: 600, NodeSharePPM: node, Attempts: 3, AskSeconds: 300, ClaimSeconds: 86400}
							var bonds []Bond
							add := func(role BondRole, owner Party, sats Sat) {
								bonds = append(bonds, Bond{ID: string(role), Order: o.ID, Role: role, State: BondLocked, Owner: owner, Amount: sats, Terms: o.Terms,
									Hold: Escrow{Hash: Hash{byte(len(role)), byte(role[0])}, State: EscrowAccepted, Paid: sats.Msat()}})
							}
							if has&1 > 0 {
								add(MakerBond, *o.Maker(), makerSats)
								bonds[0].MaxFiat = maxFiat
							}
							if has&2 > 0 {
								add(TakerBond, *o.Taker(), takerSats)
							}
							checkVerdict(t, name, o, bonds, action, slashBuyer, slashSeller)
						}
					}
				}
			}
		}
	}
}

// checkVerdict plays a decision to the point where the node has settled what is slashed.
func checkVerdict(t *testing.T, name string, o Order, bonds []Bond, action mostro.Action, slashBuyer, slashSeller bool) {
	m := NewMachine()
	m1 := mostro.Message{Action: action, ID: o.ID, Payload: &mostro.Payload{BondResolution: &mostro.BondResolution{SlashBuyer: slashBuyer, SlashSeller: slashSeller}}}
	out, err := m.Step(o, Event{On: on(action), Order: o.ID, At: 3000, Sender: "assigned", Identity: "assigned", Message: &m1}, Facts{Level: ReadWrite, Bonds: bonds})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	of := func(trade string) *Bond {
		for i := range bonds {
			if bonds[i].Owner.Trade == trade {
				return &bonds[i]
			}
		}
		return nil
	}
	if slashBuyer && of(o.Buyer.Trade) == nil || slashSeller && of(o.Seller.Trade) == nil {
		if out.Refusal != mostro.InvalidPayload || len(out.Bonds) > 0 || len(out.Calls) > 0 || out.Order.Status != o.Status {
			t.Errorf("%s: %q, %d bonds changed", name, out.Refusal, len(out.Bonds))
		}
		return
	}
	slashed := map[string]bool{o.Buyer.Trade: slashBuyer, o.Seller.Trade: slashSeller}
	winner := map[string]Party{o.Buyer.Trade: o.Seller, o.Seller.Trade: o.Buyer}
	changed := map[string]Bond{}
	for _, c := range out.Bonds {
		changed[c.Is.ID] = c.Is
	}
	for _, b := range bonds {
		is := changed[b.ID]
		if !slashed[b.Owner.Trade] {
			// Until the buyer's sats are his, nobody lets a bond go.
			if action == mostro.AdminCancel && is.State != BondReleased || action == mostro.AdminSettle && is.ID != "" {
				t.Errorf("%s: the %s's bond is not slashed, and %q", name, b.Role, is.State)
			}
			continue
		}
		if is.State != BondSettling || is.Slash.Winner != winner[b.Owner.Trade] {
			t.Errorf("%s: the %s's bond is %q, for %+v", name, b.Role, is.State, is.Slash)
			continue
		}
		checkShares(t, name, m, out.Order, b, is)
	}
}

// checkShares settles a slashed bond and counts every millisat of it.
func checkShares(t *testing.T, name string, m *Machine, o Order, was, is Bond) {
	out, err := m.Step(o, Event{On: HoldSettled, Order: o.ID, Bond: is.ID, At: 3100, Hold: &HoldNotice{Hash: is.Hold.Hash}}, Facts{Bonds: []Bond{is}})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	slice := was.Amount
	if was.MaxFiat > 0 { // 50 of its fiat are traded; rounded half up
		slice = min(slice, (2*was.Amount*50+Sat(was.MaxFiat))/(2*Sat(was.MaxFiat)))
	}
	share := slice - slice*Sat(was.Terms.Bond.NodeSharePPM)/1_000_000
	var in, owed, fee Msat
	rest := Sat(0)
	for _, c := range out.Bonds {
		o, _ := c.Is.Ledger.Owes()
		in, owed, fee = in+c.Is.Ledger.SettledIn(), owed+o, fee+c.Is.Ledger.NodeFee()
		if c.Is.Parent != "" {
			rest = c.Is.WinnerGets().Sat()
			if c.Is.Slash.Winner != was.Owner {
				t.Errorf("%s: the rest goes to %+v", name, c.Is.Slash.Winner)
			}
		} else if c.Is.WinnerGets() != share.Msat() || (share > 0) != (c.Is.State == BondPayout) {
			t.Errorf("%s: the winner of the %s's bond gets %d msat and it is %s, want %d sat", name, was.Role, c.Is.WinnerGets(), c.Is.State, share)
		}
	}
	if in != was.Amount.Msat() || in != owed+fee || rest != was.Amount-slice {
		t.Errorf("%s: of %d sat came %d msat, %d owed, %d kept, %d sat for the owner; want %d", name, was.Amount, in, owed, fee, rest, was.Amount-slice)
	}
}
