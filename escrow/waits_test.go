package escrow

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// asks lets the engine run by itself from here on, until stop, and somebody send it a message as request 7.
func (w *world) asks(t *testing.T, name string, m mostro.Message) (who *trader, stop func()) {
	t.Helper()
	box := newPost()
	w.e.inline, w.e.cfg.Publish = false, box.publish
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.e.Run(ctx) }()
	p, seven := w.person(name), uint64(7)
	who = &trader{t: t, post: box, node: w.cfg.Key.Public(), key: p.trade}
	who.send = func(ev *nostr.Event) error { return w.e.Receive(ctx, ev) }
	m.Wrapper, m.Version, m.RequestID = mostro.WrapOrder, 2, &seven
	ev, err := mostro.SealRequest(m, mostro.NIP44, mostro.Party{Trade: p.trade, Identity: p.identity}, w.cfg.Key.Public(), w.net.Now().Unix(), 0)
	w.check(err)
	w.check(who.send(&ev))
	return who, func() {
		cancel()
		w.check(<-ended)
	}
}

// A node that takes a call and never answers keeps nobody in silence: who has released hears
// that it counts while the call still hangs.
func TestHangingCallIsMentioned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.play(t, fiatSent)
	hangs := make(chan struct{})
	w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
		if m == lightning.SimSettle {
			<-hangs
		}
		return nil
	}})
	id := w.order(args{})
	alice, stop := w.asks(t, "alice", mostro.Message{ID: id, Action: mostro.Release})
	// It hangs until she is told, or for so long that she never will be.
	end := sync.OnceFunc(func() { close(hangs) })
	giveUp := time.AfterFunc(12*answerWithin, end)
	m := alice.next()
	if !giveUp.Stop() {
		t.Fatal("nothing is said while the call hangs")
	}
	if m.Action != mostro.SendDM || m.RequestID == nil || *m.RequestID != 7 {
		t.Errorf("the answer is %+v", m)
	}
	if o, _, err := w.e.Order(id); err != nil || o.Status != mostro.StatusSettling {
		t.Errorf("the order is %s, %v", o.Status, err)
	}
	end()
	alice.wait(mostro.HoldInvoicePaymentSettled)
	stop()
}

// A take whose hold invoice the node does not make is answered before mobile forgets it, while the call still hangs. What
// the node has made when it comes back is canceled.
func TestHangingTakeIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.play(t, "alice new buy sats=100000")
	hangs := make(chan struct{})
	opens := make(chan order.Hash, 1)
	w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, hash order.Hash) error {
		if m == lightning.SimOpenHold {
			select {
			case opens <- hash:
			default: // once more
			}
			<-hangs
		}
		return nil
	}})
	w.person("bob").nextKey()
	id, one := w.order(args{}), int64(1)
	bob, stop := w.asks(t, "bob", mostro.Message{TradeIndex: &one, ID: id, Action: mostro.TakeBuy})
	end := sync.OnceFunc(func() { close(hangs) })
	giveUp := time.AfterFunc(12*openWithin, end)
	m := bob.next()
	if !giveUp.Stop() {
		t.Fatal("nothing is said while the call hangs")
	}
	if m.Action != mostro.CantDo || m.RequestID == nil || *m.RequestID != 7 || m.ID != id || *m.Payload.CantDo != mostro.NotAllowedByStatus {
		t.Errorf("the answer is %+v", m)
	}
	if o, _, err := w.e.Order(id); err != nil || o.Status != mostro.StatusPending {
		t.Errorf("the order is %s, %v", o.Status, err)
	}
	end()
	for made := <-opens; ; {
		h, ok := w.node.HoldState(made)
		if ok && h.State == lightning.Canceled {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
}
