package escrow

import (
	"context"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// TestTakeRightAfterStart: a take that is sent again after a restart, before the Lightning
// node has said how it is, waits for that and is not refused.
func TestTakeRightAfterStart(t *testing.T) {
	net := lightning.NewSimNetwork(lightning.SimConfig{Now: time.Now})
	node, box, answer := net.Node("mostro"), newPost(), make(chan struct{})
	node.SetFaults(lightning.Faults{Before: func(method lightning.SimMethod, _ order.Hash) error {
		if method == lightning.SimInfo {
			<-answer
		}
		return nil
	}})
	cfg := benchConfig(t, box.publish)
	cfg.Node = node
	e, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()
	receive := func(ev *nostr.Event) error { return e.Receive(ctx, ev) }
	person := func(name string) *trader {
		return &trader{t: t, post: box, node: cfg.Key.Public(), key: secretFor(name), send: receive}
	}
	seller, buyer := person("seller"), person("buyer")
	seller.say(mostro.NewOrder, "", &mostro.Payload{Order: &mostro.SmallOrder{
		Kind: mostro.Sell, Status: mostro.StatusPending, Amount: 100_000, FiatCode: "USD", FiatAmount: 50, PaymentMethod: "cash"}})
	id := seller.wait(mostro.NewOrder).ID
	taken := make(chan struct{})
	go func() {
		buyer.say(mostro.TakeSell, id, nil)
		close(taken)
	}()
	select {
	case <-taken:
		t.Error("the take is decided before anything is known of the node")
	case <-time.After(50 * time.Millisecond):
	}
	close(answer)
	<-taken
	if !t.Failed() {
		buyer.wait(mostro.AddInvoice)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
