package lnd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/lightningnetwork/lnd/lnrpc"
	"github.com/lightningnetwork/lnd/lnrpc/invoicesrpc"
	"google.golang.org/grpc/status"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// OpenHold makes a hold invoice, or returns the one that the node has for the hash.
func (n *Node) OpenHold(ctx context.Context, req lightning.HoldRequest) (lightning.HoldInvoice, error) {
	invoice, err := n.openHold(ctx, req)
	if err != nil {
		return lightning.HoldInvoice{}, fmt.Errorf("open hold invoice %s: %w", req.Hash, err)
	}
	return invoice, nil
}

func (n *Node) openHold(ctx context.Context, req lightning.HoldRequest) (lightning.HoldInvoice, error) {
	if req.Expiry != 0 && req.Expiry < time.Second {
		// lnd counts in seconds and takes 0 for a day.
		return lightning.HoldInvoice{}, fmt.Errorf("%w: expiry of %v is below a second", lightning.ErrRefused, req.Expiry)
	}
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	answer, err := n.invoices.AddHoldInvoice(ctx, &invoicesrpc.AddHoldInvoiceRequest{
		Memo:       req.Memo,
		Hash:       req.Hash[:],
		ValueMsat:  int64(req.Amount),
		Expiry:     int64(req.Expiry / time.Second),
		CltvExpiry: uint64(req.CLTVDelta),
		Private:    true, // adds route hints when there are private channels
	})
	if err != nil && strings.Contains(status.Convert(err).Message(), "invoice with payment hash already exists") {
		found, err := n.lookup(ctx, req.Hash)
		found.Existed = true
		return found, err
	}
	if err != nil {
		return lightning.HoldInvoice{}, translate(ctx, err, invoiceAnswers())
	}
	decoded, err := lightning.Decode(answer.PaymentRequest)
	if err != nil {
		return lightning.HoldInvoice{}, err
	}
	return lightning.HoldInvoice{
		Hash:      req.Hash,
		Invoice:   answer.PaymentRequest,
		State:     lightning.Open,
		Amount:    req.Amount,
		CLTVDelta: decoded.FinalCLTV,
		ExpiresAt: decoded.ExpiresAt,
	}, nil
}

// Lookup returns the present state of a hold invoice.
func (n *Node) Lookup(ctx context.Context, hash order.Hash) (lightning.HoldInvoice, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	invoice, err := n.lookup(ctx, hash)
	if err != nil {
		return lightning.HoldInvoice{}, fmt.Errorf("look up hold invoice %s: %w", hash, err)
	}
	return invoice, nil
}

func (n *Node) lookup(ctx context.Context, hash order.Hash) (lightning.HoldInvoice, error) {
	answer, err := n.invoices.LookupInvoiceV2(ctx, &invoicesrpc.LookupInvoiceMsg{
		InvoiceRef: &invoicesrpc.LookupInvoiceMsg_PaymentHash{PaymentHash: hash[:]},
	})
	if err != nil {
		return lightning.HoldInvoice{}, translate(ctx, err, invoiceAnswers())
	}
	return holdInvoice(answer)
}

// Settle takes the money of an accepted invoice.
func (n *Node) Settle(ctx context.Context, preimage order.Preimage) error {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	secret := preimage.Bytes()
	_, err := n.invoices.SettleInvoice(ctx, &invoicesrpc.SettleInvoiceMsg{Preimage: secret[:]})
	if err != nil {
		return fmt.Errorf("settle hold invoice %s: %w", preimage.Hash(), translate(ctx, err, invoiceAnswers()))
	}
	return nil
}

// Cancel gives the money of an accepted invoice back, or ends an open one.
func (n *Node) Cancel(ctx context.Context, hash order.Hash) error {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	_, err := n.invoices.CancelInvoice(ctx, &invoicesrpc.CancelInvoiceMsg{PaymentHash: hash[:]})
	if err != nil {
		return fmt.Errorf("cancel hold invoice %s: %w", hash, translate(ctx, err, invoiceAnswers()))
	}
	return nil
}

// WatchHold follows a hold invoice to its end.
func (n *Node) WatchHold(ctx context.Context, hash order.Hash, seen func(lightning.HoldInvoice)) error {
	if err := n.watchHold(ctx, hash, seen); err != nil {
		return fmt.Errorf("watch hold invoice %s: %w", hash, err)
	}
	return nil
}

func (n *Node) watchHold(ctx context.Context, hash order.Hash, seen func(lightning.HoldInvoice)) error {
	// lnd: the stream of an unknown hash does not fail, it waits for the invoice.
	if _, err := n.Lookup(ctx, hash); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := n.invoices.SubscribeSingleInvoice(ctx, &invoicesrpc.SubscribeSingleInvoiceRequest{RHash: hash[:]})
	if err != nil {
		return translate(ctx, err, invoiceAnswers())
	}
	for {
		update, err := stream.Recv()
		if err != nil {
			return translate(ctx, err, invoiceAnswers())
		}
		invoice, err := holdInvoice(update)
		if err != nil {
			return err
		}
		seen(invoice)
		if invoice.State.Final() {
			return nil
		}
	}
}

// holdInvoice reads an invoice of lnd's.
func holdInvoice(answer *lnrpc.Invoice) (lightning.HoldInvoice, error) {
	state, ok := map[lnrpc.Invoice_InvoiceState]lightning.HoldState{
		lnrpc.Invoice_OPEN:     lightning.Open,
		lnrpc.Invoice_ACCEPTED: lightning.Accepted,
		lnrpc.Invoice_SETTLED:  lightning.Settled,
		lnrpc.Invoice_CANCELED: lightning.Canceled,
	}[answer.State]
	if !ok || len(answer.RHash) != len(order.Hash{}) {
		return lightning.HoldInvoice{}, fmt.Errorf("read lnd's answer: invoice state %v, hash of %d bytes", answer.State, len(answer.RHash))
	}
	invoice := lightning.HoldInvoice{
		Hash:      order.Hash(answer.RHash),
		Invoice:   answer.PaymentRequest,
		State:     state,
		Amount:    order.Msat(answer.ValueMsat),
		CLTVDelta: uint32(answer.CltvExpiry),
		ExpiresAt: time.Unix(answer.CreationDate+answer.Expiry, 0),
	}
	for _, htlc := range answer.Htlcs {
		switch htlc.State {
		case lnrpc.InvoiceHTLCState_ACCEPTED:
			height := uint32(htlc.ExpiryHeight)
			if invoice.ExpiryHeight == 0 || height < invoice.ExpiryHeight {
				invoice.ExpiryHeight = height
			}
			invoice.AmountPaid += order.Msat(htlc.AmtMsat)
		case lnrpc.InvoiceHTLCState_SETTLED:
			invoice.AmountPaid += order.Msat(htlc.AmtMsat)
		}
	}
	return invoice, nil
}
