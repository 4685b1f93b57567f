package escrow

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/order"
)

// M23: a row that cannot be read stops nobody but its own order, and is reported. Of an order or a bond nothing
// happens until the program or the row is mended. A call to the node that cannot be read holds its order back; when an
// operator frees the order, the call is made anew from what the order says, which tells all but what is to be
// canceled of earlier attempts (that is an orphan, and is reported as one).

// decodeRow decodes a row. An order or a bond that is not the one of its key is not read: it lacks more than its name.
func decodeRow(key, value []byte, v any) error {
	if err := json.Unmarshal(value, v); err != nil {
		return err
	}
	id := ""
	switch row := v.(type) {
	case *order.Order:
		id = row.ID
	case *order.Bond:
		id = row.ID
	default:
		return nil
	}
	if !bytes.Equal(key[2:], []byte(id)) {
		return fmt.Errorf("it says that it is %q", id)
	}
	return nil
}

// decodeOutbox decodes a row of the outbox.
func decodeOutbox(key, value []byte) (*row, error) {
	r := &row{}
	if err := json.Unmarshal(value, r); err != nil {
		return nil, err
	}
	r.lane, r.seq = laneOfRow(key), binary.BigEndian.Uint64(key[len(key)-8:])
	if isCalls(r.lane) != (r.Call != nil) || r.Call == nil && r.Tell == nil && r.Event == nil {
		return nil, errors.New("it does not say what is to be done")
	}
	return r, nil
}

// laneOfRow is the lane in the key of a row of the outbox: x 0 lane 0 seq.
func laneOfRow(key []byte) string { return string(key[2 : len(key)-9]) }

func isCalls(lane string) bool { return strings.HasSuffix(lane, "/"+laneCalls) }

// lostCalls are the keys of calls that cannot be read, by the order that they are for; "" = by nobody's who is known.
func lostCalls(txn *badger.Txn) (map[string][][]byte, error) {
	var keys [][]byte
	err := scan(txn, []byte{tableOutbox, 0}, true, func(key, value []byte) error {
		if !isCalls(laneOfRow(key)) { // of these there are many more
			return nil
		}
		if _, err := decodeOutbox(key, value); err != nil {
			keys = append(keys, key)
		}
		return nil
	})
	lost := map[string][][]byte{}
	for _, key := range keys {
		id := ownerOf(txn, key)
		lost[id] = append(lost[id], key)
	}
	return lost, err
}

// ownerOf is the order of a row of a lane of calls, "" where none of that name can be read.
func ownerOf(txn *badger.Txn, key []byte) string {
	id := strings.TrimSuffix(laneOfRow(key), "/"+laneCalls)
	if there, err := has(txn, rowKey(tableOrder, id)); err == nil && there {
		return id
	}
	var b order.Bond
	_, _ = get(txn, rowKey(tableBond, id), &b) // a bond that cannot be read is reported itself
	return b.Order
}

// holdLost holds back the orders whose calls cannot be read.
func (e *Engine) holdLost() error {
	var lost map[string][][]byte
	err := e.db.View(func(txn *badger.Txn) (err error) { lost, err = lostCalls(txn); return err })
	if err != nil || len(lost) == 0 {
		return err
	}
	return e.db.Update(func(txn *badger.Txn) error {
		for _, id := range slices.Sorted(maps.Keys(lost)) {
			e.log.Error("alarm: a call to the Lightning node cannot be read; its order is held back", "order", id, "keys", fmt.Sprintf("%q", lost[id]))
			held, err := has(txn, rowKey(tableHeld, id))
			if id == "" || err == nil && held {
				continue
			}
			why := "a call to the Lightning node that was to be made cannot be read; once the order is free it is made anew, as the order has it"
			if err := first(err, txn.Set(rowKey(tableHeld, id), []byte(why))); err != nil {
				return err
			}
		}
		return nil
	})
}

// callAnew puts the calls that an order waits for into the outbox in place of those that cannot be read.
func (e *Engine) callAnew(txn *badger.Txn, w *writes, o *order.Order) error {
	lost, err := lostCalls(txn)
	if err != nil {
		return err
	}
	owners := map[string]bool{}
	for _, key := range lost[o.ID] {
		w.delete(key)
		owners[strings.TrimSuffix(laneOfRow(key), "/"+laneCalls)] = true
	}
	for _, id := range slices.Sorted(maps.Keys(owners)) {
		calls := order.Undone(o)
		if id != o.ID {
			var b order.Bond
			if _, err := get(txn, rowKey(tableBond, id), &b); err != nil {
				return err
			}
			calls = order.UndoneBond(&b)
		}
		lane, there := lane(id, laneCalls), []order.Call{}
		if err := scan(txn, append(rowKey(tableOutbox, lane), 0), true, func(key, value []byte) error {
			if r, err := decodeOutbox(key, value); err == nil {
				there = append(there, *r.Call)
			}
			return nil
		}); err != nil {
			return err
		}
		for _, c := range calls {
			if slices.ContainsFunc(there, func(is order.Call) bool { return is.Do == c.Do && is.Hash == c.Hash && is.Try == c.Try }) {
				continue
			}
			// It may have been made, and its answer lost with it.
			if err := e.queue(w, lane, row{Call: &c, Tries: 1, Since: e.now(), Uptime: e.up() + 1}); err != nil {
				return err
			}
		}
	}
	return nil
}
