package mirror

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestC3LargePages: of a page only so many bytes are held, however large the events are that a relay gives out, and what
// is behind that comes with the next ones.
func TestC3LargePages(t *testing.T) {
	const many, size = 150, 100 << 10
	b := newPerson(t)
	p := newPlain(t, pageEvents, "127.0.0.1:0")
	now := nostr.Now()
	for i := range many { // some seconds have several
		p.save(b.sign(t, nostr.Event{Kind: kindOrder, CreatedAt: now - nostr.Timestamp(i/3), Content: strings.Repeat("x", size), Tags: nostr.Tags{{"d", fmt.Sprint(i)}}}))
	}
	l, err := Dial(Direct).connect(t.Context(), p.url, agent, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	f := nostr.Filter{Kinds: []int{kindOrder}, Limit: pageEvents}
	c := course{most: many, wait: unhurried, ask: l.fetch}
	page, more, err := c.page(t.Context(), f, 0, now)
	if err != nil || !more.cut || len(page) == 0 || len(page) > intakeBytes/size {
		t.Errorf("a page of %d events of 100 KiB, cut: %v (%v)", len(page), more.cut, err)
	}
	got := make(map[string]bool)
	if gap, err := l.walk(t.Context(), f, 0, func(ev *nostr.Event) { got[ev.ID] = true }); err != nil || gap || len(got) != many {
		t.Errorf("%d of %d events came, gap: %v (%v)", len(got), many, gap, err)
	}
	// More in one second than is held of a page may be missed, and that is known.
	for i := range many {
		p.save(b.sign(t, nostr.Event{Kind: kindOrder, CreatedAt: now + 1, Content: strings.Repeat("x", size), Tags: nostr.Tags{{"d", fmt.Sprint(i)}}}))
	}
	if gap, err := l.walk(t.Context(), f, 0, func(*nostr.Event) {}); err != nil || !gap {
		t.Errorf("a second of %d large events: gap %v (%v)", many, gap, err)
	}
}

// TestWalkReplaced: a walk comes to the end although all that it has seen of the second where a page ended is replaced
// before the next page, and the second after that one fills a page.
func TestWalkReplaced(t *testing.T) {
	const limit = 4
	kinds := []int{kindOrder, 38384} // half of a page is of each, so that no second is too much for one
	b := newPerson(t)
	p := idlePlain(limit)
	p.listens = listenAt
	at := nostr.Now() - 1000
	place := func(second, i int) string { return fmt.Sprint(second, " ", i) }
	save := func(second, i int, at nostr.Timestamp) {
		p.save(b.sign(t, nostr.Event{Kind: kinds[i%2], CreatedAt: at, Tags: nostr.Tags{{"d", place(second, i)}}}))
	}
	for second := range 4 { // back in time
		for i := range limit {
			save(second, i, at-nostr.Timestamp(second))
		}
	}
	const replaced = 1
	var asked atomic.Int64
	p.manner = func() manner {
		return func(_ func(...any), label string, parts []json.RawMessage) bool {
			var f nostr.Filter
			if label != "REQ" || json.Unmarshal(parts[1], &f) != nil || f.Until == nil || *f.Until != at-replaced {
				return false
			}
			if asked.Add(1) == 2 {
				for i := range limit {
					save(replaced, i, at+500)
				}
			}
			return false
		}
	}
	p.listen(t, "127.0.0.1:0")
	l, err := Dial(Direct).connect(t.Context(), p.url, agent, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	got := make(map[string]bool)
	gap, err := l.walk(t.Context(), nostr.Filter{Kinds: kinds}, 0, func(ev *nostr.Event) { got[ev.Tags.GetD()] = true })
	if err != nil || gap {
		t.Fatalf("gap: %v (%v)", gap, err)
	}
	for second := range 4 {
		for i := range limit {
			if !got[place(second, i)] {
				t.Errorf("event %s has not come", place(second, i))
			}
		}
	}
	if n := asked.Load(); n < 2 {
		t.Errorf("the second was asked for %d times, so nothing was replaced in between", n)
	}
}
