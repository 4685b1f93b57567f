package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/fiatjaf/eventstore"
	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// crash gives the folder as it is on disk while the store is open, as a process that dies leaves
// it behind.
func crash(t *testing.T, dir string) string {
	t.Helper()
	left := t.TempDir()
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(left, "LOCK")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return left
}

// TestCrash: what was answered is there after a crash, what was deleted is not and does not come
// back, and serials go on.
func TestCrash(t *testing.T) {
	clock := newClock()
	opts := Options{Dir: t.TempDir(), Now: clock.now}
	s := openTest(t, opts)
	alice, bob := person(1), person(2)
	note := unsigned(alice, 1, start, "note")
	wrap := unsigned(person(9), 1059, start, "wrap", nostr.Tag{"p", bob.String()})
	order := unsigned(alice, 38383, start, "new", nostr.Tag{"d", "x"})
	older := unsigned(alice, 38383, start-1, "old", nostr.Tag{"d", "x"})
	gone := unsigned(alice, 38383, start, "gone", nostr.Tag{"d", "y"})
	brief := unsigned(alice, 1, start, "brief", nostr.Tag{"expiration", strconv.Itoa(start + 5)})
	stays := unsigned(bob, 1, start, "stays")
	byAlice := unsigned(alice, 5, start, "", nostr.Tag{"e", note.ID}, nostr.Tag{"e", stays.ID}, nostr.Tag{"a", "38383:" + alice.String() + ":y"})
	byBob := unsigned(bob, 5, start, "", nostr.Tag{"e", wrap.ID})
	for _, ev := range []*nostr.Event{note, wrap, older, order, gone, brief, stays, byAlice, byBob} {
		mustAdd(t, s, ev, Stored)
	}
	mustAdd(t, s, older, Superseded)

	for range 2 { // a crash during the recovery from a crash
		opts.Dir = crash(t, opts.Dir)
		s = openTest(t, opts)
	}
	want := []string{order.ID, brief.ID, stays.ID, byAlice.ID, byBob.ID}
	slices.Sort(want)
	if diff := cmp.Diff(want, ids(t, s, nostr.Filter{})); diff != "" {
		t.Error(diff)
	}
	for _, ev := range []*nostr.Event{note, wrap, gone} {
		mustAdd(t, s, ev, Deleted)
	}
	mustAdd(t, s, older, Superseded)
	last := s.Between(func() {})
	out := s.Add(t.Context(), Item{Event: unsigned(bob, 1, start, "next")})[0]
	if out.Serial <= last || last < 9 {
		t.Errorf("serial %d after %d", out.Serial, last)
	}

	clock.second.Add(5)
	if got := ids(t, s, nostr.Filter{IDs: []string{brief.ID}}); len(got) != 0 {
		t.Error("an expired event is served")
	}
	if _, err := s.Sweep(t.Context()); err != nil || s.Has(mustKey(t, brief.ID)) {
		t.Errorf("an expired event stays after a sweep: %v", err)
	}
	mustAdd(t, s, brief, Expired)
}

func mustKey(t *testing.T, s string) Key {
	t.Helper()
	k, err := ParseKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestInterruptedBatch: rows that a crash left between the transactions of one batch go at the
// next start.
func TestInterruptedBatch(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Now: newClock().now}
	s := openTest(t, opts)
	alice := person(1)
	old := unsigned(alice, 0, start-1, "old")
	note := unsigned(alice, 1, start, "note")
	vanished := unsigned(person(2), 1, start, "vanished")
	profile := unsigned(alice, 0, start, "new")
	for i, ev := range []*nostr.Event{old, note, vanished, profile} {
		p, err := prepare(&Item{Event: ev})
		if err != nil {
			t.Fatal(err)
		}
		p.serial = uint64(i + 1)
		b := newBatch(s)
		b.added = append(b.added, p)
		if i == 3 {
			b.tombs[string(deletedRow(mustKey(t, note.ID), alice))] = start
			b.tombs[string(vanishedRow(person(2)))] = start
		}
		if err := b.write(); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = openTest(t, opts)
	if diff := cmp.Diff([]string{profile.ID}, ids(t, s, nostr.Filter{})); diff != "" {
		t.Error(diff)
	}
	s.Close()
	if s = openTest(t, opts); s.Len() != 1 {
		t.Errorf("%d events at the next start", s.Len())
	}
}

// TestDamage: rows that cannot be read cost no other event, and an index row is made again.
func TestDamage(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Now: newClock().now}
	s := openTest(t, opts)
	var all []string
	for i := range 4 {
		ev := unsigned(person(1), 1, start-int64(i), "")
		mustAdd(t, s, ev, Stored)
		all = append(all, ev.ID)
	}
	err := s.db.Update(func(txn *badger.Txn) error {
		for row, value := range map[string]string{
			string(serialRow(rowMeta, 1)): "short", string(serialRow(rowMeta, 2)): "short", string(serialRow(rowEvent, 2)): "{",
		} {
			if err := txn.Set([]byte(row), []byte(value)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openTest(t, opts)
	if diff := cmp.Diff([]string{all[0], all[2], all[3]}, ids(t, s, nostr.Filter{Kinds: []int{1}})); diff != "" {
		t.Error(diff)
	}
}

// TestVersionsAtOnce: of many versions that come at once the newest stays, told last, and of
// one second the lowest id.
func TestVersionsAtOnce(t *testing.T) {
	const writers, versions = 8, 25
	var told []*nostr.Event
	s := openTest(t, Options{Now: newClock().now, Committed: func(c Commit) { told = append(told, c.Event) }})
	var all []*nostr.Event
	for i := range writers * versions {
		all = append(all, unsigned(person(1), 30000, start-int64(i%10), strconv.Itoa(i), nostr.Tag{"d", "x"}))
	}
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			for _, ev := range all[w*versions : (w+1)*versions] {
				if out := s.Add(context.Background(), Item{Event: ev})[0]; out.Status != Stored && out.Status != Superseded {
					t.Error(out)
				}
			}
		})
	}
	wait.Wait()
	newest := slices.MinFunc(all, func(a, b *nostr.Event) int {
		if newer(a, b) {
			return -1
		}
		return 1
	})
	if diff := cmp.Diff([]string{newest.ID}, ids(t, s, nostr.Filter{})); diff != "" {
		t.Error(diff)
	}
	for i := 1; i < len(told); i++ {
		if !newer(told[i], told[i-1]) {
			t.Error("an older version was told after a newer one")
		}
	}
	if told[len(told)-1] != newest {
		t.Error("the newest version was not told last")
	}
}

// TestJoin: what is stored up to a serial and what is told after it is everything, once, while
// others write.
func TestJoin(t *testing.T) {
	const events, joins = 600, 30
	type join struct {
		from uint64
		live []string
	}
	var live []*join // between commits
	s := openTest(t, Options{Now: newClock().now, Committed: func(c Commit) {
		for _, j := range live {
			if c.Serial <= j.from {
				t.Errorf("serial %d was told after %d", c.Serial, j.from)
			}
			j.live = append(j.live, c.Event.ID)
		}
	}})
	var writers, readers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range events / 4 {
				s.Add(context.Background(), Item{Event: unsigned(person(w), 1, start, strconv.Itoa(i))})
			}
		})
	}
	got := make([][]string, joins)
	all := make([]*join, joins)
	for i := range joins {
		readers.Go(func() {
			j := new(join)
			all[i] = j
			s.Between(func() {
				live = append(live, j)
				j.from = s.last.Load()
			})
			opts := QueryOptions{MaxSerial: max(j.from, 1)}
			err := s.Query(context.Background(), []nostr.Filter{{}}, opts, func(f Found) bool {
				if f.Serial <= j.from {
					got[i] = append(got[i], f.ID.String())
				}
				return true
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	readers.Wait()
	writers.Wait()
	for i, j := range all {
		seen := append(got[i], j.live...)
		slices.Sort(seen)
		if unique := len(slices.Compact(slices.Clone(seen))); unique != len(seen) || unique != events {
			t.Errorf("join %d: %d events, %d of them different, want %d", i, len(seen), unique, events)
		}
	}
}

// TestClosed: calls on a closed store, and those that wait while it closes, are answered.
func TestClosed(t *testing.T) {
	s := openTest(t, Options{Now: newClock().now})
	var wait sync.WaitGroup
	for i := range 50 {
		wait.Go(func() {
			out := s.Add(context.Background(), Item{Event: unsigned(person(1), 1, start, strconv.Itoa(i))})[0]
			if out.Status != Stored && out.Err != ErrClosed {
				t.Error(out)
			}
		})
	}
	s.Close()
	wait.Wait()
	if err := s.SaveEvent(t.Context(), unsigned(person(1), 1, start, "late")); err != ErrClosed {
		t.Errorf("saving after the end: %v", err)
	}
	if err := s.Query(t.Context(), []nostr.Filter{{}}, QueryOptions{}, func(Found) bool { return true }); err != ErrClosed {
		t.Errorf("asking after the end: %v", err)
	}
}

// TestFailedCommit: after a commit that fails everybody gets an error, and nothing is shown.
func TestFailedCommit(t *testing.T) {
	s := openTest(t, Options{Dir: t.TempDir(), Now: newClock().now})
	first := unsigned(person(1), 1, start, "first")
	mustAdd(t, s, first, Stored)
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		ev := unsigned(person(1), 1, start, strconv.Itoa(i))
		if out := s.Add(t.Context(), Item{Event: ev})[0]; out.Status != Failed || out.Err == nil {
			t.Errorf("%v, %v; want a failure", out.Status, out.Err)
		}
		if s.Has(mustKey(t, ev.ID)) {
			t.Error("an event that is not stored is shown")
		}
	}
	if err := s.Watch(t.Context()); err == nil || err != s.Err() {
		t.Errorf("the store says that it has ended by %v, %v", err, s.Err())
	}
}

// TestRefused: what cannot be stored is an error of its own item only.
func TestRefused(t *testing.T) {
	s := openTest(t, Options{Now: newClock().now})
	upper := unsigned(person(1), 1, start, "upper")
	upper.PubKey = strings.ToUpper(upper.PubKey) + ""
	upper.ID = strings.ToUpper(upper.ID)
	big := unsigned(person(1), 1, start, strings.Repeat("x", maxEvent))
	good := unsigned(person(1), 1, start, "good")
	items := []Item{
		{Event: unsigned(person(1), -1, start, "")}, {Event: unsigned(person(1), 70_000, start, "")}, {Event: unsigned(person(1), 1, -1, "")},
		{Event: unsigned(person(1), 1, 1<<32, "")}, {Event: unsigned(person(1), 20_001, start, "")}, {Event: upper}, {Event: big}, {Event: good},
	}
	for i, out := range s.Add(t.Context(), items...) {
		if last := i == len(items)-1; (out.Status == Stored) != last || (out.Err == nil) != last {
			t.Errorf("item %d: %v, %v", i, out.Status, out.Err)
		}
	}
	for _, f := range []nostr.Filter{
		{IDs: []string{"ab"}}, {Authors: []string{strings.ToUpper(good.PubKey[:2]) + "zz"}},
		{Tags: nostr.TagMap{"tt": {"x"}}}, {Limit: -1}, {Search: "x"},
	} {
		if CheckFilter(f) == nil {
			t.Errorf("filter %v is taken", f)
		}
	}
}

// TestEventstore uses the store as khatru would.
func TestEventstore(t *testing.T) {
	var s eventstore.Store = New(Options{Now: newClock().now})
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	old, ev := unsigned(person(1), 0, start-1, "old"), unsigned(person(1), 0, start, "new")
	for _, step := range []struct {
		do   func(context.Context, *nostr.Event) error
		ev   *nostr.Event
		want error
	}{
		{s.SaveEvent, old, nil}, {s.SaveEvent, old, eventstore.ErrDupEvent}, {s.ReplaceEvent, ev, nil}, {s.ReplaceEvent, old, eventstore.ErrDupEvent},
		{s.DeleteEvent, old, nil}, {s.DeleteEvent, ev, nil}, {s.SaveEvent, old, nil},
	} {
		if err := step.do(t.Context(), step.ev); err != step.want {
			t.Errorf("%s: %v, want %v", step.ev.Content, err, step.want)
		}
	}
	found, err := s.QueryEvents(t.Context(), nostr.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	var got []*nostr.Event
	for ev := range found {
		got = append(got, ev)
	}
	if diff := cmp.Diff([]*nostr.Event{old}, got); diff != "" {
		t.Error(diff)
	}
}

// TestManyTags: an event with as many tags as messages have room for is found by each.
func TestManyTags(t *testing.T) {
	s := openTest(t, Options{Dir: t.TempDir(), Now: newClock().now})
	var tags nostr.Tags
	for i := range 2000 {
		tags = append(tags, nostr.Tag{"t", fmt.Sprint(i)}, nostr.Tag{"t", fmt.Sprint(i)})
	}
	ev := unsigned(person(1), 1, start, "", tags...)
	mustAdd(t, s, ev, Stored)
	for _, value := range []string{"0", "7", "23", "24", "1999"} {
		if got := ids(t, s, nostr.Filter{Tags: nostr.TagMap{"t": {value, "none"}}}); len(got) != 1 {
			t.Errorf("%d events with tag %s", len(got), value)
		}
	}
	if err := s.DeleteEvent(t.Context(), ev); err != nil || s.index.byKey.used != 0 || s.index.byID.used != 0 {
		t.Errorf("%d lists are left, %v", s.index.byKey.used, err)
	}
}
