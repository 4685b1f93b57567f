package order

import (
	"fmt"

	"mostro/escrow/mostro"
)

// tell puts a message to a party into the outbox. The request id is echoed once, to the person
// whose request this step answers: the sender of the message, or who was waiting for the node.
// Clients take the first message with their id for the answer.
func (s *step) tell(to Party, action mostro.Action, payload *mostro.Payload) {
	if to.Trade == "" {
		return
	}
	m := mostro.Message{Wrapper: mostro.WrapOrder, ID: s.o.ID, Action: action, Payload: payload}
	switch {
	case s.answered:
	case s.e.Message != nil && s.e.Sender == to.Trade:
		m.RequestID, s.answered = s.e.Message.RequestID, true
	case s.prev.Awaits != nil && s.prev.Awaits.By == to.Trade:
		m.RequestID, s.answered = s.prev.Awaits.RequestID, true
	}
	switch action {
	case mostro.NewOrder, mostro.PayInvoice, mostro.WaitingSellerToPay:
		if to.Index != 0 {
			index := to.Index
			m.TradeIndex = &index
		}
	}
	s.out.Tells = append(s.out.Tells, Tell{To: to.Trade, Message: m})
}

// say sends a text for which the protocol has no action.
func (s *step) say(to Party, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if to.Trade == "" {
		return
	}
	s.out.Tells = append(s.out.Tells, Tell{To: to.Trade, Message: mostro.Message{
		Wrapper: mostro.WrapDM, ID: s.o.ID, Action: mostro.SendDM, Payload: &mostro.Payload{TextMessage: &text},
	}})
}

// deadline says when the escrow is given back, in blocks and in hours as far as they are known.
func (s *step) deadline() string {
	at := ladderBase(s.o)
	if h := s.f.Node.Height; h > 0 && h < at {
		return fmt.Sprintf("at block %d, in about %d hours", at, (at-h+3)/6)
	}
	return fmt.Sprintf("at block %d", at)
}

// both says the same to both parties.
func (s *step) both(format string, args ...any) {
	s.say(s.o.Buyer, format, args...)
	s.say(s.o.Seller, format, args...)
}

// Small is the order as a client sees it; amount is what its receiver pays or gets. It never
// carries an invoice, nor anybody's key: rows that show keys add them.
func Small(o *Order, amount Sat) mostro.SmallOrder {
	created, expires := o.CreatedAt, o.ExpiresAt
	so := mostro.SmallOrder{
		ID: o.ID, Kind: o.Kind, Status: mostro.ClientStatus(Shown(o)), Amount: int64(amount),
		FiatCode: o.FiatCode, FiatAmount: o.FiatAmount, PaymentMethod: o.PaymentMethod, Premium: o.Premium,
		CreatedAt: &created, ExpiresAt: &expires,
	}
	if o.Range() { // taken or not: by the two and the fiat amount, mobile tells whether it has to name a key for the rest
		least, most := o.MinFiat, o.MaxFiat
		so.MinAmount, so.MaxAmount = &least, &most
	}
	return so
}

// Began tells that both sides have done what a trade begins with: the sats are held, and it is known
// where to pay them. From then on the two know each other's trade keys, to chat.
func Began(o *Order) bool {
	return o.Escrow.AcceptedAt != 0 && (o.Payout.Invoice != "" || o.Payout.Address != "" || o.Escrow.State == EscrowSettled)
}

// ShowKeys adds the trade keys that somebody may see: his own, by which mobile and others tell which
// side of a restored trade he is, and the other's once he was told of it.
func ShowKeys(so *mostro.SmallOrder, o *Order, identity string) {
	began := Began(o)
	if began || o.Buyer.Identity == identity {
		so.BuyerTradePubkey = o.Buyer.Trade
	}
	if began || o.Seller.Identity == identity {
		so.SellerTradePubkey = o.Seller.Trade
	}
}

// answer is a message to the sender of the one that is handled, with its request id.
func (s *step) answer(w mostro.Wrapper, action mostro.Action, payload *mostro.Payload) Tell {
	s.answered = true
	return Tell{To: s.e.Sender, Message: mostro.Message{
		Wrapper: w, RequestID: s.e.Message.RequestID, ID: s.o.ID, Action: action, Payload: payload,
	}}
}

// disputeInfo is what a solver gets to see.
func disputeInfo(s *step) mostro.SolverDisputeInfo {
	o, d := s.o, s.o.Dispute
	initiator, counterpart := o.Buyer, o.Seller
	mine, theirs := s.f.Buyer, s.f.Seller
	if d.Initiator == "seller" {
		initiator, counterpart, mine, theirs = counterpart, initiator, theirs, mine
	}
	user := func(r *Reputation) *mostro.UserInfo {
		if r == nil {
			return nil
		}
		return &mostro.UserInfo{Rating: r.Rating, Reviews: r.Reviews, OperatingDays: r.Days(s.e.At)}
	}
	return mostro.SolverDisputeInfo{
		ID: o.ID, Kind: o.Kind, Status: o.Status, Hash: o.Escrow.Hash.String(), OrderPreviousStatus: d.Previous,
		InitiatorPubkey: initiator.Trade, BuyerPubkey: o.Buyer.Trade, SellerPubkey: o.Seller.Trade,
		InitiatorFullPrivacy: initiator.FullPrivacy(), CounterpartFullPrivacy: counterpart.FullPrivacy(),
		InitiatorInfo: user(mine), CounterpartInfo: user(theirs),
		Premium: o.Premium, PaymentMethod: o.PaymentMethod, Amount: int64(o.Amount), FiatAmount: o.FiatAmount,
		Fee: int64(o.Fee), BuyerInvoice: o.Payout.Invoice, InvoiceHeldAt: o.Escrow.AcceptedAt, TakenAt: o.TakenAt, CreatedAt: o.CreatedAt,
	}
}

func orderPayload(so mostro.SmallOrder) *mostro.Payload { return &mostro.Payload{Order: &so} }

func peerPayload(key string) *mostro.Payload {
	return &mostro.Payload{Peer: &mostro.Peer{Pubkey: key}}
}

var (
	tellMakerNewOrder = Effect{"maker: new-order", func(s *step) {
		s.tell(*s.o.Maker(), mostro.NewOrder, orderPayload(Small(s.o, s.o.Amount)))
	}}
	tellMakerCanceled = Effect{"maker: canceled", func(s *step) { s.tell(*s.o.Maker(), mostro.Canceled, nil) }}
	tellMakerDrained  = Effect{"maker: why", func(s *step) {
		s.say(*s.o.Maker(), "This node is being closed, so your order %s is not offered any more. Trades that are running go on.", s.o.ID)
	}}
	tellTakerCanceled = Effect{"taker: canceled", func(s *step) { s.tell(*s.o.Taker(), mostro.Canceled, nil) }}
	tellBothCanceled  = Effect{"both: canceled", func(s *step) {
		s.tell(*s.o.Maker(), mostro.Canceled, nil)
		s.tell(*s.o.Taker(), mostro.Canceled, nil)
	}}

	tellBuyerAddInvoice = Effect{"buyer: add-invoice", func(s *step) {
		so := Small(s.o, s.o.BuyerGets())
		so.ExpiresAt = nil
		s.tell(s.o.Buyer, mostro.AddInvoice, orderPayload(so))
	}}
	tellSellerWaitingInvoice = Effect{"seller: waiting-buyer-invoice", func(s *step) {
		s.tell(s.o.Seller, mostro.WaitingBuyerInvoice, nil)
	}}
	tellPayInvoice = Effect{"seller: pay-invoice", func(s *step) {
		so := Small(s.o, s.o.SellerPays())
		s.tell(s.o.Seller, mostro.PayInvoice, &mostro.Payload{
			PaymentRequest: &mostro.PaymentRequest{Order: &so, Invoice: s.o.Escrow.Invoice},
		})
	}}
	tellWaitingSellerToPay = Effect{"buyer: waiting-seller-to-pay", func(s *step) {
		if a := s.o.Awaits; a == nil || !a.Told {
			s.tell(s.o.Buyer, mostro.WaitingSellerToPay, nil)
		}
		s.o.Awaits = nil
	}}
	// The buyer waits for the seller, be it that the seller waits for the node. Clients that heard
	// nothing, or a text that they do not know, would give the trade up.
	tellWaitingEarly = Effect{"buyer: waiting-seller-to-pay, early", func(s *step) {
		s.tell(s.o.Buyer, mostro.WaitingSellerToPay, nil)
		told := *s.o.Awaits
		told.Told, s.o.Awaits = true, &told
	}}
	// refuseTake answers as if the take had come while the node was away. The trade index is free again:
	// who is refused, like mostro-cli, takes the next time with the same one.
	refuseTake = Effect{"taker: cant-do", func(s *step) {
		asked := mostro.Message{ID: s.o.ID, RequestID: s.o.Awaits.RequestID}
		s.out.Tells = append(s.out.Tells, Refusal(s.o.Awaits.By, asked, mostro.NotAllowedByStatus, false))
		s.out.FreeIndex, s.out.UsedBy = s.o.Taker().Index, s.o.Taker().Identity
	}}
	tellActive = Effect{"seller: buyer-took-order, buyer: hold-invoice-payment-accepted", func(s *step) {
		show := func(amount Sat) *mostro.Payload {
			so := Small(s.o, amount)
			so.BuyerTradePubkey, so.SellerTradePubkey = s.o.Buyer.Trade, s.o.Seller.Trade
			return orderPayload(so)
		}
		s.tell(s.o.Seller, mostro.BuyerTookOrder, show(s.o.SellerPays()))
		s.tell(s.o.Buyer, mostro.HoldInvoicePaymentAccepted, show(s.o.BuyerGets()))
	}}
	tellFiatSent = Effect{"both: fiat-sent-ok", func(s *step) {
		s.tell(s.o.Buyer, mostro.FiatSentOk, peerPayload(s.o.Seller.Trade))
		s.tell(s.o.Seller, mostro.FiatSentOk, peerPayload(s.o.Buyer.Trade))
	}}
	tellReleased = Effect{"seller: hold-invoice-payment-settled and rate, buyer: released", func(s *step) {
		s.tell(s.o.Seller, mostro.HoldInvoicePaymentSettled, nil)
		s.tell(s.o.Buyer, mostro.Released, nil)
		s.tell(s.o.Seller, mostro.Rate, nil)
		s.o.Awaits = nil
	}}
	// Nobody waits in silence for a node that is away. The release is stored, and will be done; the
	// answer itself still comes when it is.
	tellWaits = Effect{"who waits: the node is not ready", func(s *step) {
		told := *s.o.Awaits
		told.Told, s.o.Awaits = true, &told
		s.say(Party{Trade: told.By}, "The release of order %s is accepted and cannot be undone. The Lightning node is not ready; the sats go to the buyer when it is.", s.o.ID)
		if n := len(s.out.Tells); n > 0 {
			s.out.Tells[n-1].Message.RequestID = told.RequestID
		}
	}}
	tellInvoiceUpdated = Effect{"buyer: invoice-updated", func(s *step) {
		s.tell(s.o.Buyer, mostro.InvoiceUpdated, nil)
	}}
	// One notice for each invoice; the tries between the first and the last are silent.
	tellPaymentFailed = Effect{"buyer: payment-failed", func(s *step) {
		if s.o.Payout.Attempts == 1 {
			s.tell(s.o.Buyer, mostro.PaymentFailed, &mostro.Payload{PaymentFailed: &mostro.PaymentFailedInfo{
				Attempts:        s.o.Terms.PaymentAttempts - 1,
				RetriesInterval: s.o.Payout.NextTry - s.e.At,
			}})
		}
	}}
	tellPurchaseCompleted = Effect{"buyer: purchase-completed and rate", func(s *step) {
		s.tell(s.o.Buyer, mostro.PurchaseCompleted, nil)
		s.tell(s.o.Buyer, mostro.Rate, nil)
	}}

	// A maker may want to know whom he deals with before he commits himself. The empty key and
	// the action are how clients tell this notice from the request of the same name.
	tellMakerReputation = Effect{"maker: reputation of the taker", func(s *step) {
		action, known := mostro.PayInvoice, s.f.Buyer
		if s.o.Kind == mostro.Buy {
			action, known = mostro.AddInvoice, s.f.Seller
		}
		if known == nil {
			known = &Reputation{Since: s.e.At}
		}
		s.tell(*s.o.Maker(), action, &mostro.Payload{Peer: &mostro.Peer{Reputation: &mostro.UserInfo{
			Rating: known.Rating, Reviews: known.Reviews, OperatingDays: known.Days(s.e.At),
		}}})
	}}
	// The maker is told why his order is in the book again.
	tellMakerWhy = Effect{"maker: why", func(s *step) {
		why := "The taker canceled."
		switch {
		case s.e.On == HoldAccepted:
			why = "The taker paid far too much; his sats went back."
		case s.e.On == HoldCanceled:
			why = "The taker's hold invoice ended unpaid."
		case s.e.On == WaitingTimeout && s.prev.Escrow.State == EscrowOpening:
			why = "The Lightning node could not make the hold invoice in time; nobody is to blame."
		case s.e.On == WaitingTimeout && s.prev.Status == mostro.StatusWaitingPayment:
			why = "The taker did not pay in time."
		case s.e.On == WaitingTimeout:
			why = "The taker gave no invoice in time."
		}
		s.say(*s.o.Maker(), "Order %s is in the book again. %s", s.o.ID, why)
	}}
	tellTradeKey = Effect{"maker: trade-pubkey", func(s *step) {
		s.out.Tells = append(s.out.Tells, s.answer(mostro.WrapOrder, mostro.TradePubkey, nil))
	}}
	tellRateReceived = Effect{"sender: rate-received", func(s *step) {
		s.out.Tells = append(s.out.Tells, s.answer(s.e.Message.Wrapper, mostro.RateReceived, s.e.Message.Payload))
	}}
	// The rest of a range is never dropped without a word.
	tellRestGone = Effect{"maker: the rest is not offered", func(s *step) {
		o := s.o
		most := o.MaxFiat - o.FiatAmount
		if !o.Range() || most <= 0 {
			return
		}
		why := "no key for the next trade was given, or none that is free"
		switch {
		case o.Escrow.State != EscrowSettled || o.SettledBy != "":
			why = "the trade did not end with a release"
		case most < o.MinFiat:
			why = "it is less than the least amount"
		case o.Next != nil:
			why = "the bond would not last for another trade"
		}
		s.say(*o.Maker(), "The rest of order %s, %d %s, is not offered again: %s. Make a new order for it if you like.", o.ID, most, o.FiatCode, why)
	}}

	tellDispute = Effect{"sender: dispute-initiated-by-you, peer: dispute-initiated-by-peer", func(s *step) {
		payload := &mostro.Payload{Dispute: &mostro.DisputeRef{ID: s.o.Dispute.ID}}
		you, peer := s.o.Buyer, s.o.Seller
		if s.e.Sender == peer.Trade {
			you, peer = peer, you
		}
		s.tell(you, mostro.DisputeInitiatedByYou, payload)
		s.tell(peer, mostro.DisputeInitiatedByPeer, payload)
	}}
	tellSolvers = Effect{"solvers: a new dispute", func(s *step) {
		for _, key := range s.f.Solvers {
			s.say(Party{Trade: key}, "New dispute %s, opened by the %s of order %s. Take it with admin-take-dispute.", s.o.Dispute.ID, s.o.Dispute.Initiator, s.o.ID)
		}
	}}
	// The parties learn whom to talk to, the solver what he needs to decide: everything but
	// the preimage.
	tellTaken = Effect{"solver and both: admin-took-dispute", func(s *step) {
		info := disputeInfo(s)
		t := s.answer(mostro.WrapDispute, mostro.AdminTookDispute, &mostro.Payload{Dispute: &mostro.DisputeRef{ID: s.o.Dispute.ID, Info: &info}})
		t.To = s.e.Identity
		s.out.Tells = append(s.out.Tells, t)
		for _, p := range []Party{s.o.Buyer, s.o.Seller} {
			s.tell(p, mostro.AdminTookDispute, peerPayload(s.e.Identity))
		}
	}}
	tellSolverCooperative = Effect{"solver: cooperative-cancel-accepted", func(s *step) {
		t := s.answer(mostro.WrapOrder, mostro.CooperativeCancelAccepted, nil)
		t.To = s.e.Identity
		s.out.Tells = append(s.out.Tells, t)
	}}
	tellAdminCanceled = Effect{"solver and both: admin-canceled", func(s *step) {
		t := s.answer(mostro.WrapOrder, mostro.AdminCanceled, nil)
		t.To = s.e.Identity
		s.out.Tells = append(s.out.Tells, t)
		s.tell(s.o.Seller, mostro.AdminCanceled, nil)
		s.tell(s.o.Buyer, mostro.AdminCanceled, nil)
	}}
	tellAdminSettled = Effect{"solver and both: admin-settled", func(s *step) {
		s.tell(Party{Trade: s.o.SettledBy}, mostro.AdminSettled, nil)
		s.tell(s.o.Seller, mostro.AdminSettled, nil)
		s.tell(s.o.Buyer, mostro.AdminSettled, nil)
		s.o.Awaits = nil
	}}

	askCooperativeCancel = Effect{"ask the peer to cancel", func(s *step) {
		s.o.CancelBy = s.e.Sender
		you, peer := s.o.Buyer, s.o.Seller
		if s.e.Sender == peer.Trade {
			you, peer = peer, you
		}
		s.tell(you, mostro.CooperativeCancelInitiatedByYou, nil)
		s.tell(peer, mostro.CooperativeCancelInitiatedByPeer, nil)
	}}
	// withdrawCancel: who says that he has paid, or wants a solver to decide, does not want the seller
	// to have the sats back any more. The existing daemon keeps the request for ever, and a seller who
	// has it in mind takes the fiat and the sats.
	withdrawCancel = Effect{"his own request to cancel counts no more", func(s *step) {
		if s.o.CancelBy != s.e.Sender {
			return
		}
		s.o.CancelBy = ""
		peer := s.o.Buyer
		if s.e.Sender == peer.Trade {
			peer = s.o.Seller
		}
		s.say(peer, "Your peer has gone on with order %s, so the earlier request to cancel it does not count any more.", s.o.ID)
	}}
	tellCooperativelyCanceled = Effect{"both: cooperative-cancel-accepted", func(s *step) {
		s.tell(s.o.Buyer, mostro.CooperativeCancelAccepted, nil)
		s.tell(s.o.Seller, mostro.CooperativeCancelAccepted, nil)
	}}

	tellEscrowLost = Effect{"both: hold-invoice-payment-canceled", func(s *step) {
		s.tell(s.o.Buyer, mostro.HoldInvoicePaymentCanceled, nil)
		s.tell(s.o.Seller, mostro.HoldInvoicePaymentCanceled, nil)
	}}
	tellEscrowMissing = Effect{"both: do not go on", func(s *step) {
		s.both("The Lightning node does not find the sats of order %s any more; its operator is told. Do not send fiat for it now. Whoever has sent it already: open a dispute.", s.o.ID)
	}}
	tellEscrowFound = Effect{"both: it is there again", func(s *step) {
		s.both("The sats of order %s are there again: you can go on.", s.o.ID)
	}}
	tellDeadlineWarning = Effect{"both: deadline warning", func(s *step) {
		s.both("The escrow of order %s goes back to the seller %s. Finish the trade before.", s.o.ID, s.deadline())
	}}
	tellDeadlineDispute = Effect{"both: dispute", func(s *step) {
		payload := &mostro.Payload{Dispute: &mostro.DisputeRef{ID: s.o.Dispute.ID}}
		s.tell(s.o.Buyer, mostro.DisputeInitiatedByYou, payload)
		s.tell(s.o.Seller, mostro.DisputeInitiatedByPeer, payload)
		s.both("The escrow of order %s would go back to the seller %s, although the fiat was reported as sent. A dispute was opened for the buyer.", s.o.ID, s.deadline())
	}}
	tellDeadlineLastCall = Effect{"both: last call", func(s *step) {
		s.both("Last call: the escrow of order %s goes back to the seller %s.", s.o.ID, s.deadline())
	}}
	// The solver who has the dispute hears of its deadline, or all of them while nobody has it.
	tellSolverDeadline = Effect{"solver: deadline", func(s *step) {
		d := s.o.Dispute
		if d == nil {
			return
		}
		keys := s.f.Solvers
		if d.Solver != "" {
			keys = []string{d.Solver}
		}
		for _, key := range keys {
			if s.o.Status == mostro.StatusCanceled {
				s.say(Party{Trade: key}, "The escrow of order %s has reached its last safe block: the sats went back to the seller, and dispute %s is closed.", s.o.ID, d.ID)
			} else {
				s.say(Party{Trade: key}, "Last call for dispute %s: the escrow of order %s goes back to the seller %s.", d.ID, s.o.ID, s.deadline())
			}
		}
	}}
	// A solver hears when a dispute ends without him, and when another takes it from him.
	tellSolverClosed = Effect{"solver: closed", func(s *step) {
		d := s.o.Dispute
		if d == nil || d.Solver == "" {
			return
		}
		how := "the Lightning node gave up the escrow of order %s, and the sats went back to the seller"
		switch {
		case s.e.On == HoldSettled:
			how = "the sats of order %s were released to the buyer"
		case s.o.Status == mostro.StatusCooperativelyCanceled:
			how = "the parties canceled order %s, and the sats went back to the seller"
		}
		s.say(Party{Trade: d.Solver}, "Dispute %s is closed: "+how+".", d.ID, s.o.ID)
	}}
	tellSolverReplaced = Effect{"the solver before him: taken over", func(s *step) {
		if was := s.prev.Dispute.Solver; was != "" && was != s.o.Dispute.Solver {
			s.say(Party{Trade: was}, "Dispute %s of order %s was taken over by another solver: it is yours no more.", s.o.Dispute.ID, s.o.ID)
		}
	}}
	tellDeadlineCanceled = Effect{"both: deadline", func(s *step) {
		s.both("The escrow of order %s has reached its last safe block and was returned to the seller.", s.o.ID)
	}}
)
