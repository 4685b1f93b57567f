package relay

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestC3Turns: addresses take turns, however many wait at one of them.
func TestC3Turns(t *testing.T) {
	turns := newTurns(1)
	turns.take("first")
	served := make(chan string)
	waiting := 0
	for _, from := range []string{"crowd", "crowd", "crowd", "crowd", "alice", "crowd", "bob"} {
		go func() {
			turns.take(from)
			served <- from
		}()
		// They come one after another.
		for waiting++; ; {
			turns.mu.Lock()
			n := 0
			for _, line := range turns.lines {
				n += len(line)
			}
			turns.mu.Unlock()
			if n == waiting {
				break
			}
		}
	}
	var got []string
	for range waiting {
		turns.give()
		got = append(got, <-served)
	}
	if diff := cmp.Diff("crowd alice bob crowd crowd crowd crowd", strings.Join(got, " ")); diff != "" {
		t.Error(diff)
	}
	turns.give()
	if turns.free != 1 || len(turns.lines) != 0 || len(turns.order) != 0 {
		t.Errorf("left: %+v", turns)
	}
}
