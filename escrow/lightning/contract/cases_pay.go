package contract

import (
	"context"
	"errors"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// buyerHold is the payout invoice of a buyer who decides when it is paid.
func (l *lab) buyerHold() hold { return l.openFor(l.buyer, someSats, someCLTV, time.Hour) }

// stranger is a node that nobody has heard of. Sim serves as a writer of its invoices, in
// the time of the network under test.
func (l *lab) stranger(network string) *lightning.SimNode {
	hold := l.open(someSats)
	l.cancel(hold)
	decoded, err := lightning.Decode(hold.bolt11)
	l.must(err)
	return lightning.NewSimNetwork(lightning.SimConfig{
		Network: network, Now: func() time.Time { return decoded.CreatedAt },
	}).Node("stranger")
}

func testSendOnce(l *lab) {
	payout := l.buyerHold()
	req := payRequest(payout.bolt11, someSats)
	l.send(req)
	l.waitHoldAt(l.buyer, payout.hash, lightning.Accepted)
	_, err := l.escrow.Send(l.ctx, req)
	l.want("send what is in flight", err, lightning.ErrInFlight)
	l.wantInFlight(Escrow, payout.hash)
	l.settle(payout)
	l.wantSucceeded(Escrow, payout.hash)
	_, err = l.escrow.Send(l.ctx, req)
	l.want("send what is paid", err, lightning.ErrAlreadyPaid)
	l.wantSucceeded(Escrow, payout.hash)

	// The buyer may also never take it.
	payout = l.buyerHold()
	l.send(payRequest(payout.bolt11, someSats))
	l.waitHoldAt(l.buyer, payout.hash, lightning.Accepted)
	l.cancel(payout)
	l.wantFailed(Escrow, payout.hash, incorrectDetails)
}

func testRetryWithFee(l *lab) {
	// The escrow's own payouts go over one hop, which is free; seller to buyer are two.
	req := payRequest(l.network.AddInvoice(l.t, Buyer, InvoiceRequest{Amount: someSats.Msat()}), someSats)
	req.FeeLimit = 0
	hash := l.sendFrom(l.seller, req)
	l.wantFailed(Seller, hash, noRoute)
	req.FeeLimit = feeLimit
	l.sendFrom(l.seller, req)
	payment := l.outcome(Seller, hash, lightning.Succeeded)
	if payment.State != lightning.Succeeded || payment.RoutingFee <= 0 || payment.RoutingFee > feeLimit || payment.Amount != someSats.Msat() {
		l.t.Errorf("%+v, want %d msat paid for a fee of up to %d", payment, someSats.Msat(), feeLimit)
	}
}

func testRefusals(l *lab) {
	info := l.info(Escrow)
	payout := l.network.AddInvoice(l.t, Buyer, InvoiceRequest{Amount: someSats.Msat()})
	free := l.network.AddInvoice(l.t, Buyer, InvoiceRequest{})
	expired := l.network.AddInvoice(l.t, Buyer, InvoiceRequest{Amount: someSats.Msat(), Expiry: time.Second})
	l.network.Advance(l.t, 3*time.Second)
	otherNetwork := "mainnet"
	if info.Network == otherNetwork {
		otherNetwork = "regtest"
	}
	own := l.open(someSats)
	broken := payout[:len(payout)-1] + "q"
	if broken == payout {
		broken = payout[:len(payout)-1] + "p"
	}
	for what, req := range map[string]lightning.PayRequest{
		"nothing":                         payRequest("", someSats),
		"garbage":                         payRequest("lnsb1garbage", someSats),
		"a broken checksum":               payRequest(broken, someSats),
		"too much":                        payRequest(payout, someSats+1),
		"too little":                      payRequest(payout, someSats-1),
		"no amount for a free one":        payRequest(free, 0),
		"an expired one":                  payRequest(expired, someSats),
		"another network's":               payRequest(l.stranger(otherNetwork).AddInvoice(lightning.SimInvoiceRequest{Amount: someSats.Msat()}), someSats),
		"a blinded path":                  payRequest(l.stranger(l.info(Escrow).Network).AddInvoice(lightning.SimInvoiceRequest{Amount: someSats.Msat(), Blinded: true}), someSats),
		"our own hold invoice":            payRequest(own.bolt11, someSats),
		"a CLTV limit below its delta":    {Invoice: payout, Amount: someSats.Msat(), FeeLimit: feeLimit, MaxParts: 1, Timeout: time.Minute, CLTVLimit: 20},
		"a CLTV limit above all measures": {Invoice: payout, Amount: someSats.Msat(), FeeLimit: feeLimit, MaxParts: 1, Timeout: time.Minute, CLTVLimit: 5000},
	} {
		_, err := l.escrow.Send(l.ctx, req)
		l.want("send "+what, err, lightning.ErrRefused)
		if decoded, err := lightning.Decode(req.Invoice); err == nil {
			l.want("track "+what, l.escrow.Track(l.ctx, decoded.Hash, func(lightning.Payment) {}), lightning.ErrNotFound)
		}
	}
	l.cancel(own)
}

func testFailures(l *lab) {
	info := l.info(Escrow)
	hash := l.send(payRequest(l.stranger(info.Network).AddInvoice(lightning.SimInvoiceRequest{Amount: someSats.Msat()}), someSats))
	l.wantFailed(Escrow, hash, noRoute)

	balance, err := l.escrow.Balance(l.ctx)
	l.must(err)
	tooMuch := balance.Local.Sat() + 1_000_000
	hash = l.send(payRequest(l.network.AddInvoice(l.t, Buyer, InvoiceRequest{Amount: tooMuch.Msat()}), tooMuch))
	l.wantFailed(Escrow, hash, noBalance)

	canceled := l.buyerHold()
	l.cancel(canceled)
	hash = l.send(payRequest(canceled.bolt11, someSats))
	l.wantFailed(Escrow, hash, incorrectDetails)

	// An amount of the payer's choice is taken from the request.
	hash = l.send(payRequest(l.network.AddInvoice(l.t, Buyer, InvoiceRequest{}), someSats))
	if payment := l.outcome(Escrow, hash, lightning.Succeeded); payment.State != lightning.Succeeded || payment.Amount != someSats.Msat() {
		l.t.Errorf("an invoice without an amount: %+v", payment)
	}
}

func testCanRoute(l *lab) {
	decode := func(bolt11 string) order.Invoice {
		invoice, err := lightning.Decode(bolt11)
		l.must(err)
		return invoice
	}
	payout := decode(l.network.AddInvoice(l.t, Buyer, InvoiceRequest{Amount: someSats.Msat()}))
	l.must(l.escrow.CanRoute(l.ctx, payout, someSats.Msat()))
	stranger := l.stranger(l.info(Escrow).Network)
	unknown := decode(stranger.AddInvoice(lightning.SimInvoiceRequest{Amount: someSats.Msat()}))
	l.want("route to a stranger", l.escrow.CanRoute(l.ctx, unknown, someSats.Msat()), lightning.ErrRefused)
	private := decode(stranger.AddInvoice(lightning.SimInvoiceRequest{Amount: someSats.Msat(), Hints: true}))
	l.must(l.escrow.CanRoute(l.ctx, private, someSats.Msat()))
	balance, err := l.escrow.Balance(l.ctx)
	l.must(err)
	l.want("route for more than there is", l.escrow.CanRoute(l.ctx, payout, balance.Local+1_000_000_000), lightning.ErrRefused)
}

func testContextEnds(l *lab) {
	payout := l.buyerHold()
	ctx, cancel := context.WithCancel(l.ctx)
	_, err := l.escrow.Send(ctx, payRequest(payout.bolt11, someSats))
	cancel()
	l.must(err)
	l.waitHoldAt(l.buyer, payout.hash, lightning.Accepted)
	ctx, cancel = context.WithCancel(l.ctx)
	err = l.escrow.Track(ctx, payout.hash, func(lightning.Payment) { cancel() })
	cancel()
	if err == nil || errors.Is(err, lightning.ErrNotFound) {
		l.t.Errorf("track until the context ends: %v", err)
	}
	l.wantInFlight(Escrow, payout.hash)
	l.settle(payout)
	l.wantSucceeded(Escrow, payout.hash)
	never := l.newPreimage().Hash()
	l.want("track what was never sent", l.escrow.Track(l.ctx, never, func(lightning.Payment) {}), lightning.ErrNotFound)
}

func testLostAnswer(l *lab) {
	payout := l.buyerHold()
	req := payRequest(payout.bolt11, someSats)
	l.network.SendLosingAnswer(l.t, Escrow, req)
	l.waitHoldAt(l.buyer, payout.hash, lightning.Accepted)
	l.wantInFlight(Escrow, payout.hash)
	_, err := l.escrow.Send(l.ctx, req)
	l.want("send once more", err, lightning.ErrInFlight)
	l.settle(payout)
	l.wantSucceeded(Escrow, payout.hash)
}
