package escrow

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
	"github.com/nbd-wtf/go-nostr/nip44"

	"mostro/escrow/mostro"
)

// What real clients send, byte for byte where it matters, and what they need in the answer.
// One test for each line of the client reference; the forms of messages and signatures have
// theirs in package mostro.

// v2 seals a tuple of exactly these bytes as kind 14 by key, with more tags.
func (w *world) v2(key mostro.Secret, tuple string, tags ...nostr.Tag) *nostr.Event {
	_, secret, err := nip19.Decode(key.Nsec())
	w.check(err)
	conversation, err := nip44.GenerateConversationKey(w.cfg.Key.Public(), secret.(string))
	w.check(err)
	sealed, err := nip44.Encrypt(tuple, conversation)
	w.check(err)
	ev := &nostr.Event{Kind: mostro.KindMessage, CreatedAt: nostr.Timestamp(w.net.Now().Unix()),
		Tags: append(nostr.Tags{{"p", w.cfg.Key.Public()}}, tags...), Content: sealed}
	w.check(mostro.Sign(ev, key))
	return ev
}

const skillOrder = `{"order":{"version":1,"action":"new-order","request_id":281474976710655,"trade_index":1,"payload":{"order":{"kind":"sell","status":"pending","amount":1000,"fiat_code":"USD","fiat_amount":5,"min_amount":null,"max_amount":null,"payment_method":"cash","premium":0}}}}`

func TestQuirks(t *testing.T) {
	said := func(t *testing.T, w *world, want ...string) {
		t.Helper()
		for _, each := range want {
			if !strings.Contains(w.out.String(), each) {
				t.Errorf("%q is not said in\n%s", each, w.out.String())
			}
		}
		w.out.Reset()
	}
	// skill always uses trade key 1 and trade index 1, in full privacy, with its own key order
	// and absent fields; the count of trade indexes does not apply to it.
	t.Run("skill: trade index 1 again and again", func(t *testing.T) {
		w := newWorld(t)
		p := w.person("alice")
		p.nextKey()
		w.check(w.deliver(w.v2(p.trade, "["+skillOrder+",null,null]")))
		said(t, w, "alice <- new-order (to request 281474976710655) pending")
		w.check(w.deliver(w.v2(p.trade, "["+skillOrder+",null,null]")))
		said(t, w, "alice <- new-order (to request 281474976710655) pending")
	})
	// mostro-cli sends a full 64-bit request id, and 0 where it chooses no amount.
	t.Run("mostro-cli: take-sell with amount 0", func(t *testing.T) {
		w := newWorld(t)
		w.play(t, "alice new sell sats=100000")
		w.out.Reset()
		p := w.person("bob")
		p.nextKey()
		w.check(w.deliver(w.v2(p.trade, fmt.Sprintf(`[{"order":{"version":2,"request_id":18446744073709551615,"trade_index":1,"id":%q,"action":"take-sell","payload":{"amount":0}}},null,null]`, w.order(args{})))))
		said(t, w, "bob <- add-invoice (to request 18446744073709551615) waiting-buyer-invoice sell, 99700 sat")
	})
	// mostro-cli and mobile expect the order id in canceled, to find their session.
	t.Run("canceled carries the id", func(t *testing.T) {
		w := newWorld(t)
		w.play(t, "alice new sell sats=100000\n alice cancel")
		ev := w.events[len(w.events)-1]
		m, err := mostro.OpenReply(&ev, w.person("alice").trade, w.cfg.Key.Public())
		w.check(err)
		if m.Action != mostro.Canceled || m.ID != w.order(args{}) {
			t.Errorf("%s with id %q", m.Action, m.ID)
		}
	})
	// mostrix adds an expiration of thirty days to its events.
	t.Run("mostrix: expiration on requests", func(t *testing.T) {
		w := newWorld(t)
		p := w.person("alice")
		p.nextKey()
		at := w.net.Now().Unix() + 30*86400
		w.check(w.deliver(w.v2(p.trade, "["+skillOrder+",null,null]", nostr.Tag{"expiration", strconv.FormatInt(at, 10)})))
		said(t, w, "alice <- new-order")
	})
	// ts-client signs the message in full privacy too, with a null proof.
	t.Run("ts-client: signature without proof", func(t *testing.T) {
		w := newWorld(t)
		w.play(t, "alice new sell sats=100000 private=yes")
		said(t, w, "alice <- new-order")
	})
	// mobile asks for its history with trade key 1 and the proof of its identity, and reads the
	// answer at that key; mostro-cli uses the identity key for both.
	t.Run("mobile and mostro-cli: restore", func(t *testing.T) {
		w := newWorld(t)
		w.play(t, "alice new sell sats=1000\n alice new sell sats=2000\n alice restore")
		said(t, w, "alice <- restore-session; order B at trade 2 is pending; order A at trade 1 is pending")
		p := w.person("alice")
		p.trade = p.identity
		w.check(w.send(p, mostro.Message{Wrapper: mostro.WrapRestore, Action: mostro.RestoreSession}))
		said(t, w, "alice <- restore-session; order B at trade 2 is pending; order A at trade 1 is pending")
	})
	// mobile numbers its requests for orders by the time in milliseconds.
	t.Run("mobile: orders by millisecond", func(t *testing.T) {
		w := newWorld(t)
		w.play(t, "alice new sell sats=1000\n alice orders A request=1780000000123")
		said(t, w, "alice <- orders (to request 1780000000123); order A: pending sell, 1000 sat")
	})
	// Admin tools use the order wrapper, or the dispute wrapper; both are understood.
	t.Run("admin tools: both wrappers", func(t *testing.T) {
		for _, wrapper := range []mostro.Wrapper{mostro.WrapOrder, mostro.WrapDispute} {
			w := newWorld(t)
			w.play(t, active+"bob dispute")
			op := w.person("operator")
			w.solverKeys(op)
			w.check(w.send(op, mostro.Message{Wrapper: wrapper, Action: mostro.AdminTakeDispute, ID: w.dispute}))
			w.check(w.send(op, mostro.Message{Wrapper: wrapper, Action: mostro.AdminCancel, ID: w.order(args{})}))
			said(t, w, "operator <- admin-took-dispute", "operator <- admin-canceled", "dispute -> canceled-by-admin")
		}
	})
	// rate-user comes in whatever wrapper.
	t.Run("rate-user in the rate wrapper", func(t *testing.T) {
		w := newWorld(t)
		w.play(t, fiatSent+"alice release")
		five := 5
		w.check(w.send(w.person("alice"), mostro.Message{Wrapper: mostro.WrapRate, ID: w.order(args{}), Action: mostro.RateUser, Payload: &mostro.Payload{RatingUser: &five}}))
		said(t, w, "alice <- rate-received 5")
	})
	// Rust clients take the first message to the key for the answer: it must be the one with
	// their request id.
	t.Run("the first message is the answer", func(t *testing.T) {
		w := newWorld(t)
		first := func(command, name string) {
			t.Helper()
			w.out.Reset()
			w.play(t, command)
			for line := range strings.Lines(w.out.String()) {
				if strings.HasPrefix(line, name+" <- ") {
					if !strings.Contains(line, "(to request 77)") {
						t.Errorf("%s: the first message is %s", command, line)
					}
					return
				}
			}
			t.Errorf("%s: no answer", command)
		}
		first("alice new sell sats=100000 request=77", "alice")
		first("bob take request=77", "bob")
		first("bob add-invoice invoice=99700 request=77", "bob")
		w.play(t, "alice pay")
		first("bob fiat-sent request=77", "bob")
		first("bob cancel request=77", "bob")
		first("bob dispute request=77", "bob")
		first("alice release request=77", "alice")
		first("alice rate stars=3 request=77", "alice")
		first("bob new buy sats=1000 request=77", "bob")
		first("alice take request=77", "alice")
		first("alice cancel request=77", "alice")
	})
	// mobile throws on any value that it does not know, and the message is lost.
	t.Run("mobile: only values that it knows", func(t *testing.T) {
		reasons := strings.Fields(`invalid_signature invalid_trade_index invalid_amount invalid_invoice invalid_payment_request invalid_peer
			invalid_rating invalid_text_message invalid_order_kind invalid_order_status invalid_pubkey invalid_parameters order_already_canceled
			cant_create_user is_not_your_order not_allowed_by_status out_of_range_fiat_amount out_of_range_sats_amount is_not_your_dispute
			dispute_creation_error not_found invalid_dispute_status invalid_action invalid_fiat_currency pending_order_exists too_many_requests`)
		statuses := strings.Fields(`active canceled canceled-by-admin settled-by-admin completed-by-admin dispute expired fiat-sent
			settled-hold-invoice pending success waiting-buyer-invoice waiting-payment waiting-taker-bond cooperatively-canceled in-progress`)
		w := newWorld(t)
		w.play(t, "price usd=0\n alice new sell usd=50 index=1\n price usd=50000\n alice new sell min=1 max=0 index=1\n alice new sell sats=100000 index=1\n"+
			"bob take invoice=99700\n bob take-dispute\n bob trade-key\n bob add-solver alice level=\n alice pay\n bob fiat-sent\n node unsynced\n alice release\n alice restore\n alice orders A\n node synced\n wait 1m")
		n := 0
		for _, ev := range w.events {
			for _, p := range w.people {
				for _, key := range append(p.keys[:len(p.keys):len(p.keys)], p.identity) {
					m, err := mostro.OpenReply(&ev, key, w.cfg.Key.Public())
					if err != nil || m.Payload == nil {
						continue
					}
					n++
					if r := m.Payload.CantDo; r != nil && !slices.Contains(reasons, string(*r)) {
						t.Errorf("%s is told the reason %s", p.name, *r)
					}
					orders := m.Payload.Orders
					if m.Payload.Order != nil {
						orders = append(orders, *m.Payload.Order)
					}
					if pr := m.Payload.PaymentRequest; pr != nil && pr.Order != nil {
						orders = append(orders, *pr.Order)
					}
					if rd := m.Payload.RestoreData; rd != nil {
						for _, o := range rd.Orders {
							orders = append(orders, mostro.SmallOrder{Kind: "sell", Status: o.Status, FiatCode: "-", PaymentMethod: "-"})
						}
					}
					for _, o := range orders {
						if !slices.Contains(statuses, string(o.Status)) || o.Kind == "" || o.FiatCode == "" || o.PaymentMethod == "" {
							t.Errorf("%s is shown %+v in %s", p.name, o, m.Action)
						}
					}
				}
			}
		}
		if n < 10 {
			t.Errorf("only %d messages were looked at", n)
		}
	})
	// mobile names a key for the rest of a range when the newest order that it was shown has both limits
	// and leaves something over; web clients and mostrix go by the same three fields.
	t.Run("mobile: the rest of a range", func(t *testing.T) {
		for _, trade := range []string{
			"alice new sell min=20 max=100\n bob take usd=30\n bob add-invoice invoice=59820\n alice pay\n bob fiat-sent\n alice release next=yes",
			"alice new buy min=20 max=100\n bob take usd=30\n bob pay\n alice add-invoice invoice=59820\n alice fiat-sent next=yes\n bob release",
		} {
			w := newWorld(t)
			for line := range strings.Lines(trade) {
				if strings.Contains(line, "next=yes") {
					var newest *mostro.SmallOrder
					for _, ev := range w.events {
						m, err := mostro.OpenReply(&ev, w.person("alice").keys[0], w.cfg.Key.Public())
						if err != nil || m.Payload == nil {
							continue
						}
						if m.Payload.Order != nil {
							newest = m.Payload.Order
						} else if pr := m.Payload.PaymentRequest; pr != nil && pr.Order != nil {
							newest = pr.Order
						}
					}
					if newest.MinAmount == nil || newest.MaxAmount == nil || *newest.MaxAmount-newest.FiatAmount < *newest.MinAmount {
						t.Errorf("mobile names no key: its order is %s", small(newest))
						line = strings.ReplaceAll(line, "next=yes", "")
					}
				}
				w.play(t, line)
			}
			if !strings.Contains(w.out.String(), "20 to 70") {
				t.Errorf("the rest is not offered:\n%s", w.out.String())
			}
		}
	})
	// mobile reads these tags without looking whether they are there.
	t.Run("mobile: tags that must be there", func(t *testing.T) {
		w := newWorld(t)
		w.check(w.e.announceNow(context.Background()))
		w.play(t, fiatSent+"alice release")
		for _, ev := range w.events {
			var need []string
			switch ev.Kind {
			case mostro.KindOrder:
				need = []string{"d", "k", "f", "s", "fa", "pm", "premium", "amt", "z", "expiration"}
			case mostro.KindInfo:
				need = []string{"d", "z", "max_order_amount", "min_order_amount", "expiration_hours", "expiration_seconds", "fee", "pow",
					"hold_invoice_expiration_window", "hold_invoice_cltv_delta", "invoice_expiration_window", "max_orders_per_response"}
			}
			for _, name := range need {
				if tag := ev.Tags.Find(name); len(tag) < 2 {
					t.Errorf("kind %d has no %s", ev.Kind, name)
				}
			}
		}
	})
	// The messages of both are accepted at once, and each key is answered as it last spoke.
	t.Run("a key that changes its transport", func(t *testing.T) {
		w := newWorld(t)
		p := w.person("alice")
		p.version = mostro.GiftWrap
		w.play(t, "alice new sell sats=1000")
		if ev := w.events[len(w.events)-1]; ev.Kind != mostro.KindGiftWrap {
			t.Errorf("answered with kind %d", ev.Kind)
		}
		p.version = mostro.NIP44
		w.play(t, "alice cancel")
		if ev := w.events[len(w.events)-1]; ev.Kind != mostro.KindMessage {
			t.Errorf("answered with kind %d", ev.Kind)
		}
	})
}
