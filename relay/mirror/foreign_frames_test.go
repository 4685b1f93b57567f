package mirror

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
)

// TestForeignFrames: words of negentropy may be as large as other relays make them: 500,000 bytes (strfry) and 1 MiB (khatru),
// and twice that in hex. Nothing else may.
func TestForeignFrames(t *testing.T) {
	const size = 40_000
	book := make(reconcile.Set, size)
	for i := range book {
		book[i].Created = uint64(1_700_000_000 + i)
		binary.BigEndian.PutUint64(book[i].ID[:], uint64(i))
	}
	none := func(context.Context, nostr.Filter, int) (reconcile.Set, error) { return nil, nil }
	for _, most := range []int{500_000, 1 << 20} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			words, largest := 0, 0
			url := liar(t, func(say func(...any), label string, parts []json.RawMessage) {
				var message string
				switch label {
				case "NEG-OPEN":
					_ = json.Unmarshal(parts[2], &message)
				case "NEG-MSG":
					_ = json.Unmarshal(parts[1], &message)
				case "REQ":
					if strings.Contains(string(parts[1]), `"ids"`) { // how old the first are
						say("EOSE", parts[0])
						return
					}
					say("EVENT", parts[0], nostr.Event{Content: strings.Repeat("x", maxFrame)})
					return
				default:
					return
				}
				b, _ := hex.DecodeString(message)
				answer, err := book.Answer(b, most)
				if err != nil {
					t.Error(err)
				}
				words, largest = words+1, max(largest, len(answer))
				say("NEG-MSG", parts[0], hex.EncodeToString(answer))
			})
			l, err := Dial(Direct).connect(t.Context(), url, agent, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer l.close()
			d, err := l.differ(t.Context(), nostr.Filter{}, size, none)
			if err != nil || len(d.Need) != size {
				t.Fatalf("%d of %d ids came: %v", len(d.Need), size, err)
			}
			t.Logf("%d ids in %d words of up to %d bytes", size, words, largest)
			if largest < most/2 {
				t.Errorf("the relay said no more than %d bytes at once", largest)
			}
			if err := l.fetch(t.Context(), nostr.Filter{Kinds: []int{1}}, func(*nostr.Event) {}); !errors.Is(err, errLinkEnded) {
				t.Errorf("an event of %d bytes: %v", maxFrame, err)
			}
			select {
			case <-l.ended:
			case <-time.After(patience):
				t.Fatal("the connection goes on")
			}
			if !errors.Is(l.cause, errTooLarge) {
				t.Errorf("the connection ended because of %v", l.cause)
			}
		})
	}
}
