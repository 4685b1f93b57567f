package order

import "mostro/escrow/mostro"

// A Wake says when the clock has a word in an order. Deadlines are functions of the order:
// no row sets a timer, so none can forget to.
type Wake struct {
	On EventName
	In []mostro.Status
	// At is when, in unix seconds; Height at which block. 0 = not now.
	At     func(*Order) int64
	Height func(*Order) uint32
}

// overdueAfter is how long a settle or a payout may take before the operator is told, and
// told again.
const overdueAfter = 3600

// renewAfter is how old the event of a pending order may become: the mobile client looks at
// the last two days.
const renewAfter = 24 * 3600

// The ladder, in blocks before the last safe block.
const (
	ladderMargin   = 12 // above lnd's own cancellation
	minHoldExpiry  = 18 // the largest default of lnd versions in use
	warnBlocks     = 72
	lastCallBlocks = 24
	heardWithin    = 12 // that wallets add, or that pass until a payment is heard of
)

// ladderBase is the last block at which the escrow is safe: there we cancel ourselves,
// before lnd does. A seller whose HTLC lasts longer than asked gets no longer trade by it: it would
// outlive the bonds, which are asked for the time that the terms give.
func ladderBase(o *Order) uint32 {
	margin := max(o.Terms.HoldExpiryDelta, minHoldExpiry) + ladderMargin
	expires := o.Escrow.ExpiryHeight
	if at := o.Escrow.AcceptedHeight; at > 0 {
		expires = min(expires, at+o.Terms.CLTVDelta+heardWithin)
	}
	return sub(expires, margin)
}

func sub(a, b uint32) uint32 {
	if a <= b {
		return 1
	}
	return a - b
}

// rung is a step of the ladder: due when all before it were climbed.
func rung(n int, before uint32) func(*Order) uint32 {
	return func(o *Order) uint32 {
		if o.Escrow.State != EscrowAccepted || o.Rung != n {
			return 0
		}
		return sub(ladderBase(o), before)
	}
}

// Wakes lists every deadline.
func Wakes() []Wake { return wakes }

var wakes = makeWakes()

func makeWakes() []Wake {
	payoutIs := func(at func(*Order) int64, states ...PayoutState) func(*Order) int64 {
		return func(o *Order) int64 {
			for _, s := range states {
				if o.Payout.State == s {
					return at(o)
				}
			}
			return 0
		}
	}
	nextTry := func(o *Order) int64 { return o.Payout.NextTry }
	return append([]Wake{
		{On: Expire, In: join(makerBond, inBook), At: func(o *Order) int64 { return o.ExpiresAt }},
		{On: Renew, In: inBook, At: func(o *Order) int64 { return max(o.CreatedAt, o.RenewedAt) + renewAfter }},
		{On: WaitingTimeout, In: waiting, At: func(o *Order) int64 { return o.DutySince + o.Terms.WaitingSeconds }},
		{On: LadderWarn, In: held, Height: rung(0, warnBlocks)},
		{On: LadderLastCall, In: held, Height: rung(1, lastCallBlocks)},
		{On: LadderDeadline, In: held, Height: rung(2, 0)},
		{On: Overdue, In: settling, At: func(o *Order) int64 { return max(o.DutySince, o.Alarmed) + overdueAfter }},
		{On: RetryPayout, In: settled, At: payoutIs(nextTry, PayoutFailed)},
		{On: AskAgain, In: settled, At: payoutIs(nextTry, PayoutAsking)},
		{On: Overdue, In: settled, At: payoutIs(func(o *Order) int64 { return max(o.Payout.Since, o.Alarmed) + overdueAfter },
			PayoutResolving, PayoutSending, PayoutFlying, PayoutUnknown)},
	}, devFeeWakes()...)
}

// NextWake is when the clock has to look at the order again: a time, a height, or both; 0
// means never.
func NextWake(o *Order) (at int64, height uint32) {
	for _, w := range wakes {
		if !contains(w.In, o.Status) {
			continue
		}
		if w.At != nil {
			if t := w.At(o); t > 0 && (at == 0 || t < at) {
				at = t
			}
		}
		if w.Height != nil {
			if h := w.Height(o); h > 0 && (height == 0 || h < height) {
				height = h
			}
		}
	}
	return at, height
}

// DueWake is the first thing that the clock has to say about the order now, "" for nothing.
func DueWake(o *Order, now int64, height uint32) EventName {
	for _, w := range wakes {
		if !contains(w.In, o.Status) {
			continue
		}
		if w.At != nil {
			if t := w.At(o); t > 0 && t <= now {
				return w.On
			}
		}
		if w.Height != nil {
			if h := w.Height(o); h > 0 && h <= height {
				return w.On
			}
		}
	}
	return ""
}
