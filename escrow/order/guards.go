package order

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"mostro/escrow/mostro"
)

// Guard is the condition of a row; the zero Guard always holds.
type Guard struct {
	Name  string // as the diagram prints it
	Holds func(*step) bool
}

// all holds when each of the guards does.
func all(guards ...Guard) Guard {
	names := make([]string, len(guards))
	for i, g := range guards {
		names[i] = g.Name
	}
	return Guard{strings.Join(names, ", "), func(s *step) bool {
		for _, g := range guards {
			if !g.Holds(s) {
				return false
			}
		}
		return true
	}}
}

// Limits of what a person may write. Runes, so that no alphabet is at a disadvantage.
const (
	maxMethodRunes = 300
	maxFiatAmount  = 1_000_000_000_000
)

// asked is the order in the message; CheckShape has made sure that new-order has one.
func asked(s *step) *mostro.SmallOrder { return s.e.Message.Payload.Order }

// offered is the invoice text in the message, "" when there is none.
func offered(s *step) string {
	p := s.e.Message.Payload
	switch {
	case p == nil:
		return ""
	case p.PaymentRequest != nil:
		return p.PaymentRequest.Invoice
	case p.Order != nil:
		return p.Order.BuyerInvoice
	}
	return ""
}

// chosenFiat is the fiat amount of the trade that a take asks for: the order's, or what the
// taker chose from its range. Some clients send 0 where they choose nothing.
func chosenFiat(s *step) int64 {
	p := s.e.Message.Payload
	switch {
	case !s.o.Range():
		return s.o.FiatAmount
	case p != nil && p.Amount != nil:
		return *p.Amount
	case p != nil && p.PaymentRequest != nil && p.PaymentRequest.Amount != nil:
		return *p.PaymentRequest.Amount
	}
	return 0
}

// quoted is the amount that the trade would have now.
func quoted(s *step) Sat {
	if s.o.Amount != 0 || s.f.Price == nil {
		return s.o.Amount
	}
	return Quote(chosenFiat(s), *s.f.Price, s.o.Premium)
}

// offers are the amounts that a new order could come to: one, or the ends of its range.
func offers(s *step) []Sat {
	a := asked(s)
	switch {
	case a.Amount != 0 || s.f.Price == nil:
		return []Sat{Sat(a.Amount)}
	case a.MinAmount != nil && a.MaxAmount != nil:
		return []Sat{Quote(*a.MinAmount, *s.f.Price, a.Premium), Quote(*a.MaxAmount, *s.f.Price, a.Premium)}
	}
	return []Sat{Quote(a.FiatAmount, *s.f.Price, a.Premium)}
}

// invoiceProblem says what is wrong with the invoice of the message as a payout of amount;
// 0 takes only an invoice that leaves the amount open.
func invoiceProblem(s *step, amount Sat) string {
	if s.f.Address != "" {
		return "" // resolved and looked at when it is paid
	}
	return s.unfit(s.f.Invoice, amount, s.f.Rules.InvoiceWindow)
}

// resolvedLife is how long an invoice must still live that a payee's server made for this very
// try [seconds]: it is sent at once, and many servers give no more than ten minutes.
const resolvedLife = 60

func (s *step) unfit(inv *Invoice, amount Sat, life int64) string {
	return unfit(s.f, s.e.At, s.o.ID, s.o.Payout.Earlier, inv, amount.Msat(), life)
}

// unfit says what is wrong with an invoice as a payout of amount by an owner, an order or a
// bond, that has tried the earlier hashes. It must still live for so many seconds.
func unfit(f Facts, at int64, owner string, earlier []Hash, inv *Invoice, amount Msat, life int64) string {
	switch {
	case f.InvoiceBad != "":
		return f.InvoiceBad
	case inv == nil:
		return "there is none"
	case f.Node.Network != "" && inv.Network != f.Node.Network:
		return "it is for another network"
	case inv.Payee == f.Node.Pubkey:
		return "it pays this node itself"
	case inv.Amount != 0 && inv.Amount != amount:
		return "its amount is another"
	case inv.ExpiresAt.Unix() < at+life:
		return "it expires too soon"
	case inv.FinalCLTV > f.Rules.MaxFinalCLTV:
		return "it would lock the payment for too many blocks"
	case !inv.PaymentSecret:
		return "it has no payment secret"
	case f.HashOwner != "" && f.HashOwner != owner:
		return "another order uses it"
	case slices.Contains(earlier, inv.Hash):
		return "it was tried before"
	case f.Node.NoRoute:
		return "there is no route to it"
	}
	return ""
}

var (
	isSellOrder = Guard{"sell order", func(s *step) bool { return s.o.Kind == mostro.Sell }}
	isBuyOrder  = Guard{"buy order", func(s *step) bool { return s.o.Kind == mostro.Buy }}
	notBuyer    = Guard{"not the buyer", func(s *step) bool { return s.o.Buyer.Trade != s.e.Sender }}
	notSeller   = Guard{"not the seller", func(s *step) bool { return s.o.Seller.Trade != s.e.Sender }}

	badKind = Guard{"kind is neither buy nor sell", func(s *step) bool {
		k := asked(s).Kind
		return k != mostro.Buy && k != mostro.Sell
	}}
	badMakerInvoice = Guard{"invoice does not fit", func(s *step) bool {
		if offered(s) == "" {
			return false
		}
		amount := Sat(asked(s).Amount)
		return asked(s).Kind == mostro.Sell || amount < 0 || amount > maxSupply ||
			invoiceProblem(s, amount-FeeSide(amount, s.f.Terms.FeePPM)) != ""
	}}
	foreignCurrency = Guard{"currency is not traded here", func(s *step) bool {
		code := asked(s).FiatCode
		return !isFiatCode(code) || len(s.f.Rules.FiatCodes) > 0 && !slices.Contains(s.f.Rules.FiatCodes, code)
	}}
	// A range has two ends, whole and positive, and is priced at the take.
	badRange = Guard{"the range is none", func(s *step) bool {
		a := asked(s)
		if a.MinAmount == nil && a.MaxAmount == nil {
			return false
		}
		return a.MinAmount == nil || a.MaxAmount == nil || *a.MinAmount <= 0 || *a.MinAmount >= *a.MaxAmount ||
			*a.MaxAmount > maxFiatAmount || a.Amount != 0
	}}
	badFiatAmount = Guard{"fiat amount is not positive", func(s *step) bool {
		return asked(s).MaxAmount == nil && (asked(s).FiatAmount <= 0 || asked(s).FiatAmount > maxFiatAmount)
	}}
	tooManyOpen = Guard{"too many orders in the book", func(s *step) bool {
		return s.f.Rules.MaxOpen > 0 && s.f.Open >= s.f.Rules.MaxOpen
	}}
	outOfRange = Guard{"fiat amount outside the range", func(s *step) bool {
		fiat := chosenFiat(s)
		return s.o.Range() && (fiat < s.o.MinFiat || fiat > s.o.MaxFiat)
	}}
	badAmount = Guard{"sats are negative or more than exist", func(s *step) bool {
		return asked(s).Amount < 0 || asked(s).Amount > maxSupply
	}}
	premiumOnFixed = Guard{"premium on a fixed amount", func(s *step) bool {
		return asked(s).Premium != 0 && asked(s).Amount != 0
	}}
	badText = Guard{"payment method is empty or too long", func(s *step) bool {
		m := asked(s).PaymentMethod
		return strings.TrimSpace(m) == "" || utf8.RuneCountInString(m) > maxMethodRunes || strings.ContainsFunc(m, deceives)
	}}
	expiryPassed = Guard{"expiry is past", func(s *step) bool {
		at := asked(s).ExpiresAt
		return at != nil && *at != 0 && *at <= s.e.At
	}}
	noPrice = Guard{"no fresh price", func(s *step) bool {
		amount := s.o.Amount
		if s.prev.Status == none {
			amount = Sat(asked(s).Amount)
		}
		return amount == 0 && s.f.Price == nil
	}}
	outOfLimits = Guard{"sats outside the limits", func(s *step) bool {
		amounts := []Sat{quoted(s)}
		if s.prev.Status == none {
			amounts = offers(s)
		}
		terms := s.o.Terms
		if s.prev.Status == none {
			terms = s.f.Terms
		}
		least := slices.Min(amounts)
		return least < s.f.Rules.MinAmount || slices.Max(amounts) > s.f.Rules.MaxAmount || unroutable(terms, least)
	}}
	// The reputation of an identity stands on one number per trade that only ever rises; in
	// full privacy there is nothing to count.
	badTradeIndex = Guard{"trade index does not rise", func(s *step) bool {
		if s.e.Identity == s.e.Sender {
			return false
		}
		index := s.e.Message.TradeIndex
		return index == nil || *index <= s.f.LastIndex
	}}

	owesElsewhere = Guard{"owes in another trade", func(s *step) bool {
		if s.e.On == on(mostro.TakeBuy) {
			return s.f.WaitingAsSeller
		}
		return s.f.WaitingAsBuyer
	}}
	tooManyTakes  = Guard{"too many takes wait", func(s *step) bool { return s.f.Rules.MaxTakes > 0 && s.f.Takes >= s.f.Rules.MaxTakes }}
	pendingIsOver = Guard{"time is over", func(s *step) bool { return s.o.ExpiresAt <= s.e.At }}
	invoiceGiven  = Guard{"invoice came along", func(s *step) bool { return offered(s) != "" }}

	badTakerInvoice = Guard{"invoice does not fit", func(s *step) bool {
		q := quoted(s)
		return offered(s) != "" && invoiceProblem(s, q-FeeSide(q, s.o.Terms.FeePPM)) != ""
	}}
	badInvoice = Guard{"invoice does not fit", func(s *step) bool {
		return invoiceProblem(s, s.o.BuyerGets()) != ""
	}}
	closed     = Guard{"the node begins nothing new", func(s *step) bool { return s.closed() != "" }}
	nodeCannot = Guard{"node is not ready, or could not pay out or hold more", func(s *step) bool { return s.nodeCannot() != "" }}

	hasInvoice = Guard{"buyer's invoice or address is there", func(s *step) bool {
		return s.o.Payout.Invoice != "" || s.o.Payout.Address != ""
	}}
	escrowHeld = Guard{"sats are held", func(s *step) bool { return s.o.Escrow.State == EscrowAccepted }}
	// The node was put back from its seed, or deletes invoices: nobody should pay for sats that may
	// not be there.
	escrowMissing = Guard{"the node does not know the escrow", func(s *step) bool { return s.o.Escrow.Missing }}
	newlyMissing  = Guard{"it was not missed before", func(s *step) bool { return !s.o.Escrow.Missing }}
	neverOpened   = Guard{"node never made the invoice", func(s *step) bool { return s.o.Escrow.State == EscrowOpening }}
	presentEscrow = Guard{"present escrow", func(s *step) bool { return s.e.Hold.Hash == s.o.Escrow.Hash }}
	// While the node has not answered, nobody has the invoice: one that it says is paid then was
	// opened for an attempt that a store put back from a copy has forgotten, maybe over another sum.
	openedEscrow = Guard{"present escrow, opened for this attempt", func(s *step) bool {
		return s.e.Hold.Hash == s.o.Escrow.Hash && s.o.Escrow.State != EscrowOpening
	}}
	overpaidTooMuch = Guard{"overpaid by more than 1 %", func(s *step) bool {
		return s.e.Hold.Paid > s.o.SellerPays().Msat()/100*101
	}}
	awaited = Guard{"somebody waits and was not told", func(s *step) bool { return s.o.Awaits != nil && !s.o.Awaits.Told }}

	// The seller has paid all of an invoice that he could pay: the trade went further than this
	// store remembers.
	forgotten = Guard{"open or held here, and paid in full", func(s *step) bool {
		open := s.o.Escrow.State == EscrowOpen || s.o.Escrow.State == EscrowAccepted
		return open && s.e.Hold.Paid >= s.o.SellerPays().Msat()
	}}
	foreignSettle = Guard{"not known as settled", func(s *step) bool {
		return !(s.o.Escrow.State == EscrowSettled && s.e.Hold.Hash == s.o.Escrow.Hash)
	}}

	afterWarning = Guard{"after the deadline warning", func(s *step) bool { return s.o.Rung > 0 }}

	presentPayout = Guard{"present payout", func(s *step) bool {
		return s.o.Payout.speaksOf(s.e.Payment)
	}}
	anyPayout = Guard{"a payout of this order", func(s *step) bool {
		return slices.Contains(s.o.Payout.Hashes(), s.e.Payment.Hash)
	}}
	nothingFlies = Guard{"no payment is under way", func(s *step) bool { return s.o.Payout.nothingFlies() }}
	secondPayout = Guard{"another than the one booked", func(s *step) bool {
		return !slices.ContainsFunc([]EntryKind{OwedBuyer, OwedDev}, func(kind EntryKind) bool {
			paid := s.o.Ledger.entry(kind)
			return paid != nil && paid.State == Paid && paid.Hash == s.e.Payment.Hash
		})
	}}
	resolving = Guard{"its address is being resolved", func(s *step) bool {
		return s.o.Payout.resolves(s.e.Payment)
	}}
	resolvedWell = Guard{"the invoice fits", func(s *step) bool {
		return s.e.Invoice.Amount == s.o.BuyerGets().Msat() && s.unfit(s.e.Invoice, s.o.BuyerGets(), resolvedLife) == ""
	}}
	payoutSending = Guard{"not acknowledged yet", func(s *step) bool { return s.o.Payout.State == PayoutSending }}
	payoutFlies   = Guard{"payout is on its way", func(s *step) bool { return s.o.Payout.State == PayoutFlying }}
	payoutOut     = Guard{"payout is out", func(s *step) bool { return s.o.Payout.State.Busy() }}
	payoutBusy    = Guard{"a payout may still succeed", func(s *step) bool {
		return s.o.Payout.State.Busy() || s.o.Payout.State == PayoutResolving
	}}
	replacedOften = Guard{"replaced too often since the last try", func(s *step) bool { return s.o.Payout.Replaced >= maxReplaced }}
	lastAttempt   = Guard{"last attempt", func(s *step) bool {
		return s.o.Payout.Attempts+1 >= s.o.Terms.PaymentAttempts
	}}

	notParty  = Guard{"not a party", func(s *step) bool { return s.o.Buyer.Trade != s.e.Sender && s.o.Seller.Trade != s.e.Sender }}
	bySolver  = Guard{"decided by a solver", func(s *step) bool { return s.o.SettledBy != "" }}
	notSolver = Guard{"not a solver, or a party", func(s *step) bool { return rolesOf(s.o, s.e, s.f)&Solver == 0 }}
	// An admin may take any open dispute, a solver one that nobody has; who has it may ask
	// again, and who may decide takes over from who may only look.
	mayTake = Guard{"free, his, or taken by one who may only look", func(s *step) bool {
		d := s.o.Dispute
		return d.Solver == "" || d.Solver == s.e.Identity || s.f.Level == AdminKey ||
			s.f.Level == ReadWrite && s.f.AssignedLevel < ReadWrite
	}}
	takenByAdmin = Guard{"an admin has taken it", func(s *step) bool {
		d := s.o.Dispute
		return d != nil && d.SolverLevel == AdminKey && d.Solver != s.e.Identity && s.f.Level != NoSolver
	}}
	notAssigned = Guard{"not the assigned solver", func(s *step) bool { return rolesOf(s.o, s.e, s.f)&Assigned == 0 }}
	mayOnlyRead = Guard{"may only look", func(s *step) bool { return s.f.Level < ReadWrite }}

	nobodyAskedCancel = Guard{"first to ask", func(s *step) bool { return s.o.CancelBy == "" }}
	peerAskedCancel   = Guard{"peer has asked", func(s *step) bool {
		return s.o.CancelBy != "" && s.o.CancelBy != s.e.Sender
	}}
)

// closed says to a trader why nothing new begins here, "" when it does.
func (s *step) closed() string { return s.f.Closed }

// nodeCannot says to a taker why the Lightning node cannot begin this trade, "" when it can. What it has is not told,
// nor on which side of its channels it is short.
func (s *step) nodeCannot() string {
	n, q := s.f.Node, quoted(s)
	fee := FeeSide(q, s.o.Terms.FeePPM)
	holds, in := 0, q+fee // a hold invoice, and one more for a bond
	if takerBondAsked.Holds(s) {
		holds, in = 1, in+s.bonds().Of(q)
	}
	switch {
	case !n.Ready:
		return "This node can begin no trade at the moment: its Lightning node is away or catching up. Try again in a few minutes. Trades that are running go on."
	case n.Holds <= holds:
		return "This node carries as many trades as it can at once. Try again later. Trades that are running go on."
	case n.Outbound < (q-fee).Msat()+RoutingBudget(s.o.Terms, q, fee) || n.cannotReceive(in):
		return "The Lightning channels of this node have no room for this amount at the moment. Try a smaller order, or try again later."
	}
	return ""
}

// unroutable tells that an amount leaves nothing for routing: no payout that costs a sat
// could ever be made. Who charges no fee at all has decided so.
func unroutable(t Terms, amount Sat) bool {
	return t.FeePPM > 0 && RoutingBudget(t, amount, FeeSide(amount, t.FeePPM)) < 1000
}

// deceives tells of characters that make a text look like another: controls, and those that
// turn the direction of writing.
func deceives(r rune) bool {
	return unicode.IsControl(r) || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// isFiatCode accepts codes as the order book of the field has them: ISO 4217 and a few
// look-alikes, three or four capital letters.
func isFiatCode(code string) bool {
	if len(code) < 3 || len(code) > 4 {
		return false
	}
	for _, c := range code {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}
