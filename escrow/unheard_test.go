package escrow

import (
	"strings"
	"testing"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// dumb makes the node end each call to pay without a word and before it has done anything, as one
// does that dies of it.
func (w *world) dumb() {
	w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
		if m == lightning.SimSend {
			return lightning.ErrSimDropped
		}
		return nil
	}})
}

func (w *world) payoutOf(id string) order.Payout {
	o, _, err := w.e.Order(id)
	w.check(err)
	return o.Payout
}

// A payment that the node has never acknowledged, however often it was told to send it, is given up:
// there is an alarm, and the buyer is paid by another invoice. Not by the same one: who makes an
// invoice that ends the node must not make it end for ever.
func TestPaymentThatTheNodeNeverAcknowledges(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent")
	w.dumb()
	w.play(t, "alice release")
	id := w.order(args{})
	for range 3 {
		for range 20 { // a process that starts anew does not begin to count again
			w.advance(time.Minute)
		}
		w.crash()
	}
	if n, state := w.node.Count(lightning.SimSend), w.payoutOf(id).State; n != maxUnheard || state != order.PayoutAsking {
		t.Fatalf("after an hour the node was told %d times to pay, and the payout is %s", n, state)
	}
	if !strings.Contains(w.logged.String(), "alarm") || !strings.Contains(w.logged.String(), "it is not sent again") {
		t.Errorf("no alarm: %s", w.logged.String())
	}
	w.node.SetFaults(lightning.Faults{})
	w.play(t, "bob add-invoice invoice=last")
	if state := w.payoutOf(id).State; state != order.PayoutAsking {
		t.Errorf("the same invoice once more makes the payout %s", state)
	}
	w.play(t, "bob add-invoice invoice=99700\n wait 10m")
	if got := w.statusOf(id); got != mostro.StatusSuccess {
		t.Errorf("with another invoice the order is %s, its payout %s", got, w.payoutOf(id).State)
	}
	if sum, n := w.paidOut(); n != 1 || sum != 99_700_000 {
		t.Errorf("%d payments of %d msat", n, sum)
	}
	if r := w.audit(); !r.Agrees() || len(r.Owed) != 0 {
		t.Errorf("owed %+v, differences %+v", r.Owed, r.Differences)
	}
}

// What the node shows late is not paid once more by another invoice: neither while it has had no time to
// show, nor when that was too short.
func TestUnheardAndPaidAllTheSame(t *testing.T) {
	for _, delay := range []time.Duration{unknownAfter - time.Minute, unknownAfter + 4*time.Minute} {
		w := newWorld(t)
		w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent")
		w.dumb()
		w.play(t, "alice release")
		id := w.order(args{})
		for range 11 {
			w.advance(time.Minute)
		}
		if n := w.node.Count(lightning.SimSend); n != maxUnheard-1 {
			t.Fatalf("the node was told %d times to pay", n)
		}
		// The last time it does pay: its answer is lost, and its index lags.
		w.loses(lightning.Faults{IndexDelay: func(order.Hash) time.Duration { return delay }})
		for range 40 {
			w.advance(time.Minute)
			if w.payoutOf(id).State == order.PayoutAsking {
				w.play(t, "bob add-invoice invoice=99700")
			}
		}
		w.node.SetFaults(lightning.Faults{})
		w.play(t, "wait 1h")
		if sum, n := w.paidOut(); n != 1 || sum != 99_700_000 {
			t.Errorf("shown after %v: %d payments of %d msat", delay, n, sum)
		}
		if got := w.statusOf(id); got != mostro.StatusSuccess {
			t.Errorf("shown after %v: the order is %s", delay, got)
		}
	}
}

// A node that is away for long, or out of order for a while, is no reason to give a payment up.
func TestUnheardForAWhile(t *testing.T) {
	for _, minutes := range []int{1, 4, 9} {
		w := newWorld(t)
		w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent")
		w.dumb()
		w.play(t, "alice release")
		id := w.order(args{})
		for range minutes {
			w.advance(time.Minute)
		}
		w.node.SetFaults(lightning.Faults{})
		w.play(t, "node down")
		for range 60 {
			w.advance(time.Minute)
		}
		w.play(t, "node up")
		for range 6 {
			w.advance(time.Minute)
		}
		if got := w.statusOf(id); got != mostro.StatusSuccess {
			t.Errorf("out of order for %d minutes: the order is %s, its payout %s", minutes, got, w.payoutOf(id).State)
		}
		if _, n := w.paidOut(); n != 1 {
			t.Errorf("%d payments", n)
		}
	}
}

// So it is with a share of a bond and with the development fee.
func TestUnheardShareAndFee(t *testing.T) {
	w := newWorld(t)
	w.play(t, "bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay\n wait 15m")
	w.dumb()
	w.play(t, "alice claim invoice=500")
	for range 40 {
		w.advance(time.Minute)
	}
	if n := w.node.Count(lightning.SimSend); n != maxUnheard {
		t.Errorf("the node was told %d times to pay the share", n)
	}
	w.node.SetFaults(lightning.Faults{})
	w.play(t, "alice claim invoice=500\n wait 10m")
	if sum, n := w.paidOut(); n != 1 || sum != 500_000 {
		t.Errorf("%d payments of %d msat for the share", n, sum)
	}

	w = newWorld(t)
	w.play(t, "dev-fee ppm=300000 to=dev@ln.example\n alice new sell sats=100000\n bob take invoice=hold:99700\n alice pay\n bob fiat-sent\n alice release")
	w.dumb()
	w.play(t, "bob uses settle")
	before := w.node.Count(lightning.SimSend)
	for range 22 {
		w.advance(time.Minute)
	}
	if n := w.node.Count(lightning.SimSend) - before; n != maxUnheard-1 {
		t.Errorf("the node was told %d times to pay the fee", n)
	}
	if !strings.Contains(w.logged.String(), "development fee: payment") {
		t.Errorf("no alarm: %s", w.logged.String())
	}
	w.node.SetFaults(lightning.Faults{})
	w.play(t, "wait 2h")
	if sum, n := w.paidOut(); n != 2 || sum != 99_880_000 {
		t.Errorf("%d payments of %d msat with the fee", n, sum)
	}
}
