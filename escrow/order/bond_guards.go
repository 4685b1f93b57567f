package order

import (
	"slices"
	"strings"
)

// BondGuard is the condition of a row of the bond's table; the zero one always holds.
type BondGuard struct {
	Name  string
	Holds func(*bondStep) bool
}

func allOf(guards ...BondGuard) BondGuard {
	names := make([]string, len(guards))
	for i, g := range guards {
		names[i] = g.Name
	}
	return BondGuard{strings.Join(names, ", "), func(s *bondStep) bool {
		for _, g := range guards {
			if !g.Holds(s) {
				return false
			}
		}
		return true
	}}
}

var (
	presentHold  = BondGuard{"its hold invoice", func(s *bondStep) bool { return s.e.Hold.Hash == s.b.Hold.Hash }}
	bondOverpaid = BondGuard{"overpaid by more than 1 %", func(s *bondStep) bool {
		return s.e.Hold.Paid > s.b.Amount.Msat()/100*101
	}}
	// One taker's bond is locked at most, and only while the order waits for one.
	raceOpen = BondGuard{"the order waits for it", func(s *bondStep) bool {
		other := slices.ContainsFunc(s.f.Bonds, func(b Bond) bool {
			return b.ID != s.b.ID && b.Role == s.b.Role && b.State == BondLocked
		})
		return !other && needed(s.order, s.b)
	}}
	// Bonds that were asked for while there was room can be more than there is room for.
	bondsFull    = BondGuard{"too many bonds are held", func(s *bondStep) bool { return s.f.bondsFull() }}
	bondAwaited  = BondGuard{"somebody waits and was not told", func(s *bondStep) bool { return s.b.Awaits != nil && !s.b.Awaits.Told }}
	nodeTakesAll = BondGuard{"no share is left for the winner", func(s *bondStep) bool { return s.b.Slash.Share == 0 }}

	claimedAlready = BondGuard{"an invoice is there, or a payment may still succeed", func(s *bondStep) bool {
		return s.b.Payout.State != PayoutAsking
	}}
	badClaim = BondGuard{"invoice does not fit", func(s *bondStep) bool {
		if s.f.Address != "" {
			return false // resolved and looked at when it is paid
		}
		return s.unfit(s.f.Invoice, s.f.Rules.InvoiceWindow) != ""
	}}
	bondResolving    = BondGuard{"its address is being resolved", func(s *bondStep) bool { return s.b.Payout.resolves(s.e.Payment) }}
	bondResolvedWell = BondGuard{"the invoice fits", func(s *bondStep) bool {
		return s.e.Invoice.Amount == s.b.WinnerGets() && s.unfit(s.e.Invoice, resolvedLife) == ""
	}}
	presentBondPay = BondGuard{"present payout", func(s *bondStep) bool { return s.b.Payout.speaksOf(s.e.Payment) }}
	anyBondPay     = BondGuard{"a payout of this bond", func(s *bondStep) bool {
		return slices.Contains(s.b.Payout.Hashes(), s.e.Payment.Hash)
	}}
	secondBondPay = BondGuard{"another than the one booked", func(s *bondStep) bool {
		due := s.b.Ledger.entry(OwedWinner)
		return due == nil || due.Hash != s.e.Payment.Hash
	}}
	bondSending      = BondGuard{"not acknowledged yet", func(s *bondStep) bool { return s.b.Payout.State == PayoutSending }}
	bondFlies        = BondGuard{"payout is on its way", func(s *bondStep) bool { return s.b.Payout.State == PayoutFlying }}
	bondPayOut       = BondGuard{"payout is out", func(s *bondStep) bool { return s.b.Payout.State.Busy() }}
	bondNothingFlies = BondGuard{"no payment is under way", func(s *bondStep) bool { return s.b.Payout.nothingFlies() }}
	lastBondTry      = BondGuard{"last attempt", func(s *bondStep) bool {
		return s.b.Payout.Attempts+1 >= s.b.Terms.Bond.Attempts
	}}
	forgottenSlash   = BondGuard{"slashed, and not known here", func(s *bondStep) bool { return s.forgotten() != nil }}
	forgottenForNode = BondGuard{"slashed for the node alone, and not known here", func(s *bondStep) bool {
		slash := s.forgotten()
		return slash != nil && slash.Share == 0
	}}
	foreignBondSettle = BondGuard{"not known as settled", func(s *bondStep) bool {
		return !(s.b.Hold.State == EscrowSettled && s.e.Hold.Hash == s.b.Hold.Hash)
	}}
)

// forgotten is the slash that a store put back from a copy does not know, nil where it cannot be
// told for whom it was. A taker's bond is for one take, so its winner is the maker. A maker's is
// for every take of his order until one is held, and for every part of a range.
func (s *bondStep) forgotten() *Slash {
	b, o := s.b, s.order
	winner := o.Maker()
	if b.Role == MakerBond {
		winner = o.Taker()
	}
	known := b.Role == TakerBond || o.Escrow.AcceptedAt != 0 && b.MaxFiat == 0
	if b.Hold.State == EscrowSettled || !known || winner.Trade == "" || s.e.Hold.Paid < b.Amount.Msat() {
		return nil
	}
	reason := TimedOut
	if o.Escrow.AcceptedAt != 0 {
		reason = LostDispute
	}
	return b.slashed(reason, *winner, o.FiatAmount, s.e.At)
}

// unfit says what is wrong with an invoice as the payout of the winner's share.
func (s *bondStep) unfit(inv *Invoice, life int64) string {
	return unfit(s.f, s.e.At, s.b.ID, s.b.Payout.Earlier, inv, s.b.WinnerGets(), life)
}
