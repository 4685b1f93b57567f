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
