package contract

import "mostro/escrow/lightning"

// stop takes a node down, and brings it back at the end of the case at the latest.
func (l *lab) stop(party Party) (start func()) {
	l.t.Helper()
	l.network.Stop(l.t, party)
	started := false
	start = func() {
		if !started {
			started = true
			l.network.Start(l.t, party)
		}
	}
	l.t.Cleanup(start)
	return start
}

func testRestartAccepted(l *lab) {
	hold := l.accepted(someSats)
	watch := l.watchHold(hold.hash)
	watch.waitFor("accepted")
	start := l.stop(Escrow)
	l.wantUnknown("watch over a crash", watch.ended())
	_, err := l.escrow.Lookup(l.ctx, hold.hash)
	l.wantUnknown("look up at a stopped node", err)
	l.wantUnknown("settle at a stopped node", l.escrow.Settle(l.ctx, hold.preimage))
	start()
	if invoice := l.wantHold(hold.hash, lightning.Accepted); invoice.AmountPaid != someSats.Msat() || invoice.ExpiryHeight == 0 {
		l.t.Errorf("after the restart %d msat are paid, expiring at %d", invoice.AmountPaid, invoice.ExpiryHeight)
	}
	again := l.watchHold(hold.hash)
	again.waitFor("accepted")
	l.settle(hold)
	l.must(again.ended())
	l.wantSucceeded(Seller, hold.hash)
}

func testRestartSettled(l *lab) {
	hold := l.accepted(someSats)
	l.settle(hold)
	start := l.stop(Escrow)
	start()
	l.wantHold(hold.hash, lightning.Settled)
	l.settle(hold)
	l.wantSucceeded(Seller, hold.hash)
}

func testRestartInFlight(l *lab) {
	payout := l.buyerHold()
	l.send(payRequest(payout.bolt11, someSats))
	l.waitHoldAt(l.buyer, payout.hash, lightning.Accepted)
	track := l.watch(func(seen func(string)) error {
		return l.escrow.Track(l.ctx, payout.hash, func(payment lightning.Payment) { seen(string(payment.State)) })
	})
	track.waitFor("in-flight")
	start := l.stop(Escrow)
	l.wantUnknown("track over a crash", track.ended())
	l.wantUnknown("track at a stopped node", l.escrow.Track(l.ctx, payout.hash, func(lightning.Payment) {}))
	start()
	l.wantInFlight(Escrow, payout.hash)
	_, err := l.escrow.Send(l.ctx, payRequest(payout.bolt11, someSats))
	l.want("send again after the restart", err, lightning.ErrInFlight)
	l.settle(payout)
	l.wantSucceeded(Escrow, payout.hash)
}

func testPayerOffline(l *lab) {
	hold := l.accepted(someSats)
	start := l.stop(Seller)
	l.settle(hold)
	l.wantHold(hold.hash, lightning.Settled)
	start()
	l.wantSucceeded(Seller, hold.hash)
}
