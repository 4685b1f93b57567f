package relay

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// Tests in this file are named after wrong answers that these libraries gave: lost, kept,
// repeated and mistaken events.

func TestC1StrangersDeletion(t *testing.T) {
	_, url := start(t, Config{})
	w := dial(t, url)
	alice, mallory := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	note := signed(t, alice, nostr.Event{Kind: 1, Content: "still here"})
	order := signed(t, alice, nostr.Event{Kind: 30_023, Tags: nostr.Tags{{"d", "x"}}})
	published := signed(t, alice, nostr.Event{Kind: 1, Content: "was here before"})
	address := "30023:" + order.PubKey + ":x"
	for _, ev := range []nostr.Event{
		published,
		signed(t, mallory, nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", note.ID}, {"e", published.ID}, {"a", address}}}),
		note, order,
	} {
		if ok, reason := w.publish(ev); !ok {
			t.Errorf("kind %d: %s", ev.Kind, reason)
		}
	}
	if found := w.query(`{"authors":["` + note.PubKey + `"]}`); len(found) != 3 {
		t.Errorf("%d events of the victim are left, want 3", len(found))
	}
}

func TestC1DeletedStaysDeleted(t *testing.T) {
	dir := t.TempDir()
	alice, bob := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	now := nostr.Now()
	note := signed(t, alice, nostr.Event{Kind: 1, Content: "delete me"})
	unseen := signed(t, alice, nostr.Event{Kind: 1, Content: "deleted before it came"})
	profile := signed(t, alice, nostr.Event{Kind: 0, CreatedAt: now - 10})
	first := signed(t, alice, nostr.Event{Kind: 30_023, CreatedAt: now - 20, Tags: nostr.Tags{{"d", ""}}})
	second := signed(t, alice, nostr.Event{Kind: 30_023, CreatedAt: now - 10, Tags: nostr.Tags{{"d", ""}}})
	third := signed(t, alice, nostr.Event{Kind: 30_023, CreatedAt: now, Tags: nostr.Tags{{"d", ""}}})
	wrap := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1059, Tags: nostr.Tags{{"p", publicKey(t, bob)}}})
	deletion := signed(t, alice, nostr.Event{Kind: 5, CreatedAt: now - 5, Tags: nostr.Tags{
		{"e", note.ID}, {"e", unseen.ID}, {"a", "0:" + note.PubKey + ":"}, {"a", "30023:" + note.PubKey + ":"},
	}})
	ofDeletion := signed(t, alice, nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", deletion.ID}}})
	ofWrap := signed(t, bob, nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", wrap.ID}}})

	r, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	publish := func(ev nostr.Event, want string) {
		t.Helper()
		if _, reason := r.ingest(t.Context(), &ev); !strings.HasPrefix(reason, want) || (want == "") != (reason == "") {
			t.Errorf("kind %d: answer %q, want %q", ev.Kind, reason, want)
		}
	}
	for _, ev := range []nostr.Event{note, profile, second, wrap, deletion, ofDeletion, ofWrap} {
		publish(ev, "")
	}
	check := func() {
		t.Helper()
		for _, ev := range []nostr.Event{note, unseen, profile, first, second, wrap} {
			publish(ev, "blocked: ")
		}
		publish(deletion, "duplicate: ")
		found, err := r.Query(t.Context(), nostr.Filter{Kinds: []int{0, 1, 1059, 30_023}})
		if err != nil || len(found) != 0 {
			t.Errorf("%d deleted events are left, %v", len(found), err)
		}
	}
	check()
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err = Open(Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	check()
	publish(third, "") // later than the deletion
}

func TestC1ConcurrentRevisions(t *testing.T) {
	r, url := start(t, Config{})
	alice := nostr.GeneratePrivateKey()
	now := nostr.Now()
	reader := dial(t, url)
	reader.write(`["REQ","live",{"kinds":[30023]}]`)
	reader.next()
	const n = 64
	var publishers sync.WaitGroup
	for i := range n {
		w := dial(t, url)
		ev := signed(t, alice, nostr.Event{Kind: 30_023, CreatedAt: now - nostr.Timestamp(i), Tags: nostr.Tags{{"d", "x"}}})
		publishers.Go(func() {
			if ok, reason := w.publish(ev); !ok && !strings.HasPrefix(reason, "duplicate: ") {
				t.Error(reason)
			}
		})
	}
	publishers.Wait()
	found, err := r.Query(t.Context(), nostr.Filter{Kinds: []int{30_023}})
	if err != nil || len(found) != 1 || found[0].CreatedAt != now {
		t.Errorf("stored %v, %v, want only the newest", found, err)
	}
	// Live events never go back in time, and end with the newest.
	for last := nostr.Timestamp(0); last != now; {
		ev := reader.event(reader.next())
		if ev.CreatedAt <= last {
			t.Fatalf("version %d was sent after %d", ev.CreatedAt, last)
		}
		last = ev.CreatedAt
	}
}

func Test2b1AddressNeighbors(t *testing.T) {
	_, url := start(t, Config{})
	alice := nostr.GeneratePrivateKey()
	w := dial(t, url)
	now := nostr.Now()
	for i, d := range []string{"article-10", "article-1", "", "article-1", "", "article"} {
		ev := signed(t, alice, nostr.Event{Kind: 30_023, CreatedAt: now + nostr.Timestamp(i), Tags: nostr.Tags{{"d", d}}})
		if ok, reason := w.publish(ev); !ok {
			t.Fatal(reason)
		}
	}
	var got []string
	for _, ev := range w.query(`{"kinds":[30023]}`) {
		got = append(got, fmt.Sprintf("%q %d", ev.Tags.GetD(), ev.CreatedAt-now))
	}
	want := []string{`"article" 5`, `"" 4`, `"article-1" 3`, `"article-10" 0`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func Test2b2TagPrefixes(t *testing.T) {
	_, url := start(t, Config{})
	alice := nostr.GeneratePrivateKey()
	w := dial(t, url)
	long := strings.Repeat("u", 300)
	for _, tags := range []nostr.Tags{
		{{"t", "usd"}}, {{"t", "usdt-zz"}}, {{"t", "usd"}, {"t", "usdt"}, {"t", "usd"}}, {{"t", long}}, {{"t", long + "x"}},
		{{"T", "usd"}}, {{"a", "1:" + strings.Repeat("ab", 32) + ":x"}}, {{"q", "1:" + strings.Repeat("ab", 32) + ":x"}}, {{"t", ""}},
	} {
		if ok, reason := w.publish(signed(t, alice, nostr.Event{Kind: 1, Tags: tags})); !ok {
			t.Fatal(reason)
		}
	}
	for filter, want := range map[string]int{
		`{"#t":["usd"]}`:                                      2,
		`{"#t":["usd","usdt"]}`:                               2, // 2b4: once each
		`{"#t":["usdt-zz","usd"]}`:                            3,
		`{"#t":["` + long + `"]}`:                             1,
		`{"#t":[""]}`:                                         1,
		`{"#t":["us"]}`:                                       0,
		`{"#T":["usd"]}`:                                      1,
		`{"#t":["usd"],"#T":["usd"]}`:                         0,
		`{"#t":["usd"],"since":1,"until":2}`:                  0,
		`{"#t":[]}`:                                           0,
		`{"#a":["1:` + strings.Repeat("ab", 32) + `:x"]}`:     1,
		`{"#t":["usd"]},{"kinds":[1],"#t":["usd","usdt-zz"]}`: 3,
		`{"#t":["usd","usdt-zz"],"limit":1}`:                  1,
	} {
		if got := len(w.query(filter)); got != want {
			t.Errorf("%s: %d events, want %d", filter, got, want)
		}
	}
}

func Test2b3IDsWithMore(t *testing.T) {
	_, url := start(t, Config{})
	w := dial(t, url)
	ev := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1, Tags: nostr.Tags{{"t", "x"}}})
	if ok, reason := w.publish(ev); !ok {
		t.Fatal(reason)
	}
	for more, want := range map[string]int{
		``: 1, `,"kinds":[1]`: 1, `,"kinds":[2]`: 0, `,"since":99999999999`: 0, `,"until":5`: 0, `,"#t":["y"]`: 0,
		`,"authors":["` + strings.Repeat("ab", 32) + `"]`: 0, `,"#t":["x"]`: 1,
	} {
		if got := len(w.query(`{"ids":["` + ev.ID + `"]` + more + `}`)); got != want {
			t.Errorf("ids%s: %d events, want %d", more, got, want)
		}
	}
}

func Test2b7StaleAndDuplicate(t *testing.T) {
	_, url := start(t, Config{})
	alice := nostr.GeneratePrivateKey()
	now := nostr.Now()
	old := signed(t, alice, nostr.Event{Kind: 0, CreatedAt: now - 5})
	current := signed(t, alice, nostr.Event{Kind: 0, CreatedAt: now})
	mark := signed(t, alice, nostr.Event{Kind: 1})
	reader := dial(t, url)
	reader.write(`["REQ","live",{}]`)
	reader.next()
	w := dial(t, url)
	for _, c := range []struct {
		ev     nostr.Event
		ok     bool
		prefix string
	}{
		{current, true, ""}, {current, true, "duplicate: "}, {old, false, "duplicate: "}, {mark, true, ""},
	} {
		if ok, reason := w.publish(c.ev); ok != c.ok || !strings.HasPrefix(reason, c.prefix) {
			t.Errorf("kind %d at %d: %v %q", c.ev.Kind, c.ev.CreatedAt-now, ok, reason)
		}
	}
	for _, want := range []string{current.ID, mark.ID} {
		if got := reader.event(reader.next()); got.ID != want {
			t.Errorf("live: kind %d at %d", got.Kind, got.CreatedAt-now)
		}
	}
}

// Test2b9StoredAndLive: while events pour in, a subscription gets each of them once.
func Test2b9StoredAndLive(t *testing.T) {
	r, url := start(t, Config{})
	const n = 300
	events := make([]nostr.Event, n)
	for i := range events {
		events[i] = signed(t, nodeKey, nostr.Event{Kind: 1, Content: fmt.Sprint(i)})
	}
	var work sync.WaitGroup
	work.Go(func() {
		for _, ev := range events {
			if err := r.Publish(t.Context(), ev); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 8 {
		w := dial(t, url)
		work.Go(func() {
			w.write(`["REQ","all",{"kinds":[1]},{"authors":["` + events[0].PubKey + `"]}]`)
			seen := make(map[string]bool)
			for len(seen) < n {
				parts := w.next()
				if string(parts[0]) == `"EOSE"` {
					continue
				}
				ev := w.event(parts)
				if seen[ev.ID] {
					t.Errorf("event %s was sent twice", ev.Content)
					return
				}
				seen[ev.ID] = true
			}
		})
	}
	work.Wait()
}

func Test2b10ConcurrentDuplicates(t *testing.T) {
	r, url := start(t, Config{})
	reader := dial(t, url)
	reader.write(`["REQ","live",{}]`)
	reader.next()
	alice := nostr.GeneratePrivateKey()
	ev := signed(t, alice, nostr.Event{Kind: 1})
	var publishers sync.WaitGroup
	for range 8 {
		w := dial(t, url)
		publishers.Go(func() {
			if ok, reason := w.publish(ev); !ok {
				t.Error(reason)
			}
		})
	}
	publishers.Wait()
	if found, err := r.Query(t.Context(), nostr.Filter{}); err != nil || len(found) != 1 {
		t.Errorf("stored %d copies, %v", len(found), err)
	}
	mark := signed(t, alice, nostr.Event{Kind: 2})
	dial(t, url).publish(mark)
	reader.event(reader.next())
	if got := reader.event(reader.next()); got.ID != mark.ID {
		t.Error("a duplicate was sent to a subscription")
	}
}

func Test2b11Expiration(t *testing.T) {
	clock := &clock{now: time.Now()}
	r, url := startAt(t, Config{}, clock.time)
	w := dial(t, url)
	alice := nostr.GeneratePrivateKey()
	ev := signed(t, alice, nostr.Event{Kind: 1, Tags: nostr.Tags{{"expiration", fmt.Sprint(clock.now.Unix() + 60)}}})
	stays := signed(t, alice, nostr.Event{Kind: 1})
	for _, ev := range []nostr.Event{ev, stays} {
		if ok, reason := w.publish(ev); !ok {
			t.Fatal(reason)
		}
	}
	if got := len(w.query(`{}`)); got != 2 {
		t.Errorf("%d events before the time, want 2", got)
	}
	clock.add(time.Minute)
	if got := len(w.query(`{}`)); got != 1 {
		t.Errorf("%d events after the time, want 1", got)
	}
	if r.store.Len() != 2 {
		t.Error("the sweep came before its turn")
	}
	if ok, reason := w.publish(ev); ok || !strings.HasPrefix(reason, "invalid: the event has expired") {
		t.Errorf("an expired event that is not swept yet: %v %q", ok, reason)
	}
	if _, err := r.store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.store.Len(); got != 1 {
		t.Errorf("%d bodies after the sweep, want 1", got)
	}
	if ok, reason := w.publish(ev); ok || !strings.HasPrefix(reason, "invalid: ") {
		t.Errorf("an expired event came back: %v %q", ok, reason)
	}
}
