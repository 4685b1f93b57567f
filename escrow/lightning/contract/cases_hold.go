package contract

import (
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/lightning"
)

func testHoldFields(l *lab) {
	info := l.info(Escrow)
	preimage := l.newPreimage()
	for name, want := range map[string]struct {
		req    lightning.HoldRequest
		cltv   uint32
		expiry time.Duration
	}{
		"all given": {
			req:    lightning.HoldRequest{Hash: l.newPreimage().Hash(), Amount: 1_234_567, Memo: "memo", CLTVDelta: 288, Expiry: time.Hour},
			cltv:   288,
			expiry: time.Hour,
		},
		"defaults": {
			req:    lightning.HoldRequest{Hash: preimage.Hash(), Amount: someSats.Msat()},
			cltv:   80,
			expiry: 24 * time.Hour,
		},
	} {
		made, err := l.escrow.OpenHold(l.ctx, want.req)
		l.must(err)
		decoded, err := lightning.Decode(made.Invoice)
		l.must(err)
		if decoded.Hash != want.req.Hash || decoded.Amount != want.req.Amount || decoded.Payee != info.Pubkey ||
			decoded.Network != info.Network || decoded.FinalCLTV != want.cltv || !decoded.PaymentSecret ||
			decoded.ExpiresAt.Sub(decoded.CreatedAt) != want.expiry {
			l.t.Errorf("%s: the invoice says %+v", name, decoded)
		}
		if made.Hash != want.req.Hash || made.State != lightning.Open || made.Amount != want.req.Amount ||
			made.AmountPaid != 0 || made.ExpiryHeight != 0 || made.CLTVDelta != want.cltv || !made.ExpiresAt.Equal(decoded.ExpiresAt) {
			l.t.Errorf("%s: the node says %+v", name, made)
		}
		if diff := cmp.Diff(made, l.wantHold(made.Hash, lightning.Open)); diff != "" {
			l.t.Errorf("%s: lookup differs from open (-open +lookup):\n%s", name, diff)
		}
		l.must(l.escrow.Cancel(l.ctx, made.Hash))
	}
}

func testSameHash(l *lab) {
	hold := l.open(someSats)
	again := func(want lightning.HoldState) {
		l.t.Helper()
		invoice, err := l.escrow.OpenHold(l.ctx, lightning.HoldRequest{
			Hash: hold.hash, Amount: 2 * someSats.Msat(), CLTVDelta: someCLTV, Expiry: time.Hour,
		})
		l.must(err)
		if invoice.Invoice != hold.bolt11 || invoice.State != want || invoice.Amount != someSats.Msat() || !invoice.Existed {
			l.t.Errorf("opened again when %s: %+v", want, invoice)
		}
	}
	again(lightning.Open)
	l.network.Pay(l.t, Seller, Payment{Invoice: hold.bolt11})
	l.waitHold(hold.hash, lightning.Accepted)
	again(lightning.Accepted)
	l.settle(hold)
	again(lightning.Settled)
	hold = l.open(someSats)
	l.cancel(hold)
	again(lightning.Canceled)
}

func testUnknownInvoice(l *lab) {
	unknown := l.newPreimage()
	_, err := l.escrow.Lookup(l.ctx, unknown.Hash())
	l.want("lookup", err, lightning.ErrNotFound)
	l.want("watch", l.escrow.WatchHold(l.ctx, unknown.Hash(), func(lightning.HoldInvoice) {}), lightning.ErrNotFound)
	l.want("settle", l.escrow.Settle(l.ctx, unknown), lightning.ErrNotFound)
	l.want("cancel", l.escrow.Cancel(l.ctx, unknown.Hash()), lightning.ErrNotFound)
}

func testWatch(l *lab) {
	hold := l.open(someSats)
	fromOpen := l.watchHold(hold.hash)
	fromOpen.waitFor("open")
	l.network.Pay(l.t, Seller, Payment{Invoice: hold.bolt11})
	fromOpen.waitFor("accepted")
	fromAccepted := l.watchHold(hold.hash)
	fromAccepted.waitFor("accepted")
	l.settle(hold)
	canceled := l.open(someSats)
	l.cancel(canceled)
	for _, watch := range []struct {
		*record
		want []string
	}{
		{fromOpen, []string{"open", "accepted", "settled"}},
		{fromAccepted, []string{"accepted", "settled"}},
		{l.watchHold(hold.hash), []string{"settled"}},
		{l.watchHold(canceled.hash), []string{"canceled"}},
	} {
		if err := watch.ended(); err != nil || !slices.Equal(watch.words(), watch.want) {
			l.t.Errorf("the watch told %v and ended with %v, want %v and no error", watch.words(), err, watch.want)
		}
	}
}

func testAccepted(l *lab) {
	hold := l.open(someSats)
	before := l.info(Seller).Height
	l.network.Pay(l.t, Seller, Payment{Invoice: hold.bolt11})
	invoice := l.waitHold(hold.hash, lightning.Accepted)
	after := l.info(Seller).Height
	if invoice.AmountPaid != someSats.Msat() {
		l.t.Errorf("%d msat are paid, want %d", invoice.AmountPaid, someSats.Msat())
	}
	low, high := before+someCLTV+blockPadding, after+someCLTV+blockPadding
	if invoice.ExpiryHeight < low || invoice.ExpiryHeight > high {
		l.t.Errorf("the HTLC expires at %d, want %d to %d", invoice.ExpiryHeight, low, high)
	}
	l.wantInFlight(Seller, hold.hash)
	l.settle(hold)
	settled := l.wantHold(hold.hash, lightning.Settled)
	if settled.AmountPaid != someSats.Msat() || settled.ExpiryHeight != 0 {
		l.t.Errorf("settled with %d msat and HTLCs until %d, want %d and none", settled.AmountPaid, settled.ExpiryHeight, someSats.Msat())
	}
	hold = l.accepted(someSats)
	l.cancel(hold)
	l.wantFailed(Seller, hold.hash, incorrectDetails)
	canceled := l.wantHold(hold.hash, lightning.Canceled)
	if canceled.AmountPaid != 0 || canceled.ExpiryHeight != 0 {
		l.t.Errorf("canceled with %d msat and HTLCs until %d, want none", canceled.AmountPaid, canceled.ExpiryHeight)
	}
}

func testSettle(l *lab) {
	hold := l.open(someSats)
	l.want("settle an open one", l.escrow.Settle(l.ctx, hold.preimage), lightning.ErrStillOpen)
	l.wantHold(hold.hash, lightning.Open)
	l.network.Pay(l.t, Seller, Payment{Invoice: hold.bolt11})
	l.waitHold(hold.hash, lightning.Accepted)
	l.settle(hold)
	l.wantHold(hold.hash, lightning.Settled)
	l.settle(hold)
	hold = l.open(someSats)
	l.cancel(hold)
	l.want("settle a canceled one", l.escrow.Settle(l.ctx, hold.preimage), lightning.ErrAlreadyCanceled)
	hold = l.accepted(someSats)
	l.cancel(hold)
	l.want("settle one that was paid and canceled", l.escrow.Settle(l.ctx, hold.preimage), lightning.ErrAlreadyCanceled)
}

func testCancel(l *lab) {
	hold := l.open(someSats)
	l.cancel(hold)
	l.wantHold(hold.hash, lightning.Canceled)
	l.cancel(hold)
	hold = l.accepted(someSats)
	l.cancel(hold)
	l.wantHold(hold.hash, lightning.Canceled)
	l.cancel(hold)
	hold = l.accepted(someSats)
	l.settle(hold)
	l.want("cancel a settled one", l.escrow.Cancel(l.ctx, hold.hash), lightning.ErrAlreadySettled)
	l.wantHold(hold.hash, lightning.Settled)
}

func testPayerResult(l *lab) {
	hold := l.accepted(someSats)
	l.settle(hold)
	l.wantSucceeded(Seller, hold.hash)
	hold = l.accepted(someSats)
	l.cancel(hold)
	l.wantFailed(Seller, hold.hash, incorrectDetails)
	hold = l.open(someSats)
	l.cancel(hold)
	l.network.Pay(l.t, Seller, Payment{Invoice: hold.bolt11})
	l.wantFailed(Seller, hold.hash, incorrectDetails)
}

func testSecondPayer(l *lab) {
	hold := l.accepted(someSats)
	l.network.Pay(l.t, Buyer, Payment{Invoice: hold.bolt11})
	l.wantFailed(Buyer, hold.hash, incorrectDetails)
	if invoice := l.wantHold(hold.hash, lightning.Accepted); invoice.AmountPaid != someSats.Msat() {
		l.t.Errorf("%d msat are paid after a second payer, want %d", invoice.AmountPaid, someSats.Msat())
	}
	l.settle(hold)
	l.wantSucceeded(Seller, hold.hash)
	l.network.Pay(l.t, Buyer, Payment{Invoice: hold.bolt11})
	l.wantFailed(Buyer, hold.hash, incorrectDetails)
}

func testOtherAmount(l *lab) {
	hold := l.open(someSats)
	l.network.Pay(l.t, Seller, Payment{Invoice: hold.bolt11, Amount: someSats.Msat() - 1000})
	l.wantFailed(Seller, hold.hash, incorrectDetails)
	l.wantHold(hold.hash, lightning.Open)
	l.network.Pay(l.t, Seller, Payment{Invoice: hold.bolt11, Amount: someSats.Msat() * 3 / 2})
	invoice := l.waitHold(hold.hash, lightning.Accepted)
	if invoice.Amount != someSats.Msat() || invoice.AmountPaid != someSats.Msat()*3/2 {
		l.t.Errorf("overpaid: %d msat asked and %d paid", invoice.Amount, invoice.AmountPaid)
	}
	l.cancel(hold)
	l.wantFailed(Seller, hold.hash, incorrectDetails)

	free := l.open(0)
	l.network.Pay(l.t, Seller, Payment{Invoice: free.bolt11, Amount: someSats.Msat()})
	invoice = l.waitHold(free.hash, lightning.Accepted)
	if invoice.Amount != 0 || invoice.AmountPaid != someSats.Msat() {
		l.t.Errorf("amount left to the payer: %d msat asked and %d paid", invoice.Amount, invoice.AmountPaid)
	}
	l.cancel(free)
	l.wantFailed(Seller, free.hash, incorrectDetails)
}

func testParts(l *lab) {
	hold := l.open(someSats)
	total := someSats.Msat()
	watch := l.watchHold(hold.hash)
	watch.waitFor("open")
	l.network.PayShard(l.t, Seller, hold.bolt11, total/4, total)
	l.eventually("the first part arrives", func() bool {
		invoice := l.wantHold(hold.hash, lightning.Open)
		return invoice.AmountPaid == total/4
	})
	l.want("settle a part", l.escrow.Settle(l.ctx, hold.preimage), lightning.ErrStillOpen)
	l.network.PayShard(l.t, Seller, hold.bolt11, total-total/4, total)
	if invoice := l.waitHold(hold.hash, lightning.Accepted); invoice.AmountPaid != total || invoice.ExpiryHeight == 0 {
		l.t.Errorf("%d msat are paid, expiring at %d", invoice.AmountPaid, invoice.ExpiryHeight)
	}
	l.settle(hold)
	if err := watch.ended(); err != nil || !slices.Equal(watch.words(), []string{"open", "accepted", "settled"}) {
		l.t.Errorf("the watch told %v and ended with %v", watch.words(), err)
	}
	if invoice := l.wantHold(hold.hash, lightning.Settled); invoice.AmountPaid != total {
		l.t.Errorf("settled with %d msat, want %d", invoice.AmountPaid, total)
	}
	l.wantSucceeded(Seller, hold.hash)
}

func testLonelyPart(l *lab) {
	hold := l.open(someSats)
	total := someSats.Msat()
	l.network.PayShard(l.t, Seller, hold.bolt11, total/4, total)
	l.eventually("the part arrives", func() bool {
		return l.wantHold(hold.hash, lightning.Open).AmountPaid == total/4
	})
	l.network.Advance(l.t, shardTimeout)
	l.eventually("the part is given back", func() bool {
		return l.wantHold(hold.hash, lightning.Open).AmountPaid == 0
	})
	if payment := l.outcome(Seller, hold.hash, lightning.Failed); payment.State != lightning.Failed {
		l.t.Errorf("the payment is %s, want failed", payment.State)
	}
	l.cancel(hold)
}

func testTimeExpiry(l *lab) {
	// Long enough for a payment on a busy machine, and waited for only once.
	const life = 20 * time.Second
	unpaid := l.openFor(l.escrow, someSats, someCLTV, life)
	paid := l.openFor(l.escrow, someSats, someCLTV, life)
	l.network.Pay(l.t, Seller, Payment{Invoice: paid.bolt11})
	l.waitHold(paid.hash, lightning.Accepted)
	payout := l.network.AddInvoice(l.t, Buyer, InvoiceRequest{Amount: someSats.Msat(), Expiry: life})
	hash := l.send(payRequest(payout, someSats))
	if payment := l.outcome(Escrow, hash, lightning.Succeeded); payment.State != lightning.Succeeded {
		l.t.Fatalf("payout: %+v", payment)
	}

	l.network.Advance(l.t, life+2*time.Second)
	l.waitHold(unpaid.hash, lightning.Canceled)
	l.want("settle after the expiry", l.escrow.Settle(l.ctx, unpaid.preimage), lightning.ErrAlreadyCanceled)
	l.wantHold(paid.hash, lightning.Accepted)
	l.settle(paid)
	l.wantSucceeded(Seller, paid.hash)
	// An expired invoice is refused before the node looks whether it has paid it: only
	// Track tells.
	_, err := l.escrow.Send(l.ctx, payRequest(payout, someSats))
	l.want("send a paid invoice that has expired", err, lightning.ErrRefused)
	if payment := l.outcome(Escrow, hash, lightning.Succeeded); payment.State != lightning.Succeeded {
		l.t.Errorf("the paid payment has become %+v", payment)
	}
}

func testBlockExpiry(l *lab) {
	hold := l.openFor(l.escrow, someSats, 40, time.Hour)
	l.network.Pay(l.t, Seller, Payment{Invoice: hold.bolt11})
	invoice := l.waitHold(hold.hash, lightning.Accepted)
	end := invoice.ExpiryHeight - holdExpiryDelta
	l.network.Mine(l.t, end-1-l.info(Escrow).Height)
	// When the node has dealt with a whole payment since, it has dealt with the block.
	other := l.accepted(someSats)
	l.wantHold(hold.hash, lightning.Accepted)
	l.network.Mine(l.t, 1)
	l.waitHold(hold.hash, lightning.Canceled)
	l.wantFailed(Seller, hold.hash, incorrectDetails)
	l.want("settle too late", l.escrow.Settle(l.ctx, hold.preimage), lightning.ErrAlreadyCanceled)
	l.wantHold(other.hash, lightning.Accepted)
	l.cancel(other)
	l.wantFailed(Seller, other.hash, incorrectDetails)
}

func testCLTVBounds(l *lab) {
	req := lightning.HoldRequest{Hash: l.newPreimage().Hash(), Amount: someSats.Msat(), CLTVDelta: 17, Expiry: time.Hour}
	_, err := l.escrow.OpenHold(l.ctx, req)
	l.want("delta 17", err, lightning.ErrRefused)
	_, err = l.escrow.Lookup(l.ctx, req.Hash)
	l.want("look up what was refused", err, lightning.ErrNotFound)
	least := l.openFor(l.escrow, someSats, 18, time.Hour)
	l.network.Pay(l.t, Seller, Payment{Invoice: least.bolt11})
	l.waitHold(least.hash, lightning.Accepted)
	l.cancel(least)
	// The node makes an invoice that no lnd can pay: 2016 blocks is all that a payer locks,
	// and it adds three.
	most := l.openFor(l.escrow, someSats, 2016, time.Hour)
	_, err = l.seller.Send(l.ctx, payRequest(most.bolt11, someSats))
	l.want("pay with delta 2016", err, lightning.ErrRefused)
	l.cancel(most)
}
