package escrow

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// loses makes the answers to Send get lost, after their effect.
func (w *world) loses(faults lightning.Faults) {
	faults.After = func(m lightning.SimMethod, _ order.Hash) error {
		if m == lightning.SimSend {
			return lightning.ErrSimDropped
		}
		return nil
	}
	w.node.SetFaults(faults)
}

// M1: the answer to a payment is lost, and its invoice has expired when the node is asked again.
// lnd refuses an expired invoice also when it has paid it: asked first, it says that it has.
func TestM1PaidAndExpiredMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.loses(lightning.Faults{})
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700 life=4000\n alice pay\n bob fiat-sent\n alice release")
	id := w.order(args{})
	w.node.SetFaults(lightning.Faults{})
	w.net.Advance(2 * time.Hour)
	w.retry()
	if got := w.statusOf(id); got != mostro.StatusSuccess {
		o, _, _ := w.e.Order(id)
		t.Errorf("the order is %s, its payout %s", got, o.Payout.State)
	}
	if _, n := w.paidOut(); n != 1 {
		t.Errorf("%d payments", n)
	}
}

// M11: so it goes when the node's index lags, too: not found and refused is no proof that nothing
// was sent, until the payment has had the time to show, whatever the clock says (M42).
func TestM11RefusedWhileTheIndexLags(t *testing.T) {
	for _, skew := range []time.Duration{0, time.Hour} {
		w := newWorld(t)
		w.play(t, "alice new sell sats=100000\n bob take invoice=99700 life=3660\n alice pay\n bob fiat-sent")
		id := w.order(args{})
		w.advance(time.Hour) // a minute is left of the invoice
		lag := lightning.Faults{IndexDelay: func(order.Hash) time.Duration { return unknownAfter - 2*time.Minute }}
		w.loses(lag)
		w.play(t, "alice release")
		w.node.SetFaults(lag)
		w.skewed(skew)
		w.advance(2 * time.Minute)
		o, _, err := w.e.Order(id)
		w.check(err)
		if o.Payout.State != order.PayoutSending {
			t.Errorf("the payout is %s while nobody knows whether it was sent", o.Payout.State)
		}
		w.node.SetFaults(lightning.Faults{})
		w.retry()
		if got := w.statusOf(id); got != mostro.StatusSuccess {
			t.Errorf("in the end the order is %s", got)
		}
	}
}

// M3: a settle comes too late because the node has given the sats back, and no stream has said so.
// The order ends canceled, nothing is owed and nothing is paid.
func TestM3SettleLosesTheRace(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n streams off")
	id := w.order(args{})
	o, _, err := w.e.Order(id)
	w.check(err)
	w.check(w.node.Cancel(context.Background(), o.Escrow.Hash))
	w.play(t, "alice release\n streams on")
	if got := w.statusOf(id); got != mostro.StatusCanceled {
		t.Errorf("the order is %s", got)
	}
	if _, n := w.paidOut(); n != 0 {
		t.Errorf("%d payments", n)
	}
	if r := w.audit(); len(r.Owed) != 0 || !r.Agrees() {
		t.Errorf("owed %+v, differences %+v", r.Owed, r.Differences)
	}
	if !strings.Contains(w.logged.String(), "canceled the escrow") {
		t.Error("no alarm")
	}
}

// M13: the answer to a settle gets lost and no stream says anything; the call is made again until
// the node's own record says what became of it.
func TestM13SettleIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n streams off")
	lost := 0
	w.node.SetFaults(lightning.Faults{After: func(m lightning.SimMethod, _ order.Hash) error {
		if m == lightning.SimSettle && lost < 2 {
			lost++
			return errors.New("lost")
		}
		return nil
	}})
	w.play(t, "alice release\n wait 1m\n wait 1m\n wait 1m")
	if got := w.statusOf(w.order(args{})); got != mostro.StatusSettledHoldInvoice || lost != 2 {
		t.Errorf("after %d lost answers the order is %s", lost, got)
	}
}

// A commit whose outcome is unknown is success to nobody, and ends the engine.
func TestM45NothingIsPromisedBeforeTheCommit(t *testing.T) {
	w := newWorld(t)
	e := newEngine(w.cfg, w.e.db)
	w.check(e.load())
	w.check(w.e.db.Close())
	ended := make(chan error, 1)
	go func() { ended <- e.write() }()
	err := e.submit(context.Background(), "", func(_ *badgerTxn, w *writes) error { w.mark([]byte("z"), nil); return nil })
	if err == nil {
		t.Error("a write that is not on disk is answered with success")
	}
	if err := <-ended; !errors.Is(err, errCommit) {
		t.Errorf("the writer ends with %v", err)
	}
}

// M45: the money store waits for the disk with each commit, with and without a key.
func TestM45WritesAreSynced(t *testing.T) {
	for _, key := range []StoreKey{{}, NewStoreKey([32]byte{1})} {
		db, err := openStore(t.TempDir(), key)
		if err != nil {
			t.Fatal(err)
		}
		if !db.Opts().SyncWrites {
			t.Error("the store does not sync what it writes")
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// powerCut keeps what a power cut leaves: what was synced.
type powerCut struct{ written, left []byte }

func (p *powerCut) WriteAt(b []byte, at int64) (int, error) {
	p.written = append(p.written[:at], b...)
	return len(b), nil
}

func (p *powerCut) Sync() error {
	p.left = slices.Clone(p.written)
	return nil
}

// M45: when the epoch is said to be raised, a power cut leaves it so.
func TestM45EpochIsSynced(t *testing.T) {
	var disk powerCut
	save := saveIn(&disk)
	for _, value := range []uint64{7, 8} {
		if err := save(value); err != nil {
			t.Fatal(err)
		}
		if got, err := strconv.ParseUint(strings.TrimSpace(string(disk.left)), 10, 64); err != nil || got != value {
			t.Errorf("a power cut leaves %q, want %d", disk.left, value)
		}
	}
}

// mute is a node that ends the stream about a payment without a word.
type mute struct{ lightning.Node }

func (mute) Track(context.Context, order.Hash, func(lightning.Payment)) error { return nil }

// M21: a node that says nothing about a payment has not called it failed: nothing is sent.
func TestM21SilenceIsNoFailure(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent")
	w.cfg.Node = mute{w.node}
	w.crash()
	w.play(t, "alice release\n wait 1m\n wait 1m")
	o, _, err := w.e.Order(w.order(args{}))
	w.check(err)
	if n := w.node.Count(lightning.SimSend); n != 0 || o.Payout.State != order.PayoutSending {
		t.Errorf("%d payments were sent, the payout is %s", n, o.Payout.State)
	}
}

// M42: a stamp far ahead of the clock means that the clock was wrong once, and is said.
func TestM42StampAheadOfTheClock(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000")
	id := w.order(args{})
	ahead := w.e.now() + 7200
	w.check(w.e.submit(context.Background(), "", func(_ *badgerTxn, w *writes) error {
		return w.set(rowKey(tableStamp, "38383", id), ahead)
	}))
	w.play(t, "alice cancel")
	if !strings.Contains(w.logged.String(), "the clock was wrong once") {
		t.Error("nobody is told")
	}
}

// M16: a payment that was queued is not sent any more when its order has moved on meanwhile: here an
// operator has found the one that paid it.
func TestM16CallOfAnOrderThatMovedOn(t *testing.T) {
	w := newWorld(t)
	w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
		if m == lightning.SimSend {
			return lightning.ErrSimDropped
		}
		return nil
	}})
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n alice release")
	id := w.order(args{})
	found := w.e.paymentEvent(order.PayFound, lightning.Payment{Hash: order.Hash{9}}, 0)
	found.Order = id
	w.check(w.e.apply(context.Background(), *found))
	if got := w.statusOf(id); got != mostro.StatusSuccess {
		t.Fatalf("the order is %s", got)
	}
	w.node.SetFaults(lightning.Faults{})
	for range 3 {
		w.advance(2 * time.Minute)
	}
	if _, n := w.paidOut(); n != 0 {
		t.Errorf("%d payments were sent for what is paid", n)
	}
}
