package lnd

import (
	"context"
	"fmt"
	"slices"

	"github.com/lightningnetwork/lnd/lnrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// recordPage is how many records lnd is asked for at once, and leastPage how many where it does not
// answer in time; each call has its own deadline.
const (
	recordPage = 1000
	leastPage  = 10
)

// Invoices lists every invoice of the node.
func (n *Node) Invoices(ctx context.Context, seen func(lightning.InvoiceRecord) error) error {
	size := uint64(recordPage)
	for offset := uint64(0); ; {
		answer, err := n.invoicePage(ctx, &lnrpc.ListInvoiceRequest{IndexOffset: offset, NumMaxInvoices: size})
		if err != nil {
			if smallerPage(ctx, err, &size) {
				continue
			}
			return fmt.Errorf("list invoices: %w", translate(ctx, err, nil))
		}
		for _, each := range answer.Invoices {
			record, err := invoiceRecord(each)
			if err != nil {
				return fmt.Errorf("list invoices: %w", err)
			}
			if err := seen(record); err != nil {
				return err
			}
		}
		if uint64(len(answer.Invoices)) < size {
			return nil
		}
		offset = answer.LastIndexOffset
	}
}

// LatestInvoices lists every invoice of the node, the newest first.
func (n *Node) LatestInvoices(ctx context.Context, seen func(lightning.InvoiceRecord) error) error {
	size := uint64(recordPage)
	for before := uint64(0); ; { // 0 = the end
		answer, err := n.invoicePage(ctx, &lnrpc.ListInvoiceRequest{Reversed: true, IndexOffset: before, NumMaxInvoices: size})
		if err != nil {
			if smallerPage(ctx, err, &size) {
				continue
			}
			return fmt.Errorf("list invoices: %w", translate(ctx, err, nil))
		}
		for _, each := range slices.Backward(answer.Invoices) { // lnd: the oldest of a page is first
			record, err := invoiceRecord(each)
			if err != nil {
				return fmt.Errorf("list invoices: %w", err)
			}
			if err := seen(record); err != nil {
				return err
			}
		}
		if before = answer.FirstIndexOffset; uint64(len(answer.Invoices)) < size || before <= 1 {
			return nil
		}
	}
}

// smallerPage asks a large node, which may need longer than a call may take, for less at once: what it has read is
// not read again.
func smallerPage(ctx context.Context, err error, size *uint64) bool {
	if status.Code(err) != codes.DeadlineExceeded || ctx.Err() != nil || *size <= leastPage {
		return false
	}
	*size /= 4
	return true
}

func invoiceRecord(i *lnrpc.Invoice) (lightning.InvoiceRecord, error) {
	if len(i.RHash) == 0 { // lnd: an AMP payment that nobody asked for has none
		i.RHash = make([]byte, len(order.Hash{}))
	}
	hold, err := holdInvoice(i)
	return lightning.InvoiceRecord{HoldInvoice: hold, Memo: i.Memo, CreatedAt: i.CreationDate, SettledAt: i.SettleDate, Hold: isHold(i)}, err
}

// isHold tells a hold invoice that is not settled. lnd shows the preimage of an ordinary one from the
// first, of a hold invoice none; of an AMP invoice none either. Only what is held is ever accepted.
func isHold(i *lnrpc.Invoice) bool {
	return i.State == lnrpc.Invoice_ACCEPTED || len(i.RPreimage) == 0 && !i.IsAmp
}

func (n *Node) invoicePage(ctx context.Context, page *lnrpc.ListInvoiceRequest) (*lnrpc.ListInvoiceResponse, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	return n.main.ListInvoices(ctx, page)
}

// Payments lists every payment of the node, whatever became of it, the newest first.
func (n *Node) Payments(ctx context.Context, seen func(lightning.PaymentRecord) error) error {
	size := uint64(recordPage)
	for before := uint64(0); ; { // 0 = the end
		answer, err := n.paymentPage(ctx, before, size)
		if err != nil {
			if smallerPage(ctx, err, &size) {
				continue
			}
			return fmt.Errorf("list payments: %w", translate(ctx, err, nil))
		}
		for _, each := range slices.Backward(answer.Payments) { // lnd: the oldest of a page is first
			payment, err := payment(each)
			if err != nil {
				return fmt.Errorf("list payments: %w", err)
			}
			if err := seen(lightning.PaymentRecord{Payment: payment, CreatedAt: each.CreationTimeNs / 1e9}); err != nil {
				return err
			}
		}
		if before = answer.FirstIndexOffset; uint64(len(answer.Payments)) < size || before <= 1 {
			return nil
		}
	}
}

func (n *Node) paymentPage(ctx context.Context, before, size uint64) (*lnrpc.ListPaymentsResponse, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	// IncludeIncomplete: lnd: without it only payments that succeeded are listed.
	return n.main.ListPayments(ctx, &lnrpc.ListPaymentsRequest{IncludeIncomplete: true, Reversed: true, IndexOffset: before, MaxPayments: size})
}
