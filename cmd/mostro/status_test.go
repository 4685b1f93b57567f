package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"mostro/escrow"
	"mostro/escrow/lightning"
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
		"paid in too much":      {escrow.Status{Owed: 5000, ByHand: 5000}, "5 sat of it were paid in too much: mostro audit says to whom"},
	} {
		c.s.Mode, c.s.Closed = escrow.ModeDrain, "closed"
		var out bytes.Buffer
		printStatus(&out, nodeStatus{Status: c.s}, bare)
		if text := out.String(); !strings.Contains(text, c.want) || strings.Contains(text, ended) != (c.want == ended) {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}

// Whether backups are made, and when the last one was, is seen without reading the log.
func TestStatusOfBackups(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	var b backedUp
	print := func() string {
		var out bytes.Buffer
		printStatus(&out, nodeStatus{Status: escrow.Status{At: now.Unix()}, Backup: b.state()}, bare)
		return out.String()
	}
	if got := print(); !strings.Contains(got, "backup          none is made; backup.directory names where to") {
		t.Error(got)
	}
	b.Directory = "/mnt/usb/mostro"
	b.tell(nil, now.Add(-time.Minute))
	if got := print(); !strings.Contains(got, "backup          26 Nov 2026 11:59 UTC, 1 min old, in /mnt/usb/mostro") || strings.Contains(got, "FAILED") {
		t.Error(got)
	}
	b.tell(errors.New("no room"), now)
	if got := print(); !strings.Contains(got, "11:59 UTC, 1 min old") || !strings.Contains(got, "the latest try FAILED: no room") {
		t.Error(got)
	}
}

// A hold invoice that belongs to nothing is shown with what is locked in it, and what to do.
func TestStatusOfOrphans(t *testing.T) {
	held := escrow.Orphan{Of: "6c7fb3f8", State: lightning.Accepted, Amount: 100_000_000, Paid: 100_300_000, ExpiryHeight: 900_288}
	open := escrow.Orphan{Of: "7d8fc409", State: lightning.Open, Amount: 50_000_000}
	var out bytes.Buffer
	printStatus(&out, nodeStatus{Status: escrow.Status{Orphans: []escrow.Orphan{held, open}}}, bare)
	for _, want := range []string{"100,300 sat are locked, their HTLC expires at block 900,288, for 6c7fb3f8", "50,000 sat can be paid until 1 Jan 1970 00:00 UTC, for 7d8fc409", "mostro audit; lncli cancelinvoice HASH"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
}

// What status tells an operator to type reaches the node that it has shown, and has all that is required.
func TestStatusCommandsReachTheSameNode(t *testing.T) {
	cmd := statusCommand()
	if err := cmd.ParseFlags([]string{"--data-dir", "/b"}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s := escrow.Status{Strays: make([]escrow.Stray, shownStrays+1), Held: map[string]string{"a": "broken"}, Latch: &escrow.Latch{}}
	printStatus(&out, nodeStatus{Status: s}, func(rest string) string { return nodeCall(cmd, rest) })
	for _, want := range []string{
		"mostro restored explain HASH --order ORDER --reason WHY --data-dir /b", "mostro held free ORDER --reason WHY --data-dir /b",
		"mostro audit --data-dir /b", "mostro breaker reset --reason WHY --data-dir /b", "mostro status --json --data-dir /b",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
}
