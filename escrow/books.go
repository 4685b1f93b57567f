package escrow

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/audit"
	"mostro/escrow/order"
)

// Books calls f with the account of each order, all as they were at one moment. The store is
// open to others meanwhile.
func (e *Engine) Books(f func(audit.Account) error) error { return readBooks(e.db, f) }

// ReadBooks does the same with the store of a process that has ended. It writes nothing,
// except that it completes the log of a store whose process was killed, as its next start does.
func ReadBooks(dir string, key StoreKey, f func(audit.Account) error) error {
	db, err := openEnded(dir, key)
	if err != nil {
		return err
	}
	return errors.Join(readBooks(db, f), db.Close())
}

// openEnded opens the store of a process that has ended, to be read.
func openEnded(dir string, key StoreKey) (*badger.DB, error) {
	opts := storeOptions(dir, key)
	db, err := badger.Open(opts.WithReadOnly(true))
	if err != nil && strings.Contains(err.Error(), badger.ErrTruncateNeeded.Error()) { // badger loses the chain
		db, err = badger.Open(opts)
	}
	if err != nil {
		return nil, openError(dir, err)
	}
	if err := db.View(knownLayout); err != nil { // a store without one has nothing in it
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func readBooks(db *badger.DB, f func(audit.Account) error) error {
	return db.View(func(txn *badger.Txn) error {
		canceling, err := cancels(txn)
		if err != nil {
			return err
		}
		prefix := []byte{tableOrder, 0}
		err = scan(txn, prefix, true, func(key, value []byte) error {
			id := string(key[len(prefix):])
			broken, err := text(txn, rowKey(tableHeld, id))
			if err != nil {
				return err
			}
			var o order.Order
			if err := decodeRow(key, value, &o); err != nil {
				return f(audit.Account{ID: id, Unread: true, Broken: err.Error()})
			}
			a := audit.Of(&o, firstLine(broken))
			a.Canceling = canceling[id]
			return f(a)
		})
		if err != nil {
			return err
		}
		prefix = []byte{tableBond, 0}
		err = scan(txn, prefix, true, func(key, value []byte) error {
			id := string(key[len(prefix):])
			var b order.Bond
			if err := decodeRow(key, value, &b); err != nil {
				return f(audit.Account{ID: id, Unread: true, Broken: err.Error()})
			}
			broken, err := text(txn, rowKey(tableHeld, b.Order))
			if err != nil {
				return err
			}
			a := audit.OfBond(&b, firstLine(broken))
			a.Canceling = canceling[id]
			return f(a)
		})
		if err != nil {
			return err
		}
		return scan(txn, []byte{tableStray, 0}, true, func(key, value []byte) error {
			var s Stray
			if err := json.Unmarshal(value, &s); err != nil {
				return fmt.Errorf("decode row %q: %w", key, err)
			}
			return f(audit.Account{Stray: &audit.Stray{Hash: s.Hash, Amount: s.Amount, Own: s.Own}})
		})
	})
}

// cancels are the hold invoices that the node is yet to be asked to cancel, by order.
func cancels(txn *badger.Txn) (map[string][]order.Hash, error) {
	found := map[string][]order.Hash{}
	err := scan(txn, []byte{tableOutbox, 0}, true, func(key, value []byte) error {
		lane := laneOfRow(key)
		id, ok := strings.CutSuffix(lane, "/"+laneCalls)
		var r row
		if !ok || json.Unmarshal(value, &r) != nil || r.Call == nil || r.Call.Do != order.CancelHold {
			return nil
		}
		found[id] = append(found[id], r.Call.Hash)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	return found, nil
}

// firstLine leaves the stack of a panic out.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
