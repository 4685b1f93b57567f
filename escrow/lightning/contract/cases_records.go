package contract

import (
	"errors"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// testRecords: the node's books agree with what its calls said, also about what failed and
// what has not ended.
func testRecords(l *lab) {
	settled, canceled, held := l.accepted(someSats), l.open(someSats), l.accepted(someSats)
	l.settle(settled)
	l.cancel(canceled)
	paid := l.network.AddInvoice(l.t, Buyer, InvoiceRequest{Amount: someSats.Msat()})
	success := l.send(payRequest(paid, someSats))
	if got := l.outcome(Escrow, success, lightning.Succeeded); got.State != lightning.Succeeded {
		l.t.Fatalf("the payment is %s (%s)", got.State, got.Reason)
	}
	payout := l.buyerHold()
	flying := l.send(payRequest(payout.bolt11, someSats))
	l.waitHoldAt(l.buyer, payout.hash, lightning.Accepted)

	invoices := map[order.Hash]lightning.InvoiceRecord{}
	l.must(l.escrow.Invoices(l.ctx, func(r lightning.InvoiceRecord) error {
		if _, twice := invoices[r.Hash]; twice {
			l.t.Errorf("invoice %s is listed twice", r.Hash)
		}
		invoices[r.Hash] = r
		return nil
	}))
	for hash, want := range map[order.Hash]lightning.HoldState{
		settled.hash: lightning.Settled, canceled.hash: lightning.Canceled, held.hash: lightning.Accepted,
	} {
		r := invoices[hash]
		if r.State != want || r.Amount != someSats.Msat() || r.Memo != "contract" || r.CreatedAt == 0 {
			l.t.Errorf("the books have %+v, want an invoice that is %s", r, want)
		}
		if got := want == lightning.Settled; got != (r.SettledAt != 0) || r.Hold == got {
			l.t.Errorf("an invoice that is %s was settled at %d, is a hold invoice: %v", want, r.SettledAt, r.Hold)
		}
		if want != lightning.Canceled && r.AmountPaid != someSats.Msat() {
			l.t.Errorf("an invoice that is %s has %d msat", want, r.AmountPaid)
		}
	}
	l.wantLatest(invoices)
	want := map[order.Hash]lightning.PaymentState{success: lightning.Succeeded, flying: lightning.InFlight}
	l.wantPayments(want)

	l.cancel(held)
	l.cancel(payout)
	l.wantFailed(Escrow, flying, incorrectDetails)
	want[flying] = lightning.Failed
	l.wantPayments(want)

	enough := errors.New("enough")
	for what, read := range map[string]func() error{
		"invoices": func() error { return l.escrow.Invoices(l.ctx, func(lightning.InvoiceRecord) error { return enough }) },
		"latest invoices": func() error {
			return l.escrow.LatestInvoices(l.ctx, func(lightning.InvoiceRecord) error { return enough })
		},
		"payments": func() error { return l.escrow.Payments(l.ctx, func(lightning.PaymentRecord) error { return enough }) },
	} {
		l.want("reading "+what+" that is ended", read(), enough)
	}
}

// wantLatest: the same books, backwards.
func (l *lab) wantLatest(invoices map[order.Hash]lightning.InvoiceRecord) {
	l.t.Helper()
	last, count := int64(0), 0
	l.must(l.escrow.LatestInvoices(l.ctx, func(r lightning.InvoiceRecord) error {
		if was := invoices[r.Hash]; was.State != r.State || was.Memo != r.Memo || was.CreatedAt != r.CreatedAt || last > 0 && r.CreatedAt > last {
			l.t.Errorf("of the latest invoices %+v comes after one of %d, the books have %+v", r, last, was)
		}
		last, count = r.CreatedAt, count+1
		return nil
	}))
	if count != len(invoices) {
		l.t.Errorf("%d latest invoices, the books have %d", count, len(invoices))
	}
}

func (l *lab) wantPayments(want map[order.Hash]lightning.PaymentState) {
	l.t.Helper()
	payments := map[order.Hash]lightning.PaymentRecord{}
	var last int64
	l.must(l.escrow.Payments(l.ctx, func(r lightning.PaymentRecord) error {
		if _, twice := payments[r.Hash]; twice || last > 0 && r.CreatedAt > last {
			l.t.Errorf("payment %s of %d comes after one of %d, or again", r.Hash, r.CreatedAt, last)
		}
		last = r.CreatedAt
		payments[r.Hash] = r
		return nil
	}))
	for hash, state := range want {
		if r := payments[hash]; r.State != state || r.Amount != someSats.Msat() || r.CreatedAt == 0 {
			l.t.Errorf("the books have %+v, want a payment that is %s", r.Payment, state)
		}
	}
}
