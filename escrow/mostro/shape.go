package mostro

import "slices"

// CheckShape says whether a request to the node has the id and the payload that its action
// needs, and if not with which reason it is refused. It says nothing about who may ask it
// or when. Answers of the node have other shapes: an add-invoice of the node carries the
// order, for one. Where the protocol does not look at the payload, any will do.
func (m Message) CheckShape() (Reason, bool) {
	if m.Action.needsID() && m.ID == "" {
		return InvalidParameters, false
	}
	var key string
	if held := m.Payload.keys(); len(held) == 1 {
		key = held[0]
	}
	if fitting, any := m.Action.payloads(); !any && !slices.Contains(fitting, key) {
		return wrongPayload(m.Action), false
	}
	switch {
	case key == payloadRatingUser && m.Action == RateUser && (*m.Payload.RatingUser < 1 || *m.Payload.RatingUser > 5):
		return InvalidRating, false
	case key == payloadTextMessage && m.Action == AdminAddSolver && *m.Payload.TextMessage == "":
		return InvalidTextMessage, false
	case key == payloadReviewKey && !isPubkey(*m.Payload.ReviewKey):
		return InvalidPubkey, false
	case key == payloadIDs && len(m.Payload.IDs) == 0:
		return InvalidParameters, false
	}
	return "", true
}

func (a Action) needsID() bool {
	switch a {
	case NewOrder, RestoreSession, LastTradeIndex, Orders, RateUser, AdminAddSolver, CantDo:
		return false
	}
	return true
}

// payloads lists the keys that fit the action, "" standing for no payload; any is true
// where the protocol does not look.
func (a Action) payloads() (fitting []string, any bool) {
	switch a {
	case NewOrder:
		return []string{payloadOrder}, false
	case TakeBuy:
		return []string{"", payloadAmount}, false
	case TakeSell:
		return []string{"", payloadAmount, payloadPaymentRequest}, false
	case PayInvoice, PayBondInvoice, AddInvoice:
		return []string{payloadPaymentRequest}, false
	case AddBondInvoice:
		return []string{payloadPaymentRequest, payloadBondPayoutRequest}, false
	case FiatSent, Release:
		return []string{"", payloadNextTrade}, false
	case RateUser:
		return []string{payloadRatingUser}, false
	case Orders:
		return []string{payloadIDs}, false
	case PaymentFailed:
		return []string{payloadPaymentFailed}, false
	case CantDo:
		return []string{payloadCantDo}, false
	case RestoreSession, LastTradeIndex:
		return []string{""}, false
	case AdminSettle, AdminCancel:
		return []string{"", payloadBondResolution}, false
	case ProveReview:
		return []string{payloadReviewKey}, false
	case AdminAddSolver:
		return []string{payloadTextMessage}, false
	}
	return nil, true
}

func wrongPayload(a Action) Reason {
	if a == AdminAddSolver {
		return InvalidTextMessage
	}
	return InvalidParameters
}
