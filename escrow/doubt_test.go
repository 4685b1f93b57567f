package escrow

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// M40: a snapshot of the whole data directory is put back, the epoch's file with it, so that the
// store does not look old. What was paid since is not paid again, also where its hash is not in
// the store, and an operator can say so.
func TestM40SnapshotOfAllIsPutBack(t *testing.T) {
	for name, c := range map[string]struct{ before, since, after string }{
		"a payout to an address": {"server down\n alice new sell sats=400000\n bob take invoice=bob@ln.example\n alice pay\n bob fiat-sent\n alice release",
			"server up\n wait 10m", ""},
		"a payout with another invoice": {"alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n bob route none\n alice release\n wait 2m\n wait 2m\n wait 2m",
			"bob route\n bob add-invoice order=B invoice=99700\n wait 10m", "bob add-invoice order=B invoice=99700"},
		"a release, to an address": {"alice new sell sats=400000\n bob take invoice=bob@ln.example\n alice pay\n bob fiat-sent",
			"alice release\n wait 10m", ""},
		"a release that was not confirmed": {"alice new sell sats=400000\n bob take invoice=bob@ln.example\n alice pay\n bob fiat-sent\n node unsynced\n alice release",
			"node synced\n wait 10m", ""},
		"a release, and another invoice": {"alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n bob route none",
			"alice release\n wait 2m\n wait 2m\n wait 2m\n bob route\n bob add-invoice order=B invoice=99700\n wait 10m", "wait 20m\n bob add-invoice order=B invoice=99700"},
		"the share of a bond": {"bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay\n wait 15m",
			"alice claim invoice=500\n wait 10m", "alice claim invoice=500"},
		"a slash, and its share": {"bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay",
			"wait 15m\n alice claim invoice=500\n wait 10m", "alice claim invoice=500"},
		"the development fee": {"dev-fee ppm=300000 to=dev@ln.example\n server down\n alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n alice release",
			"server up\n wait 10m\n wait 10m", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := inFolder(t)
			w.play(t, "carol new sell sats=50000\n dan take invoice=49850\n carol pay\n dan fiat-sent\n carol release") // booked before
			w.play(t, c.before)
			id := w.order(args{})
			copied := filepath.Join(t.TempDir(), "copy")
			w.check(w.e.Close())
			w.check(os.CopyFS(copied, os.DirFS(filepath.Dir(w.cfg.Dir))))
			w.later, w.watches, w.told = nil, map[order.Hash]watch{}, map[order.Hash]string{}
			w.open()
			w.settle()
			w.play(t, c.since)
			paid, payments := w.paidOut()
			if payments < 2 {
				t.Fatalf("%d payments before the restore", payments)
			}

			w.check(w.e.Close())
			w.check(os.RemoveAll(w.cfg.Dir))
			w.check(os.Remove(w.cfg.Epoch))
			w.check(os.CopyFS(filepath.Dir(w.cfg.Dir), os.DirFS(copied)))
			w.later, w.watches, w.told = nil, map[order.Hash]watch{}, map[order.Hash]string{}
			w.play(t, "server up\n bob route")
			w.open()
			w.settle()
			w.examine(false)
			w.retry()
			w.play(t, c.after)
			for range 12 {
				w.advance(10 * time.Minute)
			}
			if again, count := w.paidOut(); again != paid || count != payments {
				t.Fatalf("afterwards %d msat were paid in %d payments, %d in %d before", again, count, paid, payments)
			}
			bonds, err := w.e.Bonds(id)
			w.check(err)
			owner := id
			if len(bonds) > 0 {
				owner = bonds[0].ID
			}
			w.explainAll(owner)
			w.advance(10 * time.Minute)
			if len(bonds) == 0 && w.statusOf(id) != mostro.StatusSuccess {
				t.Errorf("in the end the order is %s", w.statusOf(id))
			}
			if again, count := w.paidOut(); again != paid || count != payments {
				t.Errorf("in the end %d msat in %d payments", again, count)
			}
			if r := w.audit(); len(r.Owed) != 0 || len(r.Differences) != 0 {
				t.Errorf("in the end owed %+v, differences %+v", r.Owed, r.Differences)
			}
		})
	}
}

// What the operator paid for himself is no stray after an honest start with something owed, unless
// it is over just as much.
func TestHonestStartSuspectsNothing(t *testing.T) {
	w := inFolder(t)
	w.trade(t, "50000", "49850")
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n bob route none\n alice release")
	own := w.person("erin").wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: 7_000_000})
	_, err := w.node.Send(t.Context(), lightning.PayRequest{Invoice: own, Amount: 7_000_000, FeeLimit: 1000, Timeout: time.Minute})
	w.check(err)
	w.reopen()
	if s, err := w.e.Status(); err != nil || s.Restored != "" || len(s.Strays) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	w.play(t, "bob route\n wait 10m")
	if got := w.statusOf(w.order(args{})); got != mostro.StatusSuccess {
		t.Errorf("the order is %s", got)
	}
}

// The node also pays what has nothing to do with the escrow, over the same amounts. The operator is asked about such a
// payment once, and not at every start with something owed; and not at all about what was paid long before the trade.
func TestM40OwnPaymentsOverTheSameAmount(t *testing.T) {
	for name, c := range map[string]struct {
		ago   time.Duration
		asked int
	}{
		"the day before":           {24 * time.Hour, 1},
		"31 days before the trade": {31 * 24 * time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := inFolder(t)
			own := w.person("erin").wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: 99_700_000})
			_, err := w.node.Send(t.Context(), lightning.PayRequest{Invoice: own, Amount: 99_700_000, FeeLimit: 1000, Timeout: time.Minute})
			w.check(err)
			w.net.Advance(c.ago)
			w.play(t, "bob route none\n alice new sell sats=100000\n bob take invoice=bob@ln.example\n alice pay\n bob fiat-sent\n alice release")
			w.reopen()
			s, err := w.e.Status()
			if err != nil || len(s.Strays) != c.asked {
				t.Fatalf("%d to be explained: %+v, %v", c.asked, s.Strays, err)
			}
			for _, stray := range s.Strays {
				w.check(w.e.DisownStray(t.Context(), stray.Hash, true, "rent"))
			}
			w.reopen()
			if s, err := w.e.Status(); err != nil || len(s.Strays) != 0 {
				t.Errorf("asked again at the next start: %+v, %v", s.Strays, err)
			}
			w.play(t, "bob route\n wait 10m")
			w.hours()
			if got := w.statusOf(w.order(args{})); got != mostro.StatusSuccess {
				t.Errorf("the order is %s", got)
			}
		})
	}
}

// M40: a copy in which nothing is owed or held is known as old by the epoch alone.
func TestM40EpochAloneTells(t *testing.T) {
	w := inFolder(t)
	w.trade(t, "50000", "49850")
	copied := filepath.Join(t.TempDir(), "copy")
	w.check(w.e.Close())
	w.check(os.CopyFS(copied, os.DirFS(w.cfg.Dir)))
	w.later, w.watches, w.told = nil, map[order.Hash]watch{}, map[order.Hash]string{}
	w.open()
	w.trade(t, "100000", "99700")
	w.check(w.e.Close())
	w.check(os.RemoveAll(w.cfg.Dir))
	w.check(os.CopyFS(w.cfg.Dir, os.DirFS(copied)))
	w.later, w.watches, w.told = nil, map[order.Hash]watch{}, map[order.Hash]string{}
	w.open()
	if s, err := w.e.Status(); err != nil || s.Restored == "" {
		t.Fatalf("the store is not known as old: %+v, %v", s, err)
	}
	w.examine(false)
	if s, err := w.e.Status(); err != nil || len(s.Strays) != 1 {
		t.Errorf("not explained: %+v, %v", s, err)
	}
}

// After a start in good order only what was there then waits for the node's payments; in a store that
// is known as old everything does.
func TestYoungOrdersDoNotWait(t *testing.T) {
	w := inFolder(t)
	w.play(t, "alice new sell sats=100000")
	old := w.order(args{})
	r := &restoredRow{At: w.e.now(), Doubt: true}
	w.e.guards.restored = r
	w.net.Advance(time.Second)
	w.play(t, "carol new sell sats=100000")
	young := w.order(args{})
	waits := func(id string) bool { return errors.Is(w.e.notPaidBefore(t.Context(), id, 1), errLater) }
	if !waits(old) || waits(young) {
		t.Errorf("in doubt an old order waits: %v, a young one: %v", waits(old), waits(young))
	}
	r.Doubt = false
	if !waits(old) || !waits(young) {
		t.Errorf("in an old store an old order waits: %v, a young one: %v", waits(old), waits(young))
	}
}

// A payment is too old for a trade by the clock alone, so a trade that was made with a clock that was ahead tells nothing.
func TestLongBefore(t *testing.T) {
	const day, now = 24 * 3600, 100 * 24 * 3600
	for _, c := range []struct {
		at, born int64
		want     bool
	}{
		{now - 31*day, now, true}, {now - 29*day, now, false}, {now, now, false}, {now, now - day, false},
		{now, now + 365*day, false}, {now - day, 0, false},
	} {
		if got := longBefore(c.at, c.born, now); got != c.want {
			t.Errorf("sent %d, made %d at %d: %v", c.at/day, c.born/day, now/day, got)
		}
	}
}

// A store that was used by a version which did not note whether it was ever put back counts as put back once; a new one, and
// one that goes on, do not.
func TestM40OldIsNotedOnce(t *testing.T) {
	w := inFolder(t)
	noted := func() (at int64, there bool) {
		w.check(w.e.db.View(func(txn *badger.Txn) (err error) { there, err = get(txn, []byte{tableOld}, &at); return err }))
		return at, there
	}
	w.trade(t, "50000", "49850")
	w.net.Advance(time.Hour)
	w.reopen()
	if at, there := noted(); at != 0 || !there {
		t.Errorf("a store that goes on was put back at %d, %v", at, there)
	}
	w.check(w.e.db.Update(func(txn *badger.Txn) error { return txn.Delete([]byte{tableOld}) }))
	w.reopen()
	before, there := noted()
	if before != w.e.now() || !there {
		t.Errorf("a store of the version before was put back at %d, %v", before, there)
	}
	w.net.Advance(time.Hour)
	w.reopen()
	if at, _ := noted(); at != before {
		t.Errorf("and again at %d", at)
	}
}
