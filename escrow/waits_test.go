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
	// From here on the engine runs by itself.
	box := newPost()
	w.e.inline, w.e.cfg.Publish = false, box.publish
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.e.Run(ctx) }()
	p := w.person("alice")
	alice := &trader{t: t, post: box, node: w.cfg.Key.Public(), key: p.trade}
	alice.send = func(ev *nostr.Event) error { return w.e.Receive(ctx, ev) }
	seven, id := uint64(7), w.order(args{})
	ev, err := mostro.SealRequest(mostro.Message{Wrapper: mostro.WrapOrder, Version: 2, RequestID: &seven, ID: id, Action: mostro.Release}, mostro.NIP44,
		mostro.Party{Trade: p.trade, Identity: p.identity}, w.cfg.Key.Public(), w.net.Now().Unix(), 0)
	w.check(err)
	w.check(alice.send(&ev))
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
	w.check(<-ended)
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
	box := newPost()
	w.e.inline, w.e.cfg.Publish = false, box.publish
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.e.Run(ctx) }()
	p := w.person("bob")
	p.nextKey()
	bob := &trader{t: t, post: box, node: w.cfg.Key.Public(), key: p.trade}
	bob.send = func(ev *nostr.Event) error { return w.e.Receive(ctx, ev) }
	seven, id, one := uint64(7), w.order(args{}), int64(1)
	ev, err := mostro.SealRequest(mostro.Message{Wrapper: mostro.WrapOrder, Version: 2, RequestID: &seven, TradeIndex: &one, ID: id, Action: mostro.TakeBuy}, mostro.NIP44,
		mostro.Party{Trade: p.trade, Identity: p.identity}, w.cfg.Key.Public(), w.net.Now().Unix(), 0)
	w.check(err)
	w.check(bob.send(&ev))
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
	w.check(<-ended)
}
