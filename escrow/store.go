package escrow

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"mostro/escrow/order"
)

// The tables of the money store, by the first byte of the key.
//
//	o ID               the order, the authority
//	l ID rev           its history: event and facts of each step; kept thirty days after the end
//	h ID               what stays of the history of an order that has ended
//	v ID               marks an order that is not over
//	x lane seq         the outbox
//	s event-id         messages that were handled; kept seven days
//	u identity         users
//	k trade-key        transport of the key's last proven message
//	w identity         what somebody owes in trades under way, and offers in the book
//	i identity ID      orders of somebody that have not ended
//	d dispute          the order of a dispute
//	r identity         solvers
//	n trade-key        ratings that are to be published
//	p hash             the order that has recorded the payment hash of an invoice
//	a kind d           created_at of the last addressable event
//	q ID               orders that are held back after a defect, and why
//	b ID               bonds, the authority; their history is in l too
//	j order ID         bonds of an order that have not ended
//	c identity ID      bonds about which somebody is asked to do something
//	m ID               orders and bonds that are over, and owe what was paid in too much
//	g                  what the guards must not forget
//	f bucket           paid out in five minutes
//	+ hash             payments of the node that the store cannot explain
const (
	tableOrder     = 'o'
	tableLog       = 'l'
	tablePast      = 'h'
	tableLive      = 'v'
	tableOutbox    = 'x'
	tableSeen      = 's'
	tableUser      = 'u'
	tableKey       = 'k'
	tableOwes      = 'w'
	tableHash      = 'p'
	tableStamp     = 'a'
	tableHeld      = 'q'
	tableMine      = 'i'
	tableDispute   = 'd'
	tableSolver    = 'r'
	tableRating    = 'n'
	tableBond      = 'b'
	tableBonds     = 'j'
	tablePrompt    = 'c'
	tableByHand    = 'm'
	tableGuard     = 'g'
	tableFlow      = 'f'
	tableStray     = '+'
	tableVersion   = '!' // the version of this layout
	tableSecret    = '#' // fingerprint of the escrow secret
	tableNode      = '=' // public key of the node
	tableAlive     = '@' // when this store was last in use, unix seconds
	tableUptime    = '^' // seconds that this node could be used in, ever
	tableLightning = '&' // the Lightning node on which its money lies
	tableEpoch     = '~' // rises before each payment and at each start
	tableRestored  = '%' // the store is old, or may be, and payouts wait
	tableName      = '$' // random, made once: tells the backups of this store from those of another
	tableOld       = '?' // when the store was last found to be old, unix seconds
)

// storeVersion is the layout that this program reads and writes.
const storeVersion = 1

// rowKey joins the parts with a separator that occurs in none of them.
func rowKey(table byte, parts ...string) []byte {
	k := []byte{table}
	for _, p := range parts {
		k = append(k, 0)
		k = append(k, p...)
	}
	return k
}

func logKey(id string, rev uint64) []byte {
	return binary.BigEndian.AppendUint64(append(rowKey(tableLog, id), 0), rev)
}

func outboxKey(lane string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append(rowKey(tableOutbox, lane), 0), seq)
}

// storeOptions are those of the money store: synced writes above all.
func storeOptions(dir string, key StoreKey) badger.Options {
	opts := badger.DefaultOptions(dir).
		WithInMemory(dir == "").
		WithSyncWrites(true).
		WithDetectConflicts(false). // one writer
		WithNumVersionsToKeep(1).
		WithCompression(options.None).
		WithMemTableSize(16 << 20).
		WithBlockCacheSize(8 << 20).
		WithValueLogFileSize(64 << 20).
		WithValueThreshold(1 << 20). // no value log garbage: rows are small
		WithLogger(nil)
	if !key.IsZero() {
		secret := key.reveal()
		opts = opts.WithEncryptionKey(secret[:]).WithIndexCacheSize(16 << 20) // badger needs one then
	}
	return opts
}

func openError(dir string, err error) error {
	if strings.Contains(err.Error(), badger.ErrEncryptionKeyMismatch.Error()) {
		return fmt.Errorf("open money store %s: %w", dir, ErrStoreKey)
	}
	return fmt.Errorf("open money store %s: %w (is another mostro using it?)", dir, err)
}

// openStore opens the money store. One process has it at a time.
func openStore(dir string, key StoreKey) (*badger.DB, error) {
	db, err := badger.Open(storeOptions(dir, key))
	if err != nil {
		return nil, openError(dir, err)
	}
	if err := checkVersion(db); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

func checkVersion(db *badger.DB) error {
	return db.Update(func(txn *badger.Txn) error {
		if there, err := has(txn, []byte{tableVersion}); err != nil || there {
			return first(err, knownLayout(txn))
		}
		return txn.Set([]byte{tableVersion}, []byte{storeVersion})
	})
}

// knownLayout refuses a store of another layout than this program's; one that has none is new.
func knownLayout(txn *badger.Txn) error {
	v, err := text(txn, []byte{tableVersion})
	if err == nil && v != "" && v != string(rune(storeVersion)) {
		err = fmt.Errorf("money store has layout %v, this program knows %d: use the version of mostro that wrote it", []byte(v), storeVersion)
	}
	return err
}

// checkSecret refuses an escrow secret other than the one that this store was made with: no
// held escrow could be settled with it. The fingerprint tells nothing of the secret.
func (e *Engine) checkSecret() error {
	b, err := hkdf.Key(sha256.New, e.cfg.EscrowSecret.bytes(), nil, "mostro escrow fingerprint v1", 16)
	if err != nil {
		return err
	}
	mine := fmt.Sprintf("%x", b)
	return e.db.Update(func(txn *badger.Txn) error {
		kept, err := text(txn, []byte{tableSecret})
		switch {
		case err != nil:
			return err
		case kept == "":
			return txn.Set([]byte{tableSecret}, []byte(mine))
		case kept != mine:
			return errors.New("the escrow secret is not the one that this money store was made with: put the right file back, or held escrows can never be settled")
		}
		return nil
	})
}

// checkKey refuses another key of the node while something is under way: the parties of a trade
// hear nobody but the node that they began it with, and nobody else may say how it stands.
func (e *Engine) checkKey() error {
	mine := e.cfg.Key.Public()
	return e.db.Update(func(txn *badger.Txn) error {
		kept, err := text(txn, []byte{tableNode})
		if err != nil || kept == mine {
			return err
		}
		busy := false
		for _, table := range []byte{tableLive, tableBonds, tableOutbox} {
			err = first(err, scan(txn, []byte{table, 0}, false, func([]byte, []byte) error { busy = true; return nil }))
		}
		switch {
		case err != nil:
			return err
		case kept != "" && busy:
			return fmt.Errorf("the trades of this money store are under way with node %s, and the key is now that of %s: give it the old key until they have ended, or begin the new node in another data directory", kept, mine)
		case kept != "":
			e.log.Warn("this node has a new key; nobody who knows the old one will find it", "was", kept, "is", mine)
		}
		return txn.Set([]byte{tableNode}, []byte(mine))
	})
}

// user is what is kept of an identity.
type user struct {
	LastIndex int64 `json:"last_index"`
	Since     int64 `json:"since"` // unix seconds of the first trade here
	order.Reputation
}

// get reads a row into v and tells whether it is there.
func get(txn *badger.Txn, key []byte, v any) (bool, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read row %q: %w", key, err)
	}
	err = item.Value(func(b []byte) error { return decodeRow(key, b, v) })
	if err != nil {
		return false, fmt.Errorf("decode row %q: %w", key, err)
	}
	return true, nil
}

// has tells whether a row is there.
func has(txn *badger.Txn, key []byte) (bool, error) {
	_, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

// scan calls f for each row of a prefix.
func scan(txn *badger.Txn, prefix []byte, values bool, f func(key, value []byte) error) error {
	opts := badger.DefaultIteratorOptions
	opts.Prefix, opts.PrefetchValues = prefix, values
	it := txn.NewIterator(opts)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		item := it.Item()
		var value []byte
		if values {
			var err error
			if value, err = item.ValueCopy(nil); err != nil {
				return fmt.Errorf("read row %q: %w", item.Key(), err)
			}
		}
		if err := f(item.KeyCopy(nil), value); err != nil {
			return err
		}
	}
	return nil
}

// Order returns an order, and false when there is none.
func (e *Engine) Order(id string) (o order.Order, ok bool, err error) {
	err = e.db.View(func(txn *badger.Txn) error {
		ok, err = get(txn, rowKey(tableOrder, id), &o)
		return err
	})
	return o, ok, err
}

// writes collects what one operation changes, to be set when it is complete.
type writes struct {
	entries []*badger.Entry
	deletes [][]byte
	after   []func() // once committed, in order
	stepped bool     // an order was stepped
	blame   string   // the order that was, in place of the operation's
	claims  claims   // on the node, for the others of the same batch
}

func (w *writes) set(key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode row %q: %w", key, err)
	}
	w.entries = append(w.entries, badger.NewEntry(key, b))
	return nil
}

func (w *writes) mark(key, value []byte) { w.entries = append(w.entries, badger.NewEntry(key, value)) }
func (w *writes) markFor(key, value []byte, ttl time.Duration) {
	w.entries = append(w.entries, badger.NewEntry(key, value).WithTTL(ttl))
}
func (w *writes) delete(key []byte) { w.deletes = append(w.deletes, key) }
func (w *writes) then(f func())     { w.after = append(w.after, f) }
