package escrow

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// duty is when the present duty in the last order began, pauses taken off.
func (w *world) duty() int64 {
	o, _, err := w.e.Order(w.order(args{}))
	w.check(err)
	return o.DutySince
}

// A pause that is told twice, because giving it back has failed half way, counts once; what came
// on top in between counts too.
func TestPauseIsGivenBackOnce(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700")
	began := w.duty()
	give := func(pause time.Duration) {
		ev := w.e.newEvent(order.Resumed, w.order(args{}))
		ev.Pause = int64(pause / time.Second)
		w.check(w.e.apply(context.Background(), ev))
	}
	w.net.Advance(15 * time.Minute) // of which ten were not lost
	give(5 * time.Minute)
	give(5 * time.Minute)
	if got := w.duty() - began; got != 300 {
		t.Errorf("a pause of 300 s moves the duty by %d s", got)
	}
	w.net.Advance(time.Minute)
	give(6 * time.Minute) // the same again, a minute later
	if got := w.duty() - began; got != 360 {
		t.Errorf("a pause of 360 s that was told in parts moves the duty by %d s", got)
	}
	w.net.Advance(10 * time.Minute)
	give(time.Minute)
	if got := w.duty() - began; got != 420 {
		t.Errorf("two pauses of 420 s move the duty by %d s", got)
	}
	// Nobody has lost what was before his duty.
	w.play(t, "carol new sell sats=100000\n dave take order=B invoice=99700")
	began = w.duty()
	w.net.Advance(time.Minute)
	give(time.Hour)
	if got := w.duty() - began; got != 60 {
		t.Errorf("a duty of a minute is moved by %d s", got)
	}
}

// Time that the Lightning node is away counts from the start of this process on, too.
func TestNodeAwayFromTheStart(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700")
	began := w.duty()
	away := true
	w.node.SetFaults(lightning.Faults{Before: func(lightning.SimMethod, order.Hash) error {
		if away {
			return errors.New("away")
		}
		return nil
	}})
	w.crash()
	w.net.Advance(10 * time.Minute)
	w.e.askNode(context.Background())
	away = false
	w.e.askNode(context.Background())
	if got := w.duty() - began; got != 600 {
		t.Errorf("ten minutes without a node move the duty by %d s", got)
	}
}

// An order that is held back stays out of the clock's list, whatever the same batch did to it
// before.
func TestHeldOrderLeavesTheLiveSet(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700")
	id := w.order(args{})
	steps := &op{done: make(chan error, 1), blame: id, plan: func(txn *badger.Txn, writes *writes) error {
		ev := w.e.newEvent(order.Resumed, id)
		return w.e.stepOrder(txn, writes, ev, nil)
	}}
	breaks := &op{done: make(chan error, 1), blame: id, plan: func(*badger.Txn, *writes) error { panic("boom") }}
	w.check(w.e.commit([]*op{steps, breaks}))
	w.check(<-steps.done)
	if err := <-breaks.done; !errors.Is(err, errHeld) {
		t.Fatal(err)
	}
	if live := w.e.live.ids(); len(live) != 0 {
		t.Errorf("the clock goes on with %v", live)
	}
	w.net.Advance(time.Hour)
	if due := w.e.live.due(w.e.now(), w.e.node.tip(), true); len(due) != 0 {
		t.Errorf("%v is due", due)
	}
	w.check(w.e.FreeOrder(context.Background(), id, "looked"))
	if live := w.e.live.ids(); len(live) != 1 {
		t.Errorf("after it was freed: %v", live)
	}
}

// Of an operation that is too big for a transaction nothing is written, not the part that fits.
func TestTooBigWritesNothing(t *testing.T) {
	w := newWorld(t)
	big := &op{done: make(chan error, 1), plan: func(_ *badger.Txn, w *writes) error {
		for i := range 64 {
			w.mark([]byte{'z', byte(i)}, make([]byte, 512<<10))
		}
		w.delete([]byte{tableVersion})
		return nil
	}}
	w.check(w.e.commit([]*op{big}))
	if err := <-big.done; err == nil {
		t.Error("it is answered with success")
	}
	if n := w.rows('z'); n != 0 || w.rows(tableVersion) != 1 {
		t.Errorf("%d rows of it are there, and %d of what it deletes", n, w.rows(tableVersion))
	}
	small := &op{done: make(chan error, 1), plan: func(_ *badger.Txn, w *writes) error { w.mark([]byte("zz"), nil); return nil }}
	w.check(w.e.commit([]*op{small}))
	w.check(<-small.done)
}
