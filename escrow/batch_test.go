package escrow

import (
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// Two takes that are written in one batch do not both get the last place that the node has.
func TestOneBatchHasOneLastPlace(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n carol new sell sats=100000\n holds 1")
	var batch []*op
	for i, id := range []string{w.order(args{named: map[string]string{"order": "A"}}), w.order(args{named: map[string]string{"order": "B"}})} {
		p := w.person([]string{"bob", "dave"}[i])
		p.nextKey()
		key := p.trade.Public()
		m := mostro.Message{Wrapper: mostro.WrapOrder, ID: id, Action: mostro.TakeSell}
		ev := order.Event{ID: key, On: order.EventName(m.Action), Order: id, At: w.e.now(), Seed: newSeed(), Sender: key, Identity: key, Transport: 2, Message: &m}
		batch = append(batch, &op{done: make(chan error, 1), plan: func(txn *badger.Txn, to *writes) error { return w.e.stepOrder(txn, to, ev, nil) }})
	}
	w.out.Reset()
	w.check(w.e.commit(batch))
	w.settle()
	text := w.out.String()
	if !strings.Contains(text, "bob <- add-invoice") || !strings.Contains(text, "dave <- cant-do not_allowed_by_status") {
		t.Errorf("of two takes in one place:\n%s", text)
	}
	w.out.Reset()
	w.play(t, "bob cancel order=A\n dave take order=B")
	if text = w.out.String(); !strings.Contains(text, "dave <- add-invoice") {
		t.Errorf("the place is not free again:\n%s", text)
	}
}
