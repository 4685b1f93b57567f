package escrow

import (
	"fmt"
	"reflect"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// pass lets time pass in steps as small as those in which a node looks at the clock.
func (s *Simulation) pass(d time.Duration) {
	for ; d > 0; d -= heartbeat {
		s.net.Advance(min(d, heartbeat))
		if !s.down && !s.behind {
			s.usable += min(d, heartbeat)
		}
		s.e.uptime.tick(s.e.now(), s.e.node.ready())
	}
}

// loadBond is a bond as it was last committed.
func (s *Simulation) loadBond(id string) (b order.Bond) {
	if row := s.bonds[id]; row != nil {
		b = *row
	}
	return b
}

// actOnBond has somebody do something about a bond.
func (s *Simulation) actOnBond(id string) error {
	b := s.loadBond(id)
	o, owner := s.load(b.Order), s.owner(b.Owner.Identity)
	switch b.State {
	case order.BondRequested:
		switch {
		case s.fault(faultChange, 100): // changes his mind
			return s.send(owner, b.Owner.Trade, mostro.Cancel, b.Order, nil, 0)
		case b.Role == order.TakerBond && s.fault(faultChange, 100): // asks again
			take := mostro.TakeSell
			if o.Kind == mostro.Buy {
				take = mostro.TakeBuy
			}
			return s.send(owner, b.Owner.Trade, take, b.Order, nil, b.Owner.Index)
		case b.Hold.Invoice != "":
			pay := lightning.SimPay{Invoice: b.Hold.Invoice}
			if s.fault(faultOverpaid, 100) {
				pay.Amount = b.Amount.Msat() + order.Msat(s.r.IntN(30_000))
			}
			got, err := owner.wallet.Pay(pay)
			s.say("%s pays the bond %.4s of %.4s: %s, %v", owner.name, b.ID, b.Order, got.State, err)
		}
	case order.BondPayout:
		if idle(b.ID) {
			return nil
		}
		winner, trade := s.owner(b.Slash.Winner.Identity), b.Slash.Winner.Trade
		if s.fault(faultStranger, 100) { // somebody else would like to have it
			winner, trade = owner, b.Owner.Trade
		}
		if again := s.chance(20); again || !b.Payout.State.Busy() {
			return s.send(winner, trade, mostro.AddBondInvoice, b.Order, s.invoice(winner, b.WinnerGets().Sat()), 0)
		}
	}
	return nil
}

// idle tells of orders and bonds about which nobody does what he should: they time out.
func idle(id string) bool { return id[0] < '3' }

// verdict is what a solver decides about the bonds, sometimes about one that is not there.
func (s *Simulation) verdict(o order.Order) *mostro.Payload {
	there := map[string]bool{}
	for _, id := range s.e.live.bondIDs() {
		if b := s.loadBond(id); b.Order == o.ID && b.State == order.BondLocked {
			there[b.Owner.Trade] = true
		}
	}
	slash := func(side order.Party) bool { return s.chance(60) && (there[side.Trade] || s.fault(faultStranger, 100)) }
	return &mostro.Payload{BondResolution: &mostro.BondResolution{SlashBuyer: slash(o.Buyer), SlashSeller: slash(o.Seller)}}
}

// bondInvariants holds after each step for every bond that lives.
func (s *Simulation) bondInvariants() error {
	locked := map[string]string{}
	for _, id := range s.e.live.bondIDs() {
		b := s.bonds[id]
		if b == nil {
			return fmt.Errorf("bond %s was never committed", id)
		}
		if err := s.checkBond(b); err != nil {
			return err
		}
		if b.State != order.BondLocked {
			continue
		}
		if o := s.rows[b.Order]; o != nil && order.Ended(o.Status) {
			return fmt.Errorf("bond %s is locked and its order %s is %s", b.ID, o.ID, o.Status)
		}
		if key := b.Order + string(b.Role); locked[key] != "" {
			return fmt.Errorf("order %s has two locked bonds of its %s: %s and %s", b.Order, b.Role, locked[key], b.ID)
		} else {
			locked[key] = b.ID
		}
	}
	return nil
}

// checkBond compares a bond with the node's truth.
func (s *Simulation) checkBond(b *order.Bond) error {
	alive := 0
	for _, h := range b.Payout.Hashes() {
		if p, ok := s.payment(h); ok && p.State != lightning.Failed {
			alive++
		}
	}
	if alive > 1 {
		return fmt.Errorf("I2: bond %s has %d payments under way or done", b.ID, alive)
	}
	if h, ok := s.hold(b.Hold.Hash); ok {
		switch {
		case h.State == lightning.Settled && b.Hold.State != order.EscrowSettling && b.Hold.State != order.EscrowSettled && !s.forgot(h.Hash):
			return fmt.Errorf("I4: bond %s is settled at the node and %q here", b.ID, b.Hold.State)
		case h.State != lightning.Settled && b.Hold.State == order.EscrowSettled:
			return fmt.Errorf("bond %s is %s at the node and settled here", b.ID, h.State)
		case b.Ended() && b.Hold.State == order.EscrowSettled && b.Slash == nil:
			return fmt.Errorf("I8: bond %s is settled and nobody slashed it", b.ID)
		}
	}
	return nil
}

// bondAccounts are drawn at the end: every bond has ended, and this is what they brought.
func (s *Simulation) bondAccounts() (net order.Msat, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		return eachBond(txn, func(b order.Bond) error {
			s.Stats.Bonds[b.State]++
			if b.Slash != nil {
				s.Stats.Kinds[simSlashed]++
			}
			if kept := s.loadBond(b.ID); !reflect.DeepEqual(b, kept) {
				return fmt.Errorf("bond %s is not as it was last committed: %+v and %+v", b.ID, b, kept)
			}
			if err := first(s.checkBond(&b), order.CheckBond(&b)); err != nil {
				return err
			}
			if !b.Ended() {
				return fmt.Errorf("bond %s of %s has not ended: %s, payout %q, hold invoice %q", b.ID, b.Order, b.State, b.Payout.State, b.Hold.State)
			}
			if h, ok := s.hold(b.Hold.Hash); ok && !h.State.Final() && !s.orphans[h.Hash] {
				return fmt.Errorf("bond %s is left %s at the node", b.ID, h.State)
			}
			net += b.Ledger.SettledIn() - b.Ledger.PaidOut() - b.Ledger.Routing() - s.unbooked(b.Ledger)
			return nil
		})
	})
	return net, err
}
