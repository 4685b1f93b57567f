package escrow

import (
	"context"
	"strings"
	"testing"
	"time"

	"mostro/escrow/audit"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// lostPayout is a world in which the node has forgotten the payout to bob, which still flies.
func lostPayout(t *testing.T) (w *world, id string, lost order.Hash, remember func()) {
	w = newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=hold:99700\n alice pay\n bob fiat-sent\n alice release")
	id, lost = w.order(args{}), w.person("bob").holds[0].Hash()
	remember = w.node.ForgetPayment(lost)
	w.settle()
	w.play(t, "wait 10m")
	o, _, err := w.e.Order(id)
	w.check(err)
	if o.Payout.State != order.PayoutUnknown || o.Payout.Hash != lost {
		t.Fatalf("the payout %s is %q, not %s", o.Payout.Hash, o.Payout.State, lost)
	}
	return w, id, lost, remember
}

// says is the word of an operator, and what is answered.
func (w *world) says(p Payout) (said string, err error) {
	if p.Reason == "" {
		p.Reason = "the payee says so"
	}
	said, err = w.e.TellPayout(context.Background(), p)
	w.settle()
	return said, err
}

// refuses checks that a word of the operator is refused with a text, and changes nothing.
func (w *world) refuses(t *testing.T, p Payout, why string) {
	t.Helper()
	before, _, err := w.e.Order(p.ID)
	w.check(err)
	if said, err := w.says(p); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("%+v is answered with %q and %v, want %q", p, said, err, why)
	}
	if after, _, err := w.e.Order(p.ID); err != nil || after.Rev != before.Rev {
		t.Errorf("%+v has changed the order from rev %d to %d, %v", p, before.Rev, after.Rev, err)
	}
}

// kinds counts the findings of the audit.
func kinds(list []audit.Finding) map[audit.Kind]int {
	n := map[audit.Kind]int{}
	for _, f := range list {
		n[f.Kind]++
	}
	return n
}

// hourLater is after the alarm is said again; the log has it.
func (w *world) hourLater(t *testing.T, want string) {
	t.Helper()
	logged := w.logged.Len()
	w.advance(time.Hour + time.Minute)
	if got := w.logged.String()[logged:]; !strings.Contains(got, want) {
		t.Errorf("the alarm of the hour does not say %q", want)
	}
}

// A payout that the node has forgotten ends with the word of an operator who has asked the payee.
func TestWordPaid(t *testing.T) {
	w, id, lost, _ := lostPayout(t)
	if r := w.audit(); len(r.Owed) != 1 || !strings.Contains(r.Owed[0].Why, "mostro payout "+id+" --paid "+lost.String()) {
		t.Errorf("owed: %+v", r.Owed)
	}
	w.hourLater(t, "mostro payout "+id+" --paid "+lost.String()+", or --unpaid")
	w.refuses(t, Payout{ID: id, Paid: order.Hash{9}}, "which is "+lost.String())
	w.refuses(t, Payout{ID: "nobody"}, "there is no order and no bond")
	w.refuses(t, Payout{ID: id, Paid: lost, Reason: " "}, "a reason is needed")
	w.node.Stop()
	w.refuses(t, Payout{ID: id, Paid: lost}, "ask the Lightning node")
	w.node.Start()
	said, err := w.says(Payout{ID: id, Paid: lost, Reason: "he shows the preimage"})
	if err != nil || !strings.Contains(said, "booked as paid") {
		t.Fatalf("%q, %v", said, err)
	}
	if got := w.statusOf(id); got != mostro.StatusSuccess {
		t.Errorf("the order is %s", got)
	}
	w.refuses(t, Payout{ID: id, Paid: lost}, "nothing of")
	w.refuses(t, Payout{ID: id, Sure: true}, "nothing of")
	w.crash()
	r := w.audit()
	if len(r.Owed) != 0 || len(r.Differences) != 0 || kinds(r.News)[audit.WordNews] != 1 {
		t.Errorf("owed %+v, differences %+v, news %+v", r.Owed, r.Differences, r.News)
	}
	for _, f := range r.News {
		if f.Kind == audit.WordNews && !strings.HasSuffix(f.Text, ": he shows the preimage") {
			t.Errorf("the audit says %q", f.Text)
		}
	}
	s, err := w.e.Status()
	w.check(err)
	if last := s.Log[len(s.Log)-1]; last.Reason != "he shows the preimage" || !strings.Contains(last.What, lost.String()) {
		t.Errorf("the log of the guards ends with %+v", last)
	}
}

// After the word that it has not arrived another invoice is paid, in its time; the lost hash never is.
func TestWordUnpaid(t *testing.T) {
	w, id, lost, _ := lostPayout(t)
	bob := w.person("bob")
	first := bob.given
	w.refuses(t, Payout{ID: id}, "wait until then, or say it again with --yes")
	w.check(bob.wallet.Cancel(t.Context(), bob.holds[0].Hash()))
	w.out.Reset()
	if _, err := w.says(Payout{ID: id, Sure: true}); err != nil {
		t.Fatal(err)
	}
	if got := w.out.String(); !strings.Contains(got, "bob <- add-invoice") {
		t.Errorf("the buyer is not asked: %s", got)
	}
	w.refuses(t, Payout{ID: id, Paid: lost}, "nothing of")
	w.out.Reset()
	w.play(t, "bob add-invoice invoice="+first)
	if got := w.out.String(); !strings.Contains(got, "invalid_invoice") {
		t.Errorf("the lost hash is taken again: %s", got)
	}
	w.play(t, "bob add-invoice invoice=99700")
	if got := w.statusOf(id); got != mostro.StatusSettledHoldInvoice {
		t.Errorf("another hash is paid before the lost one had the time to show: %s", got)
	}
	w.play(t, "crash\n wait 10m")
	if got := w.statusOf(id); got != mostro.StatusSuccess {
		t.Errorf("the order is %s", got)
	}
	if sum, count := w.paidOut(); count != 1 || sum != order.Sat(99_700).Msat() {
		t.Errorf("%d payments of %d msat", count, sum)
	}
	if r := w.audit(); len(r.Owed) != 0 || len(r.Differences) != 0 {
		t.Errorf("owed %+v, differences %+v", r.Owed, r.Differences)
	}
}

// The same without --yes, once no HTLC of it can be left.
func TestWordUnpaidLater(t *testing.T) {
	w, id, _, _ := lostPayout(t)
	w.net.Advance(time.Duration(w.cfg.Settings.PayoutCLTV)*blockTime + time.Minute)
	if _, err := w.says(Payout{ID: id}); err != nil {
		t.Error(err)
	}
}

// M2: a payment that was given up and that the node remembers after all keeps any other from being
// sent while it flies, and is booked when it has arrived.
func TestM2WordUnpaidIsRemembered(t *testing.T) {
	w, id, lost, remember := lostPayout(t)
	if _, err := w.says(Payout{ID: id, Sure: true}); err != nil {
		t.Fatal(err)
	}
	remember()
	w.play(t, "bob add-invoice invoice=99700\n wait 20m")
	if got := w.statusOf(id); got != mostro.StatusSettledHoldInvoice {
		t.Fatalf("another invoice was paid beside it: %s", got)
	}
	bob := w.person("bob")
	w.check(bob.wallet.Settle(t.Context(), bob.holds[0]))
	w.play(t, "wait 20m")
	o, _, err := w.e.Order(id)
	w.check(err)
	if o.Status != mostro.StatusSuccess || o.Payout.State != order.PayoutPaid || o.Ledger[0].Hash != lost {
		t.Errorf("the order is %s, its payout %q, paid with %s of %s", o.Status, o.Payout.State, o.Ledger[0].Hash, lost)
	}
	if _, count := w.paidOut(); count != 1 {
		t.Errorf("%d payments", count)
	}
}

// The node knows the payment again: that counts, whatever the operator says.
func TestWordOfTheNodeCounts(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*world, *person) error // what becomes of the payment
		paid bool                        // what the operator says
		says string
		want order.PayoutState
	}{
		"in flight":               {nil, true, "it is in flight", order.PayoutUnknown},
		"arrived, and not paid":   {func(w *world, p *person) error { return p.wallet.Settle(w.t.Context(), p.holds[0]) }, false, "it is succeeded", order.PayoutPaid},
		"came back, and was paid": {func(w *world, p *person) error { return p.wallet.Cancel(w.t.Context(), p.holds[0].Hash()) }, true, "it is failed", order.PayoutFailed},
	} {
		t.Run(name, func(t *testing.T) {
			w, id, lost, remember := lostPayout(t)
			if c.end != nil {
				w.check(c.end(w, w.person("bob")))
			}
			remember()
			p := Payout{ID: id, Sure: true, Reason: "so I think"}
			if c.paid {
				p.Paid = lost
			}
			said, err := w.e.TellPayout(t.Context(), p)
			if err != nil {
				said = err.Error()
			}
			o, _, failed := w.e.Order(id)
			w.check(failed)
			if !strings.Contains(said, c.says) || (err != nil) != (c.want == order.PayoutUnknown) || o.Payout.State != c.want {
				t.Errorf("%q, %v, and the payout is %q", said, err, o.Payout.State)
			}
			for _, entry := range o.Ledger {
				if entry.Word != "" {
					t.Errorf("booked on a word: %+v", entry)
				}
			}
			w.settle()
		})
	}
}

// What a seller paid too much is given back by hand and booked, once, with a payment of its own.
func TestWordByHand(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay sats=100400\n bob fiat-sent\n alice release")
	id, alice := w.order(args{}), w.person("alice")
	o, _, err := w.e.Order(id)
	w.check(err)
	back := func(amount order.Msat) order.Hash {
		w.t.Helper()
		p, err := w.node.Pay(lightning.SimPay{Invoice: alice.wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: amount, Expiry: time.Hour})})
		w.check(err)
		return p.Hash
	}
	if r := w.audit(); len(r.Owed) != 1 || !strings.Contains(r.Owed[0].Why, "mostro payout "+id+" --paid HASH") {
		t.Errorf("owed: %+v", r.Owed)
	}
	w.refuses(t, Payout{ID: id}, "owes 100000 msat that were paid in too much")
	w.refuses(t, Payout{ID: id, Paid: o.Payout.Hash}, "is over 99700000 msat")
	w.refuses(t, Payout{ID: id, Paid: back(99_999)}, "is over 99999 msat")
	w.refuses(t, Payout{ID: id, Paid: back(101_000)}, "is over 101000 msat")
	hash := back(100_000)
	if said, err := w.says(Payout{ID: id, Paid: hash, Reason: "given back"}); err != nil || strings.Contains(said, "does not know") {
		t.Fatalf("%q, %v", said, err)
	}
	w.refuses(t, Payout{ID: id, Paid: back(100_000)}, "nothing of")
	w.crash()
	if r := w.audit(); len(r.Owed) != 0 || len(r.Differences) != 0 || kinds(r.News)[audit.WordNews] != 0 || r.Total.PaidOut != 99_800_000 {
		t.Errorf("owed %+v, differences %+v, news %+v, paid out %d", r.Owed, r.Differences, r.News, r.Total.PaidOut)
	}

	// The payment of one trade has not paid another; one that the node does not know is a word.
	w.play(t, "alice new sell sats=100000\n bob take order=B invoice=99700\n alice pay order=B sats=100400\n bob fiat-sent order=B\n alice release order=B")
	second := w.order(args{named: map[string]string{"order": "B"}})
	w.refuses(t, Payout{ID: second, Paid: hash}, "in the books already, of \""+id)
	said, err := w.says(Payout{ID: second, Paid: order.Hash{9}, Reason: "from my phone"})
	if err != nil || !strings.Contains(said, "does not know that payment") {
		t.Errorf("%q, %v", said, err)
	}
	if r := w.audit(); len(r.Owed) != 0 || len(r.Differences) != 0 || kinds(r.News)[audit.WordNews] != 1 {
		t.Errorf("owed %+v, differences %+v, news %+v", r.Owed, r.Differences, r.News)
	}
}

// So it is with a bond: its winner's share, and what its owner paid too much, also after its end.
func TestWordOfABond(t *testing.T) {
	for name, paid := range map[string]bool{"paid": true, "unpaid": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.play(t, "bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay sats=1005\n wait 15m\n alice claim invoice=hold:500\n node forgets\n wait 10m")
			bonds, err := w.e.Bonds(w.order(args{}))
			w.check(err)
			id, alice := bonds[0].ID, w.person("alice")
			if bonds[0].Payout.State != order.PayoutUnknown {
				t.Fatalf("the share is %q", bonds[0].Payout.State)
			}
			w.hourLater(t, "mostro payout "+id+" --paid "+bonds[0].Payout.Hash.String())
			p := Payout{ID: id, Sure: true}
			if paid {
				p.Paid = bonds[0].Payout.Hash
			}
			if _, err := w.says(p); err != nil {
				t.Fatal(err)
			}
			want := 0
			if !paid {
				w.check(alice.wallet.Cancel(t.Context(), alice.holds[0].Hash()))
				w.play(t, "alice claim invoice=500\n wait 10m")
				want = 1
			}
			if _, count := w.paidOut(); count != want {
				t.Errorf("%d payments, want %d", count, want)
			}
			if _, err := w.says(Payout{ID: id, Paid: order.Hash{9}, Reason: "in cash"}); err != nil {
				t.Error(err)
			}
			if r := w.audit(); len(r.Owed) != 0 || len(r.Differences) != 0 {
				t.Errorf("owed %+v, differences %+v", r.Owed, r.Differences)
			}
		})
	}
}

// And with the development fee.
func TestWordOfTheDevelopmentFee(t *testing.T) {
	for name, paid := range map[string]bool{"paid": true, "unpaid": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.play(t, "dev-fee ppm=300000 to=held@ln.example\n alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n alice release\n node forgets\n wait 10m")
			id, held := w.order(args{}), w.person("held")
			o, _, err := w.e.Order(id)
			w.check(err)
			if o.DevFee == nil || o.DevFee.Payout.State != order.PayoutUnknown {
				t.Fatalf("the development fee: %+v", o.DevFee)
			}
			w.hourLater(t, "mostro payout "+id+" --paid "+o.DevFee.Payout.Hash.String())
			p := Payout{ID: id, Sure: true}
			if paid {
				p.Paid = o.DevFee.Payout.Hash
			} else {
				w.check(held.wallet.Cancel(t.Context(), held.holds[0].Hash()))
			}
			if _, err := w.says(p); err != nil {
				t.Fatal(err)
			}
			w.play(t, "dev-fee ppm=300000 to=dev@ln.example\n wait 20m")
			if o, _, err = w.e.Order(id); err != nil || o.DevFee.Payout.State != order.PayoutPaid || (o.DevFee.Payout.Hash == p.Paid) != paid {
				t.Errorf("%v, %+v", err, o.DevFee)
			}
			if r := w.audit(); len(r.Owed) != 0 || len(r.Differences) != 0 {
				t.Errorf("owed %+v, differences %+v", r.Owed, r.Differences)
			}
		})
	}
}
