package mostro

import (
	"strings"
	"testing"
)

func TestCheckShape(t *testing.T) {
	none := (*Payload)(nil)
	order, request := &Payload{Order: &SmallOrder{}}, &Payload{PaymentRequest: &PaymentRequest{Invoice: "x"}}
	amount, next := &Payload{Amount: ptr(int64(0))}, &Payload{NextTrade: &NextTrade{}}
	text, noText := &Payload{TextMessage: ptr("npub1")}, &Payload{TextMessage: ptr("")}
	rate := func(n int) *Payload { return &Payload{RatingUser: &n} }
	ids, noIDs, orders := &Payload{IDs: []string{testID}}, &Payload{IDs: []string{}}, &Payload{Orders: []SmallOrder{}}
	bond, claim := &Payload{BondResolution: &BondResolution{}}, &Payload{BondPayoutRequest: &BondPayoutRequest{}}
	dispute, cashu := &Payload{Dispute: &DisputeRef{ID: testID}}, &Payload{Other: payloadCashuLockProof}
	const (
		with    = testID
		without = ""
		fine    = Reason("")
	)
	tests := []struct {
		action  Action
		id      string
		payload *Payload
		want    Reason
	}{
		{NewOrder, without, order, fine},
		{NewOrder, with, order, fine},
		{NewOrder, without, none, InvalidParameters},
		{NewOrder, without, amount, InvalidParameters},
		{TakeBuy, with, none, fine},
		{TakeBuy, with, amount, fine},
		{TakeBuy, without, none, InvalidParameters},
		{TakeBuy, with, request, InvalidParameters},
		{TakeSell, with, none, fine},
		{TakeSell, with, amount, fine},
		{TakeSell, with, request, fine},
		{TakeSell, with, order, InvalidParameters},
		{AddInvoice, with, request, fine},
		{AddInvoice, with, order, InvalidParameters},
		{AddInvoice, with, none, InvalidParameters},
		{AddInvoice, with, cashu, InvalidParameters},
		{AddInvoice, without, request, InvalidParameters},
		{PayInvoice, with, request, fine},
		{PayInvoice, with, none, InvalidParameters},
		{PayBondInvoice, with, request, fine},
		{PayBondInvoice, with, order, InvalidParameters},
		{AddBondInvoice, with, request, fine},
		{AddBondInvoice, with, claim, fine},
		{AddBondInvoice, with, none, InvalidParameters},
		{FiatSent, with, none, fine},
		{FiatSent, with, next, fine},
		{FiatSent, with, text, InvalidParameters},
		{Release, with, none, fine},
		{Release, with, next, fine},
		{Release, with, amount, InvalidParameters},
		{Release, without, none, InvalidParameters},
		{Cancel, with, none, fine},
		{Cancel, with, amount, fine},
		{Cancel, without, none, InvalidParameters},
		{Dispute, with, none, fine},
		{Dispute, with, dispute, fine},
		{Dispute, without, none, InvalidParameters},
		{RateUser, with, rate(1), fine},
		{RateUser, without, rate(5), fine},
		{RateUser, with, rate(0), InvalidRating},
		{RateUser, with, rate(6), InvalidRating},
		{RateUser, with, none, InvalidParameters},
		{ProveReview, with, &Payload{ReviewKey: ptr(strings.Repeat("0a", 32))}, fine},
		{ProveReview, with, &Payload{ReviewKey: ptr(strings.Repeat("0A", 32))}, InvalidPubkey},
		{ProveReview, with, &Payload{ReviewKey: ptr("")}, InvalidPubkey},
		{ProveReview, with, &Payload{ReviewProof: &ReviewProof{}}, InvalidParameters},
		{ProveReview, with, none, InvalidParameters},
		{ProveReview, without, &Payload{ReviewKey: ptr(strings.Repeat("0a", 32))}, InvalidParameters},
		{TradePubkey, with, none, fine},
		{TradePubkey, without, none, InvalidParameters},
		{Orders, without, ids, fine},
		{Orders, without, noIDs, InvalidParameters},
		{Orders, without, orders, InvalidParameters},
		{Orders, without, none, InvalidParameters},
		{RestoreSession, without, none, fine},
		{RestoreSession, without, text, InvalidParameters},
		{LastTradeIndex, without, none, fine},
		{LastTradeIndex, without, amount, InvalidParameters},
		{AdminSettle, with, none, fine},
		{AdminSettle, with, bond, fine},
		{AdminSettle, with, text, InvalidParameters},
		{AdminCancel, with, bond, fine},
		{AdminCancel, without, none, InvalidParameters},
		{AdminCancel, with, amount, InvalidParameters},
		{AdminTakeDispute, with, none, fine},
		{AdminTakeDispute, without, none, InvalidParameters},
		{AdminAddSolver, with, text, fine},
		{AdminAddSolver, with, none, InvalidTextMessage},
		{AdminAddSolver, with, noText, InvalidTextMessage},
		{AdminAddSolver, with, amount, InvalidTextMessage},
		{PaymentFailed, with, none, InvalidParameters},
		{CantDo, without, &Payload{CantDo: ptr(NotFound)}, fine},
		{CantDo, without, none, InvalidParameters},
		{SendDM, with, text, fine},
		{NewOrder, without, &Payload{Order: &SmallOrder{}, Amount: ptr(int64(1))}, InvalidParameters},
	}
	for _, test := range tests {
		m := Message{Wrapper: WrapOrder, ID: test.id, Action: test.action, Payload: test.payload}
		reason, ok := m.CheckShape()
		if reason != test.want || ok != (reason == "") {
			t.Errorf("%s, id %q, payload %q: %q %t, want %q", test.action, test.id, test.payload.keys(), reason, ok, test.want)
		}
	}
}
