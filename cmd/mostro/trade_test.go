package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/lightningnetwork/lnd/lnrpc"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/client"
	"mostro/escrow/lightning"
	"mostro/escrow/lightning/lnd"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

const (
	// A hold of so many blocks leaves a day's worth of blocks before the first rung of the
	// deadline ladder, and few to mine.
	ladderCLTV = 110

	// The rungs, in blocks before the lowest HTLC expiry: a margin of 30, which is 12 above the
	// largest default at which an lnd gives up by itself, and the steps above it.
	rungWarn     = 30 + 72
	rungLastCall = 30 + 24
	rungDeadline = 30
)

// TestTrades plays what a trade can become, on real nodes.
func TestTrades(t *testing.T) {
	t.Parallel()
	l := startLab(t, fmt.Sprintf("lightning.hold_invoice_cltv_delta=%d", ladderCLTV))
	t.Run("together", func(t *testing.T) {
		for name, play := range map[string]func(*lab, *testing.T){
			"least rights":     (*lab).leastRights,
			"range with child": (*lab).rangeWithChild,
			"dispute settled":  (*lab).disputeSettled,
			"dispute canceled": (*lab).disputeCanceled,
			"payout fails":     (*lab).payoutFails,
			"payout hangs":     (*lab).payoutHangs,
			"bad invoices":     (*lab).badInvoices,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				play(l, t)
			})
		}
	})
	// Alone, since blocks are everybody's.
	t.Run("deadline ladder", l.deadlineLadder)
	l.settle(t)
	if strings.Contains(l.readLog(), "permission denied") {
		t.Error("lnd has denied a call")
	}
}

// leastRights: the macaroon of all trades here is the list of package lnd, and lnd takes it
// for no more than that.
func (l *lab) leastRights(t *testing.T) {
	ctx := labContext(t)
	extra, missing, err := lnd.CheckMacaroon(l.macaroon())
	if extra != nil || missing != nil || err != nil {
		t.Errorf("extra rights %v, missing %v, %v", extra, missing, err)
	}
	node := l.network.Node(escrowNode)
	conn, err := lnd.Connect(lnd.Config{Host: node.GRPC, CertFile: node.TLSCert, MacaroonFile: l.macaroon()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := lnrpc.NewLightningClient(conn).NewAddress(ctx, &lnrpc.NewAddressRequest{}); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a new address: %v", err)
	}
	x := l.newTrade(t, ctx)
	x.run(ctx, x.steps())
	x.account(ctx)
}

// rangeWithChild: the taker chooses 100 of 30 to 150 USD, and the rest becomes an order of the
// key that the seller names with his release. It is taken too.
func (l *lab) rangeWithChild(t *testing.T) {
	ctx := labContext(t)
	x := l.newTrade(t, ctx)
	least, most := int64(30), int64(150)
	x.order.Amount, x.order.FiatAmount, x.order.MinAmount, x.order.MaxAmount = 0, 0, &least, &most
	if err := x.newOrder(ctx); err != nil {
		t.Fatal(err)
	}
	x.takeRange(ctx, 100)
	x.run(ctx, x.funding()[2:])
	if x.asked != 100_300 || x.promised != 99_700 {
		t.Errorf("for 100 USD the seller was asked for %d sat, the buyer promised %d", x.asked, x.promised)
	}
	if err := x.fiatSent(ctx); err != nil {
		t.Fatal(err)
	}
	next, err := x.seller.client.Resume("", x.sold.Index()+1, client.Mode{})
	if err != nil {
		t.Fatal(err)
	}
	x.say(ctx, x.seller, x.sold, mostro.Message{Action: mostro.Release, Payload: &mostro.Payload{
		NextTrade: &mostro.NextTrade{Pubkey: next.Pubkey(), Index: int64(next.Index())},
	}})
	x.hears(ctx, x.sold, mostro.HoldInvoicePaymentSettled)
	born := x.hears(ctx, next, mostro.NewOrder)
	if o := born.Payload.Order; o == nil || *o.MinAmount != 30 || *o.MaxAmount != 50 || o.ID == x.sold.OrderID() {
		t.Fatalf("the child is %+v", o)
	}
	x.run(ctx, x.payingOut()[2:])
	x.account(ctx)

	child := l.newTrade(t, ctx)
	child.seller, child.sold = x.seller, next
	if err := child.look(ctx); err != nil {
		t.Fatal(err)
	}
	child.takeRange(ctx, 50)
	child.run(ctx, child.funding()[2:])
	if child.asked != 50_150 || child.promised != 49_850 {
		t.Errorf("for 50 USD the seller was asked for %d sat, the buyer promised %d", child.asked, child.promised)
	}
	child.run(ctx, child.payingOut())
	child.account(ctx)
}

// takeRange takes a range order for an amount of fiat.
func (x *labTrade) takeRange(ctx context.Context, fiat int64) {
	x.t.Helper()
	const index = 1
	var err error
	if x.bought, err = x.buyer.client.Resume(x.shown.ID, index, client.Mode{}); err != nil {
		x.t.Fatal(err)
	}
	used := int64(index)
	x.say(ctx, x.buyer, x.bought, mostro.Message{Action: mostro.TakeSell, TradeIndex: &used, Payload: &mostro.Payload{Amount: &fiat}})
	if err := x.prepareInvoice(ctx, x.hears(ctx, x.bought, mostro.AddInvoice)); err != nil {
		x.t.Fatal(err)
	}
}

func (x *labTrade) say(ctx context.Context, p *person, trade *client.Trade, m mostro.Message) {
	x.t.Helper()
	if err := p.say(ctx, trade, m); err != nil {
		x.t.Fatal(err)
	}
}

// hears waits for a message of the node to one side.
func (x *labTrade) hears(ctx context.Context, trade *client.Trade, action mostro.Action) mostro.Message {
	x.t.Helper()
	m, err := trade.Wait(ctx, action)
	if err != nil {
		x.t.Fatal(err)
	}
	return m
}

// hearsText waits for a text of the node that contains part.
func (x *labTrade) hearsText(ctx context.Context, trade *client.Trade, part string) {
	x.t.Helper()
	for {
		m := x.hears(ctx, trade, mostro.SendDM)
		if m.Payload != nil && m.Payload.TextMessage != nil && strings.Contains(*m.Payload.TextMessage, part) {
			return
		}
	}
}

// disputeSettled: the seller does not release, and a solver whom an administrator has made
// decides for the buyer.
func (l *lab) disputeSettled(t *testing.T) {
	ctx := labContext(t)
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	admin, solver := l.desk(t, ctx, "admin", l.admin), l.desk(t, ctx, "solver", key)
	who := key.Public() + ":read-write"
	admin.ask(ctx, mostro.Message{Action: mostro.AdminAddSolver, Payload: &mostro.Payload{TextMessage: &who}}, mostro.AdminAddSolver)

	x := l.newTrade(t, ctx)
	x.run(ctx, x.funding())
	if err := x.fiatSent(ctx); err != nil {
		t.Fatal(err)
	}
	dispute := x.dispute(ctx, x.buyer, x.bought, x.sold)
	took := solver.ask(ctx, mostro.Message{Action: mostro.AdminTakeDispute, ID: dispute}, mostro.AdminTookDispute)
	if info := took.Payload.Dispute.Info; info == nil || info.BuyerPubkey != x.bought.Pubkey() || info.SellerPubkey != x.sold.Pubkey() {
		t.Errorf("the solver gets to see %+v", info)
	}
	for _, side := range []*client.Trade{x.bought, x.sold} {
		x.hears(ctx, side, mostro.AdminTookDispute)
	}
	solver.ask(ctx, mostro.Message{Action: mostro.AdminSettle, ID: x.sold.OrderID()}, mostro.AdminSettled)
	for _, side := range []*client.Trade{x.bought, x.sold} {
		x.hears(ctx, side, mostro.AdminSettled)
	}
	x.hears(ctx, x.bought, mostro.PurchaseCompleted)
	x.ends(ctx, mostro.StatusSuccess, dispute, order.DisputeSettled)
	x.account(ctx)
}

// disputeCanceled: the seller sees no fiat, and the operator, with the node's own key, gives
// him the sats back.
func (l *lab) disputeCanceled(t *testing.T) {
	ctx := labContext(t)
	operator := l.desk(t, ctx, "operator", l.key)
	x := l.newTrade(t, ctx)
	x.refunded = true
	x.run(ctx, x.funding())
	dispute := x.dispute(ctx, x.seller, x.sold, x.bought)
	operator.ask(ctx, mostro.Message{Action: mostro.AdminTakeDispute, ID: dispute}, mostro.AdminTookDispute)
	operator.ask(ctx, mostro.Message{Action: mostro.AdminCancel, ID: x.sold.OrderID()}, mostro.AdminCanceled)
	for _, side := range []*client.Trade{x.bought, x.sold} {
		x.hears(ctx, side, mostro.AdminCanceled)
	}
	x.ends(ctx, mostro.StatusCanceled, dispute, order.DisputeSellerRefunded)
	x.account(ctx)
}

// dispute opens a dispute by one side and returns its id.
func (x *labTrade) dispute(ctx context.Context, by *person, mine, peers *client.Trade) string {
	x.t.Helper()
	x.say(ctx, by, mine, mostro.Message{Action: mostro.Dispute})
	told, peer := x.hears(ctx, mine, mostro.DisputeInitiatedByYou), x.hears(ctx, peers, mostro.DisputeInitiatedByPeer)
	if told.Payload == nil || told.Payload.Dispute == nil || peer.Payload == nil || peer.Payload.Dispute == nil ||
		told.Payload.Dispute.ID != peer.Payload.Dispute.ID {
		x.t.Fatalf("the dispute is told as %+v and %+v", told.Payload, peer.Payload)
	}
	return told.Payload.Dispute.ID
}

// ends waits until everybody can see how order and dispute have ended.
func (x *labTrade) ends(ctx context.Context, status mostro.Status, dispute string, as order.DisputeStatus) {
	x.t.Helper()
	if err := x.inBook(ctx, status); err != nil {
		x.t.Fatal(err)
	}
	err := waitUntil(ctx, "the dispute as "+string(as), func() (bool, error) {
		events, err := x.events(ctx, nostr.Filter{Kinds: []int{mostro.KindDispute}, Tags: nostr.TagMap{"d": {dispute}}})
		return len(events) == 1 && events[0].Tags.Find("s")[1] == string(as), err
	})
	if err != nil {
		x.t.Fatal(err)
	}
}

// deadlineLadder mines towards the block at which lnd would give the sats back by itself, with
// three trades under way: one in which the fiat was sent, one in which nothing happens, and
// one that ends in time.
func (l *lab) deadlineLadder(t *testing.T) {
	ctx := labContext(t)
	sent, idle, late := l.newTrade(t, ctx), l.newTrade(t, ctx), l.newTrade(t, ctx)
	sent.refunded, idle.refunded = true, true
	trades := []*labTrade{sent, idle, late}
	for _, x := range trades {
		x.run(ctx, x.funding())
	}
	if err := sent.fiatSent(ctx); err != nil {
		t.Fatal(err)
	}
	held, err := l.demo.escrow.Lookup(ctx, sent.hold)
	if err != nil {
		t.Fatal(err)
	}
	expiry := held.ExpiryHeight
	both := func(x *labTrade) []*client.Trade { return []*client.Trade{x.sold, x.bought} }
	// One block before a rung nothing happens for as long as another trade takes.
	quiet := func(height uint32, x *labTrade, want mostro.Status) {
		t.Helper()
		l.mineTo(t, ctx, height-1)
		other := l.newTrade(t, ctx)
		other.patient = true // so many blocks take lnd a moment
		other.run(ctx, other.steps())
		other.account(ctx)
		if status := x.bought.Status(); status != want {
			t.Errorf("a block too early the order is %s", status)
		}
		l.mineTo(t, ctx, height)
	}

	quiet(expiry-rungWarn, sent, mostro.StatusFiatSent)
	told := sent.hears(ctx, sent.bought, mostro.DisputeInitiatedByYou)
	sent.hears(ctx, sent.sold, mostro.DisputeInitiatedByPeer)
	for _, x := range trades {
		for _, side := range both(x) {
			x.hearsText(ctx, side, fmt.Sprintf("block %d", expiry-rungDeadline))
		}
	}
	if err := late.fiatSent(ctx); err != nil {
		t.Fatal(err)
	}

	logged := l.logged()
	l.mineTo(t, ctx, expiry-rungLastCall)
	for _, x := range trades {
		for _, side := range both(x) {
			x.hearsText(ctx, side, "Last call")
		}
	}
	if err := l.waitLog(ctx, logged, fmt.Sprintf("is canceled at block %d unless", expiry-rungDeadline)); err != nil {
		t.Error(err)
	}
	late.run(ctx, late.payingOut()[1:])
	late.account(ctx)

	quiet(expiry-rungDeadline, idle, mostro.StatusActive)
	for _, x := range []*labTrade{sent, idle} {
		for _, side := range both(x) {
			x.hears(ctx, side, mostro.Canceled)
		}
		x.account(ctx)
		if held, err := l.demo.escrow.Lookup(ctx, x.hold); err != nil || held.State != lightning.Canceled {
			t.Errorf("the escrow is %s, %v", held.State, err)
		}
	}
	sent.ends(ctx, mostro.StatusCanceled, told.Payload.Dispute.ID, order.DisputeSellerRefunded)
	if err := idle.inBook(ctx, mostro.StatusCanceled); err != nil {
		t.Error(err)
	}
}

// mineTo mines up to a height.
func (l *lab) mineTo(t *testing.T, ctx context.Context, height uint32) {
	t.Helper()
	now, err := l.network.Height()
	if err == nil {
		_, err = l.network.Mine(ctx, height-now)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("!! %d blocks are mined, the height is %d", height-now, height)
}
