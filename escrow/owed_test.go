package escrow

import (
	"slices"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/audit"
	"mostro/escrow/order"
)

// What was paid in too much is shown as owed after the end of its order or bond too, until it is given back: a node that
// owes it is not empty.
func TestStatusOwesWhatWasPaidTooMuch(t *testing.T) {
	for _, c := range []struct {
		name, play string
		bond       bool
		owed       order.Msat
	}{
		{"order", "alice new sell sats=100000\n bob take invoice=99700\n alice pay sats=100400\n bob fiat-sent\n alice release", false, 100_000},
		{"bond", "bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay sats=1005\n wait 15m\n alice claim invoice=500\n wait 10m\n alice cancel", true, 5_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.play(t, c.play)
			id := w.order(args{})
			if c.bond {
				bonds, err := w.e.Bonds(id)
				w.check(err)
				id = bonds[0].ID
			}
			owes := func(want order.Msat) {
				t.Helper()
				s, err := w.e.Status()
				w.check(err)
				if s.Owed != want || s.ByHand != want || s.Ended() != (want == 0) {
					t.Errorf("%d msat are owed, %d by hand, want %d; ended %v; %d trades, %d bonds, %d waiting", s.Owed, s.ByHand, want, s.Ended(), s.Trades, s.Bonds, s.Waiting)
				}
			}
			owes(c.owed)
			w.crash()
			w.settle()
			owes(c.owed)
			if _, err := w.says(Payout{ID: id, Paid: order.Hash{9}, Reason: "in cash"}); err != nil {
				t.Error(err)
			}
			owes(0)
		})
	}
}

// M23: a row that does not decode is reported from the start on, also when nobody runs into it: no clock looks at its order.
func TestM23StatusReportsWhatCannotBeRead(t *testing.T) {
	for i, broken := range []string{`{"id":17}`, `{"id":17}`, "null", "null", `{"ledger":[]}`, `{"ledger":[]}`} {
		bond := i%2 == 1
		w := newWorld(t)
		w.play(t, "bonds apply=take\n alice new sell sats=100000\n bob take invoice=99700\n bob pay\n alice pay")
		id := w.order(args{})
		key := rowKey(tableOrder, id)
		if bond {
			bonds, err := w.e.Bonds(id)
			w.check(err)
			key = rowKey(tableBond, bonds[0].ID)
		}
		w.check(w.e.db.Update(func(txn *badger.Txn) error { return txn.Set(key, []byte(broken)) }))
		s, err := w.e.Status()
		w.check(err)
		if got := s.Held[id]; !strings.Contains(got, "cannot be read") || s.Ended() {
			t.Errorf("%s, bond %v: held back: %v; ended %v", broken, bond, s.Held, s.Ended())
		}
		if r := w.audit(); !slices.ContainsFunc(r.Differences, func(f audit.Finding) bool { return f.Kind == audit.Unread }) {
			t.Errorf("%s, bond %v: the audit reports %+v", broken, bond, r.Differences)
		}
	}
}
