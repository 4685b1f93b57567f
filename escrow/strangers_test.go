package escrow

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// While the book says in-progress, nobody but the parties learns more of an order: who asks for anything with another
// key gets the same answer in every status.
func TestStrangersLearnNoStatus(t *testing.T) {
	asks := []string{"add-invoice invoice=99700", "fiat-sent", "release", "cancel", "dispute", "rate stars=5", "review", "trade-key",
		"settle", "undo", "take", "orders A"}
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000")
	first := map[string]string{}
	seen := map[mostro.Status]bool{}
	for _, step := range []string{"bob take", "bob add-invoice invoice=hold:99700", "alice pay", "bob fiat-sent", "bob dispute",
		"node unsynced\n alice release", "node synced\n wait 1m"} {
		w.play(t, step)
		o, _, err := w.e.Order(w.order(args{}))
		w.check(err)
		seen[o.Status] = true
		for i, ask := range asks {
			who := fmt.Sprintf("stranger%d%d", len(seen), i)
			w.out.Reset()
			w.play(t, who+" "+ask)
			answer := strings.ReplaceAll(w.out.String(), who, "stranger")
			if first[ask] == "" {
				first[ask] = answer
			}
			if answer != first[ask] || !strings.Contains(answer, "cant-do") {
				t.Errorf("%s in %s: %s, and %s earlier", ask, o.Status, answer, first[ask])
			}
		}
	}
	if len(seen) != 7 {
		t.Errorf("only these statuses were looked at: %v", seen)
	}
}

// What is looked up before a step takes time, and others step meanwhile: the message says when the step was.
func TestStepAfterLook(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take")
	const took = 3 * time.Second
	before, clock := w.net.Now(), w.e.cfg.Clock
	w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
		if m == lightning.SimCanRoute {
			w.e.cfg.Clock = func() time.Time { return clock().Add(took) }
		}
		return nil
	}})
	w.play(t, "bob add-invoice invoice=99700")
	if at := w.events[len(w.events)-1].CreatedAt.Time(); at.Before(before.Add(took)) {
		t.Errorf("the answer is of %s, %s after the message", at, at.Sub(before))
	}
}

// The writer has ended, and what it was given before is done: whoever waited hears that, not that the engine has stopped.
func TestDoneBeforeStopped(t *testing.T) {
	for range 2000 {
		e := &Engine{ops: make(chan *op), stop: make(chan struct{}), gone: make(chan struct{})}
		go func() {
			o := <-e.ops
			o.done <- nil
			close(e.stop)
			close(e.gone)
		}()
		if err := e.submit(t.Context(), "", nil); err != nil {
			t.Fatal(err)
		}
	}
}
