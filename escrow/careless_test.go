package escrow

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/audit"
)

// Of two restores into one folder at once, one ends with the whole store there and the other with
// an error; neither leaves anything else behind.
func TestTwoRestoresAtOnce(t *testing.T) {
	w := inFolder(t)
	w.trade(t, "100000", "99700")
	full, _ := w.backup(Chain{})
	dir := filepath.Join(t.TempDir(), "escrow")
	var wait sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wait.Go(func() { _, errs[i] = Restore(dir, StoreKey{}, bytes.NewReader(full)) })
	}
	wait.Wait()
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
		}
	}
	if left, _ := filepath.Glob(dir + "*"); done != 1 || len(left) != 1 {
		t.Errorf("%d of 4 restores succeeded (%v), and left %v", done, errs, left)
	}
	orders := 0
	w.check(ReadBooks(dir, StoreKey{}, func(audit.Account) error { orders++; return nil }))
	if orders != 1 {
		t.Errorf("%d orders are in the restored store", orders)
	}
}

// A store of a later layout is neither audited nor backed up by this program, which would read it
// wrongly.
func TestLaterLayoutIsRefused(t *testing.T) {
	w := inFolder(t)
	w.trade(t, "100000", "99700")
	w.check(w.e.db.Update(func(txn *badger.Txn) error { return txn.Set([]byte{tableVersion}, []byte{storeVersion + 1}) }))
	w.check(w.e.Close())
	for what, err := range map[string]error{
		"audit":  ReadBooks(w.cfg.Dir, StoreKey{}, func(audit.Account) error { return nil }),
		"backup": BackupStore(w.cfg.Dir, StoreKey{}, io.Discard),
	} {
		if err == nil || !strings.Contains(err.Error(), "layout") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Open(w.cfg); err == nil || !strings.Contains(err.Error(), "layout") {
		t.Errorf("open: %v", err)
	}
}
