package escrow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// Whoever names a Lightning address again and again, the same or another, does not make the node ask
// servers any faster, nor keep more than a few names.
func TestAddressesNamedWithoutPause(t *testing.T) {
	for _, address := range []string{"bob@ln.example", "bob%d@ln.example"} {
		w := newWorld(t)
		w.play(t, "server down\n alice new sell sats=100000\n bob take invoice=bob@ln.example\n alice pay\n bob fiat-sent\n alice release")
		id := w.order(args{})
		for minute := range 6 { // failed at first, then asking
			tries, rows := w.payoutOf(id).Tries, w.rows(tableLog)
			for i := range 50 {
				named := address
				if strings.Contains(address, "%d") {
					named = fmt.Sprintf(address, i)
				}
				w.play(t, "bob add-invoice invoice="+named)
			}
			if n := w.payoutOf(id).Tries - tries; n > 1 {
				t.Errorf("minute %d: %s is asked %d times", minute, address, n)
			}
			if n := w.rows(tableLog) - rows; n > 15 {
				t.Errorf("minute %d: %d steps are kept for %s", minute, n, address)
			}
			w.play(t, "wait 1m")
		}
		w.play(t, "server up\n wait 10m\n bob add-invoice invoice=bob@ln.example\n wait 5m")
		if got := w.statusOf(id); got != mostro.StatusSuccess {
			t.Errorf("%s: in the end the order is %s, its payout %+v", address, got, w.payoutOf(id))
		}
	}
}

// What a payee's server says goes into a history only in part.
func TestLongReasons(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=bob@ln.example\n alice pay\n bob fiat-sent")
	w.e.cfg.Resolve = func(context.Context, string, order.Msat) (string, error) {
		return "", errors.New(strings.Repeat("é", 40_000))
	}
	w.play(t, "alice release")
	longest := 0
	w.check(w.e.db.View(func(txn *badgerTxn) error {
		return scan(txn, []byte{tableLog}, true, func(_, value []byte) error { longest = max(longest, len(value)); return nil })
	}))
	if longest > 5000 {
		t.Errorf("a step of %d bytes is kept", longest)
	}
}
