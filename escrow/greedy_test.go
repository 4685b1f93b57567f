package escrow

import (
	"slices"
	"testing"

	"mostro/escrow/order"
)

// A buyer whose payout has failed may change his mind about the invoice, ten times at most,
// while the next try has to wait: only what the node was asked to pay is kept for ever.
func TestInvoicesThatWereNeverSentAreForgotten(t *testing.T) {
	w := newWorld(t)
	w.play(t, "attempts 1\n"+fiatSent+"bob route none\n alice release\n bob route")
	hashes := w.rows(tableHash)
	var last order.Hash
	for range 10 {
		w.play(t, "bob add-invoice invoice=99700")
		o, _, err := w.e.Order(w.order(args{}))
		w.check(err)
		if o.Payout.Hash == last || o.Payout.State != order.PayoutFailed {
			t.Fatalf("the payout is %+v", o.Payout)
		}
		last = o.Payout.Hash
	}
	o, _, err := w.e.Order(w.order(args{}))
	w.check(err)
	if n := len(o.Payout.Earlier); n != 1 {
		t.Errorf("%d earlier hashes are kept of one that was sent", n)
	}
	if n := w.rows(tableHash); n != hashes+1 {
		t.Errorf("%d hashes are claimed, %d before", n, hashes)
	}
	w.out.Reset()
	w.play(t, "wait 5m")
	if o, _, err = w.e.Order(w.order(args{})); err != nil || o.Status != "success" {
		t.Errorf("the order is %s, %v:\n%s", o.Status, err, w.out.String())
	}
}

// Every invoice that was sent is kept, the one that had to wait for its turn too.
func TestInvoicesThatWereSentAreKept(t *testing.T) {
	w := newWorld(t)
	payout := func() order.Payout {
		o, _, err := w.e.Order(w.order(args{}))
		w.check(err)
		return o.Payout
	}
	w.play(t, "attempts 1\n"+fiatSent+"bob route none\n alice release")
	first := payout().Hash
	w.play(t, "bob route\n bob add-invoice invoice=99700\n bob route none\n wait 5m")
	second := payout().Hash
	w.play(t, "bob route\n bob add-invoice invoice=99700")
	if p := payout(); !slices.Equal(p.Earlier, []order.Hash{first, second}) {
		t.Errorf("%s and %s were sent, the payout is %+v", first, second, p)
	}
}
