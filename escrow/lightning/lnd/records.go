package lnd

import (
	"context"
	"fmt"

	"github.com/lightningnetwork/lnd/lnrpc"

	"mostro/escrow/lightning"
)

// recordPage is how many records lnd is asked for at once; each call has its own deadline.
const recordPage = 1000

// Invoices lists every invoice of the node.
func (n *Node) Invoices(ctx context.Context, seen func(lightning.InvoiceRecord) error) error {
	for offset := uint64(0); ; {
		answer, err := n.invoicePage(ctx, offset)
		if err != nil {
			return fmt.Errorf("list invoices: %w", err)
		}
		for _, each := range answer.Invoices {
			hold, err := holdInvoice(each)
			if err != nil {
				return fmt.Errorf("list invoices: %w", err)
			}
			record := lightning.InvoiceRecord{HoldInvoice: hold, Memo: each.Memo, CreatedAt: each.CreationDate, SettledAt: each.SettleDate}
			if err := seen(record); err != nil {
				return err
			}
		}
		if len(answer.Invoices) < recordPage {
			return nil
		}
		offset = answer.LastIndexOffset
	}
}

func (n *Node) invoicePage(ctx context.Context, offset uint64) (*lnrpc.ListInvoiceResponse, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	answer, err := n.main.ListInvoices(ctx, &lnrpc.ListInvoiceRequest{IndexOffset: offset, NumMaxInvoices: recordPage})
	return answer, translate(ctx, err, nil)
}

// Payments lists every payment of the node, whatever became of it.
func (n *Node) Payments(ctx context.Context, seen func(lightning.PaymentRecord) error) error {
	for offset := uint64(0); ; {
		answer, err := n.paymentPage(ctx, offset)
		if err != nil {
			return fmt.Errorf("list payments: %w", err)
		}
		for _, each := range answer.Payments {
			payment, err := payment(each)
			if err != nil {
				return fmt.Errorf("list payments: %w", err)
			}
			if err := seen(lightning.PaymentRecord{Payment: payment, CreatedAt: each.CreationTimeNs / 1e9}); err != nil {
				return err
			}
		}
		if len(answer.Payments) < recordPage {
			return nil
		}
		offset = answer.LastIndexOffset
	}
}

func (n *Node) paymentPage(ctx context.Context, offset uint64) (*lnrpc.ListPaymentsResponse, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	// IncludeIncomplete: lnd: without it only payments that succeeded are listed.
	answer, err := n.main.ListPayments(ctx, &lnrpc.ListPaymentsRequest{IncludeIncomplete: true, IndexOffset: offset, MaxPayments: recordPage})
	return answer, translate(ctx, err, nil)
}
