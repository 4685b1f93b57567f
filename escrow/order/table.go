package order

import (
	"slices"

	"mostro/escrow/mostro"
)

// Role is what somebody is to an order. A person can be several at once.
type Role uint16

const (
	Node Role = 1 << iota // the Lightning node
	Clock
	Maker
	Taker
	Buyer
	Seller
	MakerIdentity // the maker by identity key, with whatever trade key
	Solver        // a solver or an admin who is not a party of this order
	Assigned      // the solver who has taken the dispute of this order
	Anyone        // every person
	TheBond       // a bond of the order speaks to it
	TheOrder      // the order speaks to a bond
	Winner        // who gets the share of a slashed bond
	LeftTaker     // whose take went back into the book after its escrow was accepted
)

// On the left of each row: which statuses it speaks of.
const none mostro.Status = "" // before the order exists

var (
	fromNone    = []mostro.Status{none}
	pending     = []mostro.Status{mostro.StatusPending}
	takerBond   = []mostro.Status{mostro.StatusWaitingTakerBond} // in the book, and takers race
	makerBond   = []mostro.Status{mostro.StatusWaitingMakerBond} // not in the book yet
	inBook      = join(pending, takerBond)
	wantInvoice = []mostro.Status{mostro.StatusWaitingBuyerInvoice}
	wantPayment = []mostro.Status{mostro.StatusWaitingPayment}
	waiting     = []mostro.Status{mostro.StatusWaitingBuyerInvoice, mostro.StatusWaitingPayment}
	active      = []mostro.Status{mostro.StatusActive}
	fiatSent    = []mostro.Status{mostro.StatusFiatSent}
	disputed    = []mostro.Status{mostro.StatusDispute}
	releasable  = []mostro.Status{mostro.StatusFiatSent, mostro.StatusDispute}
	held        = []mostro.Status{mostro.StatusActive, mostro.StatusFiatSent, mostro.StatusDispute}
	settling    = []mostro.Status{mostro.StatusSettling}
	success     = []mostro.Status{mostro.StatusSuccess}
	cooperative = []mostro.Status{mostro.StatusCooperativelyCanceled}
	settled     = []mostro.Status{mostro.StatusSettledHoldInvoice}
	ended       = []mostro.Status{mostro.StatusSuccess, mostro.StatusCanceled, mostro.StatusCooperativelyCanceled, mostro.StatusExpired, mostro.StatusCanceledByAdmin}
	canceled    = []mostro.Status{mostro.StatusCanceled, mostro.StatusCooperativelyCanceled, mostro.StatusCanceledByAdmin}
	// inProgress are told apart by the parties alone: the book shows one word for them, and who is no party
	// gets one answer in all of them.
	inProgress = join(waiting, held, settling, settled)
	existing   = join(makerBond, pending, takerBond, waiting, held, settling, settled, ended)
)

// same, as To, leaves the status as it is.
const same mostro.Status = "="

// Row is one sentence: in From, on On, by By, if If, go to To and do Do. A row with a
// Refuse changes nothing and answers with the reason, and beside it with what Say says in words
// where no reason that clients know tells it.
type Row struct {
	From   []mostro.Status
	On     EventName
	By     Role
	If     Guard
	To     mostro.Status
	Do     []Effect
	Refuse mostro.Reason
	Say    func(*step) string
}

func on(a mostro.Action) EventName { return EventName(a) }

// Table is the protocol. Order matters: the first row that fits wins. Refusals stand in the
// order in which the existing daemon checks them, because clients show the first one.
//
// It is a function so that nobody can change it while it is in use.
func Table() []Row {
	var (
		newOrder  = on(mostro.NewOrder)
		takeBuy   = on(mostro.TakeBuy)
		takeSell  = on(mostro.TakeSell)
		addInv    = on(mostro.AddInvoice)
		sentFiat  = on(mostro.FiatSent)
		release   = on(mostro.Release)
		cancel    = on(mostro.Cancel)
		dispute   = on(mostro.Dispute)
		rate      = on(mostro.RateUser)
		review    = on(mostro.ProveReview)
		tradeKey  = on(mostro.TradePubkey)
		adminTake = on(mostro.AdminTakeDispute)
		adminSet  = on(mostro.AdminSettle)
		adminStop = on(mostro.AdminCancel)
		toPending = mostro.StatusPending
	)
	return slices.Concat([]Row{
		// A maker makes an order.
		{From: fromNone, On: newOrder, By: Anyone, If: badMakerInvoice, Refuse: mostro.InvalidInvoice},
		{From: fromNone, On: newOrder, By: Anyone, If: foreignCurrency, Refuse: mostro.InvalidFiatCurrency},
		{From: fromNone, On: newOrder, By: Anyone, If: badRange, Refuse: mostro.InvalidAmount},
		{From: fromNone, On: newOrder, By: Anyone, If: badFiatAmount, Refuse: mostro.InvalidAmount},
		{From: fromNone, On: newOrder, By: Anyone, If: badAmount, Refuse: mostro.InvalidAmount},
		{From: fromNone, On: newOrder, By: Anyone, If: premiumOnFixed, Refuse: mostro.InvalidParameters},
		{From: fromNone, On: newOrder, By: Anyone, If: badText, Refuse: mostro.InvalidParameters},
		{From: fromNone, On: newOrder, By: Anyone, If: expiryPassed, Refuse: mostro.InvalidParameters},
		{From: fromNone, On: newOrder, By: Anyone, If: noPrice, Refuse: mostro.PriceTooStale},
		{From: fromNone, On: newOrder, By: Anyone, If: outOfLimits, Refuse: mostro.OutOfRangeSatsAmount},
		{From: fromNone, On: newOrder, By: Anyone, If: badTradeIndex, Refuse: mostro.InvalidTradeIndex},
		{From: fromNone, On: newOrder, By: Anyone, If: badKind, Refuse: mostro.InvalidOrderKind},
		{From: fromNone, On: newOrder, By: Anyone, If: tooManyOpen, Refuse: mostro.TooManyRequests},
		{From: fromNone, On: newOrder, By: Anyone, If: closed, Refuse: mostro.NotAllowedByStatus, Say: (*step).closed},
		{From: fromNone, On: newOrder, By: Anyone, If: all(makerBondAsked, tooManyBonds), Refuse: mostro.TooManyRequests},
		{From: fromNone, On: newOrder, By: Anyone, If: makerBondAsked, To: mostro.StatusWaitingMakerBond, Do: do(makeOrder, askMakerBond)},
		{From: fromNone, On: newOrder, By: Anyone, To: mostro.StatusPending, Do: do(makeOrder, tellMakerNewOrder)},

		// A taker takes it. The seller who takes is asked to pay; the buyer who takes is asked
		// for an invoice unless one came along.
		{From: takerBond, On: takeBuy, By: Anyone, If: hasBond, To: same, Do: do(remindBond)},
		{From: takerBond, On: takeSell, By: Anyone, If: hasBond, To: same, Do: do(remindBond)},
		{From: existing, On: takeBuy, By: Anyone, If: owesElsewhere, Refuse: mostro.PendingOrderExists},
		{From: existing, On: takeSell, By: Anyone, If: owesElsewhere, Refuse: mostro.PendingOrderExists},
		{From: inBook, On: takeBuy, By: Anyone, If: tooManyTakes, Refuse: mostro.PendingOrderExists},
		{From: inBook, On: takeSell, By: Anyone, If: tooManyTakes, Refuse: mostro.PendingOrderExists},
		{From: existing, On: takeBuy, By: Anyone, If: isSellOrder, Refuse: mostro.InvalidOrderKind},
		{From: existing, On: takeSell, By: Anyone, If: isBuyOrder, Refuse: mostro.InvalidOrderKind},
		{From: join(makerBond, waiting, held, settling, settled, ended), On: takeBuy, By: Anyone, Refuse: mostro.InvalidOrderStatus},
		{From: join(makerBond, waiting, held, settling, settled, ended), On: takeSell, By: Anyone, Refuse: mostro.InvalidOrderStatus},
		{From: inBook, On: takeBuy, By: Anyone, If: pendingIsOver, Refuse: mostro.InvalidOrderStatus},
		{From: inBook, On: takeSell, By: Anyone, If: pendingIsOver, Refuse: mostro.InvalidOrderStatus},
		{From: inBook, On: takeBuy, By: Maker, Refuse: mostro.InvalidPubkey},
		{From: inBook, On: takeSell, By: Maker, Refuse: mostro.InvalidPubkey},
		{From: inBook, On: takeBuy, By: Anyone, If: outOfRange, Refuse: mostro.OutOfRangeFiatAmount},
		{From: inBook, On: takeBuy, By: Anyone, If: noPrice, Refuse: mostro.PriceTooStale},
		{From: inBook, On: takeSell, By: Anyone, If: outOfRange, Refuse: mostro.OutOfRangeFiatAmount},
		{From: inBook, On: takeSell, By: Anyone, If: noPrice, Refuse: mostro.PriceTooStale},
		{From: inBook, On: takeBuy, By: Anyone, If: outOfLimits, Refuse: mostro.OutOfRangeSatsAmount},
		{From: inBook, On: takeSell, By: Anyone, If: outOfLimits, Refuse: mostro.OutOfRangeSatsAmount},
		{From: inBook, On: takeSell, By: Anyone, If: badTakerInvoice, Refuse: mostro.InvalidInvoice},
		{From: inBook, On: takeBuy, By: Anyone, If: badTradeIndex, Refuse: mostro.InvalidTradeIndex},
		{From: inBook, On: takeSell, By: Anyone, If: badTradeIndex, Refuse: mostro.InvalidTradeIndex},
		{From: inBook, On: takeBuy, By: Anyone, If: closed, Refuse: mostro.NotAllowedByStatus, Say: (*step).closed},
		{From: inBook, On: takeSell, By: Anyone, If: closed, Refuse: mostro.NotAllowedByStatus, Say: (*step).closed},
		{From: inBook, On: takeBuy, By: Anyone, If: nodeCannot, Refuse: mostro.NotAllowedByStatus, Say: (*step).nodeCannot},
		{From: inBook, On: takeSell, By: Anyone, If: nodeCannot, Refuse: mostro.NotAllowedByStatus, Say: (*step).nodeCannot},

		// Where takers give a bond, several race: the first whose bond is locked has the order.
		{From: inBook, On: takeBuy, By: Anyone, If: all(takerBondAsked, raceFull), Refuse: mostro.TooManyRequests},
		{From: inBook, On: takeSell, By: Anyone, If: all(takerBondAsked, raceFull), Refuse: mostro.TooManyRequests},
		{From: inBook, On: takeBuy, By: Anyone, If: takerBondAsked, To: mostro.StatusWaitingTakerBond, Do: do(askTakerBond)},
		{From: inBook, On: takeSell, By: Anyone, If: takerBondAsked, To: mostro.StatusWaitingTakerBond, Do: do(askTakerBond)},
		{From: takerBond, On: TellLocked, By: TheBond, If: isBuyOrder, To: mostro.StatusWaitingPayment, Do: do(takeWithBond, openEscrow)},
		{From: takerBond, On: TellLocked, By: TheBond, If: bondIsBuys, To: mostro.StatusWaitingPayment, Do: do(takeWithBond, openEscrow, tellMakerReputation)},
		{From: takerBond, On: TellLocked, By: TheBond, To: mostro.StatusWaitingBuyerInvoice, Do: do(takeWithBond, tellBuyerAddInvoice, tellSellerWaitingInvoice, tellMakerReputation)},
		{From: takerBond, On: TellGone, By: TheBond, If: raceOver, To: toPending},

		// Where makers give one, an order is in the book only while it is held.
		{From: makerBond, On: TellLocked, By: TheBond, To: toPending, Do: do(tellMakerNewOrder)},
		{From: makerBond, On: TellGone, By: TheBond, To: mostro.StatusExpired},
		{From: inBook, On: TellLost, By: TheBond, To: mostro.StatusCanceled, Do: do(tellMakerBondLost)},
		{From: waiting, On: TellLost, By: TheBond, If: makersBond, To: same, Do: do(offerNoMore)},

		{From: pending, On: takeBuy, By: Anyone, To: mostro.StatusWaitingPayment, Do: do(takeOrder, awaitNode, openEscrow)},
		{From: pending, On: takeSell, By: Anyone, If: invoiceGiven, To: mostro.StatusWaitingPayment, Do: do(takeOrder, keepInvoice, awaitNode, openEscrow, tellMakerReputation)},
		{From: pending, On: takeSell, By: Anyone, To: mostro.StatusWaitingBuyerInvoice, Do: do(takeOrder, tellBuyerAddInvoice, tellSellerWaitingInvoice, tellMakerReputation)},

		// The buyer gives an invoice: before the seller pays (sell order), after (buy order), or
		// instead of one that could not be paid.
		{From: existing, On: addInv, By: Anyone, If: notBuyer, Refuse: mostro.InvalidPeer},
		{From: settled, On: addInv, By: Buyer, If: payoutBusy, Refuse: mostro.NotAllowedByStatus},
		{From: settled, On: addInv, By: Buyer, If: replacedOften, Refuse: mostro.TooManyRequests},
		{From: join(wantInvoice, settled), On: addInv, By: Buyer, If: badInvoice, Refuse: mostro.InvalidInvoice},
		{From: wantInvoice, On: addInv, By: Buyer, If: escrowMissing, Refuse: mostro.NotAllowedByStatus},
		{From: wantInvoice, On: addInv, By: Buyer, If: escrowHeld, To: mostro.StatusActive, Do: do(keepInvoice, tellActive)},
		{From: wantInvoice, On: addInv, By: Buyer, To: mostro.StatusWaitingPayment, Do: do(keepInvoice, awaitNode, openEscrow)},
		{From: settled, On: addInv, By: Buyer, To: same, Do: do(replaceInvoice, tellInvoiceUpdated, payAgain)},

		// The escrow.
		{From: wantPayment, On: HoldOpened, By: Node, If: presentEscrow, To: same, Do: do(escrowOpened, tellPayInvoice, tellWaitingSellerToPay)},
		{From: wantPayment, On: HoldUsed, By: Node, If: presentEscrow, To: same, Do: do(leaveUsed, openEscrow)},
		{From: wantPayment, On: HoldAccepted, By: Node, If: all(openedEscrow, overpaidTooMuch, isSellOrder), To: mostro.StatusCanceled, Do: do(cancelEscrow, tellBothCanceled)},
		{From: wantPayment, On: HoldAccepted, By: Node, If: all(openedEscrow, overpaidTooMuch), To: toPending, Do: do(cancelEscrow, tellTakerCanceled, backToBook, tellMakerNewOrder, tellMakerWhy)},
		{From: wantPayment, On: HoldAccepted, By: Node, If: all(openedEscrow, hasInvoice), To: mostro.StatusActive, Do: do(escrowAccepted, tellActive)},
		{From: wantPayment, On: HoldAccepted, By: Node, If: openedEscrow, To: mostro.StatusWaitingBuyerInvoice, Do: do(escrowAccepted, restartDuty, tellBuyerAddInvoice, tellSellerWaitingInvoice, tellMakerReputation)},

		// Somebody did not do his part in time, or the node gave the hold invoice up: the maker's
		// fault ends the order, the taker's puts it back into the book.
		{From: waiting, On: WaitingTimeout, By: Clock, If: lostTime, To: same, Do: do(extendDuty)},
		{From: wantPayment, On: WaitingTimeout, By: Clock, If: neverOpened, To: toPending, Do: do(cancelEscrow, tellTakerCanceled, backToBook, tellMakerNewOrder, tellMakerWhy)},
		{From: wantPayment, On: WaitingTimeout, By: Clock, If: isSellOrder, To: mostro.StatusCanceled, Do: do(slashLate, cancelEscrow, tellBothCanceled)},
		{From: wantPayment, On: WaitingTimeout, By: Clock, To: toPending, Do: do(slashLate, cancelEscrow, tellTakerCanceled, backToBook, tellMakerNewOrder, tellMakerWhy)},
		{From: wantInvoice, On: WaitingTimeout, By: Clock, If: isBuyOrder, To: mostro.StatusCanceled, Do: do(slashLate, cancelEscrow, tellBothCanceled)},
		{From: wantInvoice, On: WaitingTimeout, By: Clock, To: toPending, Do: do(slashLate, tellTakerCanceled, backToBook, tellMakerNewOrder, tellMakerWhy)},
		{From: wantPayment, On: HoldCanceled, By: Node, If: all(presentEscrow, isSellOrder), To: mostro.StatusCanceled, Do: do(escrowGone, tellBothCanceled)},
		{From: wantPayment, On: HoldCanceled, By: Node, If: presentEscrow, To: toPending, Do: do(escrowGone, tellTakerCanceled, backToBook, tellMakerNewOrder, tellMakerWhy)},
		{From: wantInvoice, On: HoldCanceled, By: Node, If: all(presentEscrow, escrowHeld), To: mostro.StatusCanceled, Do: do(escrowGone, tellEscrowLost, tellBothCanceled, alarmEscrowLost)},
		{From: held, On: HoldCanceled, By: Node, If: presentEscrow, To: mostro.StatusCanceled, Do: do(escrowGone, closeDisputeRefunded, tellEscrowLost, tellBothCanceled, tellSolverClosed, tellRestGone, alarmEscrowLost)},
		{From: wantPayment, On: HoldUnknown, By: Node, If: all(openedEscrow, newlyMissing), To: same, Do: do(cannotBePaid)},
		{From: join(wantInvoice, held), On: HoldUnknown, By: Node, If: all(presentEscrow, escrowHeld, newlyMissing), To: same, Do: do(escrowLost, tellEscrowMissing)},
		{From: join(wantInvoice, held), On: HoldAccepted, By: Node, If: all(presentEscrow, escrowMissing), To: same, Do: do(escrowFound, tellEscrowFound)},

		// The node does not do at once what somebody asked for. A seller who takes waits for nothing but the
		// hold invoice, and mobile forgets his trade without it: the take is refused after all, while others
		// may have the offer. A buyer hears what is true for him; who has released, that it counts.
		{From: wantPayment, On: CallWaits, By: Clock, If: all(awaited, isBuyOrder, neverOpened), To: toPending, Do: do(refuseTake, cancelEscrow, backToBook)},
		{From: wantPayment, On: CallWaits, By: Clock, If: all(awaited, isSellOrder), To: same, Do: do(tellWaitingEarly)},
		{From: settling, On: CallWaits, By: Clock, If: awaited, To: same, Do: do(tellWaits)},

		// The node itself was away: nobody could do his part, so nobody has lost time.
		{From: waiting, On: Resumed, By: Clock, To: same, Do: do(giveTimeBack)},

		// Fiat changes hands.
		{From: inProgress, On: sentFiat, By: Anyone, If: notParty, Refuse: mostro.InvalidPubkey},
		{From: active, On: sentFiat, By: Buyer, If: escrowMissing, Refuse: mostro.NotAllowedByStatus},
		{From: active, On: sentFiat, By: Buyer, If: afterWarning, To: mostro.StatusDispute, Do: do(keepNext, tellFiatSent, withdrawCancel, openDisputeForBuyer, tellDeadlineDispute, tellSolvers)},
		{From: active, On: sentFiat, By: Buyer, To: mostro.StatusFiatSent, Do: do(keepNext, tellFiatSent, withdrawCancel)},
		{From: active, On: sentFiat, By: Anyone, Refuse: mostro.InvalidPubkey},

		// The seller releases. Nothing is promised to the buyer before the node confirms.
		{From: existing, On: release, By: Anyone, If: notSeller, Refuse: mostro.InvalidPeer},
		{From: releasable, On: release, By: Seller, If: escrowMissing, Refuse: mostro.NotAllowedByStatus},
		{From: releasable, On: release, By: Seller, To: mostro.StatusSettling, Do: do(keepNext, intendSettle)},
		{From: settling, On: HoldSettled, By: Node, If: all(presentEscrow, bySolver), To: mostro.StatusSettledHoldInvoice, Do: do(bookSettled, closeDisputeSettled, tellAdminSettled, tellRestGone, pay)},
		{From: settling, On: HoldSettled, By: Node, If: presentEscrow, To: mostro.StatusSettledHoldInvoice, Do: do(bookSettled, closeDisputeSettled, tellReleased, tellSolverClosed, makeChild, pay)},
		{From: settling, On: HoldCanceled, By: Node, If: presentEscrow, To: mostro.StatusCanceled, Do: do(escrowGone, voidLiability, closeDisputeRefunded, tellEscrowLost, tellBothCanceled, tellSolverClosed, tellRestGone, alarmEscrowLost)},
		{From: settling, On: Overdue, By: Clock, To: same, Do: do(alarmSettleLate)},

		// The payout.
		{From: settled, On: PayResolved, By: Node, If: all(resolving, resolvedWell), To: same, Do: do(keepResolved, send)},
		{From: settled, On: PayResolved, By: Node, If: all(resolving, lastAttempt), To: same, Do: do(payoutFailed, askInvoice)},
		{From: settled, On: PayResolved, By: Node, If: resolving, To: same, Do: do(payoutFailed, tellPaymentFailed)},
		{From: settled, On: PayUnresolved, By: Node, If: all(resolving, lastAttempt), To: same, Do: do(payoutFailed, askInvoice)},
		{From: settled, On: PayUnresolved, By: Node, If: resolving, To: same, Do: do(payoutFailed, tellPaymentFailed)},
		{From: settled, On: PayAcked, By: Node, If: all(presentPayout, payoutSending), To: same, Do: do(payoutFlying)},
		{From: settled, On: PaySucceeded, By: Node, If: anyPayout, To: mostro.StatusSuccess, Do: do(bookPaid, oweDevFee, tellPurchaseCompleted)},
		{From: settled, On: PayFailed, By: Node, If: all(presentPayout, payoutOut, lastAttempt), To: same, Do: do(payoutFailed, askInvoice)},
		{From: settled, On: PayFailed, By: Node, If: all(presentPayout, payoutOut), To: same, Do: do(payoutFailed, tellPaymentFailed)},
		{From: settled, On: PayRefused, By: Node, If: all(presentPayout, payoutSending), To: same, Do: do(payoutFailed, askInvoice)},
		{From: settled, On: PayUnheard, By: Node, If: all(presentPayout, payoutSending), To: same, Do: do(payoutUnheard, askInvoice)},
		{From: settled, On: PayUnknown, By: Node, If: all(presentPayout, payoutFlies), To: same, Do: do(payoutUnknown)},
		// Whoever settled it had the preimage, which only this escrow can make: somebody released
		// it or decided so, and the store was put back from a copy that does not know.
		{From: held, On: HoldSettled, By: Node, If: presentEscrow, To: mostro.StatusSettledHoldInvoice, Do: do(oweLater, bookSettled, closeDisputeSettled, alarmForeignSettle, tellReleased, tellSolverClosed, tellRestGone, pay)},
		{From: waiting, On: HoldSettled, By: Node, If: all(presentEscrow, forgotten, hasInvoice), To: mostro.StatusSettledHoldInvoice, Do: do(escrowAccepted, oweLater, bookSettled, alarmForeignSettle, tellReleased, tellRestGone, pay)},
		{From: waiting, On: HoldSettled, By: Node, If: all(presentEscrow, forgotten), To: mostro.StatusSettledHoldInvoice, Do: do(escrowAccepted, oweLater, bookSettled, alarmForeignSettle, tellReleased, tellRestGone, askInvoice)},
		{From: settled, On: PayFound, By: Node, If: nothingFlies, To: mostro.StatusSuccess, Do: do(keepFound, bookPaid, tellPurchaseCompleted)},
		{From: settled, On: RetryPayout, By: Clock, To: same, Do: do(pay)},
		{From: settled, On: AskAgain, By: Clock, To: same, Do: do(lookAgain, askInvoice)},
		{From: settled, On: Overdue, By: Clock, To: same, Do: do(alarmPayoutLate)},

		// Somebody cancels.
		{From: canceled, On: cancel, By: Anyone, Refuse: mostro.OrderAlreadyCanceled},
		{From: inBook, On: cancel, By: Maker, To: mostro.StatusCanceled, Do: do(tellMakerCanceled)},
		{From: takerBond, On: cancel, By: Anyone, If: hasBond, To: same, Do: do(withdrawBond)},
		{From: inBook, On: cancel, By: Anyone, Refuse: mostro.IsNotYourOrder},
		{From: waiting, On: cancel, By: Maker, To: mostro.StatusCanceled, Do: do(cancelEscrow, tellBothCanceled)},
		{From: waiting, On: cancel, By: Taker, To: toPending, Do: do(cancelEscrow, tellTakerCanceled, backToBook, tellMakerNewOrder, tellMakerWhy)},
		{From: inProgress, On: cancel, By: Anyone, If: notParty, Refuse: mostro.InvalidPubkey},
		{From: held, On: cancel, By: Buyer | Seller, If: nobodyAskedCancel, To: same, Do: do(askCooperativeCancel)},
		{From: held, On: cancel, By: Buyer | Seller, If: peerAskedCancel, To: mostro.StatusCooperativelyCanceled, Do: do(cancelEscrow, closeDisputeRefunded, tellCooperativelyCanceled, tellSolverClosed, tellRestGone)},
		{From: held, On: cancel, By: Anyone, Refuse: mostro.InvalidPubkey},

		// The two cannot agree, and a solver decides.
		{From: join(active, fiatSent), On: dispute, By: Buyer | Seller, To: mostro.StatusDispute, Do: do(openDispute, tellDispute, withdrawCancel, tellSolvers)},
		{From: disputed, On: dispute, By: Buyer | Seller, Refuse: mostro.DisputeCreationError},
		{From: inProgress, On: dispute, By: Anyone, If: notParty, Refuse: mostro.InvalidPubkey},
		{From: disputed, On: adminTake, By: Solver, If: mayTake, To: same, Do: do(assignSolver, tellTaken, tellSolverReplaced)},
		{From: existing, On: adminTake, By: Anyone, If: notSolver, Refuse: mostro.NotAuthorized},
		{From: disputed, On: adminTake, By: Anyone, Refuse: mostro.InvalidPubkey},
		{From: existing, On: adminSet, By: Anyone, If: takenByAdmin, Refuse: mostro.DisputeTakenByAdmin},
		{From: existing, On: adminStop, By: Anyone, If: takenByAdmin, Refuse: mostro.DisputeTakenByAdmin},
		{From: existing, On: adminSet, By: Anyone, If: notAssigned, Refuse: mostro.IsNotYourDispute},
		{From: existing, On: adminStop, By: Anyone, If: notAssigned, Refuse: mostro.IsNotYourDispute},
		{From: existing, On: adminSet, By: Assigned, If: mayOnlyRead, Refuse: mostro.NotAuthorized},
		{From: existing, On: adminStop, By: Assigned, If: mayOnlyRead, Refuse: mostro.NotAuthorized},
		{From: cooperative, On: adminSet, By: Assigned, To: same, Do: do(tellSolverCooperative)},
		{From: cooperative, On: adminStop, By: Assigned, To: same, Do: do(tellSolverCooperative)},
		{From: disputed, On: adminSet, By: Assigned, If: escrowMissing, Refuse: mostro.InvalidOrderStatus},
		{From: disputed, On: adminSet, By: Assigned, If: slashesWithoutBond, Refuse: mostro.InvalidPayload},
		{From: disputed, On: adminStop, By: Assigned, If: slashesWithoutBond, Refuse: mostro.InvalidPayload},
		{From: disputed, On: adminSet, By: Assigned, To: mostro.StatusSettling, Do: do(slashByVerdict, decidedBySolver, intendSettle)},
		{From: disputed, On: adminStop, By: Assigned, To: mostro.StatusCanceledByAdmin, Do: do(slashByVerdict, cancelEscrow, closeDisputeRefunded, tellAdminCanceled, tellRestGone)},

		// The two rate each other. A rating that comes again gets the same answer and counts once.
		{From: join(inProgress, success), On: rate, By: Anyone, If: notParty, Refuse: mostro.InvalidPeer},
		{From: settled, On: rate, By: Buyer, Refuse: mostro.InvalidOrderStatus},
		{From: join(settled, success), On: rate, By: Buyer | Seller, To: same, Do: do(countRating, tellRateReceived)},

		// Somebody wants to review the node: unhappy ones, too, so from the accepted escrow on, however
		// the trade ends, and also when the order goes back into the book. Whoever asks again with the same
		// key gets the same proof.
		{From: existing, On: review, By: Buyer | Seller | LeftTaker, If: neverAccepted, Refuse: mostro.NotAllowedByStatus},
		{From: existing, On: review, By: Buyer | Seller | LeftTaker, If: keyOfTrade, Refuse: mostro.InvalidPubkey},
		{From: existing, On: review, By: Buyer | Seller | LeftTaker, If: provenToAnother, Refuse: mostro.InvalidPubkey},
		{From: existing, On: review, By: Buyer | Seller | LeftTaker, To: same, Do: do(keepReview, tellReviewProof)},
		{From: existing, On: review, By: Anyone, Refuse: mostro.InvalidPeer},

		// The maker wants to be reached at another trade key.
		{From: inBook, On: tradeKey, By: MakerIdentity, To: same, Do: do(changeMakerKey, tellTradeKey)},
		{From: inBook, On: tradeKey, By: Anyone, Refuse: mostro.IsNotYourOrder},

		// Clients look only at fresh events of the book.
		{From: inBook, On: Renew, By: Clock, To: same, Do: do(renew)},

		// The deadline ladder: the node would give the sats back by itself soon.
		{From: fiatSent, On: LadderWarn, By: Clock, To: mostro.StatusDispute, Do: do(climb, openDisputeForBuyer, tellDeadlineDispute, tellSolvers)},
		{From: join(active, disputed), On: LadderWarn, By: Clock, To: same, Do: do(climb, tellDeadlineWarning)},
		{From: fiatSent, On: LadderLastCall, By: Clock, To: mostro.StatusDispute, Do: do(openDisputeForBuyer, tellDeadlineDispute, tellSolvers)},
		{From: fiatSent, On: LadderDeadline, By: Clock, To: mostro.StatusDispute, Do: do(openDisputeForBuyer, tellDeadlineDispute, tellSolvers)},
		{From: join(active, disputed), On: LadderLastCall, By: Clock, To: same, Do: do(climb, tellDeadlineLastCall, tellSolverDeadline, alarmDeadline)},
		{From: join(active, disputed), On: LadderDeadline, By: Clock, To: mostro.StatusCanceled, Do: do(climb, cancelEscrow, closeDisputeRefunded, tellDeadlineCanceled, tellBothCanceled, tellSolverDeadline, tellRestGone)},

		// The node is to be closed: an offer that nobody may take must not stay in the book, here or on
		// relays that copy it, and a bond that it holds would never let the node become empty.
		{From: join(makerBond, inBook), On: Drained, By: Clock, To: mostro.StatusCanceled, Do: do(tellMakerCanceled, tellMakerDrained)},

		// A pending order's time is over.
		{From: makerBond, On: Expire, By: Clock, To: mostro.StatusExpired},
		{From: inBook, On: Expire, By: Clock, To: mostro.StatusExpired, Do: do(tellMakerCanceled)},
	}, devFeeRows(), wordRows(), goneRows(), []Row{
		// What cannot happen, and must not pass unseen if it does.
		{From: join(makerBond, inBook, waiting, held, settled, ended), On: HoldSettled, By: Node, If: foreignSettle, To: same, Do: do(alarmForeignSettle)},
		{From: ended, On: PaySucceeded, By: Node, If: secondPayout, To: same, Do: do(alarmSecondPayout)},
	})
}

// refusals answer what no row fits, by action.
var refusals = map[EventName]mostro.Reason{
	on(mostro.TakeBuy):    mostro.InvalidOrderStatus,
	on(mostro.TakeSell):   mostro.InvalidOrderStatus,
	on(mostro.AddInvoice): mostro.NotAllowedByStatus,
	on(mostro.FiatSent):   mostro.InvalidOrderStatus,
	on(mostro.Release):    mostro.NotAllowedByStatus,
	on(mostro.Cancel):     mostro.NotAllowedByStatus,

	on(mostro.Dispute):          mostro.NotAllowedByStatus,
	on(mostro.RateUser):         mostro.InvalidOrderStatus,
	on(mostro.ProveReview):      mostro.NotAllowedByStatus,
	on(mostro.TradePubkey):      mostro.InvalidOrderStatus,
	on(mostro.AdminTakeDispute): mostro.InvalidDisputeStatus,
	on(mostro.AdminSettle):      mostro.InvalidOrderStatus,
	on(mostro.AdminCancel):      mostro.NotAllowedByStatus,
}

// Handles tells whether the machine knows what to do with an action, in any status.
func Handles(a mostro.Action) bool {
	_, ok := refusals[on(a)]
	return ok || a == mostro.NewOrder || a == mostro.AddBondInvoice
}

// Offer tells that an order is in the book, or on its way there, and not taken.
func Offer(s mostro.Status) bool { return contains(makerBond, s) || contains(inBook, s) }

// Ended tells that nothing will change an order any more.
func Ended(s mostro.Status) bool { return contains(ended, s) }

func join(lists ...[]mostro.Status) (all []mostro.Status) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

func contains(list []mostro.Status, s mostro.Status) bool {
	for _, each := range list {
		if each == s {
			return true
		}
	}
	return false
}
