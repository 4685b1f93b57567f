package order

import (
	"fmt"

	"mostro/escrow/mostro"
)

// tell is a message to a person about a bond, under the id of its order.
func (s *bondStep) tell(to Party, action mostro.Action, payload *mostro.Payload) {
	m := mostro.Message{Wrapper: mostro.WrapOrder, ID: s.b.Order, Action: action, Payload: payload}
	switch {
	case s.e.Message != nil && s.e.Sender == to.Trade:
		m.RequestID = s.e.Message.RequestID
	case s.b.Awaits != nil && s.b.Awaits.By == to.Trade:
		m.RequestID = s.b.Awaits.RequestID
	}
	s.b.Awaits = nil
	if action == mostro.PayBondInvoice && to.Index != 0 {
		index := to.Index
		m.TradeIndex = &index
	}
	s.out.Tells = append(s.out.Tells, Tell{To: to.Trade, Message: m})
}

func (s *bondStep) text(to Party, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.out.Tells = append(s.out.Tells, Tell{To: to.Trade, Message: mostro.Message{
		Wrapper: mostro.WrapDM, ID: s.b.Order, Action: mostro.SendDM, Payload: &mostro.Payload{TextMessage: &text},
	}})
}

// small is the order of the bond with an amount that is about the bond.
func (s *bondStep) small(amount Sat) mostro.SmallOrder { return Small(s.order, amount) }

var (
	tellPayBond = BondEffect{"owner: pay-bond-invoice", func(s *bondStep) {
		so := s.small(s.b.Amount)
		so.Status = mostro.StatusPending
		if t := s.b.Take; t != nil {
			so.FiatAmount, so.MinAmount, so.MaxAmount = t.Fiat, nil, nil
		}
		s.tell(s.b.Owner, mostro.PayBondInvoice, &mostro.Payload{
			PaymentRequest: &mostro.PaymentRequest{Order: &so, Invoice: s.b.Hold.Invoice},
		})
	}}
	tellBondWaits = BondEffect{"owner: the node is not ready", func(s *bondStep) {
		told := *s.b.Awaits
		told.Told = true
		s.text(s.b.Owner, "Your request about order %s is accepted. The Lightning node is not ready; you hear from us when it has made the invoice of your bond.", s.b.Order)
		s.out.Tells[len(s.out.Tells)-1].Message.RequestID = told.RequestID
		s.b.Awaits = &told
	}}
	tellOwnerCanceled = BondEffect{"owner: canceled", func(s *bondStep) { s.tell(s.b.Owner, mostro.Canceled, nil) }}
	sayOverpaid       = BondEffect{"owner: why", func(s *bondStep) {
		s.text(s.b.Owner, "You paid far more than the bond of order %s asks for; your sats went back.", s.b.Order)
	}}
	sayBondsFull = BondEffect{"owner: why", func(s *bondStep) {
		s.text(s.b.Owner, "This node holds as many bonds as it can at the moment; your sats of order %s went back. Try again later.", s.b.Order)
	}}
	tellSlashed = BondEffect{"owner: bond-slashed", func(s *bondStep) {
		s.tell(s.b.Owner, mostro.BondSlashed, orderPayload(s.small(s.b.Slash.Slice)))
	}}
	tellAddBondInvoice = BondEffect{"winner: add-bond-invoice", func(s *bondStep) {
		s.tell(s.b.Slash.Winner, mostro.AddBondInvoice, &mostro.Payload{BondPayoutRequest: &mostro.BondPayoutRequest{
			Order: s.small(s.b.WinnerGets().Sat()), SlashedAt: s.b.Slash.At,
		}})
	}}
	tellClaimAccepted = BondEffect{"winner: bond-invoice-accepted", func(s *bondStep) {
		s.tell(s.b.Slash.Winner, mostro.BondInvoiceAccepted, orderPayload(s.small(s.b.WinnerGets().Sat())))
	}}
	tellShareCompleted = BondEffect{"winner: bond-payout-completed", func(s *bondStep) {
		s.tell(s.b.Slash.Winner, mostro.BondPayoutCompleted, orderPayload(s.small(s.b.WinnerGets().Sat())))
	}}
)

// BondPrompt is what somebody is asked to do about a bond now, made anew for who has lost it;
// nothing when nobody is.
func BondPrompt(o *Order, b *Bond) []Tell {
	copied := *b
	s := &bondStep{prev: *b, b: &copied, order: o, out: &Out{}}
	switch {
	case b.State == BondRequested && b.Hold.State == EscrowOpen:
		tellPayBond.Apply(s)
	case b.State == BondPayout && b.Payout.State == PayoutAsking:
		tellAddBondInvoice.Apply(s)
	}
	return s.out.Tells
}
