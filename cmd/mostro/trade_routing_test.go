package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/lightningnetwork/lnd/lnrpc"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning/regtest"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// greedyHop is the node before the buyer's: his accomplice.
const greedyHop = "mallory"

// TestM28RoutingFeeSiphon: the only way to the buyer leads through a hop that takes 5,000 ppm.
// The escrow tries as often as it does, pays nothing, and asks for another invoice; once the hop
// takes less, all that the order has ever cost in routing is below its cap. Then the development
// fee is paid, from what routing has left, once.
func TestM28RoutingFeeSiphon(t *testing.T) {
	t.Parallel()
	network := regtest.NewForTest(t, []string{escrowNode, "alice", greedyHop, "bob"}, []regtest.Channel{
		{From: escrowNode, To: "alice", Capacity: 10_000_000, Push: 5_000_000},
		{From: escrowNode, To: greedyHop, Capacity: 10_000_000, Push: 5_000_000},
		{From: greedyHop, To: "bob", Capacity: 10_000_000, Push: 5_000_000},
	})
	developer := &payeeServer{}
	l := labOn(t, network, func(l *lab, ctx context.Context) error {
		developer = newPayeeServer(t, l.demo.alice.wallet)
		return l.startWith(ctx, func(s *Settings) { s.Mostro.DevFeePPM, s.Mostro.DevFeeAddress = 300_000, developer.address() })
	}, "lightning.payment_attempts=3", "lightning.payout_max_parts=1") // in parts each try would hang for two minutes
	ctx := labContext(t)
	const cap = 200_000 // msat: 0.2 % of 100,000 sat

	l.takes(t, ctx, 5000)
	x := l.newTrade(t, ctx)
	x.run(ctx, x.funding())
	x.run(ctx, x.payingOut()[:2])
	asked := x.hears(ctx, x.bought, mostro.AddInvoice)
	if tries := l.triesOf(t, ctx, x.payout.Hash); tries == 0 {
		t.Error("lnd knows of no try")
	}
	if paid, routing := l.outgoing(t, ctx); paid != 0 || routing != 0 {
		t.Errorf("failed tries have paid %d msat and cost %d", paid, routing)
	}

	l.takes(t, ctx, 1500)
	x.replaceInvoice(ctx, asked)
	fee := l.devFeeEvent(t, ctx, x.sold.OrderID())
	paid, routing := l.outgoing(t, ctx)
	t.Logf("routing cost %d of %d msat over all tries", routing, cap)
	if routing <= 0 || routing > cap {
		t.Errorf("routing cost %d msat of %d", routing, cap)
	}
	if want := order.Sat(99_700 + 180).Msat(); paid != want {
		t.Errorf("the node paid %d msat, want %d: the buyer and 30 %% of its fee", paid, want)
	}
	invoice, _ := developer.paid()
	tag := func(name string) string { return fee.Tags.Find(name)[1] }
	if tag("amount") != "180" || tag("hash") != invoice.Hash.String() || tag("destination") != developer.address() || tag("network") != "simnet" {
		t.Errorf("the development fee is told as %v, paid was %s", fee.Tags, invoice.Hash)
	}
	if strings.Contains(fee.String(), x.sold.Pubkey()) || strings.Contains(fee.String(), x.bought.Pubkey()) {
		t.Error("the record of the development fee names a trade key")
	}
	l.keepsSecrets(t)
}

// takes sets what the greedy hop takes for the way to bob, and waits until the escrow knows.
func (l *lab) takes(t *testing.T, ctx context.Context, ppm uint32) {
	t.Helper()
	hop := l.network.Client(greedyHop)
	channels, err := hop.ListChannels(ctx, &lnrpc.ListChannelsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, channel := range channels.Channels {
		if channel.RemotePubkey != l.network.Node("bob").Pubkey {
			continue
		}
		txid, index, _ := strings.Cut(channel.ChannelPoint, ":")
		point := &lnrpc.ChannelPoint{FundingTxid: &lnrpc.ChannelPoint_FundingTxidStr{FundingTxidStr: txid}}
		if _, err := fmt.Sscan(index, &point.OutputIndex); err != nil {
			t.Fatal(err)
		}
		_, err := hop.UpdateChannelPolicy(ctx, &lnrpc.PolicyUpdateRequest{
			Scope: &lnrpc.PolicyUpdateRequest_ChanPoint{ChanPoint: point}, FeeRatePpm: ppm, TimeLockDelta: 40,
		})
		if err != nil {
			t.Fatal(err)
		}
		err = waitUntil(ctx, "the escrow's node to know the fee", func() (bool, error) {
			edge, err := l.network.Client(escrowNode).GetChanInfo(ctx, &lnrpc.ChanInfoRequest{ChanId: channel.ChanId})
			for _, policy := range []*lnrpc.RoutingPolicy{edge.GetNode1Policy(), edge.GetNode2Policy()} {
				if policy.GetFeeRateMilliMsat() == int64(ppm) {
					return true, err
				}
			}
			return false, err
		})
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("the hop has no channel with bob")
}

// outgoing sums up what the escrow's node has ever paid, and the routing fees of that.
func (l *lab) outgoing(t *testing.T, ctx context.Context) (paid, routing order.Msat) {
	t.Helper()
	for _, p := range l.payments(t, ctx) {
		if p.Status == lnrpc.Payment_SUCCEEDED {
			paid += order.Msat(p.ValueMsat)
			routing += order.Msat(p.FeeMsat)
		}
	}
	return paid, routing
}

// triesOf counts the payments that lnd has begun for a hash.
func (l *lab) triesOf(t *testing.T, ctx context.Context, hash order.Hash) (n int) {
	t.Helper()
	for _, p := range l.payments(t, ctx) {
		if p.PaymentHash == hash.String() {
			n++
		}
	}
	return n
}

func (l *lab) payments(t *testing.T, ctx context.Context) []*lnrpc.Payment {
	t.Helper()
	list, err := l.network.Client(escrowNode).ListPayments(ctx, &lnrpc.ListPaymentsRequest{IncludeIncomplete: true})
	if err != nil {
		t.Fatal(err)
	}
	return list.Payments
}

// devFeeEvent waits for the public record of a development fee.
func (l *lab) devFeeEvent(t *testing.T, ctx context.Context, id string) (found *nostr.Event) {
	t.Helper()
	err := waitUntil(ctx, "the record of the development fee", func() (bool, error) {
		events, err := l.events(ctx, nostr.Filter{Kinds: []int{mostro.KindDevFee}})
		for _, ev := range events {
			if ev.Tags.Find("order-id")[1] == id {
				found = ev
			}
		}
		return found != nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
