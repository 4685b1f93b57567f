package escrow

import (
	"context"
	"slices"
	"testing"

	"mostro/escrow/audit"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// audit compares the books of the world with its node; nil when the node is away.
func (w *world) audit() *audit.Report {
	w.t.Helper()
	node, err := audit.ReadNode(context.Background(), w.node)
	if err != nil {
		return nil
	}
	var accounts []audit.Account
	w.check(w.e.Books(func(a audit.Account) error { accounts = append(accounts, a); return nil }))
	derive := func(id string, attempt uint32) order.Hash { return w.e.preimage(id, attempt).Hash() }
	return audit.Compare(accounts, node, derive, w.e.now(), 0)
}

// faults are the stories in which the node contradicts the books, and how: there the auditor
// must not keep silent.
var faults = map[string]audit.Kind{}

// agree checks after each command of a story that the books and the node agree.
func (w *world) agree(t *testing.T, story, line string) (found []audit.Kind) {
	r := w.audit()
	if r == nil {
		return nil
	}
	for _, f := range r.Differences {
		if found = append(found, f.Kind); faults[story] != f.Kind {
			t.Errorf("after %q the auditor finds %s: %s (books %d, node %d)", line, f.Kind, f.Text, f.Books, f.Node)
		}
	}
	if len(r.OthersHolds) > 0 {
		t.Errorf("after %q the auditor takes what is the escrow's for another's: %+v", line, r.OthersHolds)
	}
	if r.Total.Gap() != 0 {
		t.Errorf("after %q the sums do not add up: %+v", line, r.Total)
	}
	return found
}

// What the audit reads from a folder is what it reads from the running engine.
func TestReadBooks(t *testing.T) {
	w := newWorld(t)
	w.e.db.Close()
	w.cfg.Dir = t.TempDir()
	w.open()
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n alice release\n carol new sell sats=50000")
	var running, stopped []audit.Account
	w.check(w.e.Books(func(a audit.Account) error { running = append(running, a); return nil }))
	if err := ReadBooks(w.cfg.Dir, StoreKey{}, func(audit.Account) error { return nil }); err == nil {
		t.Error("the store of a running engine was opened")
	}
	w.check(w.e.db.Close())
	w.check(ReadBooks(w.cfg.Dir, StoreKey{}, func(a audit.Account) error { stopped = append(stopped, a); return nil }))
	if len(running) != 2 || !slices.EqualFunc(running, stopped, func(a, b audit.Account) bool {
		return a.ID == b.ID && a.Status == b.Status && slices.Equal(a.Ledger, b.Ledger)
	}) {
		t.Errorf("%+v\n%+v", running, stopped)
	}
	if !slices.ContainsFunc(stopped, func(a audit.Account) bool { return a.Status == mostro.StatusSuccess && len(a.Ledger) == 3 }) {
		t.Errorf("the trade is not in the books: %+v", stopped)
	}
}
