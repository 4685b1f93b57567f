package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"mostro/escrow/client"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

const (
	// A bond of 1 % of the demo's amount, of which the winner gets 70 %.
	bondSats  = demoSats / 100
	bondShare = bondSats * 7 / 10

	// bondWait is what the parties have for each duty: one of them lets it pass.
	bondWait = 120 // seconds
)

// TestBonds plays what can become of deposits, on real nodes, and counts every millisat.
func TestBonds(t *testing.T) {
	t.Parallel()
	l := startLab(t, "anti_abuse_bond.enabled=true", "anti_abuse_bond.apply_to=both", "anti_abuse_bond.slash_on_waiting_timeout=true",
		"anti_abuse_bond.slash_node_share_pct=0.3", "lightning.routing_subsidy=20", fmt.Sprintf("mostro.expiration_seconds=%d", bondWait))
	t.Run("together", func(t *testing.T) {
		for name, play := range map[string]func(*lab, *testing.T){
			"both come back":  (*lab).bothBonds,
			"race":            (*lab).bondRace,
			"timeout":         (*lab).bondTimeout,
			"solver":          (*lab).bondSolver,
			"range of slices": (*lab).bondRange,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				play(l, t)
			})
		}
	})
	l.settle(t)
}

// bond pays the bond that a side was asked for and returns its hash.
func (x *labTrade) bond(ctx context.Context, p *person, asked mostro.Message, sats order.Sat) order.Hash {
	x.t.Helper()
	if asked.Action != mostro.PayBondInvoice || asked.Payload == nil || asked.Payload.PaymentRequest == nil {
		x.t.Fatalf("answered with %s", wordsOf(asked))
	}
	request := asked.Payload.PaymentRequest
	invoice, err := lightning.Decode(request.Invoice)
	if err != nil || invoice.Amount != sats.Msat() || request.Order.Amount != int64(sats) || request.Order.Status != mostro.StatusPending {
		x.t.Fatalf("a bond over %d msat, %d sat, %s, %v; want %d sat", invoice.Amount, request.Order.Amount, request.Order.Status, err, sats)
	}
	if err := p.wallet.Pay(ctx, request.Invoice); err != nil {
		x.t.Fatal(err)
	}
	return invoice.Hash
}

// hearsLater is hears for what comes when a trade may be over: a slashed bond outlives it.
func (x *labTrade) hearsLater(ctx context.Context, trade *client.Trade, action mostro.Action) mostro.Message {
	x.t.Helper()
	for {
		m, err := trade.Wait(ctx, action)
		switch {
		case err == nil:
			return m
		case !errors.Is(err, client.ErrOver) || ctx.Err() != nil:
			x.t.Fatal(err)
		}
		time.Sleep(lookAgain)
	}
}

// offer makes the order and pays its maker's bond, before which nobody sees it.
func (x *labTrade) offer(ctx context.Context, sats order.Sat) order.Hash {
	x.t.Helper()
	var asked mostro.Message
	var err error
	if x.sold, asked, err = x.seller.client.NewOrder(ctx, x.order, x.makes); err != nil {
		x.t.Fatal(err)
	}
	if _, err := x.buyer.client.Order(ctx, x.sold.OrderID()); err == nil {
		x.t.Error("the order is in the book before its maker's bond is locked")
	}
	hash := x.bond(ctx, x.seller, asked, sats)
	x.hears(ctx, x.sold, mostro.NewOrder)
	if err := x.look(ctx); err != nil {
		x.t.Fatal(err)
	}
	return hash
}

// accept takes the order, pays the taker's bond, and is asked for an invoice.
func (x *labTrade) accept(ctx context.Context, sats order.Sat) order.Hash {
	x.t.Helper()
	var asked mostro.Message
	var err error
	if x.bought, asked, err = x.buyer.client.Take(ctx, x.shown, "", x.takes); err != nil {
		x.t.Fatal(err)
	}
	hash := x.bond(ctx, x.buyer, asked, sats)
	if err := x.prepareInvoice(ctx, x.hears(ctx, x.bought, mostro.AddInvoice)); err != nil {
		x.t.Fatal(err)
	}
	return hash
}

// bondIs waits until a bond's hold invoice has ended one way.
func (x *labTrade) bondIs(ctx context.Context, hash order.Hash, want lightning.HoldState) {
	x.t.Helper()
	err := waitUntil(ctx, "the bond to be "+string(want), func() (bool, error) {
		held, err := x.demo.escrow.Lookup(ctx, hash)
		return held.State == want, err
	})
	if err != nil {
		x.t.Fatal(err)
	}
}

// won claims a share as its winner is asked to, waits for the payment, and books what the
// bond moved; of a rest the bond itself was booked with its slice.
func (x *labTrade) won(ctx context.Context, loser, winner *person, trade *client.Trade, bond order.Hash, sats, share order.Sat) {
	x.t.Helper()
	var asked mostro.Message
	for asked.Payload == nil || asked.Payload.BondPayoutRequest == nil || asked.Payload.BondPayoutRequest.Order.Amount != int64(share) {
		asked = x.hearsLater(ctx, trade, mostro.AddBondInvoice)
	}
	invoice, err := winner.wallet.Invoice(ctx, share.Msat(), "a bond")
	if err != nil {
		x.t.Fatal(err)
	}
	x.say(ctx, winner, trade, mostro.Message{Action: mostro.AddBondInvoice, Payload: &mostro.Payload{
		PaymentRequest: &mostro.PaymentRequest{Invoice: invoice.Text}}})
	x.hearsLater(ctx, trade, mostro.BondInvoiceAccepted)
	done := x.hearsLater(ctx, trade, mostro.BondPayoutCompleted)
	if done.Payload.Order.Amount != int64(share) {
		x.t.Errorf("%d sat are completed, want %d", done.Payload.Order.Amount, share)
	}
	d := &demoTrade{demo: x.demo, selling: loser.trader, buying: winner.trader, hold: bond, payout: invoice, asked: sats, promised: share}
	f, err := d.flow(ctx)
	if err != nil {
		x.t.Fatal(err)
	}
	if sats == 0 { // what is left of a bond that was booked with its slice
		f.SellerPaid, f.SellerRouting, f.EscrowGot, f.AskedOfSeller = 0, 0, 0, 0
	}
	x.t.Logf("%d: a bond of %s msat, of which the winner got %s", x.number, thousands(f.EscrowGot), thousands(f.BuyerGot))
	if f.BuyerGot != share.Msat() || f.EscrowGot != sats.Msat() {
		x.t.Errorf("the bond moved %+v", f)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.flows = append(x.flows, f)
}

// bothBonds: both sides give a bond, the trade ends well, and both come back.
func (l *lab) bothBonds(t *testing.T) {
	ctx := labContext(t)
	x := l.newTrade(t, ctx)
	made := x.offer(ctx, bondSats)
	taken := x.accept(ctx, bondSats)
	for _, bond := range []order.Hash{made, taken} {
		x.bondIs(ctx, bond, lightning.Accepted)
	}
	x.run(ctx, x.funding()[2:])
	x.run(ctx, x.payingOut())
	for _, bond := range []order.Hash{made, taken} {
		x.bondIs(ctx, bond, lightning.Canceled)
	}
	x.account(ctx)
}

// bondRace: five takers are asked for a bond and all pay at once. One has the order, the others
// are told and have their sats back.
func (l *lab) bondRace(t *testing.T) {
	ctx := labContext(t)
	x := l.newTrade(t, ctx)
	x.offer(ctx, bondSats)
	type racer struct {
		person *person
		trade  *client.Trade
		bolt11 string
		hash   order.Hash
	}
	var racers []racer
	for i := range 5 {
		p, err := l.person(t, ctx, l.demo.bob, fmt.Sprintf("%d racer %d", x.number, i+1))
		if err != nil {
			t.Fatal(err)
		}
		trade, asked, err := p.client.Take(ctx, x.shown, "", x.takes)
		if err != nil || asked.Action != mostro.PayBondInvoice {
			t.Fatalf("answered with %s, %v", wordsOf(asked), err)
		}
		bolt11 := asked.Payload.PaymentRequest.Invoice
		invoice, err := lightning.Decode(bolt11)
		if err != nil {
			t.Fatal(err)
		}
		racers = append(racers, racer{p, trade, bolt11, invoice.Hash})
	}
	if shown, err := x.buyer.client.Order(ctx, x.sold.OrderID()); err != nil || shown.Status != mostro.StatusPending {
		t.Errorf("while they race the order is %s, %v", shown.Status, err)
	}
	paid := make(chan error)
	for _, r := range racers {
		go func() { paid <- r.person.wallet.Pay(ctx, r.bolt11) }()
	}
	for range racers {
		// An invoice that was canceled before its payment arrived cannot be paid.
		if err := <-paid; err != nil && !errors.Is(err, lightning.ErrRefused) {
			t.Logf("a racer's wallet: %v", err)
		}
	}
	winners := 0
	for _, r := range racers {
		answer, err := r.trade.Wait(ctx, mostro.AddInvoice, mostro.Canceled)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Action == mostro.Canceled {
			x.bondIs(ctx, r.hash, lightning.Canceled)
			continue
		}
		winners++
		x.bondIs(ctx, r.hash, lightning.Accepted)
		x.buyer, x.bought = r.person, r.trade
		if err := x.prepareInvoice(ctx, answer); err != nil {
			t.Fatal(err)
		}
	}
	if winners != 1 {
		t.Fatalf("%d have won", winners)
	}
	x.run(ctx, x.funding()[2:])
	x.run(ctx, x.payingOut())
	x.account(ctx)
}

// bondTimeout: the taker gives his bond and no invoice. It is lost to the maker, who gets his
// share and has his order in the book again.
func (l *lab) bondTimeout(t *testing.T) {
	ctx := labContext(t)
	x := l.newTrade(t, ctx)
	made := x.offer(ctx, bondSats)
	taken := x.accept(ctx, bondSats)
	lost := x.hearsLater(ctx, x.bought, mostro.BondSlashed)
	if lost.Payload.Order.Amount != bondSats {
		t.Errorf("slashed are %d sat", lost.Payload.Order.Amount)
	}
	x.bondIs(ctx, taken, lightning.Settled)
	x.won(ctx, x.buyer, x.seller, x.sold, taken, bondSats, bondShare)
	if err := x.inBook(ctx, mostro.StatusPending); err != nil {
		t.Error(err)
	}
	if _, err := x.sold.Cancel(ctx); err != nil {
		t.Error(err)
	}
	x.bondIs(ctx, made, lightning.Canceled)
}

// bondSolver: a solver gives the sats back to the seller and slashes the buyer's bond for him.
func (l *lab) bondSolver(t *testing.T) {
	ctx := labContext(t)
	operator := l.desk(t, ctx, "operator of bonds", l.key)
	x := l.newTrade(t, ctx)
	x.refunded = true
	made := x.offer(ctx, bondSats)
	taken := x.accept(ctx, bondSats)
	x.run(ctx, x.funding()[2:])
	dispute := x.dispute(ctx, x.seller, x.sold, x.bought)
	operator.ask(ctx, mostro.Message{Action: mostro.AdminTakeDispute, ID: dispute}, mostro.AdminTookDispute)
	operator.ask(ctx, mostro.Message{Action: mostro.AdminCancel, ID: x.sold.OrderID(), Payload: &mostro.Payload{
		BondResolution: &mostro.BondResolution{SlashBuyer: true}}}, mostro.AdminCanceled)
	x.hearsLater(ctx, x.bought, mostro.BondSlashed)
	x.won(ctx, x.buyer, x.seller, x.sold, taken, bondSats, bondShare)
	x.bondIs(ctx, made, lightning.Canceled)
	x.account(ctx)
}

// bondRange: of 30 to 150 USD, 100 are traded well, and the maker's bond goes along with the
// rest. He does not pay the escrow of the next 50: of his bond that third is slashed, and he
// gets the other two back.
func (l *lab) bondRange(t *testing.T) {
	const bond, slice = bondSats * 3 / 2, bondSats / 2
	ctx := labContext(t)
	x := l.newTrade(t, ctx)
	least, most := int64(30), int64(150)
	x.order.Amount, x.order.FiatAmount, x.order.MinAmount, x.order.MaxAmount = 0, 0, &least, &most
	made := x.offer(ctx, bond)
	x.acceptRange(ctx, 100, bondSats)
	x.run(ctx, x.funding()[2:])
	if err := x.fiatSent(ctx); err != nil {
		t.Fatal(err)
	}
	next, _, err := x.sold.ReleaseNext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	x.hears(ctx, next, mostro.NewOrder)
	x.run(ctx, x.payingOut()[2:])
	x.account(ctx)
	x.bondIs(ctx, made, lightning.Accepted)

	rest := l.newTrade(t, ctx)
	rest.seller, rest.sold = x.seller, next
	if err := rest.look(ctx); err != nil {
		t.Fatal(err)
	}
	taken := rest.acceptRange(ctx, 50, bondSats)
	if err := rest.addInvoice(ctx); err != nil {
		t.Fatal(err)
	}
	lost := rest.hearsLater(ctx, next, mostro.BondSlashed)
	if lost.Payload.Order.Amount != slice {
		t.Errorf("slashed are %d sat, want %d", lost.Payload.Order.Amount, slice)
	}
	rest.bondIs(ctx, made, lightning.Settled)
	rest.bondIs(ctx, taken, lightning.Canceled)
	rest.won(ctx, rest.seller, rest.buyer, rest.bought, made, bond, slice*7/10)
	rest.won(ctx, rest.seller, rest.seller, next, made, 0, bond-slice)
}

// acceptRange is accept for an amount of fiat out of a range.
func (x *labTrade) acceptRange(ctx context.Context, fiat int64, sats order.Sat) order.Hash {
	x.t.Helper()
	var asked mostro.Message
	var err error
	if x.bought, asked, err = x.buyer.client.TakeRange(ctx, x.shown, fiat, "", x.takes); err != nil {
		x.t.Fatal(err)
	}
	hash := x.bond(ctx, x.buyer, asked, sats)
	if err := x.prepareInvoice(ctx, x.hears(ctx, x.bought, mostro.AddInvoice)); err != nil {
		x.t.Fatal(err)
	}
	return hash
}
