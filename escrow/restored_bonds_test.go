package escrow

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"mostro/escrow/order"
)

// M40: what a restored store may have paid to the winner of a bond, or as the development fee,
// waits like a payout, and is booked when an operator says so. It is not paid twice.
func TestM40RestoredBondAndDevFee(t *testing.T) {
	ctx := context.Background()
	w := inFolder(t)
	w.play(t, "dev-fee ppm=300000 to=dev@ln.example\n server down\n dora new sell sats=100000\n dan take invoice=99700\n dora pay\n dan fiat-sent\n dora release")
	traded := w.order(args{})
	w.play(t, "bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay\n wait 15m")
	bonds, err := w.e.Bonds(w.order(args{}))
	w.check(err)
	full, _ := w.backup(Chain{})
	w.play(t, "server up\n alice claim invoice=500\n wait 30m")
	paid, payments := w.paidOut()
	if payments != 3 {
		t.Fatalf("%d payments before the restore", payments)
	}

	w.check(w.e.Close())
	w.check(os.RemoveAll(w.cfg.Dir))
	_, err = Restore(w.cfg.Dir, StoreKey{}, bytes.NewReader(full))
	w.check(err)
	w.later, w.watches, w.told = nil, map[order.Hash]watch{}, map[order.Hash]string{}
	w.open()
	w.settle()
	w.check(w.e.findStrays(ctx, *w.e.guards.restored))
	w.play(t, "alice claim invoice=500\n wait 30m")
	if again, count := w.paidOut(); again != paid || count != payments {
		t.Fatalf("after the restore %d msat were paid in %d payments, %d in %d before it", again, count, paid, payments)
	}
	s, err := w.e.Status()
	w.check(err)
	if len(s.Strays) != 2 {
		t.Fatalf("payments that are not explained: %+v", s.Strays)
	}
	for _, stray := range s.Strays {
		right, wrong := bonds[0].ID, traded
		if stray.Amount == 180_000 {
			right, wrong = wrong, right
		}
		if err := w.e.ExplainStray(ctx, stray.Hash, wrong, "wrong"); err == nil {
			t.Errorf("%d msat were taken for what %s is owed", stray.Amount, wrong)
		}
		w.check(w.e.ExplainStray(ctx, stray.Hash, right, "so the payee says"))
	}
	w.out.Reset()
	w.play(t, "wait 48h\n bond B\n ledger A")
	if got := w.out.String(); !strings.Contains(got, "owed-winner paid 500000") || !strings.Contains(got, "owed-dev paid 180000") {
		t.Errorf("in the end:\n%s", got)
	}
	if again, count := w.paidOut(); again != paid || count != payments {
		t.Errorf("in the end %d msat were paid in %d payments, %d in %d before", again, count, paid, payments)
	}
	if r := w.audit(); len(r.Owed) != 0 || len(r.Differences) != 0 {
		t.Errorf("in the end owed %+v, differences %+v", r.Owed, r.Differences)
	}
}
