package mirror

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// What strangers can do to a node through its mirror, beside what other relays can.

// TestC3TalkMemory: however much somebody has said under the key of a conversation, what is already there is not read
// into memory to find that out, and of what is lacking there no more is brought than one conversation may say.
func TestC3TalkMemory(t *testing.T) {
	const said, size = 900, 60_000
	b, key := newPerson(t), newPerson(t)
	var ids []string
	brought := make(chan string, said)
	var there atomic.Bool
	var asked atomic.Int32
	url := liar(t, func(say func(...any), label string, parts []json.RawMessage) {
		switch label {
		case "REQ":
			var f nostr.Filter
			_ = json.Unmarshal(parts[1], &f)
			if f.Limit > 1 && slices.Contains(f.Authors, key.public) && there.Load() {
				asked.Add(1)
				for i, id := range ids {
					say("EVENT", parts[0], nostr.Event{ID: id, PubKey: key.public, Kind: kindMessage, CreatedAt: nostr.Now() - nostr.Timestamp(i)})
				}
			}
			say("EOSE", parts[0])
		case "EVENT":
			var ev nostr.Event
			_ = json.Unmarshal(parts[0], &ev)
			brought <- ev.Content[:3]
			say("OK", ev.ID, true, "")
		}
	})
	a := newInstance(t, "a")
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{url}}}
	a.start()
	for n := 0; n < said; n += 100 {
		var evs []*nostr.Event
		for i := range 100 {
			ev := key.sign(t, nostr.Event{
				Kind: kindMessage, CreatedAt: nostr.Now() - nostr.Timestamp(said-n-i), Tags: nostr.Tags{{"p", strings.Repeat("5", 64)}},
				Content: fmt.Sprintf("%03d", n+i) + strings.Repeat("x", size),
			})
			ids, evs = append([]string{ev.ID}, ids...), append(evs, &ev)
		}
		for _, taken := range a.relay.Take(t.Context(), "elsewhere", evs) {
			if !taken.New {
				t.Fatalf("%+v", taken)
			}
		}
	}
	there.Store(true)
	eventually(t, "it is connected", func() bool { return a.health(url).State == Live })
	p := a.mirror.list()[0]
	l := p.link.Load()
	level := func() error {
		return p.levelTalks(t.Context(), l, []string{key.public}, func(*nostr.Event) {})
	}
	walk := func() error { // what the other relay tells of is heard in either case, and said in this process too
		since := nostr.Now() - nostr.Timestamp(talkPast.Seconds())
		_, err := l.walkMost(t.Context(), p.talkOf([]string{key.public})[0], int64(since), course{mostOld, unhurried, l.fetchOnce}, func(*nostr.Event) {})
		return err
	}
	// Others allocate meanwhile, so the least of several times counts. Each time the other relay is asked.
	least := func(do func() error) (allocated int64) {
		allocated = math.MaxInt64
		for range 5 {
			var before, after runtime.MemStats
			first := asked.Load()
			runtime.ReadMemStats(&before)
			if err := do(); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if asked.Load() == first {
				t.Fatal("the other relay was not asked")
			}
			allocated = min(allocated, int64(after.TotalAlloc-before.TotalAlloc))
		}
		return allocated
	}
	if n := least(level) - least(walk); n > said*size/4 {
		t.Errorf("%d MB were allocated to find out that nothing is lacking", n>>20)
	}
	there.Store(false)
	p.talkOut.SetBurst(said)
	if err := level(); err != nil {
		t.Fatal(err)
	}
	if n := len(brought); n < talkBurst || n > talkBurst+50 {
		t.Errorf("%d messages of one conversation were brought, want %d", n, talkBurst)
	}
	for last := ""; len(brought) > 0; {
		next := <-brought
		if next <= last {
			t.Fatalf("message %s was brought after %s", next, last)
		}
		last = next
	}
}
