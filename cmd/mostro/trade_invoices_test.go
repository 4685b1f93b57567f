package main

import (
	"context"
	"crypto/sha256"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/ecdsa"
	"github.com/btcsuite/btcd/chaincfg"
	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/lightningnetwork/lnd/lnrpc"
	"github.com/lightningnetwork/lnd/lnwire"
	"github.com/lightningnetwork/lnd/zpay32"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/client"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// payoutFails: the buyer's node no longer takes the invoice that he gave. He is asked for
// another one after the last try.
func (l *lab) payoutFails(t *testing.T) {
	ctx := labContext(t)
	x := l.newTrade(t, ctx)
	x.run(ctx, x.funding())
	if err := x.buyer.wallet.Cancel(ctx, x.payout.Hash); err != nil {
		t.Fatal(err)
	}
	x.run(ctx, x.payingOut()[:2])
	failed := x.hears(ctx, x.bought, mostro.PaymentFailed)
	if p := failed.Payload.PaymentFailed; p == nil || p.Attempts != 1 || p.RetriesInterval != 1 {
		t.Errorf("the failure is told as %+v", p)
	}
	x.replaceInvoice(ctx, x.hears(ctx, x.bought, mostro.AddInvoice))
	x.account(ctx)
}

// payoutHangs: the buyer lets the payout hang at his node and asks to be paid by another
// invoice. He is not, and others trade on meanwhile.
func (l *lab) payoutHangs(t *testing.T) {
	ctx := labContext(t)
	x := l.newTrade(t, ctx)
	x.invoice = x.heldInvoice
	x.run(ctx, x.funding())
	steps := x.payingOut()
	x.run(ctx, steps[:3])
	another, err := x.buyer.wallet.Invoice(ctx, x.promised.Msat(), "the same again")
	if err != nil {
		t.Fatal(err)
	}
	_, err = x.bought.AddInvoice(ctx, another.Text)
	cantDo(t, "another invoice while the payout hangs", err, mostro.NotAllowedByStatus)
	other := l.newTrade(t, ctx)
	other.run(ctx, other.steps())
	other.account(ctx)
	x.run(ctx, steps[3:])
	x.account(ctx)
}

// replaceInvoice gives the other invoice that the node asks for, and ends the trade.
func (x *labTrade) replaceInvoice(ctx context.Context, asked mostro.Message) {
	x.t.Helper()
	if err := x.prepareInvoice(ctx, asked); err != nil {
		x.t.Fatal(err)
	}
	answer, err := x.bought.AddInvoice(ctx, x.payout.Text)
	if err != nil || answer.Action != mostro.InvoiceUpdated {
		x.t.Fatalf("another invoice is answered with %s, %v", wordsOf(answer), err)
	}
	x.run(ctx, x.payingOut()[2:])
}

// badInvoices: whatever is wrong with an invoice, the answer is the same and the order is as
// it was; with a good one the trade goes on.
func (l *lab) badInvoices(t *testing.T) {
	ctx := labContext(t)
	other := l.newTrade(t, ctx)
	other.run(ctx, other.funding()[:3])

	x := l.newTrade(t, ctx)
	if err := x.newOrder(ctx); err != nil {
		t.Fatal(err)
	}
	bad := x.makeBad(ctx, order.Sat(99_700).Msat())
	bad["used in another order"] = other.payout.Text
	before := x.bookEvent(ctx)
	for _, name := range slices.Sorted(maps.Keys(bad)) {
		t.Logf("-- an invoice that is %s", name)
		_, _, err := x.buyer.client.Take(ctx, x.shown, bad[name], client.Mode{})
		cantDo(t, name+", with the take", err, mostro.InvalidInvoice)
	}
	if after := x.bookEvent(ctx); after != before {
		t.Errorf("refused takes have changed the order in the book: %s, now %s", before, after)
	}
	if err := x.takeSell(ctx); err != nil {
		t.Fatal(err)
	}
	before = x.bookEvent(ctx)
	for _, name := range slices.Sorted(maps.Keys(bad)) {
		t.Logf("-- an invoice that is %s", name)
		_, err := x.bought.AddInvoice(ctx, bad[name])
		cantDo(t, name+", when asked", err, mostro.InvalidInvoice)
	}
	if after := x.bookEvent(ctx); after != before {
		t.Errorf("refused invoices have changed the order in the book: %s, now %s", before, after)
	}
	if status := x.bought.Status(); status != mostro.StatusWaitingBuyerInvoice {
		t.Errorf("after refused invoices the order is %s", status)
	}
	for _, good := range []*labTrade{x, other} {
		for _, s := range good.steps()[2:] {
			if good != other || s.name != "add-invoice" {
				good.run(ctx, []step{s})
			}
		}
		good.account(ctx)
	}
}

// bookEvent is the id of the event that shows the order in the book.
func (x *labTrade) bookEvent(ctx context.Context) string {
	x.t.Helper()
	events, err := x.events(ctx, nostr.Filter{Kinds: []int{mostro.KindOrder}, Tags: nostr.TagMap{"d": {x.sold.OrderID()}}})
	if err != nil || len(events) != 1 {
		x.t.Fatalf("%d events show the order, %v", len(events), err)
	}
	return events[0].ID
}

// makeBad makes invoices that are wrong in one thing each.
func (x *labTrade) makeBad(ctx context.Context, amount order.Msat) map[string]string {
	x.t.Helper()
	atBob := func(change func(*lnrpc.Invoice)) string {
		request := &lnrpc.Invoice{ValueMsat: int64(amount), Expiry: 86400}
		change(request)
		answer, err := x.network.Client("bob").AddInvoice(ctx, request)
		if err != nil {
			x.t.Fatal(err)
		}
		return answer.PaymentRequest
	}
	own, err := x.demo.escrow.Invoice(ctx, amount, "of the node")
	if err != nil {
		x.t.Fatal(err)
	}
	good := atBob(func(*lnrpc.Invoice) {})
	bad := map[string]string{
		"expired":                          atBob(func(i *lnrpc.Invoice) { i.Expiry = 1 }),
		"about to expire":                  atBob(func(i *lnrpc.Invoice) { i.Expiry = 600 }),
		"over a sat too much":              atBob(func(i *lnrpc.Invoice) { i.ValueMsat += 1000 }),
		"over a millisat too little":       atBob(func(i *lnrpc.Invoice) { i.ValueMsat-- }),
		"locking the payment for too long": atBob(func(i *lnrpc.Invoice) { i.CltvExpiry = 500 }),
		"of another network":               mainnetInvoice(x.t, amount),
		"of the node itself":               own.Text,
		"cut off":                          good[:len(good)-1],
		"an address of this machine":       "bob@127.0.0.1:9735",
		"an address of localhost":          "bob@localhost",
		"a link to this machine":           "lnurlp://127.0.0.1/bob",
		"nonsense":                         "lnsb1nonsense",
	}
	expired, err := lightning.Decode(bad["expired"])
	if err != nil {
		x.t.Fatal(err)
	}
	time.Sleep(time.Until(expired.ExpiresAt) + time.Second)
	return bad
}

// mainnetInvoice is good but for its network: with its route hint the node has no reason to
// think that there is no way to the payee.
func mainnetInvoice(t *testing.T, amount order.Msat) string {
	t.Helper()
	key, err := btcec.NewPrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(key.Serialize())
	invoice, err := zpay32.NewInvoice(&chaincfg.MainNetParams, hash, time.Now(),
		zpay32.Amount(lnwire.MilliSatoshi(amount)), zpay32.Description("bitcoin"), zpay32.Expiry(24*time.Hour),
		zpay32.CLTVExpiry(heldPayoutCLTV), zpay32.PaymentAddr(hash),
		zpay32.Features(lnwire.NewFeatureVector(lnwire.NewRawFeatureVector(
			lnwire.TLVOnionPayloadRequired, lnwire.PaymentAddrRequired), lnwire.Features)),
		zpay32.RouteHint([]zpay32.HopHint{{NodeID: key.PubKey(), ChannelID: 1, CLTVExpiryDelta: heldPayoutCLTV}}))
	if err != nil {
		t.Fatal(err)
	}
	text, err := invoice.Encode(zpay32.MessageSigner{SignCompact: func(message []byte) ([]byte, error) {
		return ecdsa.SignCompact(key, chainhash.HashB(message), true), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}
