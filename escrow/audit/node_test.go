package audit

import (
	"context"
	"testing"

	"mostro/escrow/lightning"
)

// paidUnasked is a node that somebody has paid without a payment hash.
type paidUnasked struct{ states []lightning.HoldState }

func (paidUnasked) Info(context.Context) (lightning.Info, error) { return lightning.Info{}, nil }

func (n paidUnasked) Invoices(_ context.Context, seen func(lightning.InvoiceRecord) error) error {
	for _, state := range n.states {
		if err := seen(lightning.InvoiceRecord{HoldInvoice: lightning.HoldInvoice{State: state, AmountPaid: 5}}); err != nil {
			return err
		}
	}
	return nil
}

func (paidUnasked) Payments(context.Context, func(lightning.PaymentRecord) error) error { return nil }

// Anybody may pay a node without being asked. It counts as taken in beside the escrow, and is no difference.
func TestPaidUnasked(t *testing.T) {
	node, err := ReadNode(t.Context(), paidUnasked{[]lightning.HoldState{lightning.Settled, lightning.Open, lightning.Settled}})
	if err != nil {
		t.Fatal(err)
	}
	r := Compare(nil, node, derive, 100, 0)
	if !r.Agrees() || r.OthersIn != (Tally{2, 10, 0}) || len(r.OthersHolds) != 0 {
		t.Errorf("differences %+v, taken in %+v, holds %+v", r.Differences, r.OthersIn, r.OthersHolds)
	}
}
