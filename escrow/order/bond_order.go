package order

import (
	"slices"

	"mostro/escrow/mostro"
)

// What the order's table needs for bonds: who must give one, and what becomes of it.

// Limits of bonds.
const (
	// maxRacers is how many takers may be asked for a bond at once: each is a hold invoice. When
	// there are more, the oldest of who have had racerTurn to pay makes room, so that nobody can
	// keep an order for himself with bonds that he never pays.
	maxRacers = 10
	racerTurn = 120 // seconds
	// blocksPerHour and maxCLTV bound how long a bond can be held: lnd pays no longer locks.
	blocksPerHour = 6
	maxCLTV       = 2000
	// bondSlack is how many blocks a bond outlives what it stands for.
	bondSlack = 36
)

// bonds are the terms of the order's bonds, those of the facts while it is born.
func (s *step) bonds() *BondTerms {
	if s.prev.Status == none {
		return s.f.Terms.Bond
	}
	return s.o.Terms.Bond
}

// bondOf finds the locked bond of a side.
func (s *step) bondOf(side Party) *Bond {
	role := TakerBond
	if s.prev.Maker().Trade == side.Trade {
		role = MakerBond
	}
	for i := range s.f.Bonds {
		if b := &s.f.Bonds[i]; b.Role == role && b.State == BondLocked {
			return b
		}
	}
	return nil
}

// racing counts the takers who are asked for a bond.
func (s *step) racing() (n int) {
	for _, b := range s.f.Bonds {
		if b.State == BondRequested {
			n++
		}
	}
	return n
}

// slowest is the taker who has been asked for a bond the longest, nil when all are still fresh.
func (s *step) slowest() (slowest *Bond) {
	for i := range s.f.Bonds {
		b := &s.f.Bonds[i]
		if b.Role == TakerBond && b.State == BondRequested && b.Since+racerTurn <= s.e.At && (slowest == nil || b.Since < slowest.Since) {
			slowest = b
		}
	}
	return slowest
}

// late is the side whose duty it is while an order waits, and the other.
func (s *step) late() (late, other Party) {
	if s.prev.Status == mostro.StatusWaitingPayment {
		return s.prev.Seller, s.prev.Buyer
	}
	return s.prev.Buyer, s.prev.Seller
}

// blamed is the bond that a missed duty costs, nil when it costs none. Nobody can do his part for
// an escrow that the node has lost, or for one that it has no room to receive.
func (s *step) blamed() *Bond {
	late, _ := s.late()
	b := s.bondOf(late)
	unpayable := late == s.prev.Seller && s.f.Node.cannotReceive(s.prev.SellerPays())
	if b == nil || !b.Terms.Bond.SlashOnTimeout || s.prev.Escrow.Missing || unpayable {
		return nil
	}
	return b
}

// cannotReceive tells that a payment of so many sats finds no way to the node.
func (n *NodeFacts) cannotReceive(amount Sat) bool { return n.Inbound > 0 && n.Inbound < amount.Msat() }

// servedSeconds is how long somebody with a duty could have done it: only seconds in which this
// process ran and its node was ready.
func (s *step) servedSeconds() int64 { return s.f.Uptime - s.o.DutyUptime }

// startDuty begins a wait for somebody.
func (s *step) startDuty() { s.o.DutySince, s.o.DutyUptime = s.e.At, s.f.Uptime }

var (
	takerBondAsked = Guard{"takers give a bond", func(s *step) bool { return s.bonds() != nil && s.bonds().Taker }}
	makerBondAsked = Guard{"makers give a bond", func(s *step) bool { return s.bonds() != nil && s.bonds().Maker }}
	hasBond        = Guard{"asked for a bond already", func(s *step) bool { return racerOf(s) != nil }}
	raceFull       = Guard{"too many takers have just begun to race, or too many bonds are held", func(s *step) bool {
		return s.racing() >= maxRacers && s.slowest() == nil || tooManyBonds.Holds(s)
	}}
	tooManyBonds = Guard{"too many bonds are held", func(s *step) bool { return s.f.bondsFull() }}
	raceOver     = Guard{"nobody races any more", func(s *step) bool { return s.racing() == 0 }}
	bondIsBuys   = Guard{"buyer's invoice came along", func(s *step) bool {
		t := lockedTake(s)
		return t != nil && (t.Payout.Invoice != "" || t.Payout.Address != "")
	}}
	// Time in which nobody could do anything is given back before anybody is blamed.
	lostTime = Guard{"a bond is at stake and the node was away meanwhile", func(s *step) bool {
		return s.blamed() != nil && s.servedSeconds() < s.o.Terms.WaitingSeconds
	}}
	makersBond = Guard{"the maker's", func(s *step) bool {
		return slices.ContainsFunc(s.f.Bonds, func(b Bond) bool { return b.ID == s.e.Bond && b.Role == MakerBond })
	}}
	slashesWithoutBond = Guard{"slashes a bond that is not there", func(s *step) bool {
		buyer, seller := verdict(s)
		return buyer && s.bondOf(s.prev.Buyer) == nil || seller && s.bondOf(s.prev.Seller) == nil
	}}
)

// bondsFull tells that no more bonds may be held.
func (f *Facts) bondsFull() bool { return f.Rules.MaxBonds > 0 && f.LiveBonds >= f.Rules.MaxBonds }

// racerOf is the bond that the sender was asked for.
func racerOf(s *step) *Bond {
	i := slices.IndexFunc(s.f.Bonds, func(b Bond) bool {
		return b.Role == TakerBond && b.State == BondRequested && b.Owner.Trade == s.e.Sender
	})
	if i < 0 {
		return nil
	}
	return &s.f.Bonds[i]
}

// lockedTake is what the taker has asked for whose bond is locked.
func lockedTake(s *step) *Take {
	for _, b := range s.f.Bonds {
		if b.Role == TakerBond && b.State == BondLocked {
			return b.Take
		}
	}
	return nil
}

// leastOffer is how long the rest of a range must be open for takers to be worth an offer [seconds].
const leastOffer = 3600

// bondCovers is for how many of the seconds the rest of a range may be offered, so that its maker's
// bond lasts until whoever takes it has had his whole trade; false when there is no time for that,
// or no bond any more.
func (s *step) bondCovers(seconds int64) (open int64, covered bool) {
	if t := s.o.Terms.Bond; t == nil || !t.Maker {
		return seconds, true
	}
	b := s.bondOf(*s.o.Maker())
	if b == nil {
		return 0, false
	}
	if b.Hold.ExpiryHeight == 0 || s.f.Node.Height == 0 {
		return seconds, true
	}
	needs := int64(s.f.Node.Height) + int64(s.o.Terms.CLTVDelta) + 3*s.o.Terms.WaitingSeconds*blocksPerHour/3600 + minHoldExpiry
	open = min(seconds, (int64(b.Hold.ExpiryHeight)-needs)*3600/blocksPerHour)
	return open, open >= min(seconds, leastOffer)
}

// verdict is which bonds a solver's decision slashes.
func verdict(s *step) (buyer, seller bool) {
	if p := s.e.Message.Payload; p != nil && p.BondResolution != nil {
		return p.BondResolution.SlashBuyer, p.BondResolution.SlashSeller
	}
	return false, false
}

var (
	askTakerBond = Effect{"ask the taker for a bond", func(s *step) {
		if s.racing() >= maxRacers {
			s.signal(BondFree, s.slowest(), nil)
		}
		amount := quoted(s)
		b := s.newBond(TakerBond, amount, s.author())
		b.Take = &Take{Fiat: chosenFiat(s), Amount: amount}
		if s.e.On == on(mostro.TakeSell) && offered(s) != "" {
			b.Take.Payout = given(s, Payout{})
		}
		s.ask(b, s.o.Terms.CLTVDelta)
	}}
	askMakerBond = Effect{"ask the maker for a bond", func(s *step) {
		b := s.newBond(MakerBond, slices.Max(offers(s)), *s.o.Maker())
		b.MaxFiat = s.o.MaxFiat
		wait := (s.o.ExpiresAt - s.e.At) * blocksPerHour / 3600
		s.ask(b, s.o.Terms.CLTVDelta+uint32(min(max(0, wait), maxCLTV)))
	}}
	remindBond   = Effect{"ask him again", func(s *step) { s.signal(BondRemind, racerOf(s), nil) }}
	withdrawBond = Effect{"his bond is not needed", func(s *step) { s.signal(BondWithdraw, racerOf(s), nil) }}
	takeWithBond = Effect{"take it as the winner asked", func(s *step) {
		i := slices.IndexFunc(s.f.Bonds, func(b Bond) bool { return b.Role == TakerBond && b.State == BondLocked })
		b, o := s.f.Bonds[i], s.o
		o.Amount, o.FiatAmount = b.Take.Amount, b.Take.Fiat
		o.Fee = FeeSide(o.Amount, o.Terms.FeePPM)
		*o.Taker() = b.Owner
		o.TakenAt = s.e.At
		s.startDuty()
		if o.Kind == mostro.Sell {
			o.Payout = b.Take.Payout
		}
	}}
	extendDuty = Effect{"give the lost time back", func(s *step) {
		s.o.DutySince = s.e.At - s.servedSeconds() // also where the clock has jumped
	}}
	slashLate = Effect{"slash the bond of who is late", func(s *step) {
		if b := s.blamed(); b != nil {
			_, winner := s.late()
			s.signal(BondSlash, b, b.slashed(TimedOut, winner, s.prev.FiatAmount, s.e.At))
		}
	}}
	slashByVerdict = Effect{"slash as decided", func(s *step) {
		buyer, seller := verdict(s)
		for _, each := range []struct {
			slash         bool
			loser, winner Party
		}{{buyer, s.prev.Buyer, s.prev.Seller}, {seller, s.prev.Seller, s.prev.Buyer}} {
			if each.slash {
				b := s.bondOf(each.loser)
				s.signal(BondSlash, b, b.slashed(LostDispute, each.winner, s.prev.FiatAmount, s.e.At))
			}
		}
	}}
	// offerNoMore: the trade goes on, and the order does not come back into the book.
	offerNoMore = Effect{"it is not offered again", func(s *step) {
		s.o.ExpiresAt = min(s.o.ExpiresAt, s.e.At)
		s.say(*s.o.Maker(), "The Lightning node gave the bond of order %s back to you. The trade goes on; if it comes to nothing, the order is not offered again.", s.o.ID)
	}}
	tellMakerBondLost = Effect{"maker: canceled, and why", func(s *step) {
		s.tell(*s.o.Maker(), mostro.Canceled, nil)
		s.say(*s.o.Maker(), "The Lightning node gave the bond of order %s back to you, so the order is not offered any more.", s.o.ID)
	}}
)

// newBond is a bond for a trade of so many sats.
func (s *step) newBond(role BondRole, amount Sat, owner Party) Bond {
	return Bond{
		ID: BondID(s.e), Rev: 1, Order: s.o.ID, Role: role, State: BondRequested, Owner: owner, Amount: s.o.Terms.Bond.Of(amount),
		Terms: s.o.Terms, CreatedAt: s.e.At, Seq: s.o.Rev, Since: s.e.At,
		Hold:   Escrow{Attempt: 1, Hash: s.f.BondHash, State: EscrowOpening},
		Awaits: &Awaited{By: s.e.Sender, RequestID: s.e.Message.RequestID},
	}
}

// ask has the node make the hold invoice of a bond that must outlive blocks.
func (s *step) ask(b Bond, blocks uint32) {
	waits := uint32(3*s.o.Terms.WaitingSeconds*blocksPerHour/3600) + bondSlack
	s.call(Call{
		Do: OpenHold, Bond: b.ID, Hash: b.Hold.Hash, Attempt: b.Hold.Attempt, Amount: b.Amount.Msat(),
		CLTVDelta: min(blocks+waits, maxCLTV), Expiry: s.o.Terms.WaitingSeconds + holdSlack,
		Memo: BondMemo(&b),
	})
	s.out.born = append(s.out.born, b)
}

func (s *step) signal(what EventName, b *Bond, slash *Slash) {
	s.out.signals = append(s.out.signals, signal{on: what, to: b.ID, slash: slash})
}
