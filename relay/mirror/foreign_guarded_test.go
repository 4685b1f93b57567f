package mirror

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestForeignGuarded: a relay that refuses questions by id alone, since they could be about messages to others, is read.
func TestForeignGuarded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, p := newPerson(t), idlePlain(50)
		negotiate := negotiates(p)
		p.manner = func() manner {
			rest := negotiate()
			return func(say func(...any), label string, parts []json.RawMessage) bool {
				var f nostr.Filter
				if label == "REQ" && json.Unmarshal(parts[1], &f) == nil && len(f.Kinds) == 0 {
					say("CLOSED", parts[0], "error: you cannot request another user's gift wrap")
					return true
				}
				return rest(say, label, parts)
			}
		}
		want := []nostr.Event{b.offer(t, "one", 0), b.info(t, 0)}
		p.add(want...)
		a, url := abroad(t, p, follows(b))
		eventually(t, "the book is here", func() bool { return bytes.Equal(a.book(b.public), lines(want)) })
		if h := a.health(url); !h.Negentropy || h.Sessions != 1 {
			t.Errorf("health %+v", h)
		}
	})
}
