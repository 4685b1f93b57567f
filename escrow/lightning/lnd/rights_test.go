package lnd_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/lightning/lnd"
	"mostro/escrow/lightning/regtest"
	"mostro/escrow/order"
)

// TestRights: lnd reads its macaroons as we do, and without any one of the listed calls the
// method that needs it fails, with an error that says why and proves nothing about the
// invoice or payment.
func TestRights(t *testing.T) {
	network := regtest.ForTest(t)
	extra, missing, err := lnd.CheckMacaroon(bake(t, network, "mostro", lnd.MacaroonURIs()))
	if extra != nil || missing != nil || err != nil {
		t.Errorf("a macaroon baked as told: extra %v, missing %v, %v", extra, missing, err)
	}
	extra, missing, err = lnd.CheckMacaroon(network.Node("mostro").Macaroon)
	if !slices.Contains(extra, "onchain:write") || missing != nil || err != nil {
		t.Errorf("the admin macaroon: extra %v, missing %v, %v", extra, missing, err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	all := dial(t, network, "mostro", lnd.MacaroonURIs())
	preimage, unknown := order.NewPreimage([32]byte{1}), order.NewPreimage([32]byte{2})
	hold, err := all.OpenHold(ctx, lightning.HoldRequest{Hash: preimage.Hash(), Amount: order.Sat(1000).Msat()})
	if err != nil {
		t.Fatal(err)
	}
	// The buyer's node makes its first invoice here: before it, it had none to look among.
	buyer := dial(t, network, "bob", lnd.MacaroonURIs())
	if _, err := buyer.Lookup(ctx, preimage.Hash()); !errors.Is(err, lightning.ErrNotFound) {
		t.Errorf("lookup at a node without invoices: %v", err)
	}
	if err := buyer.Track(ctx, preimage.Hash(), func(lightning.Payment) {}); !errors.Is(err, lightning.ErrNotFound) {
		t.Errorf("track at a node without payments: %v", err)
	}
	payout, err := buyer.OpenHold(ctx, lightning.HoldRequest{Hash: unknown.Hash(), Amount: order.Sat(1000).Msat()})
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := lightning.Decode(payout.Invoice)
	if err != nil {
		t.Fatal(err)
	}

	// Watches are ended by their first word.
	until := func(watch func(ctx context.Context, seen func()) error) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if err := watch(ctx, cancel); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
	for _, test := range []struct {
		uri  string
		call func(n *lnd.Node) error
		want error // with all rights
	}{
		{"/lnrpc.Lightning/GetInfo", func(n *lnd.Node) error { _, err := n.Info(ctx); return err }, nil},
		{"/lnrpc.Lightning/ListChannels", func(n *lnd.Node) error { _, err := n.Balance(ctx); return err }, nil},
		{"/invoicesrpc.Invoices/AddHoldInvoice", func(n *lnd.Node) error {
			_, err := n.OpenHold(ctx, lightning.HoldRequest{Hash: preimage.Hash()})
			return err
		}, nil},
		{"/invoicesrpc.Invoices/LookupInvoiceV2", func(n *lnd.Node) error { _, err := n.Lookup(ctx, hold.Hash); return err }, nil},
		{"/invoicesrpc.Invoices/SubscribeSingleInvoice", func(n *lnd.Node) error {
			return until(func(ctx context.Context, seen func()) error {
				return n.WatchHold(ctx, hold.Hash, func(lightning.HoldInvoice) { seen() })
			})
		}, nil},
		{"/invoicesrpc.Invoices/SettleInvoice", func(n *lnd.Node) error { return n.Settle(ctx, preimage) }, lightning.ErrStillOpen},
		{"/invoicesrpc.Invoices/CancelInvoice", func(n *lnd.Node) error { return n.Cancel(ctx, unknown.Hash()) }, lightning.ErrNotFound},
		{"/routerrpc.Router/EstimateRouteFee", func(n *lnd.Node) error { return n.CanRoute(ctx, decoded, decoded.Amount) }, nil},
		{"/routerrpc.Router/SendPaymentV2", func(n *lnd.Node) error {
			_, err := n.Send(ctx, lightning.PayRequest{Invoice: payout.Invoice, Amount: decoded.Amount})
			return err
		}, nil},
		{"/routerrpc.Router/TrackPaymentV2", func(n *lnd.Node) error {
			return until(func(ctx context.Context, seen func()) error {
				return n.Track(ctx, decoded.Hash, func(lightning.Payment) { seen() })
			})
		}, nil},
		{"/chainrpc.ChainNotifier/RegisterBlockEpochNtfn", func(n *lnd.Node) error {
			return until(func(ctx context.Context, seen func()) error {
				return n.WatchBlocks(ctx, func(uint32) { seen() })
			})
		}, nil},
	} {
		t.Run(test.uri, func(t *testing.T) {
			rest := slices.DeleteFunc(lnd.MacaroonURIs(), func(uri string) bool { return uri == test.uri })
			err := test.call(dial(t, network, "mostro", rest))
			if err == nil || !strings.Contains(err.Error(), "permission denied") || test.want != nil && errors.Is(err, test.want) {
				t.Errorf("without the right: %v, want: permission denied", err)
			}
			if err := test.call(all); !errors.Is(err, test.want) {
				t.Errorf("with all rights: %v, want: %v", err, test.want)
			}
		})
	}
	if err := buyer.Cancel(ctx, unknown.Hash()); err != nil {
		t.Error(err)
	}
}

// TestHangingNode: a node that does not answer costs the caller its deadline and no more,
// and the same Node works again afterwards.
func TestHangingNode(t *testing.T) {
	network := regtest.ForTest(t)
	node := dial(t, network, "mostro", lnd.MacaroonURIs())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := node.Info(ctx); err != nil {
		t.Fatal(err)
	}
	if err := network.Freeze(ctx, "mostro"); err != nil {
		t.Fatal(err)
	}
	short, cancelShort := context.WithTimeout(ctx, time.Second)
	defer cancelShort()
	preimage := order.NewPreimage([32]byte{1})
	_, err := node.OpenHold(short, lightning.HoldRequest{Hash: preimage.Hash(), Amount: order.Sat(1000).Msat()})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, lightning.ErrRefused) {
		t.Errorf("open at a hanging node: %v, want its deadline", err)
	}
	if err := network.Thaw("mostro"); err != nil {
		t.Fatal(err)
	}
	invoice, err := node.OpenHold(ctx, lightning.HoldRequest{Hash: preimage.Hash(), Amount: order.Sat(1000).Msat()})
	if err != nil || invoice.State != lightning.Open {
		t.Errorf("open afterwards: %+v, %v", invoice, err)
	}
}
