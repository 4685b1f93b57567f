// Package wallet is a trader's Lightning wallet on lnd: it makes invoices, pays hold invoices,
// and shows the node's books. The demo of the dev network trades with it, and audits all
// sides of a trade by it.
//
// Everything it says is read from the node that it speaks of; nothing is remembered or
// computed from what was asked. It must know nothing of orders.
package wallet

import (
	"context"
	"fmt"
	"time"

	"github.com/lightningnetwork/lnd/lnrpc"
	"google.golang.org/grpc"

	"mostro/escrow/lightning"
	"mostro/escrow/lightning/lnd"
	"mostro/escrow/order"
)

const (
	invoiceLife = 24 * time.Hour
	payTime     = time.Minute // until the last attempt of a payment starts
	payParts    = 16
	feeShare    = 100 // a payment's routing fee is at most the amount over this
	page        = 1000
	quietPoll   = 20 * time.Millisecond
)

// Wallet is an lnd node with the permissions of its owner.
type Wallet struct {
	*lnd.Node
	conn *grpc.ClientConn
	main lnrpc.LightningClient
}

// Dial returns a wallet at once, whether the node can be reached or not. Beyond the calls of
// lnd.MacaroonURIs the macaroon must permit to make invoices and to read all books.
func Dial(config lnd.Config) (*Wallet, error) {
	node, err := lnd.Dial(config)
	if err != nil {
		return nil, err
	}
	conn, err := lnd.Connect(config)
	if err != nil {
		node.Close()
		return nil, err
	}
	return &Wallet{node, conn, lnrpc.NewLightningClient(conn)}, nil
}

// Close ends the connections. Payments go on.
func (w *Wallet) Close() error {
	w.conn.Close()
	return w.Node.Close()
}

// Invoice makes an ordinary invoice that lives for a day.
func (w *Wallet) Invoice(ctx context.Context, amount order.Msat, memo string) (order.Invoice, error) {
	answer, err := w.main.AddInvoice(ctx, &lnrpc.Invoice{
		Memo: memo, ValueMsat: int64(amount), Expiry: int64(invoiceLife / time.Second),
	})
	if err != nil {
		return order.Invoice{}, fmt.Errorf("make invoice: %w", err)
	}
	return lightning.Decode(answer.PaymentRequest)
}

// Pay begins to pay an invoice and returns when the node has taken the payment over. A hold
// invoice is paid, in the end, when its node settles it.
func (w *Wallet) Pay(ctx context.Context, bolt11 string) error {
	invoice, err := lightning.Decode(bolt11)
	if err != nil {
		return err
	}
	_, err = w.Send(ctx, lightning.PayRequest{
		Invoice: bolt11, Amount: invoice.Amount, FeeLimit: invoice.Amount / feeShare, MaxParts: payParts, Timeout: payTime,
	})
	return err
}

// Paid waits for the end of a payment of this node.
func (w *Wallet) Paid(ctx context.Context, hash order.Hash) (lightning.Payment, error) {
	var last lightning.Payment
	err := w.Track(ctx, hash, func(p lightning.Payment) { last = p })
	return last, err
}
