package escrow

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

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
	case s.faulty && s.chance(10):
		req.Amount += 1000
	case s.faulty && s.chance(20):
		var preimage order.Preimage
		text, preimage = p.wallet.AddHoldInvoice(req.Amount)
		s.holds = append(s.holds, preimage)
	case s.faulty && s.chance(15):
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
		if !o.Payout.State.Busy() || s.chance(20) {
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
		amount = order.Quote(fiat, order.Price{PerBTC: 50_000_000_000}, o.Premium)
	} else if amount == 0 {
		amount = order.Quote(o.FiatAmount, order.Price{PerBTC: 50_000_000_000}, o.Premium)
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
	case s.faulty && s.chance(5):
		pay.Amount = o.SellerPays().Msat() + 7000
	case s.faulty && s.chance(5):
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

// finishTrades lets everybody do his part, without faults.
func (s *Simulation) finishTrades() error {
	if err := s.settleDown(); err != nil {
		return err
	}
	for _, id := range s.e.live.ids() {
		if o := s.load(id); o.Status != mostro.StatusPending {
			if err := s.actOn(o); err != nil {
				return err
			}
		}
	}
	for _, id := range s.e.live.bondIDs() {
		if err := s.actOnBond(id); err != nil {
			return err
		}
	}
	for len(s.holds) > 0 {
		s.payee(0)
	}
	for hash, each := range s.watches {
		if each.payment {
			s.node.Unstick(hash)
		}
	}
	s.advance(15 * time.Minute)
	return s.settleDown()
}

// settleDown lets everything happen that can happen now.
func (s *Simulation) settleDown() error {
	ctx := context.Background()
	s.e.askNode(ctx)
	s.retry()
	for range 200 {
		before := len(s.e.work.ready[true]) + len(s.e.work.ready[false])
		for range before {
			s.work(ctx)
		}
		if err := s.hear(ctx); err != nil {
			return err
		}
		if err := s.ring(ctx); err != nil {
			return err
		}
		if len(s.e.work.ready[true])+len(s.e.work.ready[false]) == 0 {
			return nil
		}
	}
	return fmt.Errorf("the engine does not come to rest")
}

// counted checks that what the engine keeps in memory of live orders is what their rows say.
func (s *Simulation) counted() error {
	fresh := newLiveSet()
	for _, id := range s.e.live.ids() {
		o := s.load(id)
		fresh.moved(&order.Order{}, &o)
	}
	for _, id := range s.e.live.bondIDs() {
		b := s.loadBond(id)
		fresh.movedBond(&order.Bond{}, &b)
	}
	if held, want := s.e.live.heldBonds(), fresh.heldBonds(); held != want {
		return fmt.Errorf("in memory %d bonds are held; the rows say %d", held, want)
	}
	promised, holds := s.e.live.load()
	wantPromised, wantHolds := fresh.load()
	if promised != wantPromised || holds != wantHolds || !maps.Equal(s.e.live.keys, fresh.keys) {
		return fmt.Errorf("in memory %d msat promised, %d holds, %d keys; the rows say %d, %d, %d",
			promised, holds, len(s.e.live.keys), wantPromised, wantHolds, len(fresh.keys))
	}
	return nil
}

// invariants holds after each step, whatever happened.
func (s *Simulation) invariants() error {
	if s.Stats.Steps%16 == 0 {
		if err := s.counted(); err != nil {
			return err
		}
	}
	for _, id := range s.e.live.ids() {
		if err := s.check(s.load(id)); err != nil {
			return err
		}
	}
	return s.bondInvariants()
}

func (s *Simulation) check(o order.Order) error {
	if o.ID == "" {
		return nil
	}
	if err := order.CheckMoney(&o); err != nil {
		return err
	}
	if err := s.onePayment(o, "buyer", o.Payout.Hashes()); err != nil {
		return err
	}
	if o.DevFee != nil {
		if err := s.onePayment(o, "development fee", o.DevFee.Payout.Hashes()); err != nil {
			return err
		}
	}
	// I4, I6: nothing is settled without a release or a decision, nothing canceled after one.
	if h, ok := s.node.HoldState(o.Escrow.Hash); ok {
		switch {
		case h.State == lightning.Settled && o.Escrow.State != order.EscrowSettling && o.Escrow.State != order.EscrowSettled:
			return fmt.Errorf("I4: the escrow of %s is settled at the node and %q here", o.ID, o.Escrow.State)
		case h.State != lightning.Settled && o.Escrow.State == order.EscrowSettled:
			return fmt.Errorf("the escrow of %s is %s at the node and settled here", o.ID, h.State)
		}
	}
	return nil
}

// onePayment is I2: at most one payment of a liability is not failed, over all hashes ever
// recorded for it.
func (s *Simulation) onePayment(o order.Order, of string, hashes []order.Hash) error {
	alive := 0
	for _, h := range hashes {
		if p, ok := s.node.PaymentState(h); ok && p.State != lightning.Failed {
			alive++
			// No payment before the escrow is settled.
			if o.Escrow.State != order.EscrowSettled {
				return fmt.Errorf("order %s: payment %s with its escrow %s", o.ID, h, o.Escrow.State)
			}
		}
	}
	if alive > 1 {
		return fmt.Errorf("I2: order %s has %d payments of the %s under way or done", o.ID, alive, of)
	}
	return nil
}

// accounts are drawn at the end: every trade has ended, the public book says so, and the
// node owns exactly what the ledgers say.
func (s *Simulation) accounts() error {
	const begin = 100 * 100_000_000 * 1000
	var net order.Msat
	for _, id := range s.orders {
		o := s.load(id)
		s.Stats.Ends[o.Status]++
		if err := s.check(o); err != nil {
			return err
		}
		if !order.Ended(o.Status) {
			return fmt.Errorf("order %s has not ended: %s, payout %q, escrow %q", id, o.Status, o.Payout.State, o.Escrow.State)
		}
		if public, _ := mostro.PublicStatus(o.Kind, o.Status); string(public) != s.public[id] {
			return fmt.Errorf("I9: order %s is %s and the book says %s", id, o.Status, s.public[id])
		}
		net += o.Ledger.SettledIn() - o.Ledger.PaidOut() - o.Ledger.Routing()
		if o.Ledger.PaidOut() > 0 {
			s.Stats.Payouts++
		}
		if order.DevFeePaid(&o) != nil {
			s.Stats.DevFees++
		}
		if !order.Over(&o) {
			return fmt.Errorf("order %s still owes: %+v", id, o.DevFee)
		}
		if h, ok := s.node.HoldState(o.Escrow.Hash); ok && !h.State.Final() {
			return fmt.Errorf("the escrow of %s is left %s at the node", id, h.State)
		}
	}
	bonds, err := s.bondAccounts()
	if err != nil {
		return err
	}
	net += bonds
	if got := s.node.Funds() - begin; got != net {
		return fmt.Errorf("I1: the node has %d msat more than at the beginning, the ledgers say %d", got, net)
	}
	if total, minted := s.net.Total(); total != minted {
		return fmt.Errorf("the network holds %d of %d msat", total, minted)
	}
	slices.Sort(s.orders)
	return nil
}
