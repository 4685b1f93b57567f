package main

import (
	"bytes"
	"strings"
	"testing"

	"mostro/escrow/audit"
	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// The text has the first hold invoices of others and the number of the rest, and the verdict stays.
func TestPrintOthersHolds(t *testing.T) {
	r := &audit.Report{At: 1_764_000_000}
	for i := range 23 {
		h := audit.OthersHold{Hash: order.Hash{byte(i + 1)}, State: lightning.Open, Amount: 1_234_500, Paid: 500, CreatedAt: 1_764_000_000}
		switch i {
		case 0:
			h.State, h.Paid = lightning.Accepted, 50_000_000
		case 1:
			h.Amount = 0
		}
		r.OthersHolds = append(r.OthersHolds, h)
	}
	text := func() string {
		var out bytes.Buffer
		printAudit(&out, r, "books")
		return out.String()
	}
	out := text()
	t.Log(out)
	for _, want := range []string{
		"no difference: 23 hold invoices, with 50,000 sat held in 1\n",
		"  24 Nov 25 16:00  accepted  " + r.OthersHolds[0].Hash.String() + "   50,000 sat\n",
		"  24 Nov 25 16:00  open      " + r.OthersHolds[1].Hash.String() + "   any amount\n", r.OthersHolds[19].Hash.String() + "  1,234.5 sat\n  and 3 more; --json lists all\n",
		"agree to the millisat",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the text has no %q", want)
		}
	}
	if strings.Contains(out, r.OthersHolds[20].Hash.String()) {
		t.Error("the text lists more than 20")
	}
	r.OthersHolds = r.OthersHolds[:20]
	if out := text(); strings.Contains(out, "more;") {
		t.Errorf("of 20 there are no more:\n%s", out)
	}
	r.OthersHolds = nil
	if out := text(); strings.Contains(out, "other software") {
		t.Errorf("of nothing it speaks:\n%s", out)
	}
}

// What to do about a payment that belongs to no order is a command that can be typed.
func TestPrintRemedyWithoutOrder(t *testing.T) {
	hash := order.Hash{7}
	r := &audit.Report{At: 1_764_000_000, Differences: []audit.Finding{{Hash: hash, Node: 5000, Text: "paid", Do: "mostro restored explain HASH --order ORDER"}}}
	var out bytes.Buffer
	printAudit(&out, r, "books")
	if want := "  no order: paid\n"; !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "explain "+hash.String()+" --order ORDER\n") {
		t.Errorf("printed:\n%s", out.String())
	}
}
