package audit

import (
	"context"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// ReadNode collects what a node says of itself. It needs the rights to read and no others.
func ReadNode(ctx context.Context, node interface {
	Info(context.Context) (lightning.Info, error)
	Invoices(context.Context, func(lightning.InvoiceRecord) error) error
	Payments(context.Context, func(lightning.PaymentRecord) error) error
}) (Node, error) {
	info, err := node.Info(ctx)
	if err != nil {
		return Node{}, err
	}
	read := Node{
		Pubkey: info.Pubkey, Alias: info.Alias, Network: info.Network,
		Invoices: map[order.Hash]lightning.InvoiceRecord{}, Payments: map[order.Hash]lightning.PaymentRecord{},
	}
	if err := node.Invoices(ctx, func(r lightning.InvoiceRecord) error {
		if r.Hash.IsZero() {
			if r.State == lightning.Settled {
				read.Nameless.add(r.AmountPaid, 0)
			}
			return nil
		}
		r.Invoice = "" // long, and needed by nobody here
		read.Invoices[r.Hash] = r
		return nil
	}); err != nil {
		return Node{}, err
	}
	return read, node.Payments(ctx, func(r lightning.PaymentRecord) error {
		read.Payments[r.Hash] = r
		return nil
	})
}
