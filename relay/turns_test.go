package relay

import (
	"strings"
	"testing"
	"time"

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
			for _, w := range turns.workers {
				n += len(w.line)
			}
			turns.mu.Unlock()
			if n == waiting {
				break
			}
		}
	}
	var got []string
	last := "first"
	for range waiting {
		turns.give(last, 0)
		last = <-served
		got = append(got, last)
	}
	if diff := cmp.Diff("crowd alice bob crowd crowd crowd crowd", strings.Join(got, " ")); diff != "" {
		t.Error(diff)
	}
	turns.give(last, 0)
	turns.halved = time.Time{}
	turns.forget()
	if turns.free != 1 || len(turns.workers) != 0 || len(turns.waiting) != 0 {
		t.Errorf("left: %+v", turns)
	}
}

// TestC3LeastWorked: an address that has worked for long comes after those that have not, also when it has waited longer,
// and what it has used is forgotten with time.
func TestC3LeastWorked(t *testing.T) {
	turns := newTurns(1)
	busy := []string{"a", "b", "c"}
	for i, from := range busy {
		turns.take(from)
		turns.give(from, time.Duration(3-i)*time.Second)
	}
	turns.take("first")
	served := make(chan string)
	all := append(busy, "new", "newer")
	for i, from := range all {
		go func() {
			turns.take(from)
			served <- from
		}()
		for n := 0; n <= i; {
			turns.mu.Lock()
			n = len(turns.waiting)
			turns.mu.Unlock()
		}
	}
	turns.halved = time.Time{}
	var got []string
	last := "first"
	for range all {
		turns.give(last, slice)
		last = <-served
		got = append(got, last)
	}
	if diff := cmp.Diff("new newer c b a", strings.Join(got, " ")); diff != "" {
		t.Error(diff)
	}
	turns.give(last, slice)
	for range 30 { // a long life with a place does not lose it
		turns.take("holder")
		turns.halved = time.Time{}
		turns.forget()
		turns.give("holder", 0)
	}
	if turns.free != 1 || len(turns.workers) > 1 {
		t.Errorf("left: %d places, %d addresses", turns.free, len(turns.workers))
	}
}
