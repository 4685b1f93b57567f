package audit

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// moved are good books whose operator has since moved to another Lightning node: what has ended was at
// the one before, and what is owed or held is at the present one.
func moved(t *testing.T) (b *books, before string) {
	t.Helper()
	net := lightning.NewSimNetwork(lightning.SimConfig{Now: func() time.Time { return time.Unix(1_800_000_000, 0) }})
	b = goodBooks()
	pubkey := func(name string) string {
		info, err := net.Node(name).Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.Pubkey
	}
	b.node.Pubkey = pubkey("new")
	for id, name := range map[string]string{"paid": "old", "bond": "old", "owing": "new", "held": "new"} {
		a := b.accounts[id]
		was := a.Hold.Hash
		hold, err := net.Node(name).OpenHold(t.Context(), lightning.HoldRequest{Hash: order.NewPreimage([32]byte{id[0], 1}).Hash(), Amount: a.Hold.Paid, CLTVDelta: 80, Expiry: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		record := b.node.Invoices[was]
		delete(b.node.Invoices, was)
		if record.Hash, record.Memo = hold.Hash, ""; name == "new" {
			b.node.Invoices[hold.Hash] = record
		}
		a.Hold.Hash, a.Hold.Invoice = hold.Hash, hold.Invoice
		for _, account := range b.accounts {
			for i := range account.Ledger {
				if account.Ledger[i].Hash == was {
					account.Ledger[i].Hash = hold.Hash
				}
			}
		}
	}
	delete(b.node.Payments, hash("payout"))
	delete(b.node.Payments, hash("share"))
	return b, pubkey("old")
}

// TestMoved: what was booked of another node is no difference, and is counted apart; what differs at
// the node that is asked is found all the same.
func TestMoved(t *testing.T) {
	b, before := moved(t)
	r := Compare(b.list(), b.node, nil, 100, 0)
	if !r.Agrees() || len(r.News) != 0 {
		t.Fatalf("differences %+v, news %+v", r.Differences, r.News)
	}
	// A bond's invoice that is booked in two parts counts as two.
	want := Elsewhere{Pubkey: before, Settled: Tally{3, 110_300_000, 0}, Paid: Tally{2, 101_700_000, 1_234}}
	if len(r.Elsewhere) != 1 || r.Elsewhere[0] != want {
		t.Errorf("elsewhere %+v, want %+v", r.Elsewhere, want)
	}
	if in := r.Settled.Amount + want.Settled.Amount; in != r.Total.SettledIn || r.Paid.Amount+want.Paid.Amount != r.Total.PaidOut {
		t.Errorf("at the two nodes %d came in, in the books %d", in, r.Total.SettledIn)
	}
	if encoded, err := json.Marshal(b.accounts["paid"]); err != nil || !strings.Contains(string(encoded), `"invoice":"lnsb`) {
		t.Errorf("the books of a running node do not carry the invoice: %s, %v", encoded, err)
	}

	for name, c := range map[string]struct {
		do   func(*books)
		want Kind
	}{
		"missing at the present node": {func(b *books) { delete(b.node.Invoices, b.accounts["owing"].Hold.Hash) }, InMissing},
		"an unknown maker":            {func(b *books) { b.accounts["bond"].Hold.Invoice = "" }, InMissing},
		"another order's invoice":     {func(b *books) { b.accounts["bond"].Hold.Invoice = b.accounts["paid"].Hold.Invoice }, InMissing},
		"held at the one before":      {func(b *books) { b.accounts["held"].Hold.Hash = hash("x") }, HeldMissing},
		"paid less from here":         {func(b *books) { b.pay("payout", lightning.Succeeded, 99_699_999, 1_234) }, OutAmount},
		"failed here":                 {func(b *books) { b.pay("payout", lightning.Failed, 99_700_000, 0) }, OutMissing},
		"paid twice, once from here": {func(b *books) {
			b.accounts["paid"].Payout.Claims = append(b.accounts["paid"].Payout.Claims, hash("again"))
			b.pay("again", lightning.Succeeded, 99_700_000, 0)
		}, PaidTwice},
		"does not add up": {func(b *books) { b.entry("paid", order.NodeFee).Amount-- }, Unbalanced},
	} {
		b, _ := moved(t)
		c.do(b)
		r := Compare(b.list(), b.node, nil, 100, 0)
		found := false
		for _, f := range r.Differences {
			found = found || f.Kind == c.want
		}
		if !found {
			t.Errorf("%s: differences %+v", name, r.Differences)
		}
	}

	// Sats that are held at the other node are a difference, which says where they are.
	b, before = moved(t)
	held, at := b.accounts["held"], b.node.Pubkey
	b.node.Pubkey = before
	delete(b.node.Invoices, held.Hold.Hash)
	for _, f := range Compare(b.list(), b.node, nil, 100, 0).Differences {
		if f.Kind == HeldMissing && (!strings.Contains(f.Text, at) || strings.Contains(f.Do, "no sats are held")) {
			t.Errorf("of sats at another node: %s; %s", f.Text, f.Do)
		}
	}
}
