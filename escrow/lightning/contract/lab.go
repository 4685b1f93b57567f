package contract

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// Sizes and times of the cases.
const (
	// patience bounds every wait. It is long because it only matters when something is
	// broken: real nodes on a busy machine take seconds for what takes milliseconds.
	patience = 2 * time.Minute
	// casePatience bounds a whole case, full channels on real nodes included.
	casePatience = 10 * time.Minute
	pause        = 25 * time.Millisecond // between two looks

	someSats order.Sat = 20_000
	slotSats order.Sat = 2_000 // above dust, and 483 of it fit into the seller's channel

	leastFunds order.Msat = 2_000_000_000 // of each side of a channel
	feeLimit   order.Msat = 100_000
	someCLTV              = 144 // blocks

	blockPadding    = 3  // blocks that a paying lnd adds to the final delta
	holdExpiryDelta = 12 // blocks; lnd's default
	shardTimeout    = 120 * time.Second
)

// Reasons for failed payments, in lnd's words.
const (
	noRoute          = "FAILURE_REASON_NO_ROUTE"
	noBalance        = "FAILURE_REASON_INSUFFICIENT_BALANCE"
	incorrectDetails = "FAILURE_REASON_INCORRECT_PAYMENT_DETAILS"
)

// lab is what a case works with.
type lab struct {
	t       *testing.T
	ctx     context.Context
	network Network
	escrow  lightning.Node
	seller  lightning.Node
	buyer   lightning.Node
}

func newLab(t *testing.T, network Network) *lab {
	ctx, cancel := context.WithTimeout(t.Context(), casePatience)
	t.Cleanup(cancel)
	return &lab{t, ctx, network, network.Node(Escrow), network.Node(Seller), network.Node(Buyer)}
}

// hold is a hold invoice of a case.
type hold struct {
	node     lightning.Node
	preimage order.Preimage
	hash     order.Hash
	bolt11   string
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// want checks what kind of an error came.
func (l *lab) want(what string, err, want error) {
	l.t.Helper()
	if !errors.Is(err, want) {
		l.t.Errorf("%s: %v, want: %v", what, err, want)
	}
}

// wantUnknown checks for an error that allows no conclusion.
func (l *lab) wantUnknown(what string, err error) {
	l.t.Helper()
	if err == nil {
		l.t.Errorf("%s: no error", what)
	}
	for _, known := range []error{
		lightning.ErrNotFound, lightning.ErrAlreadyCanceled, lightning.ErrAlreadySettled, lightning.ErrStillOpen,
		lightning.ErrRefused, lightning.ErrInFlight, lightning.ErrAlreadyPaid,
	} {
		if errors.Is(err, known) {
			l.t.Errorf("%s: %v must not mean %q", what, err, known)
		}
	}
}

// eventually waits until a condition holds.
func (l *lab) eventually(what string, holds func() bool) {
	l.t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			l.t.Fatalf("waited %v in vain: %s", patience, what)
		}
		time.Sleep(pause)
	}
}

func (l *lab) info(party Party) lightning.Info {
	l.t.Helper()
	info, err := l.network.Node(party).Info(l.ctx)
	l.must(err)
	return info
}

// newPreimage is random because the nodes may have seen earlier runs.
func (l *lab) newPreimage() order.Preimage {
	var secret [32]byte
	rand.Read(secret[:])
	return order.NewPreimage(secret)
}

func (l *lab) open(sats order.Sat) hold { return l.openFor(l.escrow, sats, someCLTV, time.Hour) }

func (l *lab) openFor(node lightning.Node, sats order.Sat, cltv uint32, expiry time.Duration) hold {
	l.t.Helper()
	preimage := l.newPreimage()
	invoice, err := node.OpenHold(l.ctx, lightning.HoldRequest{
		Hash: preimage.Hash(), Amount: sats.Msat(), Memo: "contract", CLTVDelta: cltv, Expiry: expiry,
	})
	l.must(err)
	return hold{node, preimage, preimage.Hash(), invoice.Invoice}
}

// accepted is a hold invoice of the escrow that the seller has paid.
func (l *lab) accepted(sats order.Sat) hold {
	l.t.Helper()
	hold := l.open(sats)
	l.network.Pay(l.t, Seller, Payment{Invoice: hold.bolt11})
	l.waitHold(hold.hash, lightning.Accepted)
	return hold
}

func (l *lab) settle(h hold) {
	l.t.Helper()
	l.must(h.node.Settle(l.ctx, h.preimage))
}

func (l *lab) cancel(h hold) {
	l.t.Helper()
	l.must(h.node.Cancel(l.ctx, h.hash))
}

// wantHold checks the state of an invoice of the escrow as it is now.
func (l *lab) wantHold(hash order.Hash, want lightning.HoldState) lightning.HoldInvoice {
	l.t.Helper()
	invoice, err := l.escrow.Lookup(l.ctx, hash)
	l.must(err)
	if invoice.State != want {
		l.t.Errorf("hold invoice is %s, want %s", invoice.State, want)
	}
	return invoice
}

// waitHold waits for a state of an invoice of the escrow.
func (l *lab) waitHold(hash order.Hash, want lightning.HoldState) lightning.HoldInvoice {
	l.t.Helper()
	return l.waitHoldAt(l.escrow, hash, want)
}

func (l *lab) waitHoldAt(node lightning.Node, hash order.Hash, want lightning.HoldState) (invoice lightning.HoldInvoice) {
	l.t.Helper()
	l.eventually("hold invoice becomes "+string(want), func() bool {
		found, err := node.Lookup(l.ctx, hash)
		l.must(err)
		invoice = found
		return found.State == want
	})
	return invoice
}

func payRequest(bolt11 string, sats order.Sat) lightning.PayRequest {
	return lightning.PayRequest{
		Invoice: bolt11, Amount: sats.Msat(), FeeLimit: feeLimit, MaxParts: 1, Timeout: time.Minute,
	}
}

// send sends a payment of the escrow that the node must acknowledge.
func (l *lab) send(req lightning.PayRequest) order.Hash {
	l.t.Helper()
	return l.sendFrom(l.escrow, req)
}

func (l *lab) sendFrom(node lightning.Node, req lightning.PayRequest) order.Hash {
	l.t.Helper()
	payment, err := node.Send(l.ctx, req)
	l.must(err)
	invoice, err := lightning.Decode(req.Invoice)
	l.must(err)
	if payment.Hash != invoice.Hash || payment.Amount != req.Amount {
		l.t.Errorf("send answers hash %s and %d msat, want %s and %d", payment.Hash, payment.Amount, invoice.Hash, req.Amount)
	}
	return payment.Hash
}

// outcome follows a payment until it has one of the states, or a final one.
func (l *lab) outcome(party Party, hash order.Hash, states ...lightning.PaymentState) (last lightning.Payment) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	reached := false
	err := l.network.Node(party).Track(ctx, hash, func(payment lightning.Payment) {
		if !reached {
			last, reached = payment, slices.Contains(states, payment.State)
		}
		if reached {
			cancel()
		}
	})
	if !reached && err != nil {
		l.t.Fatalf("track %s's payment: %v after %+v", party, err, last)
	}
	return last
}

func (l *lab) wantSucceeded(party Party, hash order.Hash) lightning.Payment {
	l.t.Helper()
	payment := l.outcome(party, hash, lightning.Succeeded)
	if payment.State != lightning.Succeeded {
		l.t.Errorf("%s's payment is %s (%s), want succeeded", party, payment.State, payment.Reason)
	}
	return payment
}

func (l *lab) wantFailed(party Party, hash order.Hash, reason string) {
	l.t.Helper()
	payment := l.outcome(party, hash, lightning.Failed)
	if payment.State != lightning.Failed || payment.Reason != reason {
		l.t.Errorf("%s's payment is %s (%s), want failed (%s)", party, payment.State, payment.Reason, reason)
	}
}

func (l *lab) wantInFlight(party Party, hash order.Hash) {
	l.t.Helper()
	if payment := l.outcome(party, hash, lightning.InFlight); payment.State != lightning.InFlight {
		l.t.Errorf("%s's payment is %s (%s), want in-flight", party, payment.State, payment.Reason)
	}
}

// record collects what a watch tells.
type record struct {
	lab  *lab
	mu   sync.Mutex
	seen []string // without repetitions of the last
	done chan error
}

// watch runs a watch until it ends, at the latest with the case.
func (l *lab) watch(run func(seen func(string)) error) *record {
	r := &record{lab: l, done: make(chan error, 1)}
	go func() {
		r.done <- run(func(word string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(r.seen) == 0 || r.seen[len(r.seen)-1] != word {
				r.seen = append(r.seen, word)
			}
		})
	}()
	return r
}

func (l *lab) watchHold(hash order.Hash) *record {
	return l.watch(func(seen func(string)) error {
		return l.escrow.WatchHold(l.ctx, hash, func(invoice lightning.HoldInvoice) { seen(string(invoice.State)) })
	})
}

func (r *record) words() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

func (r *record) waitFor(word string) {
	r.lab.t.Helper()
	r.lab.eventually("the watch tells "+word, func() bool { return slices.Contains(r.words(), word) })
}

// ended waits for the end of the watch.
func (r *record) ended() error {
	r.lab.t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(patience):
		r.lab.t.Fatalf("the watch has not ended after %v; it told %v", patience, r.words())
		return nil
	}
}

func numeral(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
