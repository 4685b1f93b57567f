package escrow

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/audit"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// restoreFrom ends the process and starts it with a store made of a backup.
func (w *world) restoreFrom(backup []byte) {
	w.t.Helper()
	w.check(w.e.Close())
	w.check(os.RemoveAll(w.cfg.Dir))
	_, err := Restore(w.cfg.Dir, StoreKey{}, bytes.NewReader(backup))
	w.check(err)
	w.later, w.watches, w.told = nil, map[order.Hash]watch{}, map[order.Hash]string{}
	w.open()
	w.settle()
	w.check(w.e.findStrays(context.Background(), *w.e.guards.restored))
}

// explainAll says of every stray that it paid an order, or a bond.
func (w *world) explainAll(id string) {
	w.t.Helper()
	s, err := w.e.Status()
	w.check(err)
	for _, stray := range s.Strays {
		w.check(w.e.ExplainStray(context.Background(), stray.Hash, id, "the payee says so"))
	}
}

// M40: a copy in which a trade still waits for the seller, or for the buyer's invoice, and LND has
// settled it since. It is not called canceled: the buyer is owed, and is paid once at most,
// whether he was paid in the forgotten time or not.
func TestM40ForgottenRelease(t *testing.T) {
	for name, c := range map[string]struct{ before, since, after string }{
		"waits for the payment": {"alice new sell sats=100000\n bob take invoice=99700",
			"alice pay\n bob fiat-sent\n alice release", ""},
		"waits for the payment, and was paid with another invoice": {"alice new sell sats=100000\n bob take invoice=99700",
			"alice pay\n bob fiat-sent\n bob route none\n alice release\n wait 2m\n wait 2m\n wait 2m\n bob route\n bob add-invoice order=A invoice=99700\n wait 10m", ""},
		"waits for the payment, and is not paid yet": {"alice new sell sats=100000\n bob take invoice=99700",
			"alice pay\n bob fiat-sent\n bob route none\n alice release", "bob route"},
		"waits for the invoice": {"alice new buy sats=100000\n bob take\n bob pay",
			"alice add-invoice order=A invoice=99700\n alice fiat-sent order=A\n bob release order=A", "alice add-invoice order=A invoice=99700"},
	} {
		t.Run(name, func(t *testing.T) {
			w := inFolder(t)
			w.play(t, c.before)
			id := w.order(args{})
			full, _ := w.backup(Chain{})
			w.play(t, c.since)
			paid, payments := w.paidOut()
			logged := w.logged.Len()
			w.restoreFrom(full)
			w.play(t, c.after)
			for range 6 {
				w.advance(20 * time.Minute)
			}
			if got := w.statusOf(id); got != mostro.StatusSettledHoldInvoice && got != mostro.StatusSuccess {
				t.Fatalf("the order that was released is %s", got)
			}
			if got := w.logged.String()[logged:]; !strings.Contains(got, "alarm: order "+id) || !strings.Contains(got, "nobody here settled it") {
				t.Errorf("log: %s", got)
			}
			w.explainAll(id)
			w.advance(10 * time.Minute)
			if got := w.statusOf(id); got != mostro.StatusSuccess {
				t.Errorf("in the end the order is %s", got)
			}
			want := max(payments, 1)
			if again, count := w.paidOut(); count != want || payments > 0 && again != paid {
				t.Errorf("%d payments of %d msat, before the restore %d of %d", count, again, payments, paid)
			}
			if r := w.audit(); len(r.Owed) != 0 || len(r.Differences) != 0 {
				t.Errorf("in the end owed %+v, differences %+v", r.Owed, r.Differences)
			}
		})
	}
}

// M40: an offer of the copy was taken in the forgotten time. A new taker gets a hold invoice of his
// own, and nothing of the forgotten trade is taken for his: not its sats, nor its release.
func TestM40ForgottenTake(t *testing.T) {
	for name, c := range map[string]struct {
		since string
		want  mostro.Status // after the new take
		held  audit.Kind    // what the audit says of the forgotten escrow, "" = nothing is wrong
	}{
		"an open invoice":  {"bob take", mostro.StatusWaitingPayment, ""},
		"a canceled trade": {"bob take\n wait 20m", mostro.StatusWaitingPayment, ""},
		"held sats":        {"bob take\n bob pay", mostro.StatusWaitingPayment, audit.Orphan},
		"a whole trade":    {"bob take\n bob pay\n alice add-invoice invoice=99700\n alice fiat-sent\n bob release", mostro.StatusWaitingPayment, audit.InUnbooked},
	} {
		t.Run(name, func(t *testing.T) {
			w := inFolder(t)
			w.play(t, "alice new buy sats=100000")
			id := w.order(args{})
			full, _ := w.backup(Chain{})
			w.play(t, c.since)
			_, payments := w.paidOut()
			w.restoreFrom(full)
			w.play(t, "carol take order=A")
			if got := w.statusOf(id); got != c.want {
				t.Fatalf("after a new take the order is %s", got)
			}
			bob, carol := w.person("bob"), w.person("carol")
			if carol.invoice == "" || carol.invoice == bob.invoice {
				t.Fatalf("the new taker is asked to pay %q", carol.invoice)
			}
			w.play(t, "carol pay order=A\n alice add-invoice order=A invoice=99700\n alice fiat-sent order=A\n carol release order=A\n wait 10m")
			if got := w.statusOf(id); payments == 0 && got != mostro.StatusSuccess {
				t.Errorf("in the end the order is %s", got)
			}
			r := w.audit()
			for _, f := range r.Differences {
				// What the node paid in the forgotten time is the operator's to explain.
				if f.Kind != c.held && (f.Kind != audit.Unexplained || payments == 0) {
					t.Errorf("difference %+v", f)
				}
			}
			if len(r.Differences) == 0 && c.held != "" {
				t.Error("the audit does not see the forgotten escrow")
			}
		})
	}
}

// M40: a copy from before a slash. Where it can only have been for one person, his share is owed
// again, and paid once; else the operator is told.
func TestM40ForgottenSlash(t *testing.T) {
	for name, c := range map[string]struct {
		before, since string
		winner        string // claims again after the restore
	}{
		"a late taker, share not paid": {"bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay", "wait 15m", "alice"},
		"a late taker, share paid":     {"bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay", "wait 15m\n alice claim invoice=500\n wait 10m", "alice"},
		"a lost dispute": {"bonds apply=take\n alice new sell sats=100000\n bob take invoice=99700\n bob pay\n alice pay\n alice dispute\n operator take-dispute",
			"operator undo slash=buyer", "alice"},
		"a lost dispute, share paid": {"bonds apply=take\n alice new sell sats=100000\n bob take invoice=99700\n bob pay\n alice pay\n alice dispute\n operator take-dispute",
			"operator undo slash=buyer\n alice claim invoice=500\n wait 10m", "alice"},
		"the maker's bond": {"bonds apply=make\n alice new sell sats=100000\n alice pay\n bob take invoice=99700\n alice pay\n bob dispute\n operator take-dispute",
			"operator undo slash=seller\n bob claim invoice=500\n wait 10m", "bob"},
		"the maker's bond, and the trade was paid": {"bonds apply=make\n alice new sell sats=100000\n alice pay\n bob take invoice=99700\n alice pay\n bob dispute\n operator take-dispute",
			"operator settle slash=seller\n bob claim invoice=500\n wait 10m", "bob"},
	} {
		t.Run(name, func(t *testing.T) {
			w := inFolder(t)
			w.play(t, c.before)
			id := w.order(args{})
			bonds, err := w.e.Bonds(id)
			w.check(err)
			full, _ := w.backup(Chain{})
			w.play(t, c.since)
			_, payments := w.paidOut()
			logged := w.logged.Len()
			w.restoreFrom(full)
			after, err := w.e.Bonds(id)
			w.check(err)
			if b := after[0]; b.State != order.BondPayout || b.Slash == nil || b.WinnerGets() != order.Sat(500).Msat() {
				t.Fatalf("the bond is %s, slash %+v", b.State, b.Slash)
			}
			if got := w.logged.String()[logged:]; !strings.Contains(got, "mostro restored explain HASH --order "+bonds[0].ID) {
				t.Errorf("log: %s", got)
			}
			w.play(t, c.winner+" claim invoice=500\n wait 20m")
			if _, count := w.paidOut(); count != max(payments, 1) {
				t.Fatalf("%d payments, %d before the restore", count, payments)
			}
			w.explainAll(bonds[0].ID)
			w.play(t, "wait 20m")
			after, err = w.e.Bonds(id)
			w.check(err)
			if got := after[0].State; got != order.BondSlashed {
				t.Errorf("in the end the bond is %s", got)
			}
			if _, count := w.paidOut(); count != max(payments, 1) {
				t.Errorf("in the end %d payments, %d before the restore", count, payments)
			}
			if r := w.audit(); len(r.Owed) != 0 || len(r.Differences) != 0 {
				t.Errorf("in the end owed %+v, differences %+v", r.Owed, r.Differences)
			}
		})
	}
}

// M42: the clock was days ahead when the copy was made. What was paid since is found all the same, by
// its place in the node's own list; what the node paid before the last booked payout is not.
func TestM42RestoreWhenTheClockWasAhead(t *testing.T) {
	w := inFolder(t)
	own := w.person("carol").wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: 7_000_000})
	_, err := w.node.Send(context.Background(), lightning.PayRequest{Invoice: own, Amount: 7_000_000, FeeLimit: 1000, Timeout: time.Minute})
	w.check(err)
	w.trade(t, "50000", "49850")
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n bob route none\n alice release\n wait 2m\n wait 2m\n wait 2m")
	id := w.order(args{})
	ahead := w.e.now() + 3*86400
	w.check(w.e.submit(context.Background(), "", func(_ *badger.Txn, w *writes) error { return w.set([]byte{tableAlive}, ahead) }))
	full, _ := w.backup(Chain{})
	w.play(t, "bob route\n bob add-invoice order=B invoice=99700\n wait 10m\n wait 10m")
	if got := w.statusOf(id); got != mostro.StatusSuccess {
		t.Fatalf("before the restore the order is %s", got)
	}
	_, payments := w.paidOut()
	w.restoreFrom(full)
	s, err := w.e.Status()
	w.check(err)
	if len(s.Strays) != 1 || s.Strays[0].Amount != 99_700_000 {
		t.Errorf("not explained: %+v", s.Strays)
	}
	w.play(t, "bob add-invoice order=B invoice=99700")
	for range 6 {
		w.advance(20 * time.Minute)
	}
	if _, again := w.paidOut(); again != payments {
		t.Errorf("%d payments, %d before the restore", again, payments)
	}
}

// TestM42RestoreLongAfterTheClockWasAhead: the copy says that it is younger by a month than the payment which it does not know,
// and has nothing booked; but that is over what it owes.
func TestM42RestoreLongAfterTheClockWasAhead(t *testing.T) {
	const month = 30 * 24 * time.Hour
	w := inFolder(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n bob route none\n alice release\n wait 2m\n wait 2m\n wait 2m")
	ahead := w.e.now() + int64((month+10*24*time.Hour)/time.Second)
	w.check(w.e.submit(context.Background(), "", func(_ *badger.Txn, w *writes) error { return w.set([]byte{tableAlive}, ahead) }))
	full, _ := w.backup(Chain{})
	w.play(t, "bob route\n bob add-invoice invoice=99700\n wait 10m\n wait 10m")
	if got := w.statusOf(w.order(args{})); got != mostro.StatusSuccess {
		t.Fatalf("before the restore the order is %s", got)
	}
	w.advance(month + 20*24*time.Hour)
	w.restoreFrom(full)
	s, err := w.e.Status()
	w.check(err)
	if len(s.Strays) != 1 || s.Strays[0].Amount != 99_700_000 {
		t.Errorf("not explained: %+v", s.Strays)
	}
}

// M40: who was paid in the forgotten time with an invoice that the copy knows is booked as paid, though a payment over the
// same amount, of whomever, waits to be explained: no operator is asked, so none can take that one for his.
func TestM40PaidWithAKnownInvoice(t *testing.T) {
	w := inFolder(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent")
	id := w.order(args{})
	full, _ := w.backup(Chain{})
	w.play(t, "alice release")
	other, err := w.node.Pay(lightning.SimPay{Invoice: w.person("carol").wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: 99_700_000, Expiry: time.Hour})})
	w.check(err)
	w.restoreFrom(full)
	w.advance(time.Minute)
	o, _, err := w.e.Order(id)
	w.check(err)
	if o.Status != mostro.StatusSuccess || o.Payout.Hash == other.Hash {
		t.Errorf("the order is %s, its payout %s with %s", o.Status, o.Payout.State, o.Payout.Hash)
	}
	s, err := w.e.Status()
	w.check(err)
	if len(s.Strays) != 1 || s.Strays[0].Hash != other.Hash {
		t.Errorf("payments to be explained: %+v", s.Strays)
	}
	if _, count := w.paidOut(); count != 2 { // with the other
		t.Errorf("%d payments", count)
	}
}

// M40: while the node has a payment of an order under way, or has made it, no other is booked in its place, whatever the payee says.
func TestM40NoStrayInPlaceOfAPaymentUnderWay(t *testing.T) {
	w := inFolder(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=hold:99700\n alice pay\n bob fiat-sent")
	id, bob := w.order(args{}), w.person("bob")
	full, _ := w.backup(Chain{})
	w.play(t, "alice release")
	other, err := w.node.Pay(lightning.SimPay{Invoice: w.person("carol").wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: 99_700_000, Expiry: time.Hour})})
	w.check(err)
	w.restoreFrom(full)
	w.advance(time.Minute)
	err = w.e.ExplainStray(t.Context(), other.Hash, id, "the payee says so")
	if err == nil || !strings.Contains(err.Error(), bob.holds[0].Hash().String()) || w.statusOf(id) != mostro.StatusSettledHoldInvoice {
		t.Fatalf("the order is %s: %v", w.statusOf(id), err)
	}
	w.check(bob.wallet.Settle(t.Context(), bob.holds[0]))
	w.advance(time.Minute)
	o, _, err := w.e.Order(id)
	w.check(err)
	if o.Status != mostro.StatusSuccess || o.Payout.Hash != bob.holds[0].Hash() {
		t.Errorf("in the end the order is %s, paid with %s", o.Status, o.Payout.Hash)
	}
}
