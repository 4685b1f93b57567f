package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	first "github.com/fiatjaf/eventstore/badger"
	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// firstFolder is a folder of the first releases, what it holds but for a row that cannot be read, and that row.
type firstFolder struct {
	dir   string
	world *world
	model *model
	clock *clock
	torn  []byte // key of the row
	last  *nostr.Event
}

// makeFirstFolder stores 700 events of all sorts, and so many long notes.
func makeFirstFolder(t *testing.T, notes int) *firstFolder {
	t.Helper()
	f := &firstFolder{dir: t.TempDir(), clock: newClock()}
	f.world = &world{rand: rand.New(rand.NewPCG(seed(t), 0)), now: f.clock.now}
	f.model = &model{now: f.clock.now}
	old := &first.BadgerBackend{Path: f.dir, BadgerOptionsModifier: func(o badger.Options) badger.Options { return o.WithLogger(nil) }}
	if err := old.Init(); err != nil {
		t.Fatal(err)
	}
	save := func(ev *nostr.Event) {
		if f.model.add(ev) != Stored {
			return
		}
		if err := old.SaveEvent(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	// A version that was deleted must not come between the older one and its row when a move that was cut begins again.
	newest := unsigned(person(9), 38383, start-1, "newest", nostr.Tag{"d", "x"})
	save(newest)
	save(unsigned(person(9), 5, start, "", nostr.Tag{"e", newest.ID}))
	save(unsigned(person(9), 38383, start-2, "older", nostr.Tag{"d", "x"}))
	// Nor must one that it had replaced, and that is newer than what came at last.
	replaced := unsigned(person(9), 38383, start-2, "replaced", nostr.Tag{"d", "y"})
	deleted := unsigned(person(9), 38383, start-1, "deleted", nostr.Tag{"d", "y"})
	save(replaced)
	save(deleted)
	save(unsigned(person(9), 5, start, "", nostr.Tag{"e", deleted.ID}))
	save(unsigned(person(9), 38383, start-3, "last", nostr.Tag{"d", "y"}))
	for range 700 {
		save(f.world.event())
	}
	for i := range notes {
		save(unsigned(person(20+i%9), 1, start-int64(i), fmt.Sprint("note ", i, strings.Repeat(" word", 10_000)), nostr.Tag{"t", fmt.Sprint(i % 50)}))
	}
	save(unsigned(person(1), 1, start, strings.Repeat("\u2028<é>\x00", 5000), nostr.Tag{}, nostr.Tag{""}, nostr.Tag{"t", strings.Repeat("x", 60_000), ""}))
	f.last = f.model.events[len(f.model.events)-1]
	torn := unsigned(person(2), 1, start, "torn")
	if err := old.SaveEvent(t.Context(), torn); err != nil {
		t.Fatal(err)
	}
	err := old.Update(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{firstBody}})
		for it.Rewind(); it.Valid(); it.Next() {
			f.torn = it.Item().KeyCopy(nil)
		}
		it.Close()
		return txn.Set(f.torn, []byte(tornBody))
	})
	if err != nil {
		t.Fatal(err)
	}
	old.Close()
	return f
}

const tornBody = "not a body"

func (f *firstFolder) options(dir string) Options {
	return Options{Dir: dir, Now: f.clock.now, Vanishes: func(*nostr.Event) bool { return true }}
}

// check compares a store that has moved the folder with what was in it.
func (f *firstFolder) check(t *testing.T, s *Store) {
	t.Helper()
	f.model.sweep()
	want := f.model.find(func(int, *nostr.Event) bool { return true }, nostr.Filter{})
	if diff := cmp.Diff(want, ids(t, s, nostr.Filter{})); diff != "" {
		t.Fatal(diff)
	}
	compareAll(t, s, f.model, f.world, 100)
	err := s.Query(t.Context(), []nostr.Filter{{IDs: []string{f.last.ID}}}, QueryOptions{}, func(found Found) bool {
		ev, err := found.Event()
		if diff := cmp.Diff(f.last, ev); diff != "" || err != nil {
			t.Error(diff, err)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for _, p := range append(firstPrefixes(), firstVersion) {
		err = s.scan([]byte{p}, func([]byte, []byte) error { left++; return nil })
		if err != nil || left > 0 {
			t.Errorf("%d rows of the first format are left, %v", left, err)
		}
	}
	var aside []byte
	if err := s.scan([]byte{rowUnread}, func(key, value []byte) error { aside = slices.Concat(aside, key[1:], value); return nil }); err != nil {
		t.Fatal(err)
	}
	if string(aside) != string(f.torn)+tornBody {
		t.Errorf("kept aside: %q", aside)
	}
}

func firstPrefixes() (all []byte) {
	for p := byte(firstBody); p <= firstIndexes; p++ {
		all = append(all, p)
	}
	return all
}

// TestMigrate moves a folder of the first releases, once: nothing is lost, what was deleted stays so, and a row that cannot
// be read is kept aside.
func TestMigrate(t *testing.T) {
	f := makeFirstFolder(t, 0)
	for _, moves := range []bool{true, false} {
		told := 0
		opts := f.options(f.dir)
		opts.Progress = func(doing string, done, total int) {
			if doing == "migrate" {
				told++
			}
			if done > total && total > 0 {
				t.Errorf("%d done of %d", done, total)
			}
		}
		s := openTest(t, opts)
		f.check(t, s)
		s.Close()
		if told > 0 != moves {
			t.Errorf("there was progress: %v, want %v", told > 0, moves)
		}
	}
}

// TestMigrateCut: a move that ends anywhere is finished by the next start, and by the one after that when it is cut
// too: before the first event, between any two batches, when all are moved, and while the old rows go.
func TestMigrateCut(t *testing.T) {
	f := makeFirstFolder(t, 3*batchBytes/50_000)
	type image struct{ name, dir string }
	var images []image
	// cut moves the folder, and takes an image of what a process that dies leaves at each step.
	cut := func(name, dir string) {
		opts := f.options(dir)
		opts.Progress = func(doing string, done, total int) {
			if doing == "migrate" {
				images = append(images, image{fmt.Sprintf("%s%d: %d of %d, ", name, len(images), done, total), crash(t, dir)})
			}
		}
		s := openTest(t, opts)
		f.check(t, s)
		s.Close()
	}
	cut("", crash(t, f.dir))
	if len(images) < 6 { // two of them between batches
		t.Fatalf("%d images, want some in the middle", len(images))
	}
	moved := images[len(images)-3] // all are moved, and no old row has gone
	// Badger removes rows by prefix in its own order, and can die in it.
	raw := func(name string, change func(*badger.DB) error) {
		dir := crash(t, moved.dir)
		db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil))
		if err == nil {
			err = errors.Join(change(db), db.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, image{name, dir})
	}
	raw("without its version", func(db *badger.DB) error { return db.DropPrefix([]byte{firstVersion}) })
	raw("with half of its indexes", func(db *badger.DB) error { return db.DropPrefix([]byte{2}, []byte{4}, []byte{6}) })
	raw("with half of its bodies", func(db *badger.DB) error {
		if err := db.DropPrefix([]byte{1}, []byte{2}, []byte{3}, []byte{4}, []byte{5}, []byte{6}, []byte{7}, []byte{8}, []byte{firstVersion}); err != nil {
			return err
		}
		return db.Update(func(txn *badger.Txn) error {
			it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{firstBody}})
			defer it.Close()
			n := 0
			for it.Rewind(); it.Valid(); it.Next() {
				if n++; n%2 == 0 {
					if err := txn.Delete(it.Item().KeyCopy(nil)); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
	again := images[2] // between two batches
	cut(again.name+"then ", crash(t, again.dir))
	for _, cut := range images {
		t.Run(cut.name, func(t *testing.T) {
			for range 2 {
				s := openTest(t, f.options(cut.dir))
				f.check(t, s)
				s.Close()
			}
		})
	}
}

// TestMigrateFullDisk: a move on a disk that gets full ends before that, and goes on when there is room.
func TestMigrateFullDisk(t *testing.T) {
	f := makeFirstFolder(t, 2*measureBytes/50_000)
	opts, free := f.options(f.dir), uint64(1000)
	opts.Space = Space{
		Rule: func(free, _ uint64, _ bool) (outside, own, hold bool) { return false, free > 0, false },
		Free: func(string) (uint64, uint64, error) {
			left := free
			free = 0 // when the first part has been moved
			return left, 1000, nil
		},
	}
	if s, err := Open(opts); !errors.Is(err, ErrFull) {
		if err == nil {
			s.Close()
		}
		t.Fatalf("a move on a full disk: %v", err)
	}
	opts.Space = Space{}
	s := openTest(t, opts)
	f.check(t, s)
}

// TestForeignFormat: a folder of a later release is left alone.
func TestForeignFormat(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Now: newClock().now}
	s := openTest(t, opts)
	err := s.db.Update(func(txn *badger.Txn) error { return txn.Set([]byte{rowFormat}, secondValue(formatNumber+1)) })
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if s, err := Open(opts); err == nil {
		s.Close()
		t.Error("a store of a later release was opened")
	}
}
