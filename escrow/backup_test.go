package escrow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/audit"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// inFolder moves a world that has just begun to a store in a folder, with an epoch beside it.
func inFolder(t testing.TB) *world {
	w := newWorld(t)
	w.check(w.e.Close())
	dir := t.TempDir()
	w.cfg.Dir, w.cfg.Epoch = filepath.Join(dir, "escrow"), filepath.Join(dir, "escrow.epoch")
	w.open()
	return w
}

// reopen ends the process in good order and starts it again.
func (w *world) reopen() {
	w.check(w.e.Close())
	w.later, w.watches, w.told = nil, map[order.Hash]watch{}, map[order.Hash]string{}
	w.open()
	w.check(w.e.resume(context.Background()))
	w.settle()
}

func (w *world) backup(at Chain) (data []byte, next Chain) {
	var b bytes.Buffer
	next, err := w.e.Backup(&b, at)
	w.check(err)
	return b.Bytes(), next
}

func readers(files ...[]byte) (list []io.Reader) {
	for _, f := range files {
		list = append(list, bytes.NewReader(f))
	}
	return list
}

// rowsOf are all rows of a store but the one that says that it was restored.
func rowsOf(t testing.TB, db *badger.DB) map[string]string {
	rows := map[string]string{}
	err := db.View(func(txn *badger.Txn) error {
		return scan(txn, nil, true, func(key, value []byte) error { rows[string(key)] = string(value); return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(rows, string(rune(tableRestored)))
	delete(rows, string(rune(tableOld)))
	return rows
}

func diffRows(got, want map[string]string) (list []string) {
	for k, v := range want {
		if g, ok := got[k]; !ok || g != v {
			list = append(list, fmt.Sprintf("%q: %.60q, want %.60q", k, g, v))
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok && strings.IndexByte(lasting, k[0]) < 0 {
			list = append(list, fmt.Sprintf("%q is there, and was deleted", k))
		}
	}
	slices.Sort(list)
	return list
}

// A full backup and those after it give the store back row by row, with nothing in it that was
// deleted in between, even where the store itself has forgotten that.
func TestBackupAndRestore(t *testing.T) {
	w := inFolder(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n carol new buy sats=50000\n operator add-solver dave")
	full, next := w.backup(Chain{})
	// The very first write after a backup is in the next one.
	w.check(w.e.SetSolver(context.Background(), secretFor("frank").Public(), order.ReadOnly))
	w.play(t, "alice pay\n bob fiat-sent order=A\n erin new sell sats=20000\n erin cancel")
	one, next := w.backup(next)
	w.play(t, "alice release order=A")
	w.check(w.e.db.Flatten(1)) // compaction drops what marks a deletion
	two, next := w.backup(next)
	w.advance(time.Minute)
	three, _ := w.backup(next)
	if len(two) == 0 || len(three) >= len(full) {
		t.Errorf("sizes %d, %d, %d, %d", len(full), len(one), len(two), len(three))
	}
	want := rowsOf(t, w.e.db)

	dir := filepath.Join(t.TempDir(), "restored")
	info, err := Restore(dir, StoreKey{}, readers(full, one, two, three)...)
	w.check(err)
	db, err := openStore(dir, StoreKey{})
	w.check(err)
	defer db.Close()
	if diff := diffRows(rowsOf(t, db), want); len(diff) > 0 || info.Seq != 3 {
		t.Errorf("backup %d is restored with differences:\n%s", info.Seq, strings.Join(diff, "\n"))
	}
	restored := false
	w.check(db.View(func(txn *badger.Txn) error {
		marked, err := has(txn, []byte{tableRestored})
		old, failed := has(txn, []byte{tableOld})
		restored = marked && old
		return first(err, failed)
	}))
	if !restored {
		t.Error("nothing says that the store was restored")
	}
	if _, err := Restore(dir, StoreKey{}, readers(full)...); err == nil {
		t.Error("restored over a store")
	}
}

// What is no whole chain is refused, and leaves nothing behind.
func TestBackupDamaged(t *testing.T) {
	w := inFolder(t)
	w.play(t, "alice new sell sats=100000")
	full, next := w.backup(Chain{})
	w.play(t, "bob take invoice=99700")
	one, next := w.backup(next)
	w.play(t, "alice pay")
	two, _ := w.backup(next)
	other, _ := w.backup(Chain{})
	flipped := slices.Clone(full)
	flipped[len(flipped)/2] ^= 1
	for what, files := range map[string][]io.Reader{
		"cut":               readers(full[:len(full)-1]),
		"cut in the middle": readers(full[:len(full)/2]),
		"a flipped bit":     readers(flipped),
		"empty":             readers(nil),
		"text":              readers([]byte("not a backup")),
		"no full one":       readers(one, two),
		"one is missing":    readers(full, two),
		"the wrong order":   readers(full, two, one),
		"another chain":     readers(other, one),
		"twice":             readers(full, full),
	} {
		dir := filepath.Join(t.TempDir(), "restored")
		if _, err := Restore(dir, StoreKey{}, files...); err == nil {
			t.Errorf("%s: restored", what)
		}
		if left, _ := filepath.Glob(dir + "*"); len(left) > 0 {
			t.Errorf("%s: left %v", what, left)
		}
	}
	for n := range len(full) { // wherever it is cut
		if _, err := CheckBackup(bytes.NewReader(full[:n])); err == nil {
			t.Fatalf("%d bytes of %d are a whole backup", n, len(full))
		}
	}
}

// paidTo is what the payments of the node brought to a wallet, by payment hash.
func (w *world) paidOut() (sum order.Msat, count int) {
	w.check(w.node.Payments(context.Background(), func(p lightning.PaymentRecord) error {
		if p.State == lightning.Succeeded {
			sum += p.Amount
			count++
		}
		return nil
	}))
	return sum, count
}

// M40: a backup from before payouts is restored, by every way in which an operator may do it.
// Nobody is paid twice, and what the old store cannot know is reported.
func TestM40RestoredBackup(t *testing.T) {
	for _, way := range []string{"mostro restore", "the folder is copied back", "the disk is put back, and the epoch with it is lost"} {
		t.Run(way, func(t *testing.T) { drill(t, way) })
	}
}

func drill(t *testing.T, way string) {
	ctx := context.Background()
	w := inFolder(t)
	play := func(format string, args ...any) { w.play(t, fmt.Sprintf(format, args...)) }
	// A is paid before. B waits for the release. C cannot be paid with its invoice. D cannot be
	// paid because the payee's server is down. E is held, and its invoice is replaced later.
	play("alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n alice release")
	play("ann new sell sats=200000\n ben take invoice=199400\n ann pay\n ben fiat-sent")
	play("amy new sell sats=300000\n bill take invoice=299100\n amy pay\n bill fiat-sent\n bill route none\n amy release\n wait 2m\n wait 2m\n wait 2m")
	play("server down\n ada new sell sats=400000\n bert take invoice=bert@ln.example\n ada pay\n bert fiat-sent\n ada release")
	id := map[string]string{}
	for _, letter := range []string{"A", "B", "C", "D"} {
		id[letter] = w.order(args{named: map[string]string{"order": letter}})
	}
	full, _ := w.backup(Chain{})
	copied := filepath.Join(t.TempDir(), "copy")
	w.check(w.e.Close())
	w.check(os.CopyFS(copied, os.DirFS(w.cfg.Dir)))
	w.later, w.watches, w.told = nil, map[order.Hash]watch{}, map[order.Hash]string{}
	w.open()
	w.settle()

	// What the old copy does not know: B, C and D are paid, C with another invoice. F is made
	// and paid.
	play("ann release order=B\n bill route\n server up\n bill add-invoice order=C invoice=299100")
	for range 12 {
		w.advance(10 * time.Minute)
	}
	play("abe new sell sats=500000\n boris take invoice=498500\n abe pay\n boris fiat-sent\n abe release")
	for letter := range id {
		if got := w.statusOf(id[letter]); got != mostro.StatusSuccess {
			t.Fatalf("before the restore order %s is %s", letter, got)
		}
	}
	paid, payments := w.paidOut()
	if payments != 5 {
		t.Fatalf("%d payments before the restore", payments)
	}

	w.check(w.e.Close())
	w.check(os.RemoveAll(w.cfg.Dir))
	switch way {
	case "mostro restore":
		_, err := Restore(w.cfg.Dir, StoreKey{}, bytes.NewReader(full))
		w.check(err)
	case "the folder is copied back":
		w.check(os.CopyFS(w.cfg.Dir, os.DirFS(copied)))
	default:
		w.check(os.CopyFS(w.cfg.Dir, os.DirFS(copied)))
		w.check(os.Remove(w.cfg.Epoch))
	}
	w.later, w.watches, w.told = nil, map[order.Hash]watch{}, map[order.Hash]string{}
	w.open()
	w.settle()
	if s, err := w.e.Status(); err != nil || s.Restored == "" {
		t.Fatalf("the store is not known as old: %+v, %v", s, err)
	}
	sends := w.node.Count(lightning.SimSend)
	for range 3 {
		w.advance(time.Minute)
	}
	if n := w.node.Count(lightning.SimSend); n != sends {
		t.Fatalf("%d payments were sent before the node was asked", n-sends)
	}
	w.reopen() // also across a restart
	if s, err := w.e.Status(); err != nil || s.Restored == "" {
		t.Fatalf("a restart has forgotten that the store is old: %+v, %v", s, err)
	}
	w.check(w.e.findStrays(ctx, *w.e.guards.restored))
	for range 24 {
		w.advance(10 * time.Minute)
	}
	again, count := w.paidOut()
	if again != paid || count != payments {
		t.Fatalf("after the restore %d msat were paid in %d payments, %d in %d before it", again, count, paid, payments)
	}
	// B was paid with the invoice that the copy has: it is booked. C and D wait for a word.
	if got := w.statusOf(id["B"]); got != mostro.StatusSuccess {
		t.Errorf("order B is %s", got)
	}
	s, err := w.e.Status()
	w.check(err)
	var amounts []order.Msat
	for _, stray := range s.Strays {
		amounts = append(amounts, stray.Amount)
	}
	slices.Sort(amounts)
	if !slices.Equal(amounts, []order.Msat{299_100_000, 398_800_000, 498_500_000}) {
		t.Fatalf("payments that are not explained: %v", amounts)
	}
	r := w.audit()
	kinds := map[audit.Kind]int{}
	for _, f := range r.Differences {
		kinds[f.Kind]++
	}
	if len(r.Owed) != 2 || len(r.Differences) != 4 || kinds[audit.Orphan] != 1 || kinds[audit.Unexplained] != 3 {
		t.Errorf("owed %+v\ndifferences %+v", r.Owed, r.Differences)
	}
	for _, stray := range s.Strays {
		for _, letter := range []string{"C", "D"} {
			o, _, err := w.e.Order(id[letter])
			w.check(err)
			if o.BuyerGets().Msat() == stray.Amount {
				if err := w.e.ExplainStray(ctx, stray.Hash, id["B"], "wrong"); err == nil {
					t.Errorf("the payout of order %s was taken for that of B", letter)
				}
				w.check(w.e.ExplainStray(ctx, stray.Hash, id[letter], "the buyer says so"))
			}
		}
		if stray.Amount == 498_500_000 {
			w.check(w.e.ExplainStray(ctx, stray.Hash, "", "of an order that was lost"))
		}
	}
	w.advance(10 * time.Minute)
	for _, letter := range []string{"A", "B", "C", "D"} {
		if got := w.statusOf(id[letter]); got != mostro.StatusSuccess {
			t.Errorf("in the end order %s is %s", letter, got)
		}
	}
	if r := w.audit(); len(r.Owed) != 0 || len(r.Differences) != 1 {
		t.Errorf("in the end owed %+v, differences %+v", r.Owed, r.Differences)
	}
	if again, count := w.paidOut(); again != paid || count != payments {
		t.Errorf("in the end %d msat in %d payments", again, count)
	}
	w.reopen()
	if s, err := w.e.Status(); err != nil || s.Restored != "" || len(s.Strays) != 0 || len(s.Log) != 3 {
		t.Errorf("after a restart: %+v, %v", s, err)
	}
	w.trade(t, "100000", "99700")
	if _, count := w.paidOut(); count != payments+1 {
		t.Error("a new trade is not paid")
	}
}

// The epoch does not cry wolf: restarts, kills and payouts leave the store as new as the file.
func TestEpochOfAnHonestStore(t *testing.T) {
	w := inFolder(t)
	for range 3 {
		w.trade(t, "100000", "99700")
		w.reopen()
		if s, err := w.e.Status(); err != nil || s.Restored != "" {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	// Each payment raises it, on disk before the payment is sent, so that a copy from between
	// two payments is known as old without any restart.
	before := w.e.epoch.value
	w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
		if data, err := os.ReadFile(w.cfg.Epoch); m == lightning.SimSend && (err != nil || strings.TrimSpace(string(data)) != fmt.Sprintf("%0*d", epochDigits, before+1)) {
			t.Errorf("when the payment is sent the file says %s after %d, %v", data, before, err)
		}
		return nil
	}})
	w.trade(t, "100000", "99700")
	w.node.SetFaults(lightning.Faults{})
	if w.e.epoch.value != before+1 {
		t.Errorf("a payment has raised the epoch from %d to %d", before, w.e.epoch.value)
	}
	// A process that dies between the store and the file.
	w.check(w.e.submit(context.Background(), "", func(txn *badger.Txn, w *writes) error { _, err := nextEpoch(txn, w); return err }))
	w.reopen()
	if s, err := w.e.Status(); err != nil || s.Restored != "" {
		t.Fatalf("after a death in between: %+v, %v", s, err)
	}
	// A file that was torn counts as missing.
	w.check(w.e.Close())
	w.check(os.WriteFile(w.cfg.Epoch, []byte("0000x"), 0o600))
	w.open()
	if s, err := w.e.Status(); err != nil || s.Restored == "" {
		t.Fatalf("a torn file: %+v, %v", s, err)
	}
}

// The money store is encrypted with a key, and opens with no other.
func TestStoreKey(t *testing.T) {
	key, wrong := NewStoreKey([32]byte{1}), NewStoreKey([32]byte{2})
	w := newWorld(t)
	w.check(w.e.Close())
	w.cfg.Dir, w.cfg.StoreKey = filepath.Join(t.TempDir(), "escrow"), key
	w.open()
	id := w.trade(t, "100000", "99700")
	w.check(w.e.db.Flatten(1))
	plain, _ := w.backup(Chain{})
	w.check(w.e.Close())
	w.check(filepath.Walk(w.cfg.Dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(id)) || bytes.Contains(data, []byte("settled-in")) {
			t.Errorf("%s is not encrypted", filepath.Base(path))
		}
		return err
	}))
	for what, k := range map[string]StoreKey{"another key": wrong, "no key": {}} {
		if _, err := openStore(w.cfg.Dir, k); !errors.Is(err, ErrStoreKey) {
			t.Errorf("%s: %v", what, err)
		}
		if err := ReadBooks(w.cfg.Dir, k, func(audit.Account) error { return nil }); !errors.Is(err, ErrStoreKey) {
			t.Errorf("books with %s: %v", what, err)
		}
	}
	found := 0
	w.check(ReadBooks(w.cfg.Dir, key, func(audit.Account) error { found++; return nil }))
	if found != 1 {
		t.Errorf("%d orders with the key", found)
	}
	// A key is taken away, or given, by way of a backup.
	dir := filepath.Join(t.TempDir(), "escrow")
	_, err := Restore(dir, StoreKey{}, bytes.NewReader(plain))
	w.check(err)
	if _, err := openStore(dir, key); !errors.Is(err, ErrStoreKey) {
		t.Errorf("a key for a store without one: %v", err)
	}
}

// A restore that was killed leaves a store behind that is not whole. The next one removes it, and
// leaves alone what another restore is making now.
func TestKilledRestoreIsCleared(t *testing.T) {
	w := inFolder(t)
	full, _ := w.backup(Chain{})
	dir := filepath.Join(t.TempDir(), "escrow")
	killed, damaged, running := dir+restoring+"1", dir+restoring+"2", dir+restoring+"3"
	for _, path := range []string{killed, damaged, running, dir + ".old", dir + "2" + restoring + "1"} {
		db, err := openStore(path, StoreKey{})
		w.check(err)
		if path == running {
			t.Cleanup(func() { db.Close() })
			continue
		}
		w.check(db.Close())
		if path == damaged {
			w.check(os.WriteFile(filepath.Join(path, "MANIFEST"), []byte("cut"), 0o600))
		}
	}
	_, err := Restore(dir, StoreKey{}, readers(full)...)
	w.check(err)
	for path, stays := range map[string]bool{killed: false, damaged: false, running: true, dir: true, dir + ".old": true, dir + "2" + restoring + "1": true} {
		if _, err := os.Stat(path); (err == nil) != stays {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
	}
}
