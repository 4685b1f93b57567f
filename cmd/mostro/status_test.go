package main

import (
	"bytes"
	"strings"
	"testing"

	"mostro/escrow"
)

// An operator who drains his node closes it when status says that all has ended: not while a winner
// of a bond has yet to be paid, or anything is to be done.
func TestStatusOfADrainedNode(t *testing.T) {
	const ended = "all trades have ended"
	for name, c := range map[string]struct {
		s    escrow.Status
		want string
	}{
		"empty":                 {escrow.Status{}, ended},
		"a share of a bond":     {escrow.Status{Bonds: 1, Owed: 500_000, Bound: "a"}, "500 sat, to buyers, sellers and winners of bonds"},
		"an invoice to cancel":  {escrow.Status{Bound: "a"}, "what is running goes on"},
		"a message to be sent":  {escrow.Status{Waiting: 1}, "what is running goes on"},
		"a trade":               {escrow.Status{Trades: 1}, "what is running goes on"},
		"an order held back":    {escrow.Status{Held: map[string]string{"a": "broken"}}, "what is running goes on"},
		"the development's fee": {escrow.Status{Live: 1, Owed: 1000}, "1 sat, to buyers"},
	} {
		c.s.Mode, c.s.Closed = escrow.ModeDrain, "closed"
		var out bytes.Buffer
		printStatus(&out, c.s)
		if text := out.String(); !strings.Contains(text, c.want) || strings.Contains(text, ended) != (c.want == ended) {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}
