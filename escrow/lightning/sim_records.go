package lightning

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"mostro/escrow/order"
)

// Invoices are the node's books as lnd's ListInvoices shows them.
func (s *SimNode) Invoices(ctx context.Context, seen func(InvoiceRecord) error) error {
	records, err := s.invoiceRecords(ctx)
	if err != nil {
		return err
	}
	return each(records, seen)
}

// LatestInvoices are the same, backwards.
func (s *SimNode) LatestInvoices(ctx context.Context, seen func(InvoiceRecord) error) error {
	records, err := s.invoiceRecords(ctx)
	if err != nil {
		return err
	}
	slices.Reverse(records)
	return each(records, seen)
}

func (s *SimNode) invoiceRecords(ctx context.Context) (records []InvoiceRecord, err error) {
	err = s.call(ctx, SimInvoices, order.Hash{}, func() (string, error) {
		for _, invoice := range s.invoices {
			r := InvoiceRecord{HoldInvoice: invoice.view(), Memo: invoice.memo, CreatedAt: invoice.CreatedAt.Unix(), Hold: invoice.hold && invoice.state != Settled}
			if invoice.state == Settled {
				r.SettledAt = invoice.settledAt.Unix()
			}
			records = append(records, r)
		}
		return "", nil
	})
	if err != nil {
		return nil, fmt.Errorf("list invoices: %w", err)
	}
	slices.SortFunc(records, func(a, b InvoiceRecord) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), bytes.Compare(a.Hash[:], b.Hash[:]))
	})
	return records, nil
}

// Payments are the node's books as lnd's ListPayments shows them. What Track does not find
// yet is not there either.
func (s *SimNode) Payments(ctx context.Context, seen func(PaymentRecord) error) error {
	var records []PaymentRecord
	err := s.call(ctx, SimPayments, order.Hash{}, func() (string, error) {
		for _, payment := range s.payments {
			if !s.unindexed(payment) {
				records = append(records, PaymentRecord{Payment: payment.view(), CreatedAt: payment.sentAt.Unix()})
			}
		}
		return "", nil
	})
	if err != nil {
		return fmt.Errorf("list payments: %w", err)
	}
	slices.SortFunc(records, func(a, b PaymentRecord) int {
		return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), bytes.Compare(b.Hash[:], a.Hash[:]))
	})
	return each(records, seen)
}

func each[T any](records []T, seen func(T) error) error {
	for _, r := range records {
		if err := seen(r); err != nil {
			return err
		}
	}
	return nil
}
