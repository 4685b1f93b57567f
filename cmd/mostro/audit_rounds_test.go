package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mostro/escrow/audit"
)

// At a busy node something is under way in each look, always something else. Only what stays is a difference; and what
// was found is told when the time ends before it can be looked at again.
func TestAuditRounds(t *testing.T) {
	for name, c := range map[string]struct {
		running bool
		looks   []string // the orders that differ in each look; "late" = the time ends in it
		want    string
	}{
		"a busy node":                    {true, []string{"a", "b"}, ""},
		"one that stays":                 {true, []string{"x a", "b x", "x c"}, "x"},
		"a node that has ended":          {false, []string{"a"}, "a"},
		"the time ends":                  {true, []string{"x a", "late"}, "x a"},
		"it agrees at once":              {true, []string{""}, ""},
		"it goes on being another thing": {true, []string{"a b c d e", "b c d e", "c d e", "d e", "e"}, "e"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			round := 0
			report, _, err := standing(ctx, c.running, time.Nanosecond, func(context.Context) (*audit.Report, []audit.Account, error) {
				found := c.looks[round]
				if round++; found == "late" {
					cancel()
					return nil, nil, errors.New("cut")
				}
				r := &audit.Report{}
				for _, id := range strings.Fields(found) {
					r.Differences = append(r.Differences, audit.Finding{Kind: audit.Orphan, Order: id})
				}
				return r, nil, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range report.Differences {
				got = append(got, f.Order)
			}
			if fmt.Sprint(got) != fmt.Sprint(strings.Fields(c.want)) || round != len(c.looks) {
				t.Errorf("%v after %d looks, want %q after %d", got, round, c.want, len(c.looks))
			}
		})
	}
}
