package escrow

import (
	"context"
	"fmt"
	"slices"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// lateMessage is a message that is under way.
type lateMessage struct {
	n       int // it was sent as the nth
	name    string
	deliver func() error
}

// send delivers a message now or later, once or twice; and again when the process dies before it
// has answered, as clients do.
func (s *Simulation) send(p *player, trade string, action mostro.Action, id string, payload *mostro.Payload, index int64) error {
	s.sent++
	m := mostro.Message{Wrapper: mostro.WrapOrder, Version: 2, ID: id, Action: action, Payload: payload}
	if index > 0 {
		m.TradeIndex = &index
	}
	s.draws++
	n, name := s.sent, fmt.Sprintf("m%d/%d", s.step, s.draws)
	var deliver func() error
	deliver = func() error {
		answered := false
		defer func() {
			if !answered {
				s.happened(worldSentAgain)
				s.late = append(s.late, lateMessage{n, name, deliver})
			}
		}()
		ev := order.Event{ID: name, On: order.EventName(action), Order: id, At: s.e.now(), Seed: s.seed(), Sender: trade, Identity: p.identity, Transport: 2, Message: &m}
		if s.trace != nil { // or the words are for nobody
			s.say("> %s %s %.4s%s", p.name, action, id, simWords(payload))
		}
		err := s.e.act(context.Background(), mostro.Received{Message: m, Sender: trade, Identity: p.identity, Transport: mostro.NIP44}, ev)
		if answered = true; err != nil {
			s.say("  answer: %v", err)
		}
		return err
	}
	if s.fault(faultDelayed, 100) {
		s.late = append(s.late, lateMessage{n, name, deliver})
		return nil
	}
	if s.fault(faultDoubled, 100) {
		s.late = append(s.late, lateMessage{n, name, deliver})
	}
	return deliver()
}

// simWords are what a story says of a payload.
func simWords(p *mostro.Payload) string {
	switch {
	case p == nil:
		return ""
	case p.Order != nil && p.Order.MaxAmount != nil:
		return fmt.Sprintf("%s order over %d to %d %s", p.Order.Kind, *p.Order.MinAmount, *p.Order.MaxAmount, p.Order.FiatCode)
	case p.Order != nil:
		return fmt.Sprintf("%s order, %d %s for %d sat, premium %d", p.Order.Kind, p.Order.FiatAmount, p.Order.FiatCode, p.Order.Amount, p.Order.Premium)
	case p.Amount != nil:
		return fmt.Sprintf(" %d of the range", *p.Amount)
	case p.PaymentRequest != nil:
		if inv, err := lightning.Decode(p.PaymentRequest.Invoice); err == nil {
			return fmt.Sprintf(" invoice %.4s over %d msat", inv.Hash, inv.Amount)
		}
		return " " + p.PaymentRequest.Invoice
	case p.NextTrade != nil:
		return ", the rest goes on"
	case p.BondResolution != nil:
		return fmt.Sprintf(" slash buyer %v, seller %v", p.BondResolution.SlashBuyer, p.BondResolution.SlashSeller)
	}
	return ""
}

// deliverLate brings one of the messages that are under way.
func (s *Simulation) deliverLate() error {
	if len(s.late) == 0 {
		return nil
	}
	i := choose(s, s.late, func(m lateMessage) string { return m.name })
	m := s.late[i]
	s.late = slices.Delete(s.late, i, i+1)
	if m.n < s.sent {
		s.happened(worldReordered)
	}
	_ = m.deliver() // what is wrong with it by now is its sender's to hear
	return nil
}

// nextKey is a fresh trade key of a player.
func (s *Simulation) nextKey(p *player) (string, int64) {
	p.index++
	return simKey(fmt.Sprintf("%s/%d", p.name, p.index)), p.index
}

func (s *Simulation) makeOrder() error {
	p := s.someone()
	so := mostro.SmallOrder{Kind: mostro.Sell, FiatCode: "USD", FiatAmount: 50, PaymentMethod: "cash"}
	if s.chance(50) {
		so.Kind = mostro.Buy
	}
	s.Stats.Kinds[simOrders]++
	s.Stats.Kinds[map[mostro.OrderKind]string{mostro.Sell: simSell, mostro.Buy: simBuy}[so.Kind]]++
	switch s.r.IntN(3) {
	case 0:
		so.Amount = 10_000 + int64(s.r.IntN(100_000))
		s.Stats.Kinds[simFixed]++
	case 1:
		so.Premium = int64(s.r.IntN(20)) - 10
		s.Stats.Kinds[simMarket]++
	case 2:
		least, most := int64(20), int64(40+s.r.IntN(60))
		so.FiatAmount, so.MinAmount, so.MaxAmount = 0, &least, &most
		s.Stats.Kinds[simRange]++
	}
	trade, index := s.nextKey(p)
	return s.send(p, trade, mostro.NewOrder, "", &mostro.Payload{Order: &so}, index)
}

// owner finds the player of an identity.
func (s *Simulation) owner(identity string) *player {
	for _, p := range s.people {
		if p.identity == identity {
			return p
		}
	}
	return nil
}

// invoice makes an invoice for a payout: mostly a good one.
func (s *Simulation) invoice(p *player, amount order.Sat) *mostro.Payload {
	req := lightning.SimInvoiceRequest{Amount: amount.Msat(), Expiry: 6 * time.Hour, CLTVDelta: 40}
	text := ""
	switch {
	case s.chance(25):
		text = p.name + "@sim"
	case s.fault(faultWrongAmount, 100):
		req.Amount += 1000
	case s.fault(faultHoldInvoice, 200):
		var preimage order.Preimage
		text, preimage = p.wallet.AddHoldInvoice(req.Amount)
		s.holds = append(s.holds, preimage)
	case s.fault(faultShortInvoice, 150):
		req.Expiry = 11 * time.Minute
	}
	if text == "" {
		text = p.wallet.AddInvoice(req)
	}
	return &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: text}}
}

// actOn has somebody do something about an order: mostly what is next, sometimes anything.
func (s *Simulation) actOn(o order.Order) error {
	if o.ID == "" {
		return nil
	}
	buyer, seller := s.owner(o.Buyer.Identity), s.owner(o.Seller.Identity)
	if s.chance(10) {
		actions := []mostro.Action{mostro.FiatSent, mostro.Release, mostro.Cancel, mostro.Dispute, mostro.AddInvoice, mostro.RateUser, mostro.ProveReview}
		p, action := s.someone(), actions[s.r.IntN(len(actions))]
		trade := o.Buyer.Trade
		if s.chance(50) {
			trade = o.Seller.Trade
		}
		if who := s.owner(map[bool]string{true: o.Buyer.Identity, false: o.Seller.Identity}[trade == o.Buyer.Trade]); who != nil {
			p = who
		} else {
			trade = simKey("stranger")
		}
		var payload *mostro.Payload
		switch action {
		case mostro.AddInvoice:
			payload = s.invoice(p, o.BuyerGets())
		case mostro.RateUser:
			five := 5
			payload = &mostro.Payload{RatingUser: &five}
		case mostro.ProveReview:
			key := simKey([]string{"a review", "another review"}[s.r.IntN(2)])
			payload = &mostro.Payload{ReviewKey: &key}
		}
		return s.send(p, trade, action, o.ID, payload, 0)
	}
	if waiting := o.Status == mostro.StatusWaitingBuyerInvoice || o.Status == mostro.StatusWaitingPayment; waiting && idle(o.ID) {
		return nil
	}
	switch o.Status {
	case mostro.StatusPending, mostro.StatusWaitingTakerBond:
		if s.chance(4) {
			maker := s.owner(o.Maker().Identity)
			return s.send(maker, o.Maker().Trade, mostro.Cancel, o.ID, nil, 0)
		}
		return s.take(o)
	case mostro.StatusWaitingBuyerInvoice:
		return s.send(buyer, o.Buyer.Trade, mostro.AddInvoice, o.ID, s.invoice(buyer, o.BuyerGets()), 0)
	case mostro.StatusWaitingPayment:
		if o.Escrow.Invoice != "" {
			s.payHold(seller, o)
		}
	case mostro.StatusActive:
		if s.chance(15) {
			return s.quarrel(o, buyer, seller)
		}
		return s.send(buyer, o.Buyer.Trade, mostro.FiatSent, o.ID, s.next(o, o.Buyer, buyer), 0)
	case mostro.StatusFiatSent:
		if s.chance(15) {
			return s.quarrel(o, buyer, seller)
		}
		return s.send(seller, o.Seller.Trade, mostro.Release, o.ID, s.next(o, o.Seller, seller), 0)
	case mostro.StatusDispute:
		return s.solve(o, buyer, seller)
	case mostro.StatusSettledHoldInvoice:
		if again := s.chance(20); again || !o.Payout.State.Busy() {
			return s.send(buyer, o.Buyer.Trade, mostro.AddInvoice, o.ID, s.invoice(buyer, o.BuyerGets()), 0)
		}
	}
	return nil
}

func (s *Simulation) take(o order.Order) error {
	p := s.someone()
	action := mostro.TakeSell
	if o.Kind == mostro.Buy {
		action = mostro.TakeBuy
	}
	var payload *mostro.Payload
	amount := o.Amount
	if o.Range() {
		fiat := o.MinFiat + int64(s.r.IntN(int(o.MaxFiat-o.MinFiat)+1))
		payload = &mostro.Payload{Amount: &fiat}
		amount = order.Quote(fiat, s.price(), o.Premium)
	} else if amount == 0 {
		amount = order.Quote(o.FiatAmount, s.price(), o.Premium)
	}
	if action == mostro.TakeSell && s.chance(30) {
		fiat := payload
		payload = s.invoice(p, amount-order.FeeSide(amount, o.Terms.FeePPM))
		if fiat != nil {
			payload.PaymentRequest.Amount = fiat.Amount
		}
	}
	trade, index := s.nextKey(p)
	return s.send(p, trade, action, o.ID, payload, index)
}

// payHold pays a hold invoice, sometimes too much.
func (s *Simulation) payHold(p *player, o order.Order) {
	pay := lightning.SimPay{Invoice: o.Escrow.Invoice}
	switch {
	case s.fault(faultOverpaid, 50):
		pay.Amount = o.SellerPays().Msat() + 7000
	case s.fault(faultOverpaid, 50):
		pay.Amount = 2 * o.SellerPays().Msat()
	}
	got, err := p.wallet.Pay(pay)
	s.say("%s pays the escrow of %.4s: %s, %v", p.name, o.ID, got.State, err)
}

func (s *Simulation) next(o order.Order, of order.Party, p *player) *mostro.Payload {
	if !o.Range() || o.Maker().Trade != of.Trade || s.chance(30) {
		return nil
	}
	trade, index := s.nextKey(p)
	return &mostro.Payload{NextTrade: &mostro.NextTrade{Pubkey: trade, Index: index}}
}

func (s *Simulation) quarrel(o order.Order, buyer, seller *player) error {
	who, trade := buyer, o.Buyer.Trade
	if s.chance(50) {
		who, trade = seller, o.Seller.Trade
	}
	action := mostro.Cancel
	if s.chance(40) {
		action = mostro.Dispute
	}
	return s.send(who, trade, action, o.ID, nil, 0)
}

func (s *Simulation) solve(o order.Order, buyer, seller *player) error {
	admin := &player{name: "admin", identity: simKey("admin")}
	switch {
	case s.chance(10):
		return s.send(seller, o.Seller.Trade, mostro.Release, o.ID, nil, 0)
	case s.chance(10):
		return s.quarrel(o, buyer, seller)
	case o.Dispute.Solver == "":
		return s.send(admin, admin.identity, mostro.AdminTakeDispute, o.ID, nil, 0)
	case s.chance(50):
		return s.send(admin, admin.identity, mostro.AdminSettle, o.ID, s.verdict(o), 0)
	}
	return s.send(admin, admin.identity, mostro.AdminCancel, o.ID, s.verdict(o), 0)
}
