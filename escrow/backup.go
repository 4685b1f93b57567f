package escrow

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/audit"
)

// A backup is a gzip stream of parts: a head, rows of the store as they were at one moment,
// and an end without which it is not whole. A full one has every row; the ones after it have
// what was written since the one before, and name the keys that are still there, because a
// store forgets in time what was deleted from it.
//
//	part = kind, length of a, a, length of b, b     (lengths are uvarints)
//	H json -      head
//	R key value   row, preceded by X when it expires
//	X seconds -   unix seconds at which the next row expires, a uvarint
//	K key -       a row that is still there
//	E json -      end
const (
	partHead    = 'H'
	partRow     = 'R'
	partExpires = 'X'
	partKey     = 'K'
	partEnd     = 'E'

	backupVersion = 1
	maxPart       = 64 << 20 // bytes
)

// Chain is the place of a backup among those that belong together. The zero Chain asks for a
// full backup.
type Chain struct {
	Base  string `json:"base"`  // random name of the full one
	Seq   int    `json:"seq"`   // 0 = the full one
	Since uint64 `json:"since"` // version of the store after which rows are in it
}

type backupHead struct {
	Version int   `json:"version"`
	Layout  int   `json:"layout"` // of the store
	Made    int64 `json:"made"`   // unix seconds
	Chain
}

type backupEnd struct {
	Rows  int    `json:"rows"`
	Until uint64 `json:"until"`
}

// BackupInfo is what a whole backup says of itself.
type BackupInfo struct {
	Chain
	Made   int64
	Rows   int
	Orders int // of the rows
	Until  uint64
}

// next is the place of the backup that follows.
func (b BackupInfo) next() Chain { return Chain{b.Base, b.Seq + 1, b.Until} }

// lasting are the tables from which nothing is ever deleted that matters: a backup does not
// name their keys. What a copy has of them beyond the original is old history, or the claim of
// an ended order on a hash.
const lasting = string(rune(tableOrder)) + string(rune(tableLog)) + string(rune(tablePast)) + string(rune(tableBond)) +
	string(rune(tableUser)) + string(rune(tableKey)) + string(rune(tableDispute)) + string(rune(tableSeen)) + string(rune(tableHash)) + string(rune(tableStamp))

// nameStore gives the store its name, once. A store that was put back from a backup keeps it; one
// that was made anew in its place has another.
func (e *Engine) nameStore() error {
	return e.db.Update(func(txn *badger.Txn) (err error) {
		if e.name, err = text(txn, []byte{tableName}); err != nil || e.name != "" {
			return err
		}
		var name [4]byte
		rand.Read(name[:]) // never fails: crypto/rand ends the process instead
		e.name = hex.EncodeToString(name[:])
		return txn.Set([]byte{tableName}, []byte(e.name))
	})
}

// StoreName tells the backups of this store from those of another: eight hex digits.
func (e *Engine) StoreName() string { return e.name }

// Backup writes what the store has now, or what it has more than at the backup before. Trades
// go on meanwhile. It returns the place of the next one.
func (e *Engine) Backup(w io.Writer, at Chain) (next Chain, err error) {
	return writeBackup(e.db, w, at, e.now())
}

// BackupStore does the same with the store of a process that has ended.
func BackupStore(dir string, key StoreKey, w io.Writer) error {
	db, err := openEnded(dir, key)
	if err != nil {
		return err
	}
	_, err = writeBackup(db, w, Chain{}, time.Now().Unix())
	return errors.Join(err, db.Close())
}

func writeBackup(db *badger.DB, w io.Writer, at Chain, now int64) (Chain, error) {
	if at.Base == "" {
		var name [8]byte
		rand.Read(name[:]) // never fails: crypto/rand ends the process instead
		at = Chain{Base: hex.EncodeToString(name[:])}
	}
	compressed := gzip.NewWriter(w)
	out := partWriter{compressed}
	info := BackupInfo{Chain: at, Until: at.Since}
	head, err := json.Marshal(backupHead{backupVersion, storeVersion, now, at})
	if err != nil {
		return Chain{}, err
	}
	if err := out.write(partHead, head, nil); err != nil {
		return Chain{}, err
	}
	err = db.View(func(txn *badger.Txn) error {
		opts := badger.DefaultIteratorOptions
		opts.SinceTs = at.Since
		if err := info.rows(txn, opts, out); err != nil || at.Seq == 0 {
			return err
		}
		return liveKeys(txn, func(key []byte) error { return out.write(partKey, key, nil) })
	})
	if err != nil {
		return Chain{}, fmt.Errorf("write backup: %w", err)
	}
	end, err := json.Marshal(backupEnd{info.Rows, info.Until})
	if err != nil {
		return Chain{}, err
	}
	if err := first(out.write(partEnd, end, nil), compressed.Close()); err != nil {
		return Chain{}, fmt.Errorf("write backup: %w", err)
	}
	return info.next(), nil
}

// rows writes the rows that the options choose.
func (b *BackupInfo) rows(txn *badger.Txn, opts badger.IteratorOptions, out partWriter) error {
	it := txn.NewIterator(opts)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		item := it.Item()
		if at := item.ExpiresAt(); at > 0 {
			if err := out.write(partExpires, binary.AppendUvarint(nil, at), nil); err != nil {
				return err
			}
		}
		if err := item.Value(func(value []byte) error { return out.write(partRow, item.Key(), value) }); err != nil {
			return fmt.Errorf("read row %q: %w", item.Key(), err)
		}
		b.Rows++
		b.Until = max(b.Until, item.Version())
	}
	return nil
}

// liveKeys calls f with the keys of all tables from which rows are deleted.
func liveKeys(txn *badger.Txn, f func(key []byte) error) error {
	opts := badger.DefaultIteratorOptions
	opts.PrefetchValues = false
	it := txn.NewIterator(opts)
	defer it.Close()
	for it.Rewind(); it.Valid(); {
		key := it.Item().Key()
		if strings.IndexByte(lasting, key[0]) >= 0 {
			it.Seek([]byte{key[0] + 1}) // the next table
			continue
		}
		if err := f(key); err != nil {
			return err
		}
		it.Next()
	}
	return nil
}

type partWriter struct{ io.Writer }

func (w partWriter) write(kind byte, a, b []byte) error {
	head := binary.AppendUvarint([]byte{kind}, uint64(len(a)))
	head = append(head, a...)
	head = binary.AppendUvarint(head, uint64(len(b)))
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err := w.Write(b)
	return err
}

// readBackup reads a backup to its end and gives each part to take. Only when it returns nil
// was the backup whole.
func readBackup(r io.Reader, take func(head backupHead, kind byte, a, b []byte) error) (info BackupInfo, err error) {
	compressed, err := gzip.NewReader(r)
	if err != nil {
		return info, fmt.Errorf("this is no backup: %w", err)
	}
	in := bufio.NewReader(compressed)
	field := func() ([]byte, error) {
		n, err := binary.ReadUvarint(in)
		if err != nil || n > maxPart {
			return nil, errors.Join(err, errors.New("a part is damaged"))
		}
		b := make([]byte, n)
		_, err = io.ReadFull(in, b)
		return b, err
	}
	var head backupHead
	for n := 0; ; n++ {
		kind, err := in.ReadByte()
		if err != nil {
			return info, fmt.Errorf("the backup ends in the middle: %w", err)
		}
		a, err := field()
		if err != nil {
			return info, fmt.Errorf("the backup ends in the middle: %w", err)
		}
		b, err := field()
		if err != nil {
			return info, fmt.Errorf("the backup ends in the middle: %w", err)
		}
		switch {
		case n == 0:
			if err := json.Unmarshal(a, &head); kind != partHead || err != nil || head.Base == "" {
				return info, errors.New("this is no backup of mostro")
			}
			if head.Version != backupVersion || head.Layout != storeVersion {
				return info, fmt.Errorf("the backup has version %d of layout %d, this program knows %d of %d: use the version of mostro that wrote it",
					head.Version, head.Layout, backupVersion, storeVersion)
			}
			info.Chain, info.Made = head.Chain, head.Made
			continue
		case kind == partEnd:
			var end backupEnd
			if err := json.Unmarshal(a, &end); err != nil || end.Rows != info.Rows {
				return info, fmt.Errorf("the backup has %d rows and says %d", info.Rows, end.Rows)
			}
			info.Until = end.Until
			// The checksum comes after the last part.
			if _, err := io.Copy(io.Discard, in); err != nil {
				return info, fmt.Errorf("the backup is damaged: %w", err)
			}
			return info, nil
		case kind == partRow:
			info.Rows++
			if bytes.HasPrefix(a, []byte{tableOrder}) {
				info.Orders++
			}
		}
		if err := take(head, kind, a, b); err != nil {
			return info, err
		}
	}
}

// CheckBackup reads a backup to its end and tells whether it is whole.
func CheckBackup(r io.Reader) (BackupInfo, error) {
	return readBackup(r, func(backupHead, byte, []byte, []byte) error { return nil })
}

// Restore makes a store of a full backup and of those after it, in order. Nothing is in dir
// before, and nothing of it is there unless all of it is. The node that is started with the
// store pays nobody until it has read the Lightning node's own list of payments.
func Restore(dir string, key StoreKey, backups ...io.Reader) (last BackupInfo, err error) {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return last, fmt.Errorf("restore: %s is there already", dir)
	}
	if err := clearRestores(dir, key); err != nil {
		return last, fmt.Errorf("restore: %w", err)
	}
	// Each restore has a folder of its own, so that of two at once one moves in and the other fails.
	making, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+restoring+"*")
	if err != nil {
		return last, fmt.Errorf("restore: %w", err)
	}
	db, err := openStore(making, key)
	if err != nil {
		return last, errors.Join(err, os.RemoveAll(making))
	}
	if last, err = loadChain(db, backups); err != nil {
		return last, errors.Join(fmt.Errorf("restore: %w", err), db.Close(), os.RemoveAll(making))
	}
	why := "the money store was restored from a backup of " + time.Unix(last.Made, 0).UTC().Format("2 January 2006 15:04:05 UTC")
	err = db.Update(func(txn *badger.Txn) error {
		var w writes
		return first(markRestored(txn, &w, why, time.Now().Unix()), set(txn, &w))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return last, errors.Join(fmt.Errorf("restore: %w", err), os.RemoveAll(making))
	}
	if err := os.Rename(making, dir); err != nil {
		return last, errors.Join(fmt.Errorf("restore: %w", err), os.RemoveAll(making))
	}
	if parent, err := os.Open(filepath.Dir(dir)); err == nil {
		_ = parent.Sync() // not possible on every system
		parent.Close()
	}
	return last, nil
}

// restoring is in the name of a store that is being made, after that of the store it is to be.
const restoring = ".restoring-"

// clearRestores removes what restores have left behind that were killed. That of one which still
// writes is locked, and stays; one which has just written all fails for want of it.
func clearRestores(dir string, key StoreKey) error {
	parent := filepath.Dir(dir)
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), filepath.Base(dir)+restoring) {
			continue
		}
		left := filepath.Join(parent, entry.Name())
		db, err := badger.Open(storeOptions(left, key))
		switch {
		case err == nil:
			err = db.Close()
		case strings.Contains(err.Error(), "directory lock"):
			continue
		}
		if removed := os.RemoveAll(left); removed != nil {
			return errors.Join(err, removed)
		}
	}
	return nil
}

// BackupBooks calls f with the accounts of a backup, without restoring it.
func BackupBooks(f func(audit.Account) error, backups ...io.Reader) (last BackupInfo, err error) {
	db, err := openStore("", StoreKey{})
	if err != nil {
		return last, err
	}
	if last, err = loadChain(db, backups); err == nil {
		err = readBooks(db, f)
	}
	return last, errors.Join(err, db.Close())
}

// ChainError says which of the backups that belong together stands in the way of the others.
type ChainError struct {
	At  int // of the list, from 0 on; those before it are whole
	Err error
}

func (c *ChainError) Error() string { return fmt.Sprintf("backup %d: %v", c.At+1, c.Err) }
func (c *ChainError) Unwrap() error { return c.Err }

// loadChain loads a full backup and those after it.
func loadChain(db *badger.DB, backups []io.Reader) (last BackupInfo, err error) {
	for i, r := range backups {
		info, err := load(db, r)
		if err == nil && i == 0 && info.Seq != 0 {
			err = errors.New("it is not a full one")
		}
		if err == nil && i > 0 && info.Chain != last.next() {
			err = fmt.Errorf("it does not follow the one before: number %d of %s after number %d of %s", info.Seq, info.Base, last.Seq, last.Base)
		}
		if err != nil {
			return last, &ChainError{i, err}
		}
		last = info
	}
	return last, nil
}

// load writes the rows of one backup into a store, and deletes what is not there any more.
func load(db *badger.DB, r io.Reader) (BackupInfo, error) {
	batch := db.NewWriteBatch()
	defer batch.Cancel()
	expires, still := uint64(0), map[string]bool{}
	info, err := readBackup(r, func(_ backupHead, kind byte, a, b []byte) error {
		switch kind {
		case partExpires:
			expires, _ = binary.Uvarint(a)
		case partKey:
			still[string(a)] = true
		case partRow:
			entry := badger.NewEntry(a, b)
			entry.ExpiresAt, expires = expires, 0
			return batch.SetEntry(entry)
		default:
			return fmt.Errorf("a part of an unknown kind %q", kind)
		}
		return nil
	})
	if err == nil {
		err = batch.Flush()
	}
	if err != nil || info.Seq == 0 {
		return info, err
	}
	var gone [][]byte
	err = db.View(func(txn *badger.Txn) error {
		return liveKeys(txn, func(key []byte) error {
			if !still[string(key)] {
				gone = append(gone, bytes.Clone(key))
			}
			return nil
		})
	})
	deletes := db.NewWriteBatch()
	defer deletes.Cancel()
	for _, key := range gone {
		if err == nil {
			err = deletes.Delete(key)
		}
	}
	return info, first(err, deletes.Flush())
}
