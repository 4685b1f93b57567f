package mostro

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Encode returns the canonical JSON of the message: compact, keys in the order of the
// existing daemon's types, an absent value as null except where that daemon omits it, no
// escapes beyond those that JSON demands. A message without a known wrapper or action, or
// with a payload that does not hold exactly one thing, is an error.
func (m Message) Encode() ([]byte, error) {
	if !m.Wrapper.Known() {
		return nil, fmt.Errorf("encode message: unknown wrapper %q", m.Wrapper)
	}
	if !m.Action.Known() {
		return nil, fmt.Errorf("encode message: unknown action %q", m.Action)
	}
	e := encoder{buf: make([]byte, 0, 512)}
	e.open('{')
	e.key(string(m.Wrapper))
	e.open('{')
	e.key("version").int(int64(m.Version))
	e.key("request_id")
	if m.RequestID == nil {
		e.null()
	} else {
		e.raw(strconv.FormatUint(*m.RequestID, 10))
	}
	e.key("trade_index").optInt(m.TradeIndex)
	e.omitText("id", m.ID)
	e.key("action").text(string(m.Action))
	e.key("payload")
	if m.Payload == nil {
		e.null()
	} else {
		e.payload(m.Payload)
	}
	e.close('}')
	e.close('}')
	if e.err != nil {
		return nil, fmt.Errorf("encode message %s: %w", m.Action, e.err)
	}
	return e.buf, nil
}

func (e *encoder) payload(p *Payload) {
	keys := p.keys()
	if len(keys) != 1 {
		e.fail(fmt.Errorf("payload holds %d things %q instead of one", len(keys), keys))
		return
	}
	e.open('{')
	e.key(keys[0])
	switch keys[0] {
	case payloadOrder:
		e.smallOrder(p.Order)
	case payloadPaymentRequest:
		e.open('[')
		e.smallOrder(p.PaymentRequest.Order)
		e.text(p.PaymentRequest.Invoice)
		e.optInt(p.PaymentRequest.Amount)
		e.close(']')
	case payloadTextMessage:
		e.text(*p.TextMessage)
	case payloadPeer:
		e.open('{')
		e.key("pubkey").text(p.Peer.Pubkey)
		e.key("reputation").userInfo(p.Peer.Reputation)
		e.close('}')
	case payloadRatingUser:
		e.int(int64(*p.RatingUser))
	case payloadAmount:
		e.int(*p.Amount)
	case payloadDispute:
		e.open('[')
		e.text(p.Dispute.ID)
		e.disputeInfo(p.Dispute.Info)
		e.close(']')
	case payloadCantDo:
		e.nullText(string(*p.CantDo))
	case payloadNextTrade:
		e.open('[')
		e.text(p.NextTrade.Pubkey)
		e.int(p.NextTrade.Index)
		e.close(']')
	case payloadPaymentFailed:
		e.open('{')
		e.key("payment_attempts").int(p.PaymentFailed.Attempts)
		e.key("payment_retries_interval").int(p.PaymentFailed.RetriesInterval)
		e.close('}')
	case payloadRestoreData:
		e.restoreData(p.RestoreData)
	case payloadIDs:
		e.open('[')
		for _, id := range p.IDs {
			e.text(id)
		}
		e.close(']')
	case payloadOrders:
		e.open('[')
		for i := range p.Orders {
			e.smallOrder(&p.Orders[i])
		}
		e.close(']')
	case payloadBondResolution:
		e.open('{')
		e.key("slash_seller").bool(p.BondResolution.SlashSeller)
		e.key("slash_buyer").bool(p.BondResolution.SlashBuyer)
		e.close('}')
	case payloadBondPayoutRequest:
		e.open('{')
		e.key("order").smallOrder(&p.BondPayoutRequest.Order)
		e.key("slashed_at").int(p.BondPayoutRequest.SlashedAt)
		e.close('}')
	case payloadReviewKey:
		e.text(*p.ReviewKey)
	case payloadReviewProof:
		e.open('{')
		e.key("key").text(p.ReviewProof.Key)
		e.key("mostro").text(p.ReviewProof.Mostro)
		e.key("week").text(p.ReviewProof.Week)
		e.key("sig").text(p.ReviewProof.Sig)
		e.key("from").int(p.ReviewProof.From)
		e.close('}')
	default:
		e.fail(fmt.Errorf("payload %q is not supported", keys[0]))
	}
	e.close('}')
}

func (e *encoder) smallOrder(o *SmallOrder) {
	if o == nil {
		e.null()
		return
	}
	e.open('{')
	e.omitText("id", o.ID)
	e.key("kind").nullText(string(o.Kind))
	e.key("status").nullText(string(o.Status))
	e.key("amount").int(o.Amount)
	e.key("fiat_code").text(o.FiatCode)
	e.key("min_amount").optInt(o.MinAmount)
	e.key("max_amount").optInt(o.MaxAmount)
	e.key("fiat_amount").int(o.FiatAmount)
	e.key("payment_method").text(o.PaymentMethod)
	e.key("premium").int(o.Premium)
	e.omitText("buyer_trade_pubkey", o.BuyerTradePubkey)
	e.omitText("seller_trade_pubkey", o.SellerTradePubkey)
	e.omitText("buyer_invoice", o.BuyerInvoice)
	e.key("created_at").optInt(o.CreatedAt)
	e.key("expires_at").optInt(o.ExpiresAt)
	e.close('}')
}

func (e *encoder) userInfo(u *UserInfo) {
	if u == nil {
		e.null()
		return
	}
	e.open('{')
	e.key("rating").float(u.Rating)
	e.key("reviews").int(u.Reviews)
	e.key("operating_days").int(u.OperatingDays)
	e.close('}')
}

func (e *encoder) disputeInfo(d *SolverDisputeInfo) {
	if d == nil {
		e.null()
		return
	}
	e.open('{')
	e.key("id").text(d.ID)
	e.key("kind").text(string(d.Kind))
	e.key("status").text(string(d.Status))
	e.key("hash").nullText(d.Hash)
	e.key("preimage").null()
	e.key("order_previous_status").text(string(d.OrderPreviousStatus))
	e.key("initiator_pubkey").text(d.InitiatorPubkey)
	e.key("buyer_pubkey").nullText(d.BuyerPubkey)
	e.key("seller_pubkey").nullText(d.SellerPubkey)
	e.key("initiator_full_privacy").bool(d.InitiatorFullPrivacy)
	e.key("counterpart_full_privacy").bool(d.CounterpartFullPrivacy)
	e.key("initiator_info").userInfo(d.InitiatorInfo)
	e.key("counterpart_info").userInfo(d.CounterpartInfo)
	e.key("premium").int(d.Premium)
	e.key("payment_method").text(d.PaymentMethod)
	e.key("amount").int(d.Amount)
	e.key("fiat_amount").int(d.FiatAmount)
	e.key("fee").int(d.Fee)
	e.key("routing_fee").int(d.RoutingFee)
	e.key("buyer_invoice").nullText(d.BuyerInvoice)
	e.key("invoice_held_at").int(d.InvoiceHeldAt)
	e.key("taken_at").int(d.TakenAt)
	e.key("created_at").int(d.CreatedAt)
	e.close('}')
}

func (e *encoder) restoreData(r *RestoreData) {
	e.open('{')
	e.key("orders").open('[')
	for _, o := range r.Orders {
		e.open('{')
		e.key("order_id").text(o.OrderID)
		e.key("trade_index").int(o.TradeIndex)
		e.key("status").text(string(o.Status))
		e.close('}')
	}
	e.close(']')
	e.key("disputes").open('[')
	for _, d := range r.Disputes {
		e.open('{')
		e.key("dispute_id").text(d.DisputeID)
		e.key("order_id").text(d.OrderID)
		e.key("trade_index").int(d.TradeIndex)
		e.key("status").text(d.Status)
		e.key("initiator").nullText(d.Initiator)
		e.key("solver_pubkey").nullText(d.SolverPubkey)
		e.close('}')
	}
	e.close(']')
	e.close('}')
}

// encoder writes compact JSON. encoding/json cannot give the canonical form: it escapes
// U+2028 and U+2029 always, which the signing clients do not.
type encoder struct {
	buf []byte
	err error // the first one
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// next separates what comes from what stands: nothing that needs a comma after it ends in
// one of these three.
func (e *encoder) next() {
	if n := len(e.buf); n > 0 && !strings.ContainsRune("{[:", rune(e.buf[n-1])) {
		e.buf = append(e.buf, ',')
	}
}

func (e *encoder) open(bracket byte)  { e.next(); e.buf = append(e.buf, bracket) }
func (e *encoder) close(bracket byte) { e.buf = append(e.buf, bracket) }
func (e *encoder) raw(s string)       { e.next(); e.buf = append(e.buf, s...) }
func (e *encoder) null()              { e.raw("null") }
func (e *encoder) int(i int64)        { e.raw(strconv.FormatInt(i, 10)) }
func (e *encoder) bool(b bool)        { e.raw(strconv.FormatBool(b)) }
func (e *encoder) text(s string)      { e.next(); e.buf = appendText(e.buf, s) }

func (e *encoder) key(name string) *encoder {
	e.text(name)
	e.buf = append(e.buf, ':')
	return e
}

func (e *encoder) optInt(i *int64) {
	if i == nil {
		e.null()
		return
	}
	e.int(*i)
}

func (e *encoder) nullText(s string) {
	if s == "" {
		e.null()
		return
	}
	e.text(s)
}

func (e *encoder) omitText(name, s string) {
	if s != "" {
		e.key(name).text(s)
	}
}

// float writes whole numbers with ".0", as serde does.
func (e *encoder) float(f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		e.fail(errors.New("a number is not finite"))
		return
	}
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	e.raw(s)
}

// appendText appends a JSON string with the escapes of serde and of JSON.stringify.
func appendText(buf []byte, s string) []byte {
	const hex = "0123456789abcdef"
	buf = append(buf, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			buf = append(buf, '\\', byte(r))
		case r == '\b':
			buf = append(buf, '\\', 'b')
		case r == '\t':
			buf = append(buf, '\\', 't')
		case r == '\n':
			buf = append(buf, '\\', 'n')
		case r == '\f':
			buf = append(buf, '\\', 'f')
		case r == '\r':
			buf = append(buf, '\\', 'r')
		case r < 0x20:
			buf = append(buf, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			buf = utf8.AppendRune(buf, r)
		}
	}
	return append(buf, '"')
}
