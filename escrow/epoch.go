package escrow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// The epoch is a number that rises before each payment and at each start. It stands in the money store and in a
// small file outside it. A store that was put back from an older copy, by whatever means, has
// a lower number than the file: then it does not know what was paid since, and payouts wait
// until the Lightning node has been asked (restored.go).

// epochFile is the copy outside the store.
type epochFile struct {
	mu    sync.Mutex
	save  func(uint64) error // returns when it is on disk; nil: there is no copy, in tests
	shut  func() error       // nil: there is nothing to close
	value uint64
}

// kept tells that there is a copy.
func (e *epochFile) kept() bool { return e.save != nil }

const epochDigits = 20 // the file has one line of them, always overwritten in place

// openEpoch opens the file, or makes it; found tells whether it was there. What is in a file
// that cannot be read is not known, which is the same as having none.
func openEpoch(path string) (e *epochFile, found bool, err error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("read epoch: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("open epoch: %w", err)
	}
	e = &epochFile{save: saveIn(f), shut: f.Close}
	if dir, err := os.Open(filepath.Dir(path)); err == nil { // the new file's name must last too
		_ = dir.Sync() // not possible on every system
		dir.Close()
	}
	if value, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64); err == nil {
		e.value, found = value, true
	}
	return e, found, nil
}

// saveIn writes the value in place: that needs no free space, and a sector is written whole or not
// at all.
func saveIn(f interface {
	io.WriterAt
	Sync() error
}) func(uint64) error {
	return func(value uint64) error {
		if _, err := f.WriteAt(fmt.Appendf(nil, "%0*d\n", epochDigits, value), 0); err != nil {
			return err
		}
		return f.Sync()
	}
}

// raise makes the file at least value; it returns when that is on disk.
func (e *epochFile) raise(value uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.kept() || value <= e.value {
		return nil
	}
	if err := e.save(value); err != nil {
		return fmt.Errorf("write epoch: %w", err)
	}
	e.value = value
	return nil
}

func (e *epochFile) close() error {
	if e.shut == nil {
		return nil
	}
	return e.shut()
}

// checkEpoch finds out whether the store is older than what the file knows of.
func (e *Engine) checkEpoch() error {
	if e.cfg.Epoch == "" {
		return nil
	}
	file, found, err := openEpoch(e.cfg.Epoch)
	if err != nil {
		return err
	}
	return e.compareEpoch(file, found)
}

// compareEpoch compares the store with the file, and raises both.
func (e *Engine) compareEpoch(file *epochFile, found bool) error {
	e.epoch = file
	var store uint64
	var kept, used bool
	err := e.db.View(func(txn *badger.Txn) (err error) {
		if kept, err = get(txn, []byte{tableEpoch}, &store); err != nil {
			return err
		}
		used, err = get(txn, []byte{tableAlive}, &e.lastAlive)
		return err
	})
	if err != nil {
		return err
	}
	why := ""
	switch {
	case kept && !found:
		why = "the file " + e.cfg.Epoch + ", which says how new the money store must be, is missing"
	case found && store < file.value:
		why = fmt.Sprintf("the money store is older than the file %s, which rises with each payment and each start: %d, and it was at %d", e.cfg.Epoch, store, file.value)
	case !kept && !found && used:
		e.log.Info("the money store gets an epoch") // it is of an earlier version
	}
	next := max(store, file.value) + 1
	e.run = next
	err = e.db.Update(func(txn *badger.Txn) error {
		var w writes
		if why != "" {
			if err := markRestored(txn, &w, why, e.now()); err != nil {
				return err
			}
		} else if err := e.doubt(txn, &w); err != nil {
			return err
		}
		if there, err := has(txn, []byte{tableOld}); err != nil || why == "" && !there {
			// A store of an earlier version does not say whether it was ever put back.
			since := int64(0)
			if used {
				since = e.now()
			}
			if err := first(err, w.set([]byte{tableOld}, since)); err != nil {
				return err
			}
		}
		return first(w.set([]byte{tableEpoch}, next), set(txn, &w))
	})
	return first(err, file.raise(next))
}

// nextEpoch raises the store's epoch in the transaction that intends a payment. The file
// follows before the payment is sent.
func nextEpoch(txn *badger.Txn, w *writes) (epoch uint64, err error) {
	if _, err := get(txn, []byte{tableEpoch}, &epoch); err != nil {
		return 0, err
	}
	epoch++
	return epoch, w.set([]byte{tableEpoch}, epoch)
}

// beforeSend makes sure that a copy of the store from before this payment will be known as old.
func (e *Engine) beforeSend(_ context.Context, r *row) error { return e.epoch.raise(r.epoch) }
