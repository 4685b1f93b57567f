package store

import (
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestC3AnswersInParts: what is read for one who takes it slowly is no more than a part of the answer: what goes meanwhile
// has not been read.
func TestC3AnswersInParts(t *testing.T) {
	for _, c := range []struct{ size, most int }{
		{100, 500},
		{partBytes / 4, 4},
		{2 * partBytes, 1},
	} {
		s := openTest(t, Options{Now: newClock().now})
		const n = 100
		var stored []Key
		for i := range n {
			ev := unsigned(person(1), 1, start-int64(i), strings.Repeat("x", c.size))
			mustAdd(t, s, ev, Stored)
			stored = append(stored, mustKey(t, ev.ID))
		}
		got := 0
		err := s.Query(t.Context(), []nostr.Filter{{Limit: n}}, QueryOptions{}, func(Found) bool {
			if got++; got == 1 {
				if err := s.Remove(t.Context(), stored[1:]...); err != nil {
					t.Fatal(err)
				}
			}
			return true
		})
		if err != nil || got > c.most {
			t.Errorf("of %d events of %d bytes %d were read together, at most %d may be (%v)", n, c.size, got, c.most, err)
		}
	}
}
