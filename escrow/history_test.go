package escrow

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/mostro"
)

// The history of an order is whole while it lives, and for a month after its end; a few words
// of each step stay for ever.
func TestHistoriesOfEndedOrdersAreCompacted(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=1000\n alice new sell sats=100000\n bob take\n bob cancel\n bob take invoice=99700\n alice pay\n bob fiat-sent\n alice release\n alice rate stars=5")
	lives, ended := w.order(args{named: map[string]string{"order": "A"}}), w.order(args{})
	o, _, err := w.e.Order(ended)
	w.check(err)
	rows := func(id string) (bytes int, ends []time.Duration) {
		w.check(w.e.db.View(func(txn *badger.Txn) error {
			opts := badger.DefaultIteratorOptions
			opts.Prefix = rowKey(tableLog, id)
			it := txn.NewIterator(opts)
			defer it.Close()
			for it.Rewind(); it.Valid(); it.Next() {
				bytes += int(it.Item().ValueSize())
				var end time.Duration
				if at := it.Item().ExpiresAt(); at != 0 {
					end = time.Until(time.Unix(int64(at), 0)).Round(time.Hour)
				}
				ends = append(ends, end)
			}
			return nil
		}))
		return bytes, ends
	}
	if _, ends := rows(lives); len(ends) != 1 || ends[0] != 0 {
		t.Errorf("the rows of a live order end after %v", ends)
	}
	size, ends := rows(ended)
	if uint64(len(ends)) != o.Rev {
		t.Errorf("%d rows after %d steps", len(ends), o.Rev)
	}
	for i, end := range ends {
		if end != historyFor {
			t.Errorf("step %d is kept for %s", i+1, end)
		}
	}
	var steps []past
	w.check(w.e.db.View(func(txn *badger.Txn) error {
		ok, err := get(txn, rowKey(tablePast, lives), &steps)
		if ok {
			t.Error("a live order is compacted")
		}
		_, err2 := get(txn, rowKey(tablePast, ended), &steps)
		return first(err, err2)
	}))
	if uint64(len(steps)) != o.Rev {
		t.Fatalf("%d steps stay of %d", len(steps), o.Rev)
	}
	for i, s := range steps {
		if s.Rev != uint64(i+1) || s.At == 0 || s.On == "" || s.To == "" {
			t.Errorf("step %d stays as %+v", i+1, s)
		}
	}
	if last := steps[len(steps)-1]; last.On != "rate-user" || last.To != "success" {
		t.Errorf("the last step is %+v", last)
	}
	kept, _ := json.Marshal(steps)
	whole, _ := json.Marshal(o)
	t.Logf("%d bytes of history, %d of them for ever beside %d of the order", size, len(kept), len(whole))
	if len(kept)*5 > size {
		t.Errorf("%d of %d bytes are kept for ever", len(kept), size)
	}
}

// A row of history that does not decode keeps no trade from ending.
func TestBrokenHistoryHoldsNobody(t *testing.T) {
	w := newWorld(t)
	w.play(t, fiatSent)
	id := w.order(args{})
	w.check(w.e.db.Update(func(txn *badger.Txn) error { return txn.Set(logKey(id, 2), []byte(`{"event":17}`)) }))
	w.play(t, "alice release")
	if o, _, err := w.e.Order(id); err != nil || o.Status != "success" {
		t.Errorf("the order is %s, %v", o.Status, err)
	}
}

// Whoever takes an order and cancels, over and over, makes its history longer than one transaction
// can write anew. The order ends all the same.
func TestAnOrderWithALongHistoryEnds(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent")
	id := w.order(args{})
	long := history{From: strings.Repeat("x", 100_000)}
	for from := uint64(1000); from < 1200; from += 10 { // 20 MB
		w.check(w.e.submit(t.Context(), id, func(_ *badger.Txn, to *writes) error {
			for rev := from; rev < from+10; rev++ {
				if err := to.set(logKey(id, rev), long); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	w.play(t, "alice release")
	if o, _, err := w.e.Order(id); err != nil || o.Status != mostro.StatusSuccess {
		t.Errorf("the order is %s: %v", o.Status, err)
	}
	var steps []past
	w.check(w.e.db.View(func(txn *badger.Txn) error {
		_, err := get(txn, rowKey(tablePast, id), &steps)
		return err
	}))
	if len(steps) < 50 || len(steps) > 100 { // and not all of it is read
		t.Errorf("%d steps stay of more than 200", len(steps))
	}
}

// Whoever has traded once can rate, and ask for his proof, as often as he likes: he is answered, and
// nothing grows. The orders' own rows are in the way of everybody's next step.
func TestWhoRepeatsHimselfWritesNoHistory(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n alice release\n alice rate stars=5")
	id := w.order(args{})
	o, _, err := w.e.Order(id)
	w.check(err)
	steps := w.rows(tableLog)
	w.out.Reset()
	for range 20 {
		w.play(t, "alice rate stars=5")
	}
	again, _, err := w.e.Order(id)
	w.check(err)
	if n := w.rows(tableLog); n != steps || again.Rev != o.Rev {
		t.Errorf("20 more ratings wrote %d rows of history, and the order is at revision %d after %d", n-steps, again.Rev, o.Rev)
	}
	if n := strings.Count(w.out.String(), "alice <- rate-received"); n != 20 {
		t.Errorf("she is answered %d times of 20:\n%s", n, w.out.String())
	}
}

// The few words that stay of each step have a limit too.
func TestThePastOfAnOrderIsBrief(t *testing.T) {
	steps := make([]past, 10_000)
	for i := range steps {
		steps[i].Rev = uint64(i + 1)
	}
	kept := brief(steps)
	if len(kept) != pastSteps || kept[0].Rev != 1 || kept[pastSteps-1].Rev != 10_000 {
		t.Errorf("%d steps stay, from %d to %d", len(kept), kept[0].Rev, kept[len(kept)-1].Rev)
	}
}
