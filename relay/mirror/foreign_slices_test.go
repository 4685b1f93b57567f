package mirror

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
)

// TestForeignShortSecond: a relay whose negentropy is of its newest events only, and one second of which has more than it names
// at once, is read by windows, and what is older is not missed either. One that names all, be they of one second, is not
// taken for it.
func TestForeignShortSecond(t *testing.T) {
	const most, size = 100, 150
	for name, c := range map[string]struct {
		names        int // at once
		older, newer bool
	}{
		"cut": {most, true, false}, "cut, and nothing older": {most, false, true}, "cut, between others": {most, true, true},
		"all": {2 * size, true, false}, "all, and nothing older": {2 * size, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			b, p := newPerson(t), idlePlain(2*size)
			p.manner = negotiates(p)
			p.names = c.names
			p.listen(t, "127.0.0.1:0")
			var want []nostr.Event
			at := nostr.Now() - 1000
			for i := range size {
				want = append(want, b.offer(t, fmt.Sprint(i), at))
			}
			for i := range most / 2 {
				if c.newer {
					want = append(want, b.offer(t, fmt.Sprint("new ", i), at+nostr.Timestamp(1+i)))
				}
			}
			for i := range 3 * most {
				if c.older {
					want = append(want, b.offer(t, fmt.Sprint("old ", i), at-nostr.Timestamp(1+i)))
				}
			}
			p.add(want...)
			a := newInstance(t, "a")
			a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
			a.start()
			eventually(t, "it is compared", func() bool { return a.health(p.url).State == Live })
			if h := a.health(p.url); !bytes.Equal(a.book(b.public), lines(want)) || h.Negentropy != (c.names > most) {
				t.Errorf("%d of %d events are here; health %+v", bytes.Count(a.book(b.public), []byte("\n")), len(want), h)
			}
		})
	}
}

// TestForeignEndless: a relay that in each answer names something older, without end, is not followed for ever.
func TestForeignEndless(t *testing.T) {
	b, p := newPerson(t), idlePlain(50)
	var mu sync.Mutex
	made, asked := make(map[string]nostr.Event), 0
	p.about = `{"supported_nips":[1,77]}`
	p.manner = func() manner {
		return func(say func(...any), label string, parts []json.RawMessage) bool {
			mu.Lock()
			defer mu.Unlock()
			var f nostr.Filter
			if len(parts) > 1 {
				_ = json.Unmarshal(parts[1], &f)
			}
			switch {
			case label == "NEG-OPEN":
				asked++
				until := nostr.Now()
				if f.Until != nil {
					until = *f.Until
				}
				ev := b.unsigned("x", until-1)
				made[ev.ID] = ev
				var message string
				_ = json.Unmarshal(parts[2], &message)
				b, _ := hex.DecodeString(message)
				answer, _ := reconcile.Set{{Created: uint64(ev.CreatedAt), ID: idOf(ev.ID)}}.Answer(b, 1<<20)
				say("NEG-MSG", parts[0], hex.EncodeToString(answer))
			case label == "REQ" && len(f.IDs) > 0:
				for _, id := range f.IDs {
					say("EVENT", parts[0], made[id])
				}
				say("EOSE", parts[0])
			default:
				return false
			}
			return true
		}
	}
	p.listen(t, "127.0.0.1:0")
	a := newInstance(t, "a")
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
	a.start()
	eventually(t, "it comes to an end", func() bool { return a.health(p.url).State == Live })
	mu.Lock()
	defer mu.Unlock()
	if asked != maxSlices {
		t.Errorf("it was asked %d times: %+v", asked, a.health(p.url))
	}
}
