package client

import (
	"slices"

	"mostro/escrow/mostro"
)

// note keeps what a message says about the order.
func (t *Trade) note(m mostro.Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.ID != "" && m.Action != mostro.CantDo {
		t.id = m.ID
	}
	if status, ok := StatusOf(m); ok {
		t.status = status
	}
}

// isEnd tells whether nothing but explanations follows a message.
func isEnd(a mostro.Action) bool {
	switch a {
	case mostro.Canceled, mostro.CooperativeCancelAccepted, mostro.AdminCanceled:
		return true
	}
	return false
}

// ReputationOf is the taker's reputation, which a maker is told once under the action of the
// step that comes next, pay-invoice or add-invoice; false for other messages.
func ReputationOf(m mostro.Message) (mostro.UserInfo, bool) {
	if m.Action != mostro.PayInvoice && m.Action != mostro.AddInvoice {
		return mostro.UserInfo{}, false
	}
	if m.Payload == nil || m.Payload.Peer == nil || m.Payload.Peer.Reputation == nil {
		return mostro.UserInfo{}, false
	}
	return *m.Payload.Peer.Reputation, true
}

// StatusOf is the status of the order that a message of the node tells of; false when it
// tells of none.
func StatusOf(m mostro.Message) (mostro.Status, bool) {
	if p := m.Payload; p != nil {
		switch {
		case p.Order != nil && p.Order.Status != "":
			return p.Order.Status, true
		case p.PaymentRequest != nil && p.PaymentRequest.Order != nil && p.PaymentRequest.Order.Status != "":
			return p.PaymentRequest.Order.Status, true
		}
	}
	switch m.Action {
	case mostro.WaitingBuyerInvoice:
		return mostro.StatusWaitingBuyerInvoice, true
	case mostro.WaitingSellerToPay:
		return mostro.StatusWaitingPayment, true
	case mostro.FiatSentOk:
		return mostro.StatusFiatSent, true
	case mostro.Released, mostro.HoldInvoicePaymentSettled, mostro.AdminSettled:
		return mostro.StatusSettledHoldInvoice, true
	case mostro.PurchaseCompleted:
		return mostro.StatusSuccess, true
	case mostro.Canceled:
		return mostro.StatusCanceled, true
	case mostro.CooperativeCancelAccepted:
		return mostro.StatusCooperativelyCanceled, true
	case mostro.AdminCanceled:
		return mostro.StatusCanceledByAdmin, true
	case mostro.DisputeInitiatedByYou, mostro.DisputeInitiatedByPeer, mostro.AdminTookDispute:
		return mostro.StatusDispute, true
	}
	return "", false
}

// stage says how far a trade has come when a message is sent; what tells of no status is
// about the one before, but for who takes the order and the wish to cancel, which others follow.
func stage(m mostro.Message) int {
	stages := []mostro.Status{
		mostro.StatusPending, mostro.StatusWaitingBuyerInvoice, mostro.StatusWaitingPayment, mostro.StatusActive,
		mostro.StatusFiatSent, mostro.StatusDispute, mostro.StatusSettledHoldInvoice, mostro.StatusSuccess,
	}
	status, ok := StatusOf(m)
	if _, notice := ReputationOf(m); notice {
		status, ok = mostro.StatusWaitingBuyerInvoice, true
	}
	if m.Action == mostro.CooperativeCancelInitiatedByYou || m.Action == mostro.CooperativeCancelInitiatedByPeer {
		status, ok = mostro.StatusDispute, true
	}
	if at := slices.Index(stages, status); ok && at >= 0 {
		return at
	}
	return len(stages)
}

// OrderID is the order's id, "" before the node has named a new order.
func (t *Trade) OrderID() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.id
}

// Index is the index of the trade key.
func (t *Trade) Index() uint32 { return t.index }

// Pubkey is the public key of the trade, as the peer and the node see it.
func (t *Trade) Pubkey() string { return t.party.Trade.Public() }

// Status is where the order stands as far as the node has told this side; "" before it has.
func (t *Trade) Status() mostro.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status
}

// Close stops listening for the trade. The order is not touched.
func (t *Trade) Close() {
	t.client.mu.Lock()
	defer t.client.mu.Unlock()
	if t.client.trades[t.Pubkey()] == t {
		delete(t.client.trades, t.Pubkey())
		t.client.unsubscribe(t.Pubkey())
	}
}
