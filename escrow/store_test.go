package escrow

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

type badgerTxn = badger.Txn

func (w *world) play(t testing.TB, commands string) {
	t.Helper()
	for line := range strings.Lines(commands) {
		if words := strings.Fields(line); len(words) > 0 {
			w.check(w.command(words))
		}
	}
}

// M23: a row that does not decode holds its own order, and nobody else's.
func TestM23BrokenRowHoldsOnlyItsOrder(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n carol new sell sats=50000")
	broken := w.order(args{named: map[string]string{"order": "A"}})
	w.check(w.e.db.Update(func(txn *badger.Txn) error {
		return txn.Set(rowKey(tableOrder, broken), []byte(`{"status":17}`))
	}))
	delete(w.names, broken)
	w.names[broken] = "order A"
	bob := w.person("bob")
	bob.nextKey()
	bob.private = true
	err := w.send2(bob, mostro.Message{Action: mostro.TakeSell, ID: broken})
	if !errors.Is(err, errHeld) {
		t.Errorf("a message about the broken order is answered with %v", err)
	}
	if err := w.send2(bob, mostro.Message{Action: mostro.Cancel, ID: broken}); !errors.Is(err, errHeld) {
		t.Errorf("a second message about it is answered with %v", err)
	}
	if n := w.rows(tableHeld); n != 1 {
		t.Errorf("%d orders are held", n)
	}
	delete(w.names, broken)
	w.out.Reset()
	w.play(t, "dave take order=B")
	if got := w.out.String(); !strings.Contains(got, "dave <- add-invoice") {
		t.Errorf("the other order does not go on: %s", got)
	}
}

// send2 sends without settling, for stores that the world cannot read.
func (w *world) send2(p *person, m mostro.Message) error {
	m.Wrapper, m.Version = mostro.WrapOrder, 2
	ev, err := mostro.SealRequest(m, mostro.NIP44, mostro.Party{Trade: p.trade, Identity: p.trade}, w.cfg.Key.Public(), w.net.Now().Unix(), 0)
	w.check(err)
	return w.e.Receive(context.Background(), &ev)
}

// A panic in one operation is that operation's error; what is in its batch is committed.
func TestPanicSparesTheBatch(t *testing.T) {
	w := newWorld(t)
	good := func(key string) *op {
		return &op{done: make(chan error, 1), plan: func(_ *badger.Txn, w *writes) error { w.mark([]byte(key), []byte("1")); return nil }}
	}
	bad := &op{done: make(chan error, 1), blame: "some-order", plan: func(_ *badger.Txn, w *writes) error {
		w.mark([]byte("zbad"), nil)
		panic("boom")
	}}
	batch := []*op{good("zone"), bad, good("ztwo")}
	w.check(w.e.commit(batch))
	if err := <-bad.done; !errors.Is(err, errHeld) {
		t.Errorf("the bad one is answered with %v", err)
	}
	w.check(w.e.db.View(func(txn *badger.Txn) error {
		for key, want := range map[string]bool{"zone": true, "ztwo": true, "zbad": false} {
			if ok, err := has(txn, []byte(key)); ok != want || err != nil {
				t.Errorf("%s is there: %v, %v", key, ok, err)
			}
		}
		return nil
	}))
}

// A batch that is too big for one transaction is written in several.
func TestBatchTooBigIsSplit(t *testing.T) {
	w := newWorld(t)
	var batch []*op
	for i := range 64 {
		batch = append(batch, &op{done: make(chan error, 1), plan: func(_ *badger.Txn, w *writes) error {
			w.mark([]byte{'z', byte(i)}, make([]byte, 512<<10))
			return nil
		}})
	}
	w.check(w.e.commit(batch))
	for _, o := range batch {
		w.check(<-o.done)
	}
	if n := w.rows('z'); n != len(batch) {
		t.Errorf("%d of %d rows", n, len(batch))
	}
}

// I9: created_at rises strictly for each address, within a second and over a restart.
func TestI9StampsRiseOverRestarts(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take\n bob cancel\n crash\n carol take\n carol cancel\n alice cancel")
	last := map[string]int64{}
	n := 0
	for _, ev := range w.events {
		if ev.Kind != mostro.KindOrder {
			continue
		}
		n++
		d := ev.Tags.GetD()
		if at := int64(ev.CreatedAt); at <= last[d] {
			t.Errorf("%s: %d after %d", d, at, last[d])
		}
		last[d] = int64(ev.CreatedAt)
	}
	if n < 6 {
		t.Errorf("%d revisions of the order were published", n)
	}
}

// M45: what is committed is published, however often the process dies in between.
func TestM45PublishedAfterACrash(t *testing.T) {
	w := newWorld(t)
	publish := w.e.cfg.Publish
	down := func(context.Context, ...nostr.Event) error { return errors.New("disk full") }
	w.e.cfg.Publish = down
	w.cfg.Publish = down
	w.play(t, "alice new sell sats=100000")
	if len(w.events) != 0 || w.rows(tableOutbox) == 0 {
		t.Fatalf("%d events, %d rows wait", len(w.events), w.rows(tableOutbox))
	}
	for range 3 {
		w.crash()
		w.settle()
	}
	w.cfg.Publish = publish
	w.crash()
	w.settle()
	if len(w.events) != 2 || w.rows(tableOutbox) != 0 {
		t.Errorf("%d events, %d rows wait", len(w.events), w.rows(tableOutbox))
	}
}

// A history replays: each step, with the event and the facts that were kept, leads to the
// row that was written.
func TestHistoryReplays(t *testing.T) {
	w := newWorld(t)
	w.play(t, `bob new buy sats=100000
		alice take
		alice cancel
		carol take
		carol pay
		bob add-invoice invoice=99700
		bob fiat-sent
		bob route none
		carol release
		wait 1m
		wait 1m
		bob route
		bob add-invoice invoice=99700
		wait 5m`)
	id := w.order(args{})
	want, _, err := w.e.Order(id)
	w.check(err)
	if want.Status != mostro.StatusSuccess {
		t.Fatalf("the trade ended in %s", want.Status)
	}
	var o order.Order
	machine := order.NewMachine()
	steps := 0
	w.check(w.e.db.View(func(txn *badger.Txn) error {
		return scan(txn, rowKey(tableLog, id), true, func(_, value []byte) error {
			var h history
			if err := json.Unmarshal(value, &h); err != nil {
				return err
			}
			out, err := machine.Step(o, h.Event, h.Facts)
			if err != nil {
				return err
			}
			if string(o.Status) != h.From || out.Row != h.Row || string(out.Order.Status) != h.To {
				t.Errorf("step %d: row %d from %q to %q, was row %d from %q to %q", steps, out.Row, o.Status, out.Order.Status, h.Row, h.From, h.To)
			}
			o = out.Order
			steps++
			return nil
		})
	}))
	a, _ := json.Marshal(o)
	b, _ := json.Marshal(want)
	if string(a) != string(b) {
		t.Errorf("after %d steps\n%s, was\n%s", steps, a, b)
	}
}

// Nothing that opens an escrow or a key is written down: not in the store, not in its log.
func TestM53NoSecretsOnDisk(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t)
	w.cfg.Dir = dir
	w.e.db.Close()
	w.open()
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n alice release")
	id := w.order(args{})
	secret := w.e.preimage(id, 1).Bytes()
	w.check(w.e.db.Close())
	files := 0
	w.check(filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), string(secret[:])) || strings.Contains(string(b), order.Hash(secret).String()) {
			t.Errorf("%s holds a preimage", filepath.Base(path))
		}
		return err
	}))
	if files == 0 {
		t.Error("no files")
	}
}
