package order

import "slices"

// A BondWake says when the clock has a word about a bond, as Wake does about an order.
type BondWake struct {
	On EventName
	In []BondState
	At func(*Bond) int64 // unix seconds, 0 = not now
}

// BondWakes lists every deadline of a bond; of two that are due the first counts.
func BondWakes() []BondWake { return bondWakes }

var bondWakes = makeBondWakes()

func makeBondWakes() []BondWake {
	payoutIs := func(at func(*Bond) int64, states ...PayoutState) func(*Bond) int64 {
		return func(b *Bond) int64 {
			if !slices.Contains(states, b.Payout.State) {
				return 0
			}
			return at(b)
		}
	}
	nextTry := func(b *Bond) int64 { return b.Payout.NextTry }
	overdue := func(b *Bond) int64 { return max(b.Since, b.Payout.Since, b.Alarmed) + overdueAfter }
	return []BondWake{
		{On: BondTimeout, In: requested, At: func(b *Bond) int64 { return b.Since + b.Terms.WaitingSeconds }},
		{On: Overdue, In: slashing, At: overdue},
		{On: Forfeit, In: claimed, At: payoutIs(func(b *Bond) int64 { return b.Since + b.Terms.Bond.ClaimSeconds }, PayoutAsking)},
		{On: AskAgain, In: claimed, At: payoutIs(nextTry, PayoutAsking)},
		{On: RetryPayout, In: claimed, At: payoutIs(nextTry, PayoutFailed)},
		{On: Overdue, In: claimed, At: payoutIs(overdue, PayoutResolving, PayoutSending, PayoutFlying, PayoutUnknown)},
	}
}

// NextBondWake is when the clock has to look at the bond again, 0 = never.
func NextBondWake(b *Bond) (at int64) {
	for _, w := range bondWakes {
		if t := w.at(b); t > 0 && (at == 0 || t < at) {
			at = t
		}
	}
	return at
}

// DueBondWake is the first thing that the clock has to say about the bond now, "" for nothing.
func DueBondWake(b *Bond, now int64) EventName {
	for _, w := range bondWakes {
		if t := w.at(b); t > 0 && t <= now {
			return w.On
		}
	}
	return ""
}

func (w BondWake) at(b *Bond) int64 {
	if !slices.Contains(w.In, b.State) {
		return 0
	}
	return w.At(b)
}
