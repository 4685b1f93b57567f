package order

import "mostro/escrow/mostro"

// What an order and its bonds say to each other, in the same transaction.
const (
	// To the order, by the bond.
	TellLocked EventName = "bond-locked"
	TellGone   EventName = "bond-gone" // it was asked for and will not come
	TellLost   EventName = "bond-lost" // it was held, and the node gave it up

	// To the bond, by the order.
	BondFree     EventName = "free" // not needed any more
	BondSlash    EventName = "slash"
	BondWithdraw EventName = "withdraw" // the taker does not want to any more
	BondRemind   EventName = "remind"   // the taker asks again
	BondCarry    EventName = "carry"    // to the order that offers the rest of a range
)

// What the clock says to a bond, beside RetryPayout, AskAgain and Overdue.
const (
	BondTimeout EventName = "bond-timeout" // not paid in time
	Forfeit     EventName = "forfeit"      // not claimed in time
)

// BondRow is one sentence of the bond's table, read like those of an order.
type BondRow struct {
	From   []BondState
	On     EventName
	By     Role
	If     BondGuard
	To     BondState
	Do     []BondEffect
	Refuse mostro.Reason
}

// sameBond, as To, leaves the state as it is.
const sameBond BondState = "="

var (
	requested = []BondState{BondRequested}
	locked    = []BondState{BondLocked}
	slashing  = []BondState{BondSettling}
	claimed   = []BondState{BondPayout}
	// forgettable are those in which a copy may have a bond that was slashed since.
	forgettable = []BondState{BondLocked, BondReleased}
	bondEnds    = []BondState{BondReleased, BondSlashed, BondForfeited}
	allBonds    = []BondState{BondRequested, BondLocked, BondReleased, BondSettling, BondPayout, BondSlashed, BondForfeited}
)

// BondTable is the way of a bond. The first row that fits wins.
func BondTable() []BondRow {
	claim := on(mostro.AddBondInvoice)
	return []BondRow{
		// The owner is asked to pay. The first of several takers wins the race; whoever pays
		// after it is over gets his sats back at once.
		{From: requested, On: HoldOpened, By: Node, If: presentHold, To: sameBond, Do: bondDo(holdOpened, tellPayBond)},
		{From: requested, On: CallWaits, By: Clock, If: bondAwaited, To: sameBond, Do: bondDo(tellBondWaits)},
		{From: requested, On: BondRemind, By: TheOrder, To: sameBond, Do: bondDo(remind)},
		{From: requested, On: HoldUsed, By: Node, If: presentHold, To: BondReleased, Do: bondDo(holdGone, tellOwnerCanceled, sayGone)},
		{From: requested, On: HoldAccepted, By: Node, If: allOf(presentHold, bondOverpaid), To: BondReleased, Do: bondDo(cancelHold, tellOwnerCanceled, sayOverpaid, sayGone)},
		{From: requested, On: HoldAccepted, By: Node, If: allOf(presentHold, raceOpen, bondsFull), To: BondReleased, Do: bondDo(cancelHold, tellOwnerCanceled, sayBondsFull, sayGone)},
		{From: requested, On: HoldAccepted, By: Node, If: allOf(presentHold, raceOpen), To: BondLocked, Do: bondDo(holdAccepted, sayLocked)},
		{From: requested, On: HoldAccepted, By: Node, If: presentHold, To: BondReleased, Do: bondDo(cancelHold, tellOwnerCanceled)},
		{From: requested, On: HoldCanceled, By: Node, If: presentHold, To: BondReleased, Do: bondDo(holdGone, tellOwnerCanceled, sayGone)},
		{From: requested, On: BondTimeout, By: Clock, To: BondReleased, Do: bondDo(cancelHold, tellOwnerCanceled, sayGone)},
		{From: requested, On: BondWithdraw, By: TheOrder, To: BondReleased, Do: bondDo(cancelHold, tellOwnerCanceled, sayGone)},
		{From: requested, On: BondFree, By: TheOrder, To: BondReleased, Do: bondDo(cancelHold, tellOwnerCanceled)},

		// It is held as long as the order needs it.
		{From: locked, On: BondCarry, By: TheOrder, To: sameBond, Do: bondDo(carry)},
		{From: locked, On: BondFree, By: TheOrder, To: BondReleased, Do: bondDo(cancelHold)},
		{From: locked, On: HoldCanceled, By: Node, If: presentHold, To: BondReleased, Do: bondDo(holdGone, alarmBondLost, sayLost)},

		// It is slashed. The decision is complete when it is made; money moves when the node
		// has confirmed that it is ours.
		{From: locked, On: BondSlash, By: TheOrder, To: BondSettling, Do: bondDo(intendSlash)},
		{From: slashing, On: HoldSettled, By: Node, If: allOf(presentHold, nodeTakesAll), To: BondSlashed, Do: bondDo(bookSlash, tellSlashed)},
		{From: slashing, On: HoldSettled, By: Node, If: presentHold, To: BondPayout, Do: bondDo(bookSlash, tellSlashed, askWinner)},
		{From: slashing, On: HoldCanceled, By: Node, If: presentHold, To: BondReleased, Do: bondDo(holdGone, voidSlash, alarmBondLost)},
		{From: slashing, On: HoldGone, By: Node, If: presentHold, To: BondReleased, Do: bondDo(holdGone, voidSlash, alarmBondGone)},
		{From: slashing, On: Overdue, By: Clock, To: sameBond, Do: bondDo(alarmBondLate)},

		// The winner says where his share goes, and is paid like any other payee.
		{From: claimed, On: claim, By: Winner, If: claimedAlready, Refuse: mostro.NotAllowedByStatus},
		{From: claimed, On: claim, By: Winner, If: badClaim, Refuse: mostro.InvalidInvoice},
		{From: claimed, On: claim, By: Winner, To: sameBond, Do: bondDo(keepClaim, tellClaimAccepted, payWinnerAgain)},
		{From: claimed, On: PayResolved, By: Node, If: allOf(bondResolving, bondResolvedWell), To: sameBond, Do: bondDo(keepBondInvoice, sendBond)},
		{From: claimed, On: PayResolved, By: Node, If: allOf(bondResolving, lastBondTry), To: sameBond, Do: bondDo(bondPayFailed, askWinner)},
		{From: claimed, On: PayResolved, By: Node, If: bondResolving, To: sameBond, Do: bondDo(bondPayFailed)},
		{From: claimed, On: PayUnresolved, By: Node, If: allOf(bondResolving, lastBondTry), To: sameBond, Do: bondDo(bondPayFailed, askWinner)},
		{From: claimed, On: PayUnresolved, By: Node, If: bondResolving, To: sameBond, Do: bondDo(bondPayFailed)},
		{From: claimed, On: PayAcked, By: Node, If: allOf(presentBondPay, bondSending), To: sameBond, Do: bondDo(bondFlying)},
		{From: claimed, On: PaySucceeded, By: Node, If: anyBondPay, To: BondSlashed, Do: bondDo(bookShare, tellShareCompleted)},
		{From: claimed, On: PayFailed, By: Node, If: allOf(presentBondPay, bondPayOut, lastBondTry), To: sameBond, Do: bondDo(bondPayFailed, askWinner)},
		{From: claimed, On: PayFailed, By: Node, If: allOf(presentBondPay, bondPayOut), To: sameBond, Do: bondDo(bondPayFailed)},
		{From: claimed, On: PayRefused, By: Node, If: allOf(presentBondPay, bondSending), To: sameBond, Do: bondDo(bondPayFailed, askWinner)},
		{From: claimed, On: PayUnheard, By: Node, If: allOf(presentBondPay, bondSending), To: sameBond, Do: bondDo(bondPayUnheard, askWinner)},
		{From: claimed, On: PayUnknown, By: Node, If: allOf(presentBondPay, bondFlies), To: sameBond, Do: bondDo(bondPayLost)},
		{From: claimed, On: PayFound, By: Node, If: bondNothingFlies, To: BondSlashed, Do: bondDo(keepFoundShare, bookShare, tellShareCompleted)},
		{From: claimed, On: PayVouched, By: Node, If: bondPayoutLost, To: BondSlashed, Do: bondDo(bookShareVouched, tellShareCompleted)},
		{From: claimed, On: PayDenied, By: Node, If: allOf(bondPayoutLost, bondToAddress), To: sameBond, Do: bondDo(bondPayDenied)},
		{From: claimed, On: PayDenied, By: Node, If: bondPayoutLost, To: sameBond, Do: bondDo(bondPayDenied, askWinner)},
		{From: joinBonds(claimed, bondEnds), On: PayByHand, By: Node, If: owesOwner, To: sameBond, Do: bondDo(bookOwnerByHand)},
		{From: claimed, On: RetryPayout, By: Clock, To: sameBond, Do: bondDo(payWinner)},
		{From: claimed, On: AskAgain, By: Clock, To: sameBond, Do: bondDo(bondLookAgain, askWinner)},
		{From: claimed, On: Overdue, By: Clock, To: sameBond, Do: bondDo(alarmBondLate)},
		{From: claimed, On: Resumed, By: Clock, To: sameBond, Do: bondDo(giveClaimTimeBack)},
		{From: claimed, On: Forfeit, By: Clock, To: BondForfeited, Do: bondDo(bookForfeit)},

		// Whoever settled it had the preimage, which only this escrow can make: it was slashed, and
		// the store was put back from a copy that does not know. Where it can only have been for
		// one person, his share is owed.
		{From: forgettable, On: HoldSettled, By: Node, If: allOf(presentHold, forgottenForNode), To: BondSlashed, Do: bondDo(slashForgotten, bookSlash, tellSlashed)},
		{From: forgettable, On: HoldSettled, By: Node, If: allOf(presentHold, forgottenSlash), To: BondPayout, Do: bondDo(slashForgotten, bookSlash, tellSlashed, askWinner)},

		// What cannot happen, and must not pass unseen if it does.
		{From: joinBonds(requested, locked, bondEnds), On: HoldSettled, By: Node, If: foreignBondSettle, To: sameBond, Do: bondDo(alarmForeignBond)},
		{From: bondEnds, On: PaySucceeded, By: Node, If: secondBondPay, To: sameBond, Do: bondDo(alarmSecondShare)},
	}
}

func joinBonds(lists ...[]BondState) (all []BondState) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}
