package escrow

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// A user with more trades than a message holds gets several, each of which can be sealed on the
// transport that he uses. In the first, the only one that many clients read, are his disputes
// and his trades under way.
func TestRestoreMoreThanAMessageHolds(t *testing.T) {
	const orders, disputes = 1500, 90
	uuid := func(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-ffffffffffff", i) }
	for transport, room := range map[mostro.Transport]int{mostro.GiftWrap: answerBytesV1, mostro.NIP44: answerBytesV2} {
		t.Run(fmt.Sprint("version ", transport.Version()), func(t *testing.T) {
			w := newWorld(t)
			p := w.person("alice")
			p.nextKey()
			p.version = transport
			index := int64(2_000_000_000)
			put := func(i int, m mine) {
				index++
				m.Index = index
				wr := &writes{}
				w.check(wr.set(rowKey(tableMine, p.identity.Public(), uuid(i)), m))
				txn := w.e.db.NewTransaction(true)
				w.check(first(set(txn, wr), txn.Commit()))
			}
			for i := range orders {
				status := mostro.StatusPending
				if i%10 == 0 { // not the latest
					status = mostro.StatusActive
				}
				put(i, mine{Status: status})
			}
			for i := range disputes {
				put(orders+i, mine{Status: mostro.StatusDispute, Dispute: &order.Dispute{
					ID: uuid(i), Status: order.DisputeInProgress, Initiator: "seller", Solver: strings.Repeat("f", 64)}})
			}
			w.check(w.send(p, mostro.Message{Wrapper: mostro.WrapRestore, Action: mostro.RestoreSession}))
			var parts []*mostro.RestoreData
			for _, ev := range w.events {
				m, err := mostro.OpenReply(&ev, p.trade, w.cfg.Key.Public())
				w.check(err)
				if len(ev.Content) > 65_535 {
					t.Errorf("an answer of %d characters is more than most relays take", len(ev.Content))
				}
				parts = append(parts, m.Payload.RestoreData)
			}
			if len(parts) < 2 {
				t.Fatalf("%d messages", len(parts))
			}
			one := parts[0]
			if n := len(one.Orders)*restoredOrderBytes + len(one.Disputes)*restoredDisputeBytes; n < room-restoredOrderBytes {
				t.Errorf("the first message holds %d orders and %d disputes", len(one.Orders), len(one.Disputes))
			}
			if len(one.Disputes) != disputes {
				t.Errorf("%d disputes are in the first message", len(one.Disputes))
			}
			seen, was := map[string]bool{}, mostro.RestoredOrder{Status: mostro.StatusActive, TradeIndex: 1 << 40}
			for _, part := range parts {
				for _, o := range part.Orders {
					if seen[o.OrderID] {
						t.Errorf("%s comes twice", o.OrderID)
					}
					seen[o.OrderID] = true
					if o.Status == was.Status && o.TradeIndex >= was.TradeIndex || o.Status != was.Status && o.Status != mostro.StatusPending {
						t.Errorf("trade %d, %s, after %d, %s", o.TradeIndex, o.Status, was.TradeIndex, was.Status)
					}
					was = o
				}
			}
			if len(seen) != orders {
				t.Errorf("%d orders are restored", len(seen))
			}
		})
	}
}

// The sizes that the parts are cut by are those of the longest lines, quoted as version 1 does.
func TestRestoredSizes(t *testing.T) {
	id := strings.Repeat("f", 36)
	statuses := []mostro.Status{mostro.StatusWaitingBuyerInvoice, mostro.StatusSettledHoldInvoice, mostro.StatusCooperativelyCanceled}
	longest := slices.MaxFunc(statuses, func(a, b mostro.Status) int { return len(a) - len(b) })
	if n := quotedBytes(mostro.RestoredOrder{OrderID: id, TradeIndex: 1 << 31, Status: longest}); n > restoredOrderBytes {
		t.Errorf("an order takes %d bytes", n)
	}
	if n := quotedBytes(mostro.RestoredDispute{DisputeID: id, OrderID: id, TradeIndex: 1 << 31, Status: string(order.DisputeSellerRefunded), Initiator: "seller",
		SolverPubkey: strings.Repeat("f", 64)}); n > restoredDisputeBytes {
		t.Errorf("a dispute takes %d bytes", n)
	}
}

// An answer to "orders" for as many as the settings can allow is no larger than what most relays take.
func TestOrdersInOneMessage(t *testing.T) {
	for _, transport := range []mostro.Transport{mostro.GiftWrap, mostro.NIP44} {
		t.Run(fmt.Sprint("version ", transport.Version()), func(t *testing.T) {
			w := newWorld(t)
			w.e.cfg.Settings.MaxOrders = 255
			p := w.person("alice")
			p.nextKey()
			p.version = transport
			var ids []string
			for i := range 255 {
				id := fmt.Sprintf("%08x-0000-4000-8000-ffffffffffff", i)
				ids = append(ids, id)
				wr := &writes{}
				w.check(wr.set(rowKey(tableOrder, id), order.Order{ID: id, Kind: mostro.Sell, Status: mostro.StatusPending, FiatCode: "EUR", FiatAmount: 100,
					PaymentMethod: strings.Repeat("bank ", 20), Seller: order.Party{Identity: p.identity.Public()}}))
				txn := w.e.db.NewTransaction(true)
				w.check(first(set(txn, wr), txn.Commit()))
			}
			w.check(w.send(p, mostro.Message{Wrapper: mostro.WrapOrder, Action: mostro.Orders, Payload: &mostro.Payload{IDs: ids}}))
			answer := w.events[len(w.events)-1]
			m, err := mostro.OpenReply(&answer, p.trade, w.cfg.Key.Public())
			w.check(err)
			if n := len(m.Payload.Orders); n < 20 || n == len(ids) || m.Payload.Orders[n-1].ID != ids[n-1] || len(answer.Content) > 65_535 {
				t.Errorf("%d orders in %d characters", n, len(answer.Content))
			}
		})
	}
}

// mobile tells by the keys in the answer to "orders" which side of a restored trade its user is: without
// it has no button for him, neither to release nor to cancel. Who is on the other side comes with it,
// and not before both were told.
func TestRestoredSide(t *testing.T) {
	for kind, steps := range map[string][]string{
		"sell":                                {"alice new sell sats=100000", "bob take", "bob add-invoice invoice=99700", "alice pay", "bob fiat-sent", "bob dispute", "alice release"},
		"buy":                                 {"bob new buy sats=100000", "alice take", "alice pay", "bob add-invoice invoice=99700", "bob fiat-sent", "alice dispute", "alice release"},
		"canceled with sats, without invoice": {"bob new buy sats=100000", "alice take", "alice pay", "bob cancel"},
		"canceled by both":                    {"alice new sell sats=100000", "bob take invoice=99700", "alice pay", "bob cancel", "alice cancel"},
	} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			asked, began := 0, false
			for _, step := range steps {
				w.play(t, step)
				o, _, err := w.e.Order(w.order(args{}))
				w.check(err)
				began = began || strings.Contains(w.out.String(), string(mostro.BuyerTookOrder))
				for name, own := range map[string]order.Party{"alice": o.Seller, "bob": o.Buyer} {
					if own.Trade == "" {
						continue
					}
					other := o.Buyer.Trade
					if name == "bob" {
						other = o.Seller.Trade
					}
					w.play(t, name+" orders A")
					m, err := mostro.OpenReply(&w.events[len(w.events)-1], w.person(name).keys[0], w.cfg.Key.Public())
					w.check(err)
					if m.Payload == nil || len(m.Payload.Orders) != 1 {
						t.Fatalf("%s after %q: %s gets %v", o.Status, step, name, m)
					}
					so := m.Payload.Orders[0]
					mine, peer := so.SellerTradePubkey, so.BuyerTradePubkey
					if name == "bob" {
						mine, peer = peer, mine
					}
					if mine != own.Trade {
						t.Errorf("%s after %q: %s has the side of %q", o.Status, step, name, mine)
					}
					if began && peer != other || !began && peer != "" {
						t.Errorf("%s after %q: %s sees %q on the other side", o.Status, step, name, peer)
					}
					asked++
				}
			}
			if asked < 6 {
				t.Errorf("only %d answers were looked at", asked)
			}
		})
	}
}

// A maker of as many offers as may stand in the book has them all in the one answer that mobile reads:
// it gives the whole restore up when one of them is missing.
func TestRestoreAllOffers(t *testing.T) {
	for _, transport := range []mostro.Transport{mostro.GiftWrap, mostro.NIP44} {
		w := newWorld(t)
		p := w.person("alice")
		p.version = transport
		for range 25 {
			w.play(t, "alice new sell sats=100000")
		}
		last := func() *mostro.Payload {
			m, err := mostro.OpenReply(&w.events[len(w.events)-1], p.keys[0], w.cfg.Key.Public())
			w.check(err)
			return m.Payload
		}
		w.play(t, "alice restore")
		var ids []string
		for _, o := range last().RestoreData.Orders {
			ids = append(ids, o.OrderID)
		}
		w.check(w.ask(p, mostro.Message{Action: mostro.Orders, Payload: &mostro.Payload{IDs: ids}}))
		if n := len(last().Orders); len(ids) != 25 || n != len(ids) {
			t.Errorf("version %d: %d of %d orders", transport.Version(), n, len(ids))
		}
	}
}
