package mostro

// Known tells whether the protocol has this wrapper.
func (w Wrapper) Known() bool {
	switch w {
	case WrapOrder, WrapDispute, WrapCantDo, WrapRate, WrapDM, WrapRestore:
		return true
	}
	return false
}

// Known tells whether the protocol has this action, whoever may send it.
func (a Action) Known() bool {
	switch a {
	case NewOrder, TakeSell, TakeBuy, PayInvoice, PayBondInvoice, FiatSent, FiatSentOk, Release, Released,
		Cancel, Canceled, CooperativeCancelInitiatedByYou, CooperativeCancelInitiatedByPeer,
		CooperativeCancelAccepted, Dispute, DisputeInitiatedByYou, DisputeInitiatedByPeer,
		BuyerInvoiceAccepted, PurchaseCompleted, HoldInvoicePaymentAccepted, HoldInvoicePaymentSettled,
		HoldInvoicePaymentCanceled, WaitingSellerToPay, WaitingBuyerInvoice, AddInvoice, AddBondInvoice,
		BondInvoiceAccepted, BondPayoutCompleted, BondSlashed, InvoiceUpdated, BuyerTookOrder, Rate,
		RateUser, RateReceived, CantDo, AdminCancel, AdminCanceled, AdminSettle, AdminSettled,
		AdminAddSolver, AdminTakeDispute, AdminTookDispute, PaymentFailed, SendDM, TradePubkey,
		RestoreSession, LastTradeIndex, Orders, ProveReview:
		return true
	}
	return false
}

// Known tells whether the status exists on the wire; StatusSettling does not.
func (s Status) Known() bool {
	switch s {
	case StatusPending, StatusWaitingBuyerInvoice, StatusWaitingPayment, StatusActive, StatusFiatSent,
		StatusSettledHoldInvoice, StatusSuccess, StatusCanceled, StatusCooperativelyCanceled, StatusExpired,
		StatusDispute, StatusCanceledByAdmin, StatusSettledByAdmin, StatusCompletedByAdmin, StatusInProgress,
		StatusWaitingTakerBond, StatusWaitingMakerBond:
		return true
	}
	return false
}

// Known tells whether the kind is buy or sell.
func (k OrderKind) Known() bool {
	switch k {
	case Buy, Sell:
		return true
	}
	return false
}

// PublicStatus is what the order book (kind 38383) says of an order: every order that
// somebody has taken is in-progress until it ends. False: the order is not published. The
// kind of the order makes no difference here, though it does in the existing daemon, whose
// book therefore offers orders that are taken.
func PublicStatus(_ OrderKind, s Status) (Status, bool) {
	switch s {
	case StatusPending, StatusWaitingTakerBond:
		return StatusPending, true
	case StatusWaitingPayment, StatusWaitingBuyerInvoice, StatusActive, StatusFiatSent, StatusDispute,
		StatusSettling, StatusSettledHoldInvoice, StatusSettledByAdmin, StatusInProgress:
		return StatusInProgress, true
	case StatusCanceled, StatusCanceledByAdmin, StatusCooperativelyCanceled, StatusExpired:
		return StatusCanceled, true
	case StatusSuccess, StatusCompletedByAdmin:
		return StatusSuccess, true
	}
	return "", false
}

// ClientStatus is what a trader is told: one of the statuses that the mobile client knows,
// which throws on any other. An order in StatusSettling is shown as what it was before,
// which only the caller knows; the fallback here is fiat-sent.
func ClientStatus(s Status) Status {
	switch s {
	case StatusWaitingMakerBond:
		return StatusPending
	case StatusSettling:
		return StatusFiatSent
	}
	return s
}

// ClientReason is the reason that a person is told: an admin or a solver hears the true
// one, a trader one that the mobile client knows.
func ClientReason(r Reason, admin bool) Reason {
	if admin {
		return r
	}
	switch r {
	case InvalidPayload, PriceTooStale:
		return InvalidParameters
	case NotAuthorized, DisputeTakenByAdmin:
		return IsNotYourDispute
	}
	return r
}
