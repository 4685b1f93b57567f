package escrow

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// queryRestore gives a user who lost his device what he needs to go on: his live orders, his
// disputes, and once more whatever he is asked to do.
func (e *Engine) queryRestore(txn *badger.Txn, _ *writes, ev order.Event) ([]order.Tell, mostro.Reason, error) {
	data := mostro.RestoreData{Orders: []mostro.RestoredOrder{}, Disputes: []mostro.RestoredDispute{}}
	var prompts []order.Tell
	prefix := append(rowKey(tableMine, ev.Identity), 0)
	err := scan(txn, prefix, true, func(key, value []byte) error {
		id := string(key[len(prefix):])
		var m mine
		if err := json.Unmarshal(value, &m); err != nil {
			return fmt.Errorf("decode row %q: %w", key, err)
		}
		for _, index := range m.indexes() {
			if d := m.Dispute; d != nil && (d.Status == order.DisputeInitiated || d.Status == order.DisputeInProgress) {
				data.Disputes = append(data.Disputes, mostro.RestoredDispute{
					DisputeID: d.ID, OrderID: id, TradeIndex: index, Status: string(d.Status), Initiator: d.Initiator, SolverPubkey: d.Solver})
			}
			if m.Status != mostro.StatusDispute {
				data.Orders = append(data.Orders, mostro.RestoredOrder{OrderID: id, TradeIndex: index, Status: mostro.ClientStatus(m.Status)})
			}
		}
		if !order.Prompts(m.Status) {
			return nil
		}
		var o order.Order
		if _, err := get(txn, rowKey(tableOrder, id), &o); err != nil {
			return err
		}
		for _, t := range order.Prompt(&o) {
			for _, p := range []order.Party{o.Buyer, o.Seller} {
				if p.Identity == ev.Identity && p.Trade == t.To {
					prompts = append(prompts, t)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	asked, err := bondPrompts(txn, ev.Identity, &data)
	if err != nil {
		return nil, "", err
	}
	return append(append(restoreReplies(ev, data), prompts...), asked...), "", nil
}

// Most relays take events of up to 64 kB. Encrypting pads to the next of a few lengths and makes three bytes four
// (NIP-44), which leaves 40,960 bytes for a message; in version 1 it is encrypted twice, which leaves 28,672, and
// quoted once. The sizes are those of the longest lines, quoted.
const (
	restoredOrderBytes   = 125
	restoredDisputeBytes = 280
	answerBytesV1        = 28_000
	answerBytesV2        = 40_000
)

// answerRoom is how many bytes of lists one message to the sender of ev can hold.
func answerRoom(ev order.Event) int {
	if mostro.Transport(ev.Transport) == mostro.GiftWrap {
		return answerBytesV1
	}
	return answerBytesV2
}

// restoreReplies puts as much into one message as it can hold, because many clients read no
// second one: disputes and trades under way before what only waits in the book, the latest
// first.
func restoreReplies(ev order.Event, data mostro.RestoreData) (tells []order.Tell) {
	waits := func(o mostro.RestoredOrder) int {
		if o.Status == mostro.StatusPending {
			return 1
		}
		return 0
	}
	slices.SortFunc(data.Orders, func(a, b mostro.RestoredOrder) int {
		return cmp.Or(cmp.Compare(waits(a), waits(b)), cmp.Compare(b.TradeIndex, a.TradeIndex))
	})
	slices.SortFunc(data.Disputes, func(a, b mostro.RestoredDispute) int { return cmp.Compare(b.TradeIndex, a.TradeIndex) })
	for {
		room := answerRoom(ev)
		disputes := min(len(data.Disputes), room/restoredDisputeBytes)
		orders := min(len(data.Orders), (room-disputes*restoredDisputeBytes)/restoredOrderBytes)
		part := mostro.RestoreData{Orders: data.Orders[:orders], Disputes: data.Disputes[:disputes]}
		tells = append(tells, reply(ev, mostro.WrapRestore, &mostro.Payload{RestoreData: &part}))
		data.Orders, data.Disputes = data.Orders[orders:], data.Disputes[disputes:]
		if len(data.Orders)+len(data.Disputes) == 0 {
			return tells
		}
	}
}
