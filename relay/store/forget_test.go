package store

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestForget floods a store with deletions of what was there, of what was not, and of what comes later, in a random world
// that starts anew now and then. There are never many more tombstones than there should be, and nothing that was deleted comes back: not by
// being sent again, not across restarts, and not because its tombstone is gone.
func TestForget(t *testing.T) {
	const (
		rounds, events = 8, 300
		most           = 12
		stay           = 6 // seconds
	)
	seed := seed(t)
	forgot := 0
	for round := range rounds {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		clock := newClock()
		m := &model{now: clock.now, node: person(0)}
		disk := round%4 == 0 // only such a store can start anew, and each event is a sync
		opts := Options{
			Now: clock.now, Protected: m.protected, IndexBytes: indexBudgets[r.IntN(len(indexBudgets))],
			Vanishes:      func(*nostr.Event) bool { return true },
			MaxTombstones: most, TombstonesStay: stay * time.Second,
		}
		if disk {
			opts.Dir = t.TempDir()
		}
		s := openTest(t, opts)
		w := &world{rand: r, now: clock.now}
		second := func() int64 { return clock.now().Unix() - int64(r.IntN(20)) }
		var sent, gone []*nostr.Event
		make := func() *nostr.Event {
			known := func() *nostr.Event { return sent[r.IntN(len(sent))] }
			switch n := r.IntN(10); {
			case len(sent) < 5 || n < 3:
				return unsigned(w.author(), worldKinds[r.IntN(len(worldKinds))], second(), strconv.Itoa(r.Int()), nostr.Tag{"d", strconv.Itoa(r.IntN(3))}, nostr.Tag{"p", w.author().String()})
			case n < 5:
				return known()
			case n == 9 && r.IntN(10) == 0:
				return unsigned(w.author(), 62, second(), strconv.Itoa(r.Int()), nostr.Tag{"relay", "ALL_RELAYS"})
			case n == 8:
				target := known()
				by, _ := ParseKey(target.PubKey)
				return unsigned(by, 5, second(), strconv.Itoa(r.Int()), nostr.Tag{"a", modelAddress(target)})
			case n == 7: // in advance
				later := unsigned(w.author(), 1, second(), strconv.Itoa(r.Int()))
				sent = append(sent, later)
				by, _ := ParseKey(later.PubKey)
				return unsigned(by, 5, second(), "", nostr.Tag{"e", later.ID})
			default:
				target := known()
				by, _ := ParseKey(target.PubKey)
				if to := target.Tags.Find("p"); target.Kind == 1059 && to != nil && r.IntN(2) == 0 {
					by, _ = ParseKey(to[1])
				}
				return unsigned(by, 5, second(), strconv.Itoa(r.Int()), nostr.Tag{"e", target.ID})
			}
		}
		for range events {
			ev := make()
			sent = append(sent, ev)
			out := s.Add(t.Context(), Item{Event: ev})[0]
			switch {
			case out.Err != nil && out.Err != ErrTombstones:
				t.Fatal(out.Err)
			case out.Status == Stored && (ev.Kind == 5 || ev.Kind == 62):
				gone = append(gone, ev)
			case out.Status == TooOld && int64(ev.CreatedAt) > clock.now().Unix()-stay:
				t.Fatalf("round %d: an event of %d s ago is too old", round, clock.now().Unix()-int64(ev.CreatedAt))
			}
			if r.IntN(4) == 0 {
				clock.second.Add(int64(r.IntN(5)))
			}
			switch r.IntN(20) {
			case 0, 1, 2:
				before := s.Tombstones()
				if err := s.Forget(t.Context()); err != nil {
					t.Fatal(err)
				}
				forgot += before - s.Tombstones()
			case 3:
				if !disk {
					break
				}
				was := s.Tombstones()
				s.Close()
				s = openTest(t, opts)
				if got := s.Tombstones(); got != was {
					t.Fatalf("round %d: %d tombstones after a restart, want %d", round, got, was)
				}
			}
			if n := s.Tombstones(); n > 2*most+2 {
				t.Fatalf("round %d: %d tombstones, of at most %d", round, n, 2*most)
			}
		}
		// The flood is over: all that is old enough goes, and then everything is sent once more.
		clock.second.Add(inAdvance + 100)
		if err := s.Forget(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := s.Tombstones(); n > most {
			t.Errorf("round %d: %d tombstones are left", round, n)
		}
		for _, ev := range sent {
			s.Add(t.Context(), Item{Event: ev})
		}
		found := map[string]bool{}
		for _, id := range ids(t, s, nostr.Filter{}) {
			found[id] = true
		}
		for _, ev := range sent {
			for _, by := range gone {
				if found[ev.ID] && m.removes(by, ev) {
					t.Errorf("round %d: event of kind %d of second %d, deleted by kind %d of second %d, is back", round, ev.Kind, ev.CreatedAt-start, by.Kind, by.CreatedAt-start)
				}
			}
		}
		s.Close()
	}
	if forgot < 100 {
		t.Errorf("only %d tombstones were ever forgotten", forgot)
	}
}

// TestForgetInterrupted: a crash after the floor was raised and before the tombstones are gone loses nothing.
func TestForgetInterrupted(t *testing.T) {
	clock := newClock()
	opts := Options{Dir: t.TempDir(), Now: clock.now, MaxTombstones: 5, TombstonesStay: time.Second}
	s := openTest(t, opts)
	var notes []*nostr.Event
	for i := range 10 {
		note := unsigned(person(i), 1, start+int64(i), "note")
		mustAdd(t, s, note, Stored)
		mustAdd(t, s, unsigned(person(i), 5, start+int64(i), "", nostr.Tag{"e", note.ID}), Stored)
		notes = append(notes, note)
	}
	if out := s.Add(t.Context(), Item{Event: unsigned(person(11), 5, start, "", nostr.Tag{"e", notes[0].ID})})[0]; out.Err != ErrTombstones {
		t.Errorf("a deletion beyond the limit: %v, %v", out.Status, out.Err)
	}
	if out := s.Add(t.Context(), Item{Own: true, Event: unsigned(person(11), 5, start, "", nostr.Tag{"e", notes[0].ID})})[0]; out.Err != nil {
		t.Errorf("the node's own: %v", out.Err)
	}
	clock.second.Add(60)
	if err := s.do(t.Context(), &request{floor: start + 5}); err != nil {
		t.Fatal(err)
	}
	opts.Dir = crash(t, opts.Dir)
	s = openTest(t, opts)
	mustAdd(t, s, notes[3], Deleted)
	mustAdd(t, s, unsigned(person(3), 1, start+5, "never deleted"), TooOld)
	mustAdd(t, s, unsigned(person(3), 1, start+6, "younger"), Stored)
	if err := s.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.Tombstones(); got != 4 {
		t.Errorf("%d tombstones are left", got)
	}
	s.Close()
	s = openTest(t, opts)
	for i, note := range notes {
		want := Deleted
		if i < 7 {
			want = TooOld
		}
		mustAdd(t, s, note, want)
	}
}

// TestForgetMany: more go than in one batch.
func TestForgetMany(t *testing.T) {
	clock := newClock()
	s := openTest(t, Options{Now: clock.now, MaxTombstones: 1000, TombstonesStay: time.Second})
	const deletions, ids = 7, 900
	for i := range deletions {
		var tags nostr.Tags
		for k := range ids {
			id := person(i*ids + k)
			tags = append(tags, nostr.Tag{"e", id.String()})
		}
		if out := s.Add(t.Context(), Item{Own: true, Event: unsigned(person(1), 5, start+int64(i), "", tags...)})[0]; out.Status != Stored {
			t.Fatal(out)
		}
		clock.second.Add(10) // they are of different times
	}
	clock.second.Add(2 * inAdvance)
	if err := s.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := 0
	if err := s.eachTombstone(func([]byte, int64) error { left++; return nil }); err != nil || left != s.Tombstones() || left != 0 {
		t.Errorf("%d tombstones are left, %d are counted, %v", left, s.Tombstones(), err)
	}
}

// TestForgetLooksSeldom: while there are too many tombstones and nearly all are young, a call costs nothing. All are looked
// through when a twentieth of the limit can go, or has come.
func TestForgetLooksSeldom(t *testing.T) {
	const most, stay = 200, 1000
	clock := newClock()
	looks := 0
	s := openTest(t, Options{Now: clock.now, MaxTombstones: most, TombstonesStay: stay * time.Second, Log: slog.New(counting{"looked through", &looks})})
	add := func(n int) {
		for range n {
			target := unsigned(person(1), 1, clock.now().Unix(), strconv.Itoa(s.Tombstones()))
			mustAdd(t, s, target, Stored)
			mustAdd(t, s, unsigned(person(1), 5, clock.now().Unix(), strconv.Itoa(s.Tombstones()), nostr.Tag{"e", target.ID}), Stored)
			clock.second.Add(1)
		}
	}
	wants := func(what string, calls, want, left int) {
		t.Helper()
		looks = 0
		for range calls {
			if err := s.Forget(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if looks != want || s.Tombstones() != left {
			t.Errorf("%s: %d looks, want %d; %d tombstones are left, want %d", what, looks, want, s.Tombstones(), left)
		}
	}
	add(most)
	wants("as many as may be", 3, 0, most)
	add(5)
	wants("too many, all of them young", 10, 1, most+5)
	add(4)
	wants("some more", 10, 0, most+9)
	add(20)
	wants("many more", 10, 1, most+29)
	clock.second.Add(stay - (most + 29)) // the first becomes old enough
	wants("one could go", 10, 0, most+29)
	clock.second.Add(5)
	wants("some could go", 10, 0, most+29)
	clock.second.Add(4)
	wants("a twentieth can go", 10, 1, most+19)
	clock.second.Add(stay)
	wants("all can go", 10, 1, most*tombstonesLeft/5)
}

// TestForgetAgain: when tombstones could not be removed, the next call does it, however few they are.
func TestForgetAgain(t *testing.T) {
	const most, stay = 200, 1000
	clock := newClock()
	ctx, cancel := context.WithCancel(t.Context())
	s := openTest(t, Options{Now: clock.now, MaxTombstones: most, TombstonesStay: stay * time.Second, Log: slog.New(ending{cancel})})
	for i := range most + 5 {
		id := person(i)
		mustAdd(t, s, unsigned(person(1), 5, clock.now().Unix(), "", nostr.Tag{"e", id.String()}), Stored)
		clock.second.Add(1)
	}
	clock.second.Add(inAdvance + stay - (most + 5) + 2)
	before := s.Tombstones()
	if err := s.Forget(ctx); err == nil {
		t.Error("it did not end before the removal")
	}
	if err := s.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := s.Tombstones(); left >= before {
		t.Errorf("%d of %d tombstones are left", left, before)
	}
}

// ending ends a context with what the log says before tombstones are removed.
type ending struct{ cancel context.CancelFunc }

func (e ending) Enabled(context.Context, slog.Level) bool { return true }
func (e ending) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "deletions are forgotten") {
		e.cancel()
	}
	return nil
}
func (e ending) WithAttrs([]slog.Attr) slog.Handler { return e }
func (e ending) WithGroup(string) slog.Handler      { return e }

// counting counts the messages of a log that begin so.
type counting struct {
	text string
	n    *int
}

func (c counting) Enabled(context.Context, slog.Level) bool { return true }
func (c counting) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, c.text) {
		*c.n++
	}
	return nil
}
func (c counting) WithAttrs([]slog.Attr) slog.Handler { return c }
func (c counting) WithGroup(string) slog.Handler      { return c }
