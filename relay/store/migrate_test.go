package store

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	first "github.com/fiatjaf/eventstore/badger"
	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// TestMigrate moves a folder of the first releases, once after an interruption: nothing is lost,
// what was deleted stays so, and a row that cannot be read is kept aside.
func TestMigrate(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 0))
	clock := newClock()
	w := &world{rand: r, now: clock.now}
	m := &model{now: clock.now}
	dir := t.TempDir()
	old := &first.BadgerBackend{Path: dir, BadgerOptionsModifier: func(o badger.Options) badger.Options { return o.WithLogger(nil) }}
	if err := old.Init(); err != nil {
		t.Fatal(err)
	}
	save := func(ev *nostr.Event) {
		if m.add(ev) != Stored {
			return
		}
		if err := old.SaveEvent(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	for range 700 {
		save(w.event())
	}
	save(unsigned(person(1), 1, start, strings.Repeat("\u2028<é>\x00", 5000), nostr.Tag{}, nostr.Tag{""}, nostr.Tag{"t", strings.Repeat("x", 60_000), ""}))
	last := m.events[len(m.events)-1]
	torn := unsigned(person(2), 1, start, "torn")
	if err := old.SaveEvent(t.Context(), torn); err != nil {
		t.Fatal(err)
	}
	var row []byte
	err := old.Update(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{firstBody}})
		for it.Rewind(); it.Valid(); it.Next() {
			row = it.Item().KeyCopy(nil)
		}
		it.Close()
		return txn.Set(row, []byte("not a body"))
	})
	if err != nil {
		t.Fatal(err)
	}
	old.Close()

	opts := Options{Dir: dir, Now: clock.now, Vanishes: func(*nostr.Event) bool { return true }}
	interrupted := New(opts)
	opts.Progress = nil
	interrupted.opts.Progress = func(string, int, int) { panic("interrupted") }
	func() {
		defer func() {
			if recover() == nil {
				t.Error("there was no progress")
			}
			if err := interrupted.db.Close(); err != nil {
				t.Fatal(err)
			}
		}()
		_ = interrupted.Init()
	}()

	var told []string
	opts.Progress = func(doing string, done, total int) {
		if told = append(told, doing); done > total && total > 0 {
			t.Errorf("%d done of %d", done, total)
		}
	}
	for range 2 {
		s := openTest(t, opts)
		m.sweep()
		want := m.find(func(int, *nostr.Event) bool { return true }, nostr.Filter{})
		if diff := cmp.Diff(want, ids(t, s, nostr.Filter{})); diff != "" {
			t.Fatal(diff)
		}
		compareAll(t, s, m, w, 100)
		err := s.Query(t.Context(), []nostr.Filter{{IDs: []string{last.ID}}}, QueryOptions{}, func(f Found) bool {
			ev, err := f.Event()
			if diff := cmp.Diff(last, ev); diff != "" || err != nil {
				t.Error(diff, err)
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		left := 0
		for p := byte(firstBody); p <= firstIndexes; p++ {
			err = s.scan([]byte{p}, func([]byte, []byte) error { left++; return nil })
			if err != nil || left > 0 {
				t.Errorf("%d rows of the first format are left, %v", left, err)
			}
		}
		var aside []byte
		if err := s.scan([]byte{rowUnread}, func(key, value []byte) error { aside = slices.Concat(key[1:], value); return nil }); err != nil {
			t.Fatal(err)
		}
		if string(aside) != string(row)+"not a body" {
			t.Errorf("kept aside: %q", aside)
		}
		if len(m.gone) > 0 && len(told) == 0 {
			t.Error("there was no progress")
		}
		s.Close()
	}
	if slices.Contains(told[1:], "migrate") && len(told) > 3 {
		t.Errorf("it was moved again: %v", told)
	}
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
