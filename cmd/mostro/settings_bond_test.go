package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// Bonds are off unless they are asked for; then orders are born with what the settings say, to
// the millionth, and clients read the same in kind 38385.
func TestBondSettings(t *testing.T) {
	s, err := loadSettings("f", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if e := s.engine(); e.Terms.Bond != nil || e.Info.Bond != nil {
		t.Errorf("without a word on it: %+v, %+v", e.Terms.Bond, e.Info.Bond)
	}
	s, err = loadSettings("f", []byte(`[lightning]
routing_subsidy = 25
[anti_abuse_bond]
enabled = true
amount_pct = 0.012345
base_amount_sats = 2000
apply_to = "make"
slash_on_waiting_timeout = true
slash_node_share_pct = 0.333333
payout_invoice_window_seconds = 600
payout_max_retries = 7
payout_claim_window_days = 3
max_live_bonds = 50
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := order.BondTerms{AmountPPM: 12_345, Base: 2000, Maker: true, SlashOnTimeout: true, NodeSharePPM: 333_333,
		AskSeconds: 600, Attempts: 7, ClaimSeconds: 3 * 86400}
	e := s.engine()
	if diff := cmp.Diff(want, *e.Terms.Bond); diff != "" || e.Rules.MaxBonds != 50 {
		t.Errorf("at most %d, %s", e.Rules.MaxBonds, diff)
	}
	for amount, sats := range map[order.Sat]order.Sat{1: 2000, 162_000: 2000, 1_000_000: 12_345, 1_000_041: 12_346} {
		if got := want.Of(amount); got != sats {
			t.Errorf("the bond for %d sat is %d, want %d", amount, got, sats)
		}
	}
	tags := mostro.InfoEvent(e.Info, mostro.Instance{}).Tags
	for name, value := range map[string]string{
		"bond_enabled": "true", "bond_amount_pct": "0.012345", "bond_base_amount_sats": "2000", "bond_apply_to": "make",
		"bond_slash_on_waiting_timeout": "true", "bond_slash_node_share_pct": "0.333333", "bond_payout_claim_window_days": "3",
	} {
		if tag := tags.Find(name); !slices.Equal([]string(tag), []string{name, value}) {
			t.Errorf("%s is %v", name, tag)
		}
	}
}

// Without a fee and without a subsidy escrows would be settled whose payouts can never be made.
func TestNoFeeNeedsASubsidy(t *testing.T) {
	_, err := loadSettings("f", []byte("[mostro]\nfee = 0\n"), nil)
	if err == nil || !strings.Contains(err.Error(), "f line 2: mostro.fee is 0, which leaves nothing to route payouts with") || !strings.Contains(err.Error(), "set lightning.routing_subsidy") {
		t.Errorf("no fee: %v", err)
	}
	if _, err := loadSettings("f", []byte("[mostro]\nfee = 0\n[lightning]\nrouting_subsidy = 10\n"), nil); err != nil {
		t.Errorf("no fee, and a subsidy: %v", err)
	}
}

// Whoever encrypts the money store does not want it beside that as plain text.
func TestEncryptedStoreNeedsEncryptedBackups(t *testing.T) {
	store, to := "[store]\nkey_file = \"/k\"\n[backup]\ndirectory = \"/b\"\n", "recipients = [\"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\"]\n"
	if _, err := loadSettings("f", []byte(store), nil); err == nil || !strings.Contains(err.Error(), "backup.recipients is empty") {
		t.Errorf("plain backups of an encrypted store: %v", err)
	}
	for _, file := range []string{store + to, "[store]\nkey_file = \"/k\"\n", "[backup]\ndirectory = \"/b\"\n"} {
		if _, err := loadSettings("f", []byte(file), nil); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
