package escrow

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// snapshot copies the whole data directory, the epoch's file with it.
func (w *world) snapshot() (copied string) {
	w.t.Helper()
	copied = filepath.Join(w.t.TempDir(), "copy")
	w.check(w.e.Close())
	w.check(os.CopyFS(copied, os.DirFS(filepath.Dir(w.cfg.Dir))))
	w.later, w.watches, w.told = nil, map[order.Hash]watch{}, map[order.Hash]string{}
	w.open()
	w.settle()
	return copied
}

// putBack ends the process, puts a snapshot back and starts with it.
func (w *world) putBack(copied string) {
	w.t.Helper()
	w.check(w.e.Close())
	w.check(os.RemoveAll(w.cfg.Dir))
	w.check(os.Remove(w.cfg.Epoch))
	w.check(os.CopyFS(filepath.Dir(w.cfg.Dir), os.DirFS(copied)))
	w.later, w.watches, w.told = nil, map[order.Hash]watch{}, map[order.Hash]string{}
	w.open()
	w.net.Advance(2 * time.Second) // what is born from now on is younger than what was found
	w.settle()
}

// hours lets time pass, so that whatever may be paid is.
func (w *world) hours() {
	w.examine(false)
	w.retry()
	for range 12 {
		w.advance(10 * time.Minute)
	}
}

// M40: after a whole snapshot is put back the messages of the forgotten time come again, before
// the node has said what became of the hold invoice: its word that it is settled is then no answer
// to who released or slashed anew, but proof that the store is old.
func TestM40ForgottenMessagesComeAgain(t *testing.T) {
	held := "alice new sell sats=400000\n bob take invoice=bob@ln.example\n alice pay\n bob fiat-sent"
	bonded := "bonds apply=make\n alice new sell sats=100000\n alice pay\n bob take invoice=99700\n alice pay\n bob dispute\n operator take-dispute"
	for name, c := range map[string]struct{ before, since, again, after string }{
		"a release, to an address":    {held, "alice release\n wait 10m", "alice release", ""},
		"a release, and no hurry":     {held, "alice release\n wait 10m", "alice release\n wait 3h", ""},
		"a verdict, to an address":    {held + "\n alice dispute\n operator take-dispute", "operator settle\n wait 10m", "operator settle", ""},
		"a slash, and another claim":  {bonded, "operator undo slash=seller\n bob claim invoice=500\n wait 10m", "operator undo slash=seller", "bob claim invoice=500"},
		"a slash that was a mistake":  {bonded, "operator undo slash=seller\n bob claim invoice=500\n wait 10m", "operator undo", "bob claim invoice=500"},
		"a release with another wish": {held, "alice release\n wait 10m", "alice cancel\n bob cancel", ""},
	} {
		for _, first := range []string{"the call", "the stream"} {
			t.Run(name+", "+first+" hears first", func(t *testing.T) {
				w := inFolder(t)
				w.trade(t, "50000", "49850") // booked before
				w.play(t, c.before)
				id := w.order(args{})
				copied := w.snapshot()
				w.play(t, c.since)
				paid, payments := w.paidOut()

				w.node.Stop()
				w.putBack(copied)
				w.play(t, c.again)
				w.node.Start()
				if first == "the stream" {
					w.e.askNode(t.Context())
					w.hear(t.Context())
				}
				w.retry()
				if s, err := w.e.Status(); err != nil || s.Restored == "" {
					t.Errorf("the store is not known as old: %+v, %v", s, err)
				}
				w.play(t, c.after)
				w.hours()
				w.play(t, c.after)
				w.hours()
				if again, count := w.paidOut(); again != paid || count != payments {
					t.Fatalf("afterwards %d msat were paid in %d payments, %d in %d before", again, count, paid, payments)
				}
				if s, err := w.e.Status(); err != nil || len(s.Strays) == 0 {
					t.Errorf("nothing is to be explained: %+v, %v", s, err)
				}
				if w.statusOf(id) == mostro.StatusSuccess {
					t.Error("the order is success without an explanation")
				}
			})
		}
	}
}

// M40: what is born from a debt is not paid again either: the development fee, once the payment of
// the buyer is found, and the rest of a bond.
func TestM40BornFromADebt(t *testing.T) {
	for name, c := range map[string]struct{ before, since, after string }{
		"a development fee, and a payout that failed once": {"dev-fee ppm=300000 to=dev@ln.example\n alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n bob route none\n alice release",
			"bob route\n wait 10m\n wait 10m", ""},
		"a development fee that routing has left little of": {"dev-fee ppm=1000000 to=dev@ln.example\n alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n bob route none\n alice release",
			"bob route msat=150000\n wait 10m\n wait 10m", ""},
		"the rest of a bond whose settle is not confirmed": {"bonds apply=make ppm=100000\n alice new sell min=20 max=100\n alice pay\n bob take usd=60\n bob add-invoice invoice=119640\n alice pay\n bob dispute\n operator take-dispute\n lose answers of Settle\n streams off\n operator undo slash=seller",
			"keep\n streams on\n wait 1m\n alice claim invoice=8000\n wait 10m", "alice claim invoice=8000"},
		"the rest of a bond": {"bonds apply=make ppm=100000\n alice new sell min=20 max=100\n alice pay\n bob take usd=60\n bob add-invoice invoice=119640\n alice pay\n bob dispute\n operator take-dispute\n node unsynced\n operator undo slash=seller",
			"node synced\n wait 1m\n alice claim invoice=8000\n wait 10m", "alice claim invoice=8000"},
	} {
		t.Run(name, func(t *testing.T) {
			w := inFolder(t)
			w.trade(t, "50000", "49850") // booked before
			w.play(t, c.before)
			id := w.order(args{})
			copied := w.snapshot()
			w.play(t, c.since)
			paid, payments := w.paidOut()
			if payments < 2 {
				t.Fatalf("%d payments before the restore", payments)
			}

			w.play(t, "bob route")
			w.putBack(copied)
			w.hours()
			w.play(t, c.after)
			w.hours()
			if again, count := w.paidOut(); again != paid || count != payments {
				t.Fatalf("afterwards %d msat were paid in %d payments, %d in %d before", again, count, paid, payments)
			}
			owner := id
			bonds, err := w.e.Bonds(id)
			w.check(err)
			for _, b := range bonds {
				if b.Parent != "" {
					owner = b.ID
				}
			}
			w.explainAll(owner)
			w.hours()
			if again, count := w.paidOut(); again != paid || count != payments {
				t.Errorf("in the end %d msat in %d payments", again, count)
			}
			r := w.audit()
			for _, f := range r.Differences {
				if !strings.Contains(f.Text, "bond") {
					t.Errorf("difference %+v", f)
				}
			}
		})
	}
}

// Before the one answer that pays again is taken the orders are named that it would pay.
func TestM40OwnWantsASecondLook(t *testing.T) {
	w := inFolder(t)
	w.play(t, "alice new sell sats=400000\n bob take invoice=bob@ln.example\n alice pay\n bob fiat-sent")
	id := w.order(args{})
	copied := w.snapshot()
	w.play(t, "alice release\n wait 10m")
	w.node.Stop()
	w.putBack(copied)
	w.play(t, "alice release")
	w.node.Start()
	w.retry()
	w.hours()
	_, payments := w.paidOut()
	s, err := w.e.Status()
	if err != nil || len(s.Strays) != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	stray := s.Strays[0].Hash
	if err := w.e.DisownStray(t.Context(), stray, false, "mine"); err == nil || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("at the first look: %v", err)
	}
	w.hours()
	if _, count := w.paidOut(); count != payments {
		t.Errorf("%d payments after the first look, %d before", count, payments)
	}
	w.check(w.e.DisownStray(t.Context(), stray, true, "mine"))
	w.hours()
	if got := w.statusOf(id); got != mostro.StatusSuccess {
		t.Errorf("the order is %s after the second look", got)
	}
}

// M42: an order that was made while the clock was minutes ahead does not count as younger than what was
// found once the clock is right.
func TestM42MadeWhenTheClockWasAhead(t *testing.T) {
	w := inFolder(t)
	w.trade(t, "50000", "49850")
	w.skewed(9 * time.Minute)
	w.play(t, "attempts 1\n alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n bob route none\n alice release")
	id := w.order(args{})
	full, _ := w.backup(Chain{})
	w.skewed(0)
	w.play(t, "bob route\n bob add-invoice order=B invoice=99700\n wait 6m")
	if got := w.statusOf(id); got != mostro.StatusSuccess {
		t.Fatalf("before the restore the order is %s", got)
	}
	_, payments := w.paidOut()
	w.restoreFrom(full)
	w.play(t, "bob add-invoice order=B invoice=99700")
	w.hours()
	if _, again := w.paidOut(); again != payments {
		t.Errorf("%d payments, %d before the restore", again, payments)
	}
}

// M40: an invoice that came in place of another waits its turn when the copy is made, and is paid in the forgotten time.
// In the copy it was never sent; a third invoice is not paid as well, and nobody is asked for an explanation.
func TestM40PaidWhatTheCopyHasNotSent(t *testing.T) {
	w := inFolder(t)
	w.trade(t, "50000", "49850")
	w.play(t, "attempts 1\n alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n bob route none\n alice release\n bob route\n bob add-invoice order=B invoice=99700")
	id := w.order(args{})
	copied := w.snapshot()
	w.play(t, "wait 10m")
	if got := w.statusOf(id); got != mostro.StatusSuccess {
		t.Fatalf("before the copy is put back the order is %s", got)
	}
	paid, payments := w.paidOut()
	w.putBack(copied)
	w.play(t, "bob add-invoice order=B invoice=99700")
	w.hours()
	if again, count := w.paidOut(); again != paid || count != payments {
		t.Errorf("%d msat in %d payments, %d in %d before", again, count, paid, payments)
	}
	if got := w.statusOf(id); got != mostro.StatusSuccess {
		t.Errorf("in the end the order is %s", got)
	}
}
