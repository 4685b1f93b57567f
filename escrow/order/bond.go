package order

import "fmt"

// BondTerms are the terms of the anti-abuse bond that an order is born with; no order that
// was born without them ever has a bond.
type BondTerms struct {
	AmountPPM      int64 `json:"amount_ppm"` // of the trade's sats
	Base           Sat   `json:"base"`       // the least bond
	Taker          bool  `json:"taker,omitempty"`
	Maker          bool  `json:"maker,omitempty"`
	SlashOnTimeout bool  `json:"slash_on_timeout,omitempty"`
	NodeSharePPM   int64 `json:"node_share_ppm"` // of what is slashed
	AskSeconds     int64 `json:"ask_seconds"`    // between two requests for the winner's invoice
	Attempts       int64 `json:"attempts"`       // payout tries with one invoice
	ClaimSeconds   int64 `json:"claim_seconds"`  // that the winner has to give an invoice
}

// Of is the bond for a trade of so many sats.
func (t BondTerms) Of(amount Sat) Sat {
	return max(t.Base, Sat(mulDiv(uint64(max(0, amount)), uint64(t.AmountPPM), ppm, ppm/2)))
}

// ShareOf is what the winner gets of what is slashed.
func (t BondTerms) ShareOf(slice Sat) Sat {
	return slice - Sat(mulDiv(uint64(slice), uint64(t.NodeSharePPM), ppm, 0))
}

// BondRole is the side that gives a bond.
type BondRole string

const (
	MakerBond BondRole = "maker"
	TakerBond BondRole = "taker"
)

// BondState is where a bond stands.
type BondState string

const (
	BondRequested BondState = "requested" // the owner is asked to pay; of several takers the first wins
	BondLocked    BondState = "locked"    // the owner's sats are held
	BondReleased  BondState = "released"  // given back, or never paid
	BondSettling  BondState = "settling"  // it is slashed, and the node has not confirmed it yet
	BondPayout    BondState = "pending-payout"
	BondSlashed   BondState = "slashed"   // and the winner is paid
	BondForfeited BondState = "forfeited" // the winner never gave an invoice
)

// Bond is one deposit: who gave it, for which order, and who gets it if it is slashed.
type Bond struct {
	ID  string `json:"id"` // UUID; the preimage of its hold invoice is derived from it
	Rev uint64 `json:"rev"`
	// Order is the order that the bond stands for. A maker's bond goes along with the rest of
	// a range, from order to order.
	Order string    `json:"order"`
	Role  BondRole  `json:"role"`
	State BondState `json:"state"`
	Owner Party     `json:"owner"`
	// Parent is the slashed bond of which this is what the owner gets back; such a bond has no
	// hold invoice of its own.
	Parent string `json:"parent,omitempty"`
	Amount Sat    `json:"amount"`
	// MaxFiat is the end of the range that a maker's bond was asked for, 0 without a range:
	// an order takes only its own slice of the bond down with it.
	MaxFiat int64 `json:"max_fiat,omitempty"`
	Terms   Terms `json:"terms"`

	Hold   Escrow   `json:"hold"`
	Take   *Take    `json:"take,omitempty"`
	Awaits *Awaited `json:"awaits,omitempty"`
	Slash  *Slash   `json:"slash,omitempty"`
	Payout Payout   `json:"payout"`
	Ledger Ledger   `json:"ledger,omitempty"`

	CreatedAt int64 `json:"created_at"`
	// Seq is the revision of the order that asked for the bond: of two, the later has the larger.
	Seq     uint64 `json:"seq"`
	Since   int64  `json:"since"` // of State, or of what is waited for in it
	Alarmed int64  `json:"alarmed,omitempty"`
	// PausedUntil is up to when time that the node was away was given back to the winner.
	PausedUntil int64 `json:"paused_until,omitempty"`
}

// Take is what a taker has asked for, kept until his bond is locked.
type Take struct {
	Fiat   int64  `json:"fiat"`
	Amount Sat    `json:"amount"`
	Payout Payout `json:"payout"` // the buyer's invoice or address, if he gave one
}

// SlashReason says why a bond is slashed.
type SlashReason string

const (
	LostDispute SlashReason = "lost-dispute"
	TimedOut    SlashReason = "timeout"
)

// Slash is the decision, complete when it is made: nothing of it is looked up later, when the
// order may have forgotten its taker.
type Slash struct {
	Reason SlashReason `json:"reason"`
	Winner Party       `json:"winner"`
	// Slice is what is slashed, Share what of it goes to the winner; the node keeps the
	// difference. What is left of the bond goes back to its owner.
	Slice Sat   `json:"slice"`
	Share Sat   `json:"share"`
	At    int64 `json:"at"`
}

// Ended tells that nothing will change the bond any more.
func (b *Bond) Ended() bool {
	return b.State == BondReleased || b.State == BondSlashed || b.State == BondForfeited
}

// Held tells that its hold invoice occupies a channel. One that was asked for costs nothing
// until it is paid, so it takes nobody's place.
func (b *Bond) Held() bool { return b.State == BondLocked || b.State == BondSettling }

// slashed computes what an order of so much fiat takes of a bond.
func (b *Bond) slashed(reason SlashReason, winner Party, fiat, at int64) *Slash {
	slice := b.Amount
	if b.MaxFiat > 0 && fiat > 0 {
		slice = min(slice, Sat(mulDiv(uint64(b.Amount), uint64(fiat), uint64(b.MaxFiat), uint64(b.MaxFiat)/2)))
	}
	return &Slash{Reason: reason, Winner: winner, Slice: slice, Share: b.Terms.Bond.ShareOf(slice), At: at}
}

// routingReserve is what of the node's share goes along with a refund, so that it can be routed: what
// its way may cost, or, where both ways may cost more than the node's share, as much of it as the
// refund's way has in both. What is missing of either is the routing subsidy's.
func (b *Bond) routingReserve(node Msat, rest Sat) Msat {
	back, share := WayCosts(b.Terms, rest), Msat(0)
	if b.Slash.Share > 0 {
		share = WayCosts(b.Terms, b.Slash.Share)
	}
	return min(back, Msat(mulDiv(uint64(max(0, node)), uint64(back), uint64(back+share), 0)))
}

// WinnerGets is what the winner of the bond is owed, or was paid.
func (b *Bond) WinnerGets() Msat {
	if due := b.Ledger.entry(OwedWinner); due != nil {
		return due.Amount
	}
	return 0
}

// Claims are the payment hashes that nothing else may use. That of a racing buyer's invoice
// becomes his order's when he wins.
func (b *Bond) Claims() []Hash {
	if b.State == BondRequested && b.Take != nil {
		return b.Take.Payout.Hashes()
	}
	return append(b.Payout.Hashes(), b.Ledger.handed()...)
}

// CheckBond is the last word on every step of a bond.
func CheckBond(b *Bond) error {
	in, fee := b.Ledger.SettledIn(), b.Ledger.NodeFee()
	owed, conditional := b.Ledger.Owes()
	out, routing := b.Ledger.PaidOut(), b.Ledger.Routing()
	settled := b.Hold.State == EscrowSettled || b.Parent != ""
	switch {
	case in != out+owed+fee:
		return fmt.Errorf("ledger of bond %s does not add up: %d in, %d out, %d owed, %d fee", b.ID, in, out, owed, fee)
	case fee < 0:
		return fmt.Errorf("bond %s owes %d more than came in", b.ID, -fee)
	case out+routing > in+b.Terms.RoutingSubsidy.Msat():
		return fmt.Errorf("bond %s paid %d and %d routing of %d settled in", b.ID, out, routing, in)
	case conditional > 0 && b.Hold.State != EscrowSettling:
		return fmt.Errorf("bond %s has a conditional liability with its hold invoice %q", b.ID, b.Hold.State)
	case b.Payout.State != PayoutNone && !settled:
		return fmt.Errorf("bond %s has a payout %q with its hold invoice %q", b.ID, b.Payout.State, b.Hold.State)
	case (in > 0) != settled:
		return fmt.Errorf("bond %s settled %d in with its hold invoice %q", b.ID, in, b.Hold.State)
	case b.Ended() && owed > b.Ledger.sum(OwedOwner, Owed):
		return fmt.Errorf("bond %s is %s and owes its winner", b.ID, b.State)
	}
	return nil
}

// needed tells whether an order still wants a bond that is asked for or held. It is a
// function of the order, so no row can forget to give a bond back.
func needed(o *Order, b *Bond) bool {
	switch {
	case b.Role == MakerBond && b.State == BondRequested:
		return contains(makerBond, o.Status)
	case b.Role == MakerBond:
		return contains(join(pending, takerBond, waiting, held, settling), o.Status)
	case b.State == BondRequested:
		return contains(takerBond, o.Status)
	}
	return contains(join(waiting, held, settling), o.Status) && o.Taker().Trade == b.Owner.Trade
}
