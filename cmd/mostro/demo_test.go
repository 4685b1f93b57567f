package main

import (
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mostro/escrow/lightning/lnd/wallet"
	"mostro/escrow/order"
)

// TestDemo plays the demo on real nodes, on a new network and on the same one again.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("real nodes: left out by -short")
	}
	dir := filepath.Join(t.TempDir(), "dev")
	for range 2 {
		p := startProcess(t, "dev", "--demo", "--data-dir", dir, "--port", "0")
		if code := p.end(); code != exitOK {
			t.Fatalf("mostro dev --demo ends with %d", code)
		}
		output := strings.Join(p.seen, "\n")
		for _, want := range []string{
			`Trade 1: .*\n(.*\n)*.* alice +<- pay-invoice +order: waiting-payment\n`,
			` escrow +hold invoice accepted +100,300,000 msat paid\n`,
			` alice +-> release\n(.*\n)*.* escrow +hold invoice settled `,
			` book +success\n`,
			` bob +<- purchase-completed +order: success\n`,
			`Trade 2: .*\n(.*\n)*.* alice +-> take-buy\n`,
			`Trade 3: .*\n(.*\n)*.* escrow +hold invoice canceled `,
			` alice +<- cooperative-cancel-accepted +order: cooperatively-canceled\n`,
			`\n  trade 1 +-100,300,000 +99,700,000 +600,000 +0 +0\n`,
			`\n  trade 3 +0 +0 +0 +0 +0\n`,
			`\nThe sum is zero`,
		} {
			if !regexp.MustCompile(want).MatchString(output) {
				t.Errorf("the output lacks %q", want)
			}
		}
		noProcesses(t, dir)
	}
}

// TestSettleAccounts: whatever is off by one millisat is found.
func TestSettleAccounts(t *testing.T) {
	type books struct {
		flows         []flow
		before, after accounts
	}
	good := func() books {
		return books{
			flows: []flow{{
				seller: "alice", buyer: "bob", SellerPaid: 1003, SellerRouting: 1, EscrowGot: 1003, EscrowPaid: 997,
				EscrowRouting: 2, BuyerGot: 997, AskedOfSeller: 1003, PromisedToBuyer: 997,
			}, {seller: "bob", buyer: "alice"}},
			before: accounts{
				"alice":    {Paid: 10, Channels: 5000},
				"bob":      {Received: 10, Forwarded: 7, Channels: 5000},
				escrowNode: {Channels: 5000},
			},
			// bob has forwarded what the routing cost.
			after: accounts{
				"alice":    {Paid: 1013, Routing: 1, Channels: 5000 - 1004},
				"bob":      {Received: 1007, Forwarded: 10, Channels: 5000 + 997 + 3},
				escrowNode: {Received: 1003, Paid: 997, Routing: 2, Channels: 5000 + 4},
			},
		}
	}
	change := func(name string, f func(*wallet.Books)) func(*books) {
		return func(b *books) {
			changed := b.after[name]
			f(&changed)
			b.after[name] = changed
		}
	}
	tests := []struct {
		name   string
		change func(*books)
		want   string // in the error; "" = none
	}{
		{"nothing", func(*books) {}, ""},
		{"the escrow got less", func(b *books) { b.flows[0].EscrowGot-- }, "of what the seller paid the escrow got"},
		{"the buyer got less", func(b *books) { b.flows[0].BuyerGot--; b.flows[0].PromisedToBuyer-- }, "of what the escrow paid the buyer got"},
		{"the seller was overcharged", func(b *books) { b.flows[0].AskedOfSeller-- }, "the seller was asked"},
		{"the buyer was promised more", func(b *books) { b.flows[0].PromisedToBuyer++ }, "the buyer was promised"},
		{"a canceled trade moved sats", func(b *books) { b.flows[1].EscrowGot = 5; b.flows[1].SellerPaid = 5 }, "trade 2: the seller was asked"},
		{"a payment beside the trades", change(escrowNode, func(b *wallet.Books) { b.Paid += 3; b.Channels -= 3 }),
			"mostro: the channels changed by something else than the trades"},
		{"a channel lost a millisat", change("bob", func(b *wallet.Books) { b.Channels-- }), "the channels of all nodes together"},
		{"the books miss a payment", change("alice", func(b *wallet.Books) { b.Paid-- }), "alice: the channels changed by something else than the books"},
	}
	for _, test := range tests {
		b := good()
		test.change(&b)
		err := settleAccounts(io.Discard, b.flows, b.before, b.after)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestThousands(t *testing.T) {
	for amount, want := range map[order.Msat]string{
		0: "0", 7: "7", 999: "999", 1000: "1,000", -1000: "-1,000", -100: "-100", 100_300_000: "100,300,000", -1_000_001: "-1,000,001",
	} {
		if got := thousands(amount); got != want {
			t.Errorf("%d is written %s, want %s", amount, got, want)
		}
	}
}
