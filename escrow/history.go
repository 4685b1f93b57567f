package escrow

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/order"
)

// history is one row of an order's past: enough to step it again.
type history struct {
	Event order.Event `json:"event"`
	Facts order.Facts `json:"facts"`
	From  string      `json:"from"`
	To    string      `json:"to"`
	Row   int         `json:"row"`
}

// past is what stays of a step: when, what, and where it led.
type past struct {
	Rev uint64          `json:"rev"`
	At  int64           `json:"at"` // unix seconds
	On  order.EventName `json:"on"`
	To  string          `json:"to"`
}

// historyFor is how long the whole history of an order is kept after its end, for who has to
// look into it. It is ten times as large as the order itself.
const historyFor = 30 * 24 * time.Hour

// keepHistory writes a step into the history of its order. With the end of the order the
// history is compacted: the steps stay in a few words, their events and facts for a while.
func keepHistory(txn *badger.Txn, w *writes, o *order.Order, step history) error {
	key := logKey(o.ID, o.Rev)
	if !order.Ended(o.Status) {
		return w.set(key, step)
	}
	var steps []past
	compacted, err := get(txn, rowKey(tablePast, o.ID), &steps)
	if err != nil {
		return &defect{err}
	}
	if !compacted {
		if steps, err = compact(txn, w, o.ID); err != nil {
			return &defect{err}
		}
	}
	if err := keepForAWhile(w, key, step); err != nil {
		return err
	}
	return w.set(rowKey(tablePast, o.ID), brief(append(steps, step.past(o.Rev))))
}

// pastSteps is how many steps of an ended order stay at most: the first half and the last. The row
// is read and written whole.
const pastSteps = 400

func brief(steps []past) []past {
	if len(steps) > pastSteps {
		steps = slices.Delete(steps, pastSteps/2, len(steps)-pastSteps/2)
	}
	return steps
}

// keepForAWhile writes a step that is of use for some weeks: of an order that has ended, or of
// a bond alone, whose row tells the rest for ever.
func keepForAWhile(w *writes, key []byte, step history) error {
	b, err := json.Marshal(step)
	if err != nil {
		return fmt.Errorf("encode row %q: %w", key, err)
	}
	w.entries = append(w.entries, badger.NewEntry(key, b).WithTTL(historyFor))
	return nil
}

// compactBytes is how much of a history is written anew with the end of its order. A transaction
// has room for a few megabytes, and whoever takes an order again and again makes its history as
// long as he likes: that must not keep it from ending.
const compactBytes = 256 << 10

// compactReads is how much of a history is read for that: all other orders wait meanwhile.
const compactReads = 8 << 20

var errEnough = errors.New("enough")

// compact gives the steps of a history their end, and returns what stays of them. One that does
// not decode leaves nothing but its number: it must not keep a trade from ending. Of a history
// that is too long the rest is left as it is, and stays.
func compact(txn *badger.Txn, w *writes, id string) (steps []past, err error) {
	size := 0
	err = scan(txn, append(rowKey(tableLog, id), 0), true, func(key, value []byte) error {
		var step struct { // the rest of a history is most of it
			Event struct {
				At int64           `json:"at"`
				On order.EventName `json:"on"`
			} `json:"event"`
			To string `json:"to"`
		}
		_ = json.Unmarshal(value, &step)
		if size += len(value); size <= compactBytes {
			w.entries = append(w.entries, badger.NewEntry(key, value).WithTTL(historyFor))
		}
		if size > compactReads {
			return errEnough
		}
		steps = append(steps, past{binary.BigEndian.Uint64(key[len(key)-8:]), step.Event.At, step.Event.On, step.To})
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return steps, err
}

func (h history) past(rev uint64) past { return past{rev, h.Event.At, h.Event.On, h.To} }
