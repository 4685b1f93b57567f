package escrow

import (
	"context"
	"testing"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// asked is a node that notes until when each question about payments waits for its answer.
type asked struct {
	lightning.Node
	until []time.Time
}

func (a *asked) note(ctx context.Context) {
	until, _ := ctx.Deadline()
	a.until = append(a.until, until)
}

func (a *asked) Track(ctx context.Context, hash order.Hash, seen func(lightning.Payment)) error {
	a.note(ctx)
	return a.Node.Track(ctx, hash, seen)
}

func (a *asked) Send(ctx context.Context, req lightning.PayRequest) (lightning.Payment, error) {
	a.note(ctx)
	return a.Node.Send(ctx, req)
}

// However many payments were tried before, and however far away the node is, each question has its own
// time: else a payout that has failed often enough would never be tried again.
func TestEachQuestionHasItsOwnTime(t *testing.T) {
	w := newWorld(t)
	w.play(t, "bob route none\n alice new sell sats=100000\n bob take invoice=bob@ln.example\n alice pay\n bob fiat-sent\n alice release")
	for range 10 {
		w.play(t, "wait 5m\n bob add-invoice invoice=bob@ln.example")
	}
	w.play(t, "wait 5m\n bob route\n bob add-invoice invoice=99700")
	id := w.order(args{})
	if n := len(w.payoutOf(id).Earlier); n < 5 {
		t.Fatalf("only %d earlier payments", n)
	}
	node := &asked{Node: w.node}
	w.e.cfg.Node = node
	w.play(t, "wait 6m")
	if got := w.statusOf(id); got != mostro.StatusSuccess || len(node.until) < 7 {
		t.Fatalf("after %d questions the order is %s", len(node.until), got)
	}
	for i, until := range node.until {
		if until.IsZero() || i > 0 && !until.After(node.until[i-1]) {
			t.Errorf("question %d waits until %v, the one before it until %v", i, until, node.until[max(0, i-1)])
		}
	}
}
