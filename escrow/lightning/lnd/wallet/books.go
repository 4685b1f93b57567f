package wallet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lightningnetwork/lnd/lnrpc"

	"mostro/escrow/order"
)

// Books are all that a node has taken in and given out over Lightning since its beginning,
// and what it owns in its open channels now.
type Books struct {
	Received  order.Msat // settled invoices
	Paid      order.Msat // payments that succeeded, without routing fees
	Routing   order.Msat // routing fees of those payments
	Forwarded order.Msat // routing fees earned
	Channels  order.Msat // own balances, with the commitment fees that the node bears
}

// Net is what the books say that the channels should have changed by.
func (b Books) Net() order.Msat { return b.Received - b.Paid - b.Routing + b.Forwarded }

// Since subtracts earlier books of the same node.
func (b Books) Since(earlier Books) Books {
	return Books{
		b.Received - earlier.Received, b.Paid - earlier.Paid, b.Routing - earlier.Routing,
		b.Forwarded - earlier.Forwarded, b.Channels - earlier.Channels,
	}
}

// Plus adds the books of another node.
func (b Books) Plus(other Books) Books {
	return Books{
		b.Received + other.Received, b.Paid + other.Paid, b.Routing + other.Routing,
		b.Forwarded + other.Forwarded, b.Channels + other.Channels,
	}
}

// Books reads the books. They are whole only while no HTLC is on its way: see Quiet.
func (w *Wallet) Books(ctx context.Context) (b Books, err error) {
	for _, read := range []func(context.Context, *Books) error{w.readInvoices, w.readPayments, w.readForwards, w.readChannels} {
		if err := read(ctx, &b); err != nil {
			return Books{}, fmt.Errorf("read the node's books: %w", err)
		}
	}
	return b, nil
}

// Quiet waits until no channel of the node has an HTLC, but for those with some hashes.
func (w *Wallet) Quiet(ctx context.Context, but ...order.Hash) error {
	for {
		answer, err := w.main.ListChannels(ctx, &lnrpc.ListChannelsRequest{})
		if err != nil {
			return fmt.Errorf("wait for the node's HTLCs: %w", err)
		}
		htlcs := 0
		for _, channel := range answer.Channels {
			for _, htlc := range channel.PendingHtlcs {
				if !slices.Contains(but, order.Hash(htlc.HashLock)) {
					htlcs++
				}
			}
		}
		if htlcs == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the node's HTLCs: %w", ctx.Err())
		case <-time.After(quietPoll):
		}
	}
}

func (w *Wallet) readInvoices(ctx context.Context, b *Books) error {
	for offset := uint64(0); ; {
		answer, err := w.main.ListInvoices(ctx, &lnrpc.ListInvoiceRequest{IndexOffset: offset, NumMaxInvoices: page})
		if err != nil {
			return err
		}
		for _, invoice := range answer.Invoices {
			if invoice.State == lnrpc.Invoice_SETTLED {
				b.Received += order.Msat(invoice.AmtPaidMsat)
			}
		}
		if len(answer.Invoices) < page {
			return nil
		}
		offset = answer.LastIndexOffset
	}
}

func (w *Wallet) readPayments(ctx context.Context, b *Books) error {
	for offset := uint64(0); ; {
		// Without the incomplete ones lnd gives those that succeeded.
		answer, err := w.main.ListPayments(ctx, &lnrpc.ListPaymentsRequest{IndexOffset: offset, MaxPayments: page})
		if err != nil {
			return err
		}
		for _, payment := range answer.Payments {
			b.Paid += order.Msat(payment.ValueMsat)
			b.Routing += order.Msat(payment.FeeMsat)
		}
		if len(answer.Payments) < page {
			return nil
		}
		offset = answer.LastIndexOffset
	}
}

func (w *Wallet) readForwards(ctx context.Context, b *Books) error {
	for offset := uint32(0); ; {
		answer, err := w.main.ForwardingHistory(ctx, &lnrpc.ForwardingHistoryRequest{
			StartTime: 1, EndTime: uint64(time.Now().Add(time.Hour).Unix()), IndexOffset: offset, NumMaxEvents: page,
		})
		if err != nil {
			return err
		}
		for _, event := range answer.ForwardingEvents {
			b.Forwarded += order.Msat(event.FeeMsat)
		}
		if len(answer.ForwardingEvents) < page {
			return nil
		}
		offset = answer.LastOffsetIndex
	}
}

func (w *Wallet) readChannels(ctx context.Context, b *Books) error {
	balance, err := w.main.ChannelBalance(ctx, &lnrpc.ChannelBalanceRequest{})
	if err != nil {
		return err
	}
	b.Channels = order.Msat(balance.GetLocalBalance().GetMsat())
	channels, err := w.main.ListChannels(ctx, &lnrpc.ListChannelsRequest{})
	if err != nil {
		return err
	}
	for _, channel := range channels.Channels {
		// The opener's balance is without the fee of the commitment transaction, which
		// changes with the fee rate and with each HTLC.
		if channel.Initiator {
			b.Channels += order.Sat(channel.CommitFee).Msat()
		}
	}
	return nil
}
