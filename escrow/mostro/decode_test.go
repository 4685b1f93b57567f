package mostro

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const testID = "308e1272-d5f4-47e6-bd97-3504baea9c23"

func TestDecodeVectors(t *testing.T) {
	for _, v := range loadVectors(t).Messages {
		m, err := DecodeMessage([]byte(v.Message))
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if got, err := m.Encode(); err != nil || string(got) != v.Message {
			t.Errorf("%s: encodes as\n%s %v, want\n%s", v.Name, got, err, v.Message)
		}
	}
}

// withPayload is a message with this payload, and the fields before it as skill writes them.
func withPayload(action, payload string) string {
	return `{"order":{"version":1,"action":"` + action + `","id":"` + testID + `","payload":` + payload + `}}`
}

// TestDecodeForms has what clients send that is not the canonical form.
func TestDecodeForms(t *testing.T) {
	base := Message{Wrapper: WrapOrder, Version: 1, ID: testID}
	with := func(a Action, p *Payload) Message { m := base; m.Action, m.Payload = a, p; return m }
	tests := []struct {
		name, raw string
		want      Message
	}{
		{
			"skill: own key order, absent fields, fiat_amount before the range",
			`{"order":{"version":1,"action":"new-order","request_id":281474976710655,"trade_index":1,"payload":{"order":` +
				`{"kind":"sell","status":"pending","amount":0,"fiat_code":"EUR","fiat_amount":0,"min_amount":10,"max_amount":20,"payment_method":"cash","premium":-1}}}}`,
			Message{Wrapper: WrapOrder, Version: 1, RequestID: ptr(uint64(281474976710655)), TradeIndex: ptr(int64(1)), Action: NewOrder,
				Payload: &Payload{Order: &SmallOrder{Kind: Sell, Status: StatusPending, FiatCode: "EUR", MinAmount: ptr(int64(10)),
					MaxAmount: ptr(int64(20)), PaymentMethod: "cash", Premium: -1}}},
		},
		{
			"payment_request of two", withPayload("add-invoice", `{"payment_request":[null,"lnbc1"]}`),
			with(AddInvoice, &Payload{PaymentRequest: &PaymentRequest{Invoice: "lnbc1"}}),
		},
		{
			"payment_request of three", withPayload("take-sell", `{"payment_request":[null,"a@b.c",25]}`),
			with(TakeSell, &Payload{PaymentRequest: &PaymentRequest{Invoice: "a@b.c", Amount: ptr(int64(25))}}),
		},
		{
			"dispute as a bare id", withPayload("dispute-initiated-by-you", `{"dispute":"`+testID+`"}`),
			with(DisputeInitiatedByYou, &Payload{Dispute: &DisputeRef{ID: testID}}),
		},
		{
			"ts-client: reputation omitted", withPayload("fiat-sent-ok", `{"peer":{"pubkey":""}}`),
			with(FiatSentOk, &Payload{Peer: &Peer{}}),
		},
		{
			"rating as an integer", withPayload("pay-invoice", `{"peer":{"pubkey":"","reputation":{"rating":5,"reviews":1,"operating_days":2}}}`),
			with(PayInvoice, &Payload{Peer: &Peer{Reputation: &UserInfo{Rating: 5, Reviews: 1, OperatingDays: 2}}}),
		},
		{
			"unknown fields at every level",
			`{"order":{"version":1,"new":{"a":[1,{"b":null}]},"action":"take-buy","id":"` + testID + `","payload":{"order":{"more":1.5e3,` +
				`"kind":null,"status":null,"amount":1,"fiat_code":"X","fiat_amount":2,"payment_method":"","premium":0}}}}`,
			with(TakeBuy, &Payload{Order: &SmallOrder{Amount: 1, FiatCode: "X", FiatAmount: 2}}),
		},
		{
			"white space", " \n{ \"order\" : {\"version\":1 ,\"id\":\"" + testID + "\",\t\"action\":\"cancel\"} }\n",
			with(Cancel, nil),
		},
		{
			"a next trade key in capitals", withPayload("release", `{"next_trade":["5011D0E7A57AE27627AB76962537072C6809EF3B9E24C2E3DB4E672C61624EEF",2]}`),
			with(Release, &Payload{NextTrade: &NextTrade{Pubkey: "5011d0e7a57ae27627ab76962537072c6809ef3b9e24c2e3db4e672c61624eef", Index: 2}}),
		},
		{"cant_do null", withPayload("cant-do", `{"cant_do":null}`), with(CantDo, &Payload{CantDo: ptr(Reason(""))})},
		{"cashu", withPayload("add-invoice", `{"cashu_lock_proof":{"token":"t"}}`), with(AddInvoice, &Payload{Other: "cashu_lock_proof"})},
		{"no ids", withPayload("orders", `{"ids":[]}`), with(Orders, &Payload{IDs: []string{}})},
		{
			"a surrogate pair", withPayload("send-dm", `{"text_message":"\ud83d\ude00 \\ud83d"}`),
			with(SendDM, &Payload{TextMessage: ptr(`😀 \ud83d`)}),
		},
	}
	for _, test := range tests {
		got, err := DecodeMessage([]byte(test.raw))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
	}
	for _, id := range []string{
		testID, strings.ToUpper(testID), strings.ReplaceAll(testID, "-", ""), "{" + testID + "}", "urn:uuid:" + testID,
	} {
		m, err := DecodeMessage([]byte(`{"order":{"version":1,"id":"` + id + `","action":"orders","payload":{"ids":["` + id + `"]}}}`))
		if err != nil || m.ID != testID || m.Payload.IDs[0] != testID {
			t.Errorf("id %s: %+v, %v", id, m, err)
		}
	}
}

// TestDecodeRefuses has one case for each thing that is refused, and what can be answered.
func TestDecodeRefuses(t *testing.T) {
	ok := `{"order":{"version":1,"request_id":7,"id":"` + testID + `","action":"cancel","payload":null}}`
	if _, err := DecodeMessage([]byte(ok)); err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) string {
		if !strings.Contains(ok, old) {
			t.Fatalf("%q is not in the message", old)
		}
		return strings.Replace(ok, old, new, 1)
	}
	payload := func(p string) string { return edit(`null`, p) }
	small := `{"kind":"buy","status":null,"amount":1,"fiat_code":"X","fiat_amount":2,"payment_method":"","premium":0}`
	all := Message{RequestID: ptr(uint64(7)), ID: testID, Action: Cancel}
	act := func(a Action) Message { m := all; m.Action = a; return m }
	tests := []struct {
		name, raw string
		partial   Message
		reason    Reason
	}{
		{"nothing", "", Message{}, InvalidParameters},
		{"trailing data", ok + "x", Message{}, InvalidParameters},
		{"two values", ok + ok, Message{}, InvalidParameters},
		{"trailing comma", edit(`null}`, `null,}`), Message{}, InvalidParameters},
		{"not UTF-8", edit("cancel", "canc\xffel"), Message{}, InvalidParameters},
		{"half a surrogate", edit("cancel", `\ud83d`), Message{}, InvalidParameters},
		{"low surrogate first", edit("cancel", `\ude00\ud83d`), Message{}, InvalidParameters},
		{"duplicate key", edit(`"action"`, `"action":"release","action"`), Message{}, InvalidParameters},
		{"duplicate key, escaped", edit(`"action"`, `"\u0061ction":"release","action"`), Message{}, InvalidParameters},
		{"duplicate key in what is ignored", edit(`"action"`, `"x":[{"a":1,"a":1}],"action"`), Message{}, InvalidParameters},
		{"too deep", edit(`"action"`, `"x":`+strings.Repeat("[", 15)+strings.Repeat("]", 15)+`,"action"`), Message{}, InvalidParameters},
		{"depth bomb", strings.Repeat("[", 60000), Message{}, InvalidParameters},
		{"too many members", edit(`"action"`, `"x":{`+manyMembers(65)+`},"action"`), Message{}, InvalidParameters},
		{"too long", edit("cancel", strings.Repeat("a", maxText)), Message{}, InvalidParameters},
		{"an array", "[" + ok + "]", Message{}, InvalidParameters},
		{"no wrapper", "{}", Message{}, InvalidParameters},
		{"two wrappers", ok[:len(ok)-1] + `,"dispute":null}`, Message{}, InvalidParameters},
		{"not an object inside", `{"order":[]}`, Message{}, InvalidParameters},
		{"unknown wrapper", edit("order", "cashu"), all, InvalidParameters},
		{"miscased wrapper", edit("order", "Order"), all, InvalidParameters},
		{"unknown action", edit("cancel", "add-cashu-escrow"), act("add-cashu-escrow"), InvalidAction},
		{"unknown action and payload", strings.Replace(payload(`{"x":1}`), "cancel", "x", 1), act("x"), InvalidAction},
		{"empty action", edit("cancel", ""), act(""), InvalidAction},
		{"miscased action", edit("cancel", "Cancel"), act("Cancel"), InvalidAction},
		{"no action", edit(`"action":"cancel",`, ""), act(""), InvalidParameters},
		{"action null", edit(`"cancel"`, "null"), act(""), InvalidParameters},
		{"action a number", edit(`"cancel"`, "1"), act(""), InvalidParameters},
		{"miscased key", edit(`"action"`, `"Action":"release","action"`), all, InvalidParameters},
		{"miscased key by Unicode folding", edit(`"action"`, `"ver`+"\u017f"+`ion":2,"action"`), all, InvalidParameters},
		{"miscased payload", edit(`"payload"`, `"PAYLOAD":{"amount":1},"payload"`), all, InvalidParameters},
		{"request_id of 2^64", edit("7", "18446744073709551616"), Message{ID: testID, Action: Cancel}, InvalidParameters},
		{"request_id negative", edit("7", "-1"), Message{ID: testID, Action: Cancel}, InvalidParameters},
		{"request_id a float", edit("7", "7.0"), Message{ID: testID, Action: Cancel}, InvalidParameters},
		{"request_id a string", edit("7", `"7"`), Message{ID: testID, Action: Cancel}, InvalidParameters},
		{"version a string", edit(`n":1`, `n":"1"`), all, InvalidParameters},
		{"version 256", edit(`n":1`, `n":256`), all, InvalidParameters},
		{"no version", edit(`"version":1,`, ``), all, InvalidParameters},
		{"trade_index with exponent", edit(`"id"`, `"trade_index":1e1,"id"`), all, InvalidParameters},
		{"id no UUID", edit(testID, "x"), Message{RequestID: ptr(uint64(7)), Action: Cancel}, InvalidParameters},
		{"id half in braces", edit(testID, "{"+testID+"x"), Message{RequestID: ptr(uint64(7)), Action: Cancel}, InvalidParameters},
		{"payload a string", payload(`"x"`), all, InvalidParameters},
		{"payload empty", payload(`{}`), all, InvalidParameters},
		{"two payloads", payload(`{"amount":1,"rating_user":1}`), all, InvalidParameters},
		{"unknown payload", payload(`{"amounts":1}`), all, InvalidParameters},
		{"miscased payload key", payload(`{"Amount":1}`), all, InvalidParameters},
		{"amount null", payload(`{"amount":null}`), all, InvalidParameters},
		{"amount a float", payload(`{"amount":1.0}`), all, InvalidParameters},
		{"amount beyond 63 bits", payload(`{"amount":9223372036854775808}`), all, InvalidParameters},
		{"rating beyond a byte", payload(`{"rating_user":256}`), all, InvalidParameters},
		{"order null", payload(`{"order":null}`), all, InvalidParameters},
		{"order without amount", payload(`{"order":` + strings.Replace(small, `"amount":1,`, "", 1) + `}`), all, InvalidParameters},
		{"order with amount null", payload(`{"order":` + strings.Replace(small, `"amount":1`, `"amount":null`, 1) + `}`), all, InvalidParameters},
		{"order of an unknown kind", payload(`{"order":` + strings.Replace(small, `buy`, `swap`, 1) + `}`), all, InvalidParameters},
		{"order in our own status", payload(`{"order":` + strings.Replace(small, `"status":null`, `"status":"settling"`, 1) + `}`), all, InvalidParameters},
		{"order with a miscased key", payload(`{"order":` + strings.Replace(small, `"amount"`, `"Amount":5,"amount"`, 1) + `}`), all, InvalidParameters},
		{"payment_request of one", payload(`{"payment_request":["x"]}`), all, InvalidParameters},
		{"payment_request of four", payload(`{"payment_request":[null,"x",null,null]}`), all, InvalidParameters},
		{"payment_request without invoice", payload(`{"payment_request":[null,null,null]}`), all, InvalidParameters},
		{"dispute of one", payload(`{"dispute":["` + testID + `"]}`), all, InvalidParameters},
		{"dispute without id", payload(`{"dispute":[null,null]}`), all, InvalidParameters},
		{"next_trade of one", payload(`{"next_trade":["` + strings.Repeat("0", 63) + `1"]}`), all, InvalidParameters},
		{"next_trade off the curve", payload(`{"next_trade":["` + strings.Repeat("f", 64) + `",1]}`), all, InvalidParameters},
		{"next_trade with a negative index", payload(`{"next_trade":["` + "5011d0e7a57ae27627ab76962537072c6809ef3b9e24c2e3db4e672c61624eef" + `",-1]}`), all, InvalidParameters},
		{"ids with a null in it", payload(`{"ids":["x"]}`), all, InvalidParameters},
		{"ids no array", payload(`{"ids":{}}`), all, InvalidParameters},
		{"orders with a null in it", payload(`{"orders":[null]}`), all, InvalidParameters},
		{"bond_resolution of one", payload(`{"bond_resolution":{"slash_seller":true}}`), all, InvalidParameters},
		{"bond_payout_request without order", payload(`{"bond_payout_request":{"slashed_at":1}}`), all, InvalidParameters},
		{"rating not finite", payload(`{"peer":{"pubkey":"","reputation":{"rating":1e999,"reviews":1,"operating_days":2}}}`), all, InvalidParameters},
	}
	for _, test := range tests {
		m, err := DecodeMessage([]byte(test.raw))
		var refused *DecodeError
		if !errors.As(err, &refused) {
			t.Errorf("%s: decoded as %+v, error %v", test.name, m, err)
			continue
		}
		if diff := cmp.Diff(test.partial, refused.Partial); diff != "" || refused.Reason != test.reason {
			t.Errorf("%s: %s, reason %s (-want +got)\n%s", test.name, err, refused.Reason, diff)
		}
		if want := !cmp.Equal(test.partial, Message{}); refused.Answerable() != want {
			t.Errorf("%s: answerable %t", test.name, !want)
		}
		if !cmp.Equal(m, Message{}) {
			t.Errorf("%s: a message came with the error", test.name)
		}
	}
}

func manyMembers(n int) string {
	var members []string
	for i := range n {
		members = append(members, fmt.Sprintf(`"m%d":0`, i))
	}
	return strings.Join(members, ",")
}

// TestEncode pins the canonical form of what the node sends.
func TestEncode(t *testing.T) {
	small := SmallOrder{
		ID: testID, Kind: Sell, Status: StatusActive, Amount: 1006, FiatCode: "USD", FiatAmount: 5, PaymentMethod: "a/b <&>",
		BuyerTradePubkey: "b", SellerTradePubkey: "s", CreatedAt: ptr(int64(3)), ExpiresAt: ptr(int64(4)),
	}
	const smallJSON = `{"id":"` + testID + `","kind":"sell","status":"active","amount":1006,"fiat_code":"USD","min_amount":null,` +
		`"max_amount":null,"fiat_amount":5,"payment_method":"a/b <&>","premium":0,"buyer_trade_pubkey":"b","seller_trade_pubkey":"s",` +
		`"created_at":3,"expires_at":4}`
	info := SolverDisputeInfo{
		ID: testID, Kind: Buy, Status: StatusDispute, OrderPreviousStatus: StatusActive, InitiatorPubkey: "i", BuyerPubkey: "b",
		InitiatorFullPrivacy: true, CounterpartInfo: &UserInfo{Rating: 4.25, Reviews: 2, OperatingDays: 9}, Premium: 1,
		PaymentMethod: "m", Amount: 2, FiatAmount: 3, Fee: 4, RoutingFee: 5, InvoiceHeldAt: 6, TakenAt: 7, CreatedAt: 8,
	}
	const infoJSON = `{"id":"` + testID + `","kind":"buy","status":"dispute","hash":null,"preimage":null,"order_previous_status":"active",` +
		`"initiator_pubkey":"i","buyer_pubkey":"b","seller_pubkey":null,"initiator_full_privacy":true,"counterpart_full_privacy":false,` +
		`"initiator_info":null,"counterpart_info":{"rating":4.25,"reviews":2,"operating_days":9},"premium":1,"payment_method":"m",` +
		`"amount":2,"fiat_amount":3,"fee":4,"routing_fee":5,"buyer_invoice":null,"invoice_held_at":6,"taken_at":7,"created_at":8}`
	tests := []struct {
		payload Payload
		want    string
	}{
		{Payload{Order: &small}, `{"order":` + smallJSON + `}`},
		{Payload{ReviewKey: ptr("k")}, `{"review_key":"k"}`},
		{Payload{ReviewProof: &ReviewProof{Key: "k", Mostro: "m", Week: "2026-W48", Sig: "s", From: 5}},
			`{"review_proof":{"key":"k","mostro":"m","week":"2026-W48","sig":"s","from":5}}`},
		{Payload{Order: &SmallOrder{}}, `{"order":{"kind":null,"status":null,"amount":0,"fiat_code":"","min_amount":null,"max_amount":null,` +
			`"fiat_amount":0,"payment_method":"","premium":0,"created_at":null,"expires_at":null}}`},
		{Payload{PaymentRequest: &PaymentRequest{Order: &small, Invoice: "ln"}}, `{"payment_request":[` + smallJSON + `,"ln",null]}`},
		{Payload{PaymentRequest: &PaymentRequest{Invoice: "ln", Amount: ptr(int64(1))}}, `{"payment_request":[null,"ln",1]}`},
		{Payload{TextMessage: ptr("\"\\/\b\t\n\f\r\x00\x1f\x7f\u2028\u2029é<&>:[{")}, `{"text_message":"\"\\/\b\t\n\f\r\u0000\u001f` + "\x7f\u2028\u2029é<&>:[{" + `"}`},
		{Payload{Peer: &Peer{Pubkey: "p"}}, `{"peer":{"pubkey":"p","reputation":null}}`},
		{Payload{Peer: &Peer{Reputation: &UserInfo{Rating: 5}}}, `{"peer":{"pubkey":"","reputation":{"rating":5.0,"reviews":0,"operating_days":0}}}`},
		{Payload{RatingUser: ptr(5)}, `{"rating_user":5}`},
		{Payload{Amount: ptr(int64(-1))}, `{"amount":-1}`},
		{Payload{Dispute: &DisputeRef{ID: testID}}, `{"dispute":["` + testID + `",null]}`},
		{Payload{Dispute: &DisputeRef{ID: testID, Info: &info}}, `{"dispute":["` + testID + `",` + infoJSON + `]}`},
		{Payload{CantDo: ptr(NotFound)}, `{"cant_do":"not_found"}`},
		{Payload{CantDo: ptr(Reason(""))}, `{"cant_do":null}`},
		{Payload{NextTrade: &NextTrade{Pubkey: "5011d0e7a57ae27627ab76962537072c6809ef3b9e24c2e3db4e672c61624eef", Index: 4294967295}},
			`{"next_trade":["5011d0e7a57ae27627ab76962537072c6809ef3b9e24c2e3db4e672c61624eef",4294967295]}`},
		{Payload{PaymentFailed: &PaymentFailedInfo{Attempts: 2, RetriesInterval: 60}}, `{"payment_failed":{"payment_attempts":2,"payment_retries_interval":60}}`},
		{Payload{RestoreData: &RestoreData{
			Orders:   []RestoredOrder{{OrderID: testID, TradeIndex: 1, Status: StatusActive}},
			Disputes: []RestoredDispute{{DisputeID: testID, OrderID: testID, TradeIndex: 2, Status: "initiated", Initiator: "buyer"}},
		}}, `{"restore_data":{"orders":[{"order_id":"` + testID + `","trade_index":1,"status":"active"}],"disputes":[{"dispute_id":"` + testID +
			`","order_id":"` + testID + `","trade_index":2,"status":"initiated","initiator":"buyer","solver_pubkey":null}]}}`},
		{Payload{RestoreData: &RestoreData{}}, `{"restore_data":{"orders":[],"disputes":[]}}`},
		{Payload{IDs: []string{testID, testID}}, `{"ids":["` + testID + `","` + testID + `"]}`},
		{Payload{Orders: []SmallOrder{small, small}}, `{"orders":[` + smallJSON + `,` + smallJSON + `]}`},
		{Payload{BondResolution: &BondResolution{SlashBuyer: true}}, `{"bond_resolution":{"slash_seller":false,"slash_buyer":true}}`},
		{Payload{BondPayoutRequest: &BondPayoutRequest{Order: small, SlashedAt: 9}}, `{"bond_payout_request":{"order":` + smallJSON + `,"slashed_at":9}}`},
	}
	for _, test := range tests {
		m := Message{Wrapper: WrapOrder, Version: 2, RequestID: ptr(uint64(math.MaxUint64)), ID: testID, Action: AddInvoice, Payload: &test.payload}
		want := `{"order":{"version":2,"request_id":18446744073709551615,"trade_index":null,"id":"` + testID + `","action":"add-invoice","payload":` + test.want + `}}`
		got, err := m.Encode()
		if err != nil || string(got) != want {
			t.Errorf("got\n%s %v, want\n%s", got, err, want)
			continue
		}
		back, err := DecodeMessage(got)
		if err != nil {
			t.Errorf("%s: %v", got, err)
		} else if diff := cmp.Diff(m, back); diff != "" {
			t.Errorf("%s: (-sent +read)\n%s", got, diff)
		}
	}
	m := Message{Wrapper: WrapRestore, Version: 1, TradeIndex: ptr(int64(-3)), Action: LastTradeIndex}
	if got, err := m.Encode(); err != nil || string(got) != `{"restore":{"version":1,"request_id":null,"trade_index":-3,"action":"last-trade-index","payload":null}}` {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	good := Message{Wrapper: WrapOrder, Action: Cancel}
	if _, err := good.Encode(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Message){
		"no wrapper":     func(m *Message) { m.Wrapper = "" },
		"unknown action": func(m *Message) { m.Action = "x" },
		"empty payload":  func(m *Message) { m.Payload = &Payload{} },
		"two payloads":   func(m *Message) { m.Payload = &Payload{Amount: ptr(int64(1)), CantDo: ptr(NotFound)} },
		"cashu":          func(m *Message) { m.Payload = &Payload{Other: payloadCashuLockProof} },
		"NaN":            func(m *Message) { m.Payload = &Payload{Peer: &Peer{Reputation: &UserInfo{Rating: math.NaN()}}} },
	} {
		m := good
		spoil(&m)
		if got, err := m.Encode(); err == nil {
			t.Errorf("%s: encodes as %s", name, got)
		}
	}
}

// FuzzDecodeMessage: what decodes, encodes, decodes to the same message and has one
// canonical form; what does not, says so in a DecodeError.
func FuzzDecodeMessage(f *testing.F) {
	for _, v := range loadVectors(f).Messages {
		f.Add([]byte(v.Message))
	}
	for _, p := range []string{
		`null`, `{"payment_request":[null,"lnbc1"]}`, `{"dispute":"` + testID + `"}`, `{"cant_do":null}`, `{"ids":["` + testID + `"]}`,
		`{"peer":{"pubkey":"","reputation":{"rating":4.5,"reviews":1,"operating_days":2}}}`, `{"orders":[]}`,
		`{"bond_resolution":{"slash_seller":false,"slash_buyer":true}}`, `{"text_message":"\ud83d\ude00\u0000"}`,
		`{"restore_data":{"orders":[{"order_id":"` + testID + `","trade_index":1,"status":"active"}],"disputes":[]}}`,
		`{"next_trade":["5011d0e7a57ae27627ab76962537072c6809ef3b9e24c2e3db4e672c61624eef",2]}`,
		`{"review_key":"5011d0e7a57ae27627ab76962537072c6809ef3b9e24c2e3db4e672c61624eef"}`,
		`{"review_proof":{"key":"k","mostro":"m","week":"2026-W48","sig":"s","from":-1}}`,
	} {
		f.Add([]byte(withPayload("cancel", p)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := DecodeMessage(raw)
		if err != nil {
			var refused *DecodeError
			if !errors.As(err, &refused) || refused.Reason == "" || refused.Err == nil {
				t.Fatalf("error %#v", err)
			}
			return
		}
		m.CheckShape()
		canonical, err := m.Encode()
		if err != nil {
			if m.Payload != nil && m.Payload.Other != "" {
				return
			}
			t.Fatalf("decoded %+v, then: %v", m, err)
		}
		again, err := DecodeMessage(canonical)
		if err != nil {
			t.Fatalf("%s: %v", canonical, err)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Fatalf("(-first +second)\n%s", diff)
		}
		if fixed, err := again.Encode(); err != nil || string(fixed) != string(canonical) {
			t.Fatalf("%s then %s, %v", canonical, fixed, err)
		}
	})
}
