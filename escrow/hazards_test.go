package escrow

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// M7, M10: at each height on the way to the deadline and across it, with this process there or
// away, the seller releases. Either the escrow is settled in time and the buyer is paid once, or it
// is canceled by us, a margin before lnd would do it, and nothing is owed. Nobody is left with an
// order that looks alive and has no escrow.
func TestM10EveryHeight(t *testing.T) {
	const delta = 288 + 3
	for blocks := uint32(200); blocks <= delta+1; blocks++ {
		for _, c := range []struct{ fiat, away bool }{{true, false}, {true, true}, {false, false}, {false, true}} {
			if testing.Short() && blocks%5 != 0 {
				continue
			}
			name := fmt.Sprintf("%d blocks, fiat sent %v, away %v", blocks, c.fiat, c.away)
			w := newWorld(t)
			w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay")
			id := w.order(args{})
			if c.fiat {
				w.play(t, "bob fiat-sent")
			}
			o, _, err := w.e.Order(id)
			w.check(err)
			before, _ := w.node.HoldState(o.Escrow.Hash)
			if c.away {
				w.net.Mine(blocks)
				w.crash()
				w.settle()
			} else {
				w.mine(180)
				for range blocks - 180 {
					w.net.Mine(1)
					w.e.askNode(t.Context())
					w.settle()
				}
			}
			left := int(before.ExpiryHeight) - int(w.e.node.tip())
			h, _ := w.node.HoldState(o.Escrow.Hash)
			if left > 0 && !c.fiat && !c.away && (h.State == lightning.Canceled) != (left <= 30) {
				t.Errorf("%s: %d blocks are left and the escrow is %s", name, left, h.State)
			}
			w.play(t, "alice release order=A\n wait 2m\n wait 2m")
			h, _ = w.node.HoldState(o.Escrow.Hash)
			status, r := w.statusOf(id), w.audit()
			_, paid := w.paidOut()
			switch h.State {
			case lightning.Settled:
				if status != mostro.StatusSuccess || paid != 1 {
					t.Errorf("%s: settled, and the order is %s after %d payments", name, status, paid)
				}
			case lightning.Canceled:
				if status != mostro.StatusCanceled || paid != 0 {
					t.Errorf("%s: canceled, and the order is %s after %d payments", name, status, paid)
				}
			default: // not released: who has sent no fiat cannot be released to
				if status != mostro.StatusActive {
					t.Errorf("%s: the escrow is %s and the order %s", name, h.State, status)
				}
			}
			if len(r.Owed) != 0 || !r.Agrees() {
				t.Errorf("%s: owed %+v, differences %+v", name, r.Owed, r.Differences)
			}
			w.e.db.Close()
		}
	}
}

// M10: a settle that was held up is made as long as more than ten blocks are left, and not from there on, where the payer's
// side could take the sats back with the preimage known. Lnd gives the escrow back itself then, here at a delta that it warns of.
func TestM10SettleMargin(t *testing.T) {
	for left := uint32(9); left <= 12; left++ {
		w := newWorldOn(t, lightning.SimConfig{HoldExpiryDelta: 4})
		w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent")
		id := w.order(args{})
		settles := 0
		w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
			if m == lightning.SimSettle {
				return lightning.ErrSimDropped
			}
			return nil
		}})
		w.play(t, "alice release")
		w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
			if m == lightning.SimSettle {
				settles++
			}
			return nil
		}})
		o, _, err := w.e.Order(id)
		w.check(err)
		w.net.Mine(o.Escrow.ExpiryHeight - left - w.e.node.tip())
		w.e.askNode(t.Context())
		for range 3 {
			w.advance(2 * time.Minute)
		}
		inTime := left > 10
		if h, _ := w.node.HoldState(o.Escrow.Hash); (h.State == lightning.Settled) != inTime || (settles > 0) != inTime {
			t.Errorf("%d blocks are left: asked to settle %d times, and the escrow is %s", left, settles, h.State)
		}
		w.net.Mine(left)
		w.e.askNode(t.Context())
		for range 3 {
			w.advance(2 * time.Minute)
		}
		status, r := w.statusOf(id), w.audit()
		if (status == mostro.StatusSuccess) != inTime || len(r.Owed) != 0 || !r.Agrees() {
			t.Errorf("%d blocks were left: in the end the order is %s, owed %+v, differences %+v", left, status, r.Owed, r.Differences)
		}
	}
}

// M14: the news of one escrow could not be applied, those of the next could. There is no cursor that
// has moved past the first: after a start both orders are where lnd has them.
func TestM14NoNewsIsSkipped(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n carol new sell sats=50000\n dan take invoice=49850\n streams off\n alice pay order=A\n carol pay order=B")
	first, second := w.order(args{named: map[string]string{"order": "A"}}), w.order(args{})
	failed := errors.New("the disk")
	w.e.around = func(written []*badger.Entry, commit func() error) error { return failed }
	for _, each := range []string{first, second} {
		o, _, err := w.e.Order(each)
		w.check(err)
		h, _ := w.node.HoldState(o.Escrow.Hash)
		if err := w.e.sawHold(t.Context(), watch{hash: h.Hash, order: each}, h); each == first && !errors.Is(err, failed) || each == second && err != nil {
			t.Fatal(err)
		}
		w.e.around = justCommit
	}
	if a, b := w.statusOf(first), w.statusOf(second); a != mostro.StatusWaitingPayment || b != mostro.StatusActive {
		t.Fatalf("the orders are %s and %s", a, b)
	}
	w.unheard = false
	w.crash()
	w.settle()
	if a, b := w.statusOf(first), w.statusOf(second); a != mostro.StatusActive || b != mostro.StatusActive {
		t.Errorf("after a start the orders are %s and %s", a, b)
	}
}

// M14: nor is it necessary to start: news that could not be applied are heard again from the next stream, though the state is the same
// as before.
func TestM14FailedNewsComeAgain(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n streams off\n alice pay")
	id := w.order(args{})
	o, _, err := w.e.Order(id)
	w.check(err)
	failures := 0
	w.e.around = func(_ []*badger.Entry, commit func() error) error {
		if failures++; failures == 1 {
			return errors.New("the disk")
		}
		return commit()
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	before := w.node.Count(lightning.SimWatchHold)
	go func() {
		defer close(ended)
		w.e.watchHold(ctx, watch{hash: o.Escrow.Hash, order: id})
	}()
	for w.statusOf(id) != mostro.StatusActive && w.node.Count(lightning.SimWatchHold) < before+10 {
		time.Sleep(20 * time.Millisecond)
		w.node.DropStreams()
	}
	stop()
	<-ended
	if got := w.statusOf(id); got != mostro.StatusActive || failures < 2 {
		t.Errorf("the order is %s after %d tries to apply the news", got, failures)
	}
}

// M35: an order goes back to the book and is taken again, and the node has not heard that the first
// hold invoice is to be canceled. The seller pays it. There is no second one before the first has
// gone back to him, which it does at once when the node hears; then the trade goes on.
func TestM35OldInvoiceIsPaidToo(t *testing.T) {
	for _, crash := range []bool{false, true} {
		w := newWorld(t)
		w.play(t, "alice new sell sats=100000\n bob take invoice=99700")
		id := w.order(args{})
		o, _, err := w.e.Order(id)
		w.check(err)
		old, invoice := o.Escrow.Hash, w.person("alice").invoice
		w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, h order.Hash) error {
			if m == lightning.SimCancel && h == old {
				return lightning.ErrSimDropped
			}
			return nil
		}})
		w.play(t, "bob cancel order=A")
		if _, err := w.person("alice").wallet.Send(t.Context(), lightning.PayRequest{Invoice: invoice, Amount: 100_300_000, FeeLimit: 1000, Timeout: time.Minute}); err != nil {
			t.Fatal(err)
		}
		w.play(t, "carol take order=A invoice=99700")
		if h, _ := w.node.HoldState(old); h.State != lightning.Accepted {
			t.Fatalf("the old hold invoice is %s", h.State)
		}
		if crash {
			w.crash()
		}
		w.play(t, "wait 30s")
		if got := w.person("alice").invoice; got != invoice {
			t.Errorf("a second hold invoice while the first may be paid: %s", got)
		}
		w.node.SetFaults(lightning.Faults{})
		w.play(t, "wait 30s")
		if h, _ := w.node.HoldState(old); h.State != lightning.Canceled {
			t.Errorf("30 s later the old hold invoice is %s", h.State)
		}
		w.play(t, "alice pay order=A\n carol fiat-sent order=A\n alice release order=A")
		if r := w.audit(); w.statusOf(id) != mostro.StatusSuccess || r.Total.SettledIn != 100_300_000 || !r.Agrees() || len(r.Owed) != 0 {
			t.Errorf("the order is %s, %+v, differences %+v", w.statusOf(id), r.Total, r.Differences)
		}
	}
}
