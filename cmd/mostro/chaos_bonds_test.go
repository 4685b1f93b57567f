package main

import (
	"context"
	"fmt"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

const (
	chaosBondLeast   = 600     // sats
	chaosBondPPM     = 30_000  // of the amount
	chaosBondNodePPM = 300_000 // of what is slashed

	// chaosSettings are those of each start; a payout that is never taken may outlast all blocks.
	chaosSettings = "relay.min_free_mib=1 lightning.max_final_cltv_expiry_delta=1008 lightning.payout_cltv_limit=2016 lightning.routing_subsidy=60" +
		" anti_abuse_bond.amount_pct=0.03 anti_abuse_bond.base_amount_sats=600 anti_abuse_bond.slash_node_share_pct=0.3"
)

// deposit is the bond of a side, and what the side gets of bonds.
type deposit struct {
	bonds    map[order.Hash]bool // that it was asked for
	claims   map[order.Hash]bool // its invoices
	lost     order.Sat           // all of its bond, when a solver takes of it
	due, got order.Sat           // of the peer's bond, and what is left of its own
}

func newDeposit() deposit {
	return deposit{bonds: map[order.Hash]bool{}, claims: map[order.Hash]bool{}}
}

// payBond pays a bond, when it is as large as it should be.
func (s *chaosSide) payBond(ctx context.Context, bolt11 string) error {
	invoice, err := lightning.Decode(bolt11)
	if err == nil && invoice.Amount != s.bond().Msat() {
		err = fmt.Errorf("%s is asked for a bond of %s msat, want %d sat", s.name, thousands(invoice.Amount), s.bond())
	}
	if err != nil {
		return err
	}
	return s.pay(ctx, bolt11, s.bonds)
}

// bond is the size of the side's bond, where it gives one.
func (s *chaosSide) bond() order.Sat {
	sats := s.sats
	if s == s.maker && s.most > 0 {
		sats = s.most * satsPerFiat
	}
	return order.Sat(max(chaosBondLeast, (sats*chaosBondPPM+500_000)/1_000_000))
}

// takeBonds says whose bond goes to the other side, nil when nobody's does, and notes who gets what. An
// order takes only its own part of the bond of a range along; the rest of that goes back.
func (c *chaosTrade) takeBonds() *mostro.BondResolution {
	c.mu.Lock()
	defer c.mu.Unlock()
	var verdict mostro.BondResolution
	for _, pair := range [][2]*chaosSide{{c.seller, c.buyer}, {c.buyer, c.seller}} {
		loser, winner := pair[0], pair[1]
		if !c.slash[loser] || len(loser.bonds) == 0 {
			continue
		}
		all := loser.bond()
		taken := all
		if loser == c.maker && c.most > 0 {
			taken = (2*all*order.Sat(c.fiat) + order.Sat(c.most)) / (2 * order.Sat(c.most))
		}
		loser.lost, loser.due = all, loser.due+all-taken
		winner.due += taken - taken*chaosBondNodePPM/1_000_000
		verdict.SlashSeller = verdict.SlashSeller || loser == c.seller
		verdict.SlashBuyer = verdict.SlashBuyer || loser == c.buyer
	}
	if verdict == (mostro.BondResolution{}) {
		return nil
	}
	return &verdict
}

// claim gives the invoice to which a side gets something of a bond.
func (s *chaosSide) claim(ctx context.Context, sats order.Sat) (over bool, err error) {
	invoice, err := s.wallet.wallet.Invoice(ctx, sats.Msat(), "chaos, a bond")
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	s.claims[invoice.Hash] = true
	s.mu.Unlock()
	return s.ask(ctx, func(ctx context.Context) (mostro.Message, error) { return s.trade.ClaimBond(ctx, invoice.Text) })
}

// expects tells whether something of a bond is still to come to this side.
func (s *chaosSide) expects() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got < s.due
}

// accountBonds asks the nodes what became of the bonds of both sides. What lnd has in flight of them when nothing
// happens any more is owed.
func (c *chaosTrade) accountBonds(ctx context.Context) error {
	flying := map[order.Hash]order.Msat{}
	if c.standing() {
		var err error
		if flying, err = c.flyingShares(ctx); err != nil {
			return err
		}
	}
	for _, s := range []*chaosSide{c.seller, c.buyer} {
		if len(s.bonds)+len(s.claims) == 0 {
			continue
		}
		f, err := c.moved(ctx, s, s.bonds, s, s.claims, flying)
		if err != nil {
			return err
		}
		owed, due := map[order.Hash]order.Msat{}, s.due
		for hash := range s.claims {
			if _, flies := flying[hash]; !flies {
				continue
			}
			invoice, err := s.wallet.wallet.Lookup(ctx, hash)
			if err != nil {
				return err
			}
			owed[hash] = invoice.Amount
			due -= invoice.Amount.Sat()
			c.t.Logf("%s %s: lnd has a share of a bond in flight, %s msat with %s, %s msat of it in a channel; its invoice is %s",
				c.label, s.name, thousands(invoice.Amount), hash, thousands(flying[hash]), invoice.State)
		}
		f.AskedOfSeller, f.PromisedToBuyer = s.lost.Msat(), due.Msat()
		role, became := "a taker's bond", "given back"
		if s == s.maker {
			role = "a maker's bond"
		}
		if s.lost > 0 {
			became = "slashed"
		}
		if len(s.bonds) > 0 {
			c.became = append(c.became, role+", "+became)
		}
		if due > 0 {
			c.became = append(c.became, "shares and rests paid out")
		}
		if len(owed) > 0 {
			c.became = append(c.became, "shares and rests in flight")
		}
		c.move(f)
		c.fly(nil, owed)
		if f.SellerPaid != f.AskedOfSeller || f.EscrowGot != f.SellerPaid || f.BuyerGot != f.PromisedToBuyer || s.got != due || f.sum() != 0 {
			return fmt.Errorf("order %s: the bonds of the %s, who lost %d sat and was due %d and told of %d, have moved %+v", c.maker.trade.OrderID(), s.name, s.lost, due, s.got, f)
		}
	}
	c.fly(flying, nil)
	return nil
}

// standing tells that nothing happens any more.
func (x *chaos) standing() bool {
	select {
	case <-x.stands:
		return true
	default:
		return false
	}
}
