package mostro

import (
	"errors"
	"fmt"
	"strings"
)

// DecodeError says why a message cannot be acted on and what to answer.
type DecodeError struct {
	// Partial holds the request id, the id and the action as far as they could be read.
	// An action that the protocol does not know is kept as it was sent.
	Partial Message
	// Reason is InvalidAction for an unknown action, InvalidParameters for the rest.
	Reason Reason
	Err    error
}

func (e *DecodeError) Error() string { return fmt.Sprintf("decode message: %v", e.Err) }
func (e *DecodeError) Unwrap() error { return e.Err }

// Answerable tells whether anything was read that lets the sender recognize the answer.
func (e *DecodeError) Answerable() bool {
	return e.Partial.RequestID != nil || e.Partial.ID != "" || e.Partial.Action != ""
}

// DecodeMessage reads a message strictly (see the package comment). It accepts what the
// clients in the field send: members in any order, absent members for null, a
// payment_request of two elements, a dispute as a bare id, and ids in every text form of a
// UUID, which become lower-case with hyphens. Every error is a *DecodeError.
func DecodeMessage(raw []byte) (Message, error) {
	refuse := func(partial Message, reason Reason, err error) (Message, error) {
		return Message{}, &DecodeError{Partial: partial, Reason: reason, Err: err}
	}
	root, err := parseJSON(raw)
	if err != nil {
		return refuse(Message{}, InvalidParameters, err)
	}
	if root.form != object || len(root.names) != 1 {
		return refuse(Message{}, InvalidParameters, errors.New("a message is an object with one key"))
	}
	wrapper, inner := Wrapper(root.names[0]), root.items[0]
	partial := readPartial(inner)
	if !wrapper.Known() {
		return refuse(partial, InvalidParameters, fmt.Errorf("unknown wrapper %q", wrapper))
	}
	if inner.member("action").form == text && !partial.Action.Known() {
		return refuse(partial, InvalidAction, fmt.Errorf("unknown action %q", partial.Action))
	}
	var d decoder
	f := d.object(inner, "version", "request_id", "trade_index", "id", "action", "payload")
	m := Message{
		Wrapper:    wrapper,
		Version:    int(f.within("version", 0, 255)),
		RequestID:  f.optUint("request_id"),
		TradeIndex: f.optInt("trade_index"),
		ID:         f.optID("id"),
		Action:     Action(f.text("action")),
	}
	if p := f.member("payload"); p.form != null {
		m.Payload = d.payload(p)
	}
	if d.err != nil {
		return refuse(partial, InvalidParameters, d.err)
	}
	return m, nil
}

// readPartial reads what an answer needs and skips what cannot be read.
func readPartial(inner value) Message {
	var m Message
	var d decoder
	if id := d.id(inner.member("id")); d.err == nil {
		m.ID = id
	}
	if n, ok := parseUint(inner.member("request_id")); ok {
		m.RequestID = &n
	}
	if a := inner.member("action"); a.form == text {
		m.Action = Action(a.text)
	}
	return m
}

func (d *decoder) payload(v value) *Payload {
	if v.form != object || len(v.names) != 1 {
		d.fail("a payload is an object with one key")
		return nil
	}
	p, v, key := &Payload{}, v.items[0], v.names[0]
	switch key {
	case payloadOrder:
		p.Order = d.smallOrder(v)
	case payloadPaymentRequest:
		p.PaymentRequest = d.paymentRequest(v)
	case payloadTextMessage:
		s := d.text(v)
		p.TextMessage = &s
	case payloadPeer:
		f := d.object(v, "pubkey", "reputation")
		p.Peer = &Peer{Pubkey: f.text("pubkey"), Reputation: d.userInfo(f.member("reputation"))}
	case payloadRatingUser:
		n := int(d.within(v, 0, 255))
		p.RatingUser = &n
	case payloadAmount:
		n := d.int(v)
		p.Amount = &n
	case payloadDispute:
		p.Dispute = d.dispute(v)
	case payloadCantDo:
		r := Reason(d.optText(v))
		p.CantDo = &r
	case payloadNextTrade:
		p.NextTrade = d.nextTrade(v)
	case payloadPaymentFailed:
		f := d.object(v, "payment_attempts", "payment_retries_interval")
		p.PaymentFailed = &PaymentFailedInfo{
			Attempts: f.int("payment_attempts"), RetriesInterval: f.int("payment_retries_interval"),
		}
	case payloadRestoreData:
		p.RestoreData = d.restoreData(v)
	case payloadIDs:
		p.IDs = []string{}
		for _, item := range d.array(v) {
			p.IDs = append(p.IDs, d.id(item))
		}
	case payloadOrders:
		p.Orders = []SmallOrder{}
		for _, item := range d.array(v) {
			p.Orders = append(p.Orders, *d.smallOrder(item))
		}
	case payloadBondResolution:
		f := d.object(v, "slash_seller", "slash_buyer")
		p.BondResolution = &BondResolution{SlashSeller: f.bool("slash_seller"), SlashBuyer: f.bool("slash_buyer")}
	case payloadBondPayoutRequest:
		f := d.object(v, "order", "slashed_at")
		p.BondPayoutRequest = &BondPayoutRequest{Order: *d.smallOrder(f.member("order")), SlashedAt: f.int("slashed_at")}
	case payloadReviewKey:
		key := d.text(v)
		p.ReviewKey = &key
	case payloadReviewProof:
		f := d.object(v, "key", "mostro", "week", "sig", "from")
		p.ReviewProof = &ReviewProof{
			Key: f.text("key"), Mostro: f.text("mostro"), Week: f.text("week"), Sig: f.text("sig"), From: f.int("from"),
		}
	case payloadCashuLockProof, payloadCashuSignatures:
		p.Other = key
	default:
		d.fail("unknown payload %q", key)
	}
	return p
}

// smallOrder never returns nil; what is wrong stands in d.err.
func (d *decoder) smallOrder(v value) *SmallOrder {
	f := d.object(v, "id", "kind", "status", "amount", "fiat_code", "min_amount", "max_amount", "fiat_amount",
		"payment_method", "premium", "buyer_trade_pubkey", "seller_trade_pubkey", "buyer_invoice", "created_at", "expires_at")
	o := &SmallOrder{
		ID:                f.optID("id"),
		Kind:              OrderKind(f.optText("kind")),
		Status:            Status(f.optText("status")),
		Amount:            f.int("amount"),
		FiatCode:          f.text("fiat_code"),
		MinAmount:         f.optInt("min_amount"),
		MaxAmount:         f.optInt("max_amount"),
		FiatAmount:        f.int("fiat_amount"),
		PaymentMethod:     f.text("payment_method"),
		Premium:           f.int("premium"),
		BuyerTradePubkey:  f.optText("buyer_trade_pubkey"),
		SellerTradePubkey: f.optText("seller_trade_pubkey"),
		BuyerInvoice:      f.optText("buyer_invoice"),
		CreatedAt:         f.optInt("created_at"),
		ExpiresAt:         f.optInt("expires_at"),
	}
	if o.Kind != "" && !o.Kind.Known() {
		d.fail("unknown order kind %q", o.Kind)
	}
	if o.Status != "" && !o.Status.Known() {
		d.fail("unknown order status %q", o.Status)
	}
	return o
}

func (d *decoder) paymentRequest(v value) *PaymentRequest {
	items := d.array(v)
	if len(items) != 2 && len(items) != 3 {
		d.fail("a payment_request has 3 elements, not %d", len(items))
		return nil
	}
	p := &PaymentRequest{Invoice: d.text(items[1])}
	if items[0].form != null {
		p.Order = d.smallOrder(items[0])
	}
	if len(items) == 3 {
		p.Amount = d.optInt(items[2])
	}
	return p
}

func (d *decoder) userInfo(v value) *UserInfo {
	if v.form == null {
		return nil
	}
	f := d.object(v, "rating", "reviews", "operating_days")
	return &UserInfo{Rating: f.float("rating"), Reviews: f.int("reviews"), OperatingDays: f.int("operating_days")}
}

func (d *decoder) dispute(v value) *DisputeRef {
	if v.form == text {
		return &DisputeRef{ID: d.id(v)}
	}
	items := d.array(v)
	if len(items) != 2 {
		d.fail("a dispute has 2 elements, not %d", len(items))
		return nil
	}
	if items[0].form != text {
		d.fail("a dispute names its id")
	}
	r := &DisputeRef{ID: d.id(items[0])}
	if items[1].form != null {
		r.Info = d.disputeInfo(items[1])
	}
	return r
}

func (d *decoder) disputeInfo(v value) *SolverDisputeInfo {
	f := d.object(v, "id", "kind", "status", "hash", "preimage", "order_previous_status", "initiator_pubkey",
		"buyer_pubkey", "seller_pubkey", "initiator_full_privacy", "counterpart_full_privacy", "initiator_info",
		"counterpart_info", "premium", "payment_method", "amount", "fiat_amount", "fee", "routing_fee",
		"buyer_invoice", "invoice_held_at", "taken_at", "created_at")
	return &SolverDisputeInfo{
		ID:                     d.id(f.member("id")),
		Kind:                   OrderKind(f.text("kind")),
		Status:                 Status(f.text("status")),
		Hash:                   f.optText("hash"),
		OrderPreviousStatus:    Status(f.text("order_previous_status")),
		InitiatorPubkey:        f.text("initiator_pubkey"),
		BuyerPubkey:            f.optText("buyer_pubkey"),
		SellerPubkey:           f.optText("seller_pubkey"),
		InitiatorFullPrivacy:   f.bool("initiator_full_privacy"),
		CounterpartFullPrivacy: f.bool("counterpart_full_privacy"),
		InitiatorInfo:          d.userInfo(f.member("initiator_info")),
		CounterpartInfo:        d.userInfo(f.member("counterpart_info")),
		Premium:                f.int("premium"),
		PaymentMethod:          f.text("payment_method"),
		Amount:                 f.int("amount"),
		FiatAmount:             f.int("fiat_amount"),
		Fee:                    f.int("fee"),
		RoutingFee:             f.int("routing_fee"),
		BuyerInvoice:           f.optText("buyer_invoice"),
		InvoiceHeldAt:          f.int("invoice_held_at"),
		TakenAt:                f.int("taken_at"),
		CreatedAt:              f.int("created_at"),
	}
}

func (d *decoder) nextTrade(v value) *NextTrade {
	items := d.array(v)
	if len(items) != 2 {
		d.fail("a next_trade has 2 elements, not %d", len(items))
		return nil
	}
	pubkey, err := ParsePubkey(d.text(items[0]))
	if err != nil {
		d.fail("next_trade: %v", err)
	}
	return &NextTrade{Pubkey: pubkey, Index: d.within(items[1], 0, maxIndex)}
}

func (d *decoder) restoreData(v value) *RestoreData {
	f := d.object(v, "orders", "disputes")
	r := &RestoreData{}
	for _, item := range d.array(f.member("orders")) {
		o := d.object(item, "order_id", "trade_index", "status")
		r.Orders = append(r.Orders, RestoredOrder{
			OrderID: d.id(o.member("order_id")), TradeIndex: o.int("trade_index"), Status: Status(o.text("status")),
		})
	}
	for _, item := range d.array(f.member("disputes")) {
		o := d.object(item, "dispute_id", "order_id", "trade_index", "status", "initiator", "solver_pubkey")
		r.Disputes = append(r.Disputes, RestoredDispute{
			DisputeID: d.id(o.member("dispute_id")), OrderID: d.id(o.member("order_id")),
			TradeIndex: o.int("trade_index"), Status: o.text("status"),
			Initiator: o.optText("initiator"), SolverPubkey: o.optText("solver_pubkey"),
		})
	}
	return r
}

// miscased tells whether name is a known name written in another case. Some JSON readers
// take it for the known one, others ignore it; a signed message must not depend on that.
func miscased(name string, known []string) bool {
	for _, k := range known {
		if name != k && strings.EqualFold(name, k) {
			return true
		}
	}
	return false
}
