package lightning_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// trio is the usual network of a trade.
type trio struct {
	net                   *lightning.SimNetwork
	escrow, seller, buyer *lightning.SimNode
}

func newTrio(t *testing.T) trio {
	net := lightning.NewSimNetwork(lightning.SimConfig{})
	t.Cleanup(func() {
		if total, minted := net.Total(); total != minted {
			t.Errorf("the network holds %d msat of the %d it began with", total, minted)
		}
	})
	return trio{net, net.Node("mostro"), net.Node("alice"), net.Node("bob")}
}

// hold opens a hold invoice of the escrow, with a preimage made of its number.
func (n trio) hold(t *testing.T, number byte, sats order.Sat) (lightning.HoldInvoice, order.Preimage) {
	t.Helper()
	preimage := order.NewPreimage([32]byte{number, 1})
	invoice, err := n.escrow.OpenHold(t.Context(), lightning.HoldRequest{
		Hash: preimage.Hash(), Amount: sats.Msat(), CLTVDelta: 288, Expiry: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	return invoice, preimage
}

func payRequest(bolt11 string, sats order.Sat) lightning.PayRequest {
	return lightning.PayRequest{Invoice: bolt11, Amount: sats.Msat(), FeeLimit: 10_000, MaxParts: 1, Timeout: time.Minute}
}

// TestSimTrade plays a trade without goroutines and reads all there is to see of it.
func TestSimTrade(t *testing.T) {
	n := newTrio(t)
	n.buyer.SetRoute(lightning.SimRoute{BaseFee: 1000, FeePPM: 100})
	var seen []string
	n.net.OnChange(func(change lightning.SimChange) {
		switch {
		case change.Hold != nil:
			seen = append(seen, fmt.Sprintf("%s hold %s", change.Node, change.Hold.State))
		case change.Payment != nil:
			seen = append(seen, fmt.Sprintf("%s payment %s", change.Node, change.Payment.State))
		}
	})
	invoice, preimage := n.hold(t, 1, 50_000)
	if payment, err := n.seller.PayHold(invoice.Invoice); err != nil || payment.State != lightning.InFlight {
		t.Fatalf("seller's payment: %v %v", payment.State, err)
	}
	if err := n.escrow.Settle(t.Context(), preimage); err != nil {
		t.Fatal(err)
	}
	payout := n.buyer.AddInvoice(lightning.SimInvoiceRequest{Amount: order.Sat(49_000).Msat()})
	if sent, err := n.escrow.Send(t.Context(), payRequest(payout, 49_000)); err != nil || sent.State != lightning.InFlight {
		t.Fatalf("payout: %v %v", sent.State, err)
	}
	want := []string{
		"mostro hold open", "alice payment in-flight", "mostro hold accepted",
		"mostro hold settled", "alice payment succeeded",
		"mostro payment in-flight", "bob hold settled", "mostro payment succeeded",
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	fee := order.Msat(1000 + 4900)
	begin := order.Sat(10_000_000_000).Msat()
	got := map[string]order.Msat{
		"mostro": n.escrow.Funds(), "alice": n.seller.Funds(), "bob": n.buyer.Funds(), "routing": n.net.Routed(),
	}
	wantFunds := map[string]order.Msat{
		"mostro": begin + 1_000_000 - fee, "alice": begin - 50_000_000, "bob": begin + 49_000_000, "routing": fee,
	}
	if diff := cmp.Diff(wantFunds, got); diff != "" {
		t.Errorf("funds (-want +got):\n%s", diff)
	}
	var calls []string
	for _, call := range n.escrow.Calls() {
		calls = append(calls, fmt.Sprintf("%s %s", call.Method, call.Outcome))
	}
	if diff := cmp.Diff([]string{"OpenHold open", "Settle settled", "Send in-flight"}, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}
