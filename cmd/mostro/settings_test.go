package main

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite generated files")

const templatePath = "../../settings.tpl.toml"

func TestTemplateIsFresh(t *testing.T) {
	want := settingsTemplate()
	if *update {
		if err := os.WriteFile(templatePath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(templatePath)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("settings.tpl.toml is stale; run: go generate ./cmd/mostro\n%s", diff)
	}
}

// TestTemplateHoldsTheDefaults loads the template twice: as it is written, and with every key
// in force. Both give the defaults, and every key and every section stands in it.
func TestTemplateHoldsTheDefaults(t *testing.T) {
	defaults, err := loadSettings("none", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	template := settingsTemplate()
	full := regexp.MustCompile(`(?m)^#([a-z_]+ = )`).ReplaceAllString(template, "$1")
	windows := "\ufeff" + strings.ReplaceAll(full, "\n", "\r\n")
	for name, text := range map[string]string{"template": template, "all keys": full, "of a Windows editor": windows} {
		got, err := loadSettings(name, []byte(text), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(defaults.Settings, got.Settings); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if name == "all keys" && len(got.origin) != len(got.keys()) {
			t.Errorf("the template has %d of %d keys", len(got.origin), len(got.keys()))
		}
	}
	if defaults.Mostro.FeePPM != 6000 || defaults.Mostro.PowFirstContact != 0 || defaults.Lightning.CLTVDelta != 288 {
		t.Errorf("defaults: %+v", defaults.Settings)
	}
	// mobile restores nothing when one answer does not hold all that it was told of.
	if m := defaults.Mostro; m.MaxOrders < m.MaxOpen+m.MaxTakes {
		t.Errorf("a user may have %d offers and %d takes, and one answer holds %d", m.MaxOpen, m.MaxTakes, m.MaxOrders)
	}
}

func TestLoadSettings(t *testing.T) {
	file := `
[lightning]
lnd_grpc_host = "https://127.0.0.1:10009"
lnd_cert_file = 'tls.cert'
hold_invoice_cltv_delta = 1_000

[mostro]
name = "N \"x\"" # a comment
fee = 0.0105
pow = 8
fiat_currencies_accepted = [
  "USD", # the first
  "VES",
]
[price]
providers = { yadio = { enabled = false, url = "https://example.com/" } }
[admin]
pubkeys = ["npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg"]
`
	got, err := loadSettings("file", []byte(file), []string{
		"mostro.max_routing_fee=0.5e0", // refused below
	})
	if err == nil {
		t.Errorf("an exponent in a fee: %+v", got)
	}
	got, err = loadSettings("file", []byte(file), []string{
		"mostro.max_routing_fee=0.05", "mostro.about=free text", `relay.url="wss://relay.example.com/"`,
		"lightning.payment_attempts = 7", `expiration.dm_days=1`, `mostro.fee=0.02`,
	})
	if err != nil {
		t.Fatal(err)
	}
	want, err := loadSettings("none", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := want.Settings
	s.Lightning.Host, s.Lightning.CertFile, s.Lightning.CLTVDelta, s.Lightning.Attempts = "127.0.0.1:10009", "tls.cert", 1000, 7
	s.Mostro.Name, s.Mostro.About, s.Mostro.FeePPM, s.Mostro.MaxRoutingFeePPM = `N "x"`, "free text", 20_000, 50_000
	s.Mostro.Pow, s.Mostro.PowFirstContact, s.Mostro.Fiat = 8, 8, []string{"USD", "VES"}
	s.Price.Yadio.Enabled, s.Price.Yadio.URL = false, "https://example.com"
	s.Expiration.DMDays = 1
	s.Relay.URL = "wss://relay.example.com"
	s.Admin.Pubkeys = []string{"7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e"}
	if diff := cmp.Diff(s, got.Settings); diff != "" {
		t.Error(diff)
	}
	if got.origin["mostro.name"] != "file line 8" || got.origin["mostro.fee"] != "--settings" || got.origin["mostro.pow"] != "file line 10" {
		t.Errorf("origins: %v", got.origin)
	}
}

func TestSettingsErrors(t *testing.T) {
	tests := []struct {
		file      string
		overrides []string
		want      []string // each must be in the error
	}{
		{"[mostro]\nfeee = 0.1\n", nil, []string{"f line 2: mostro.feee is not a setting", "did you mean mostro.fee?"}},
		{"[mostro]\n\nhold_invoice_cltv_delta = 288", nil, []string{"f line 3", "did you mean lightning.hold_invoice_cltv_delta?"}},
		{"fee = 1", nil, []string{"f line 1: fee is not a setting"}},
		{"[mostro]\nxyzzy = 1", nil, []string{"mostro settings template"}},
		{"[mostro]\nfee = 0.51", nil, []string{"f line 2: mostro.fee is 0.51, want a decimal from 0 to 0.5", "default: 0.006"}},
		{"[mostro]\nfee = -0.1", nil, []string{"mostro.fee is -0.1"}},
		{"[mostro]\nfee = 0.0000001", nil, []string{"at most six digits"}},
		{"[mostro]\nfee = nan", nil, []string{"mostro.fee"}},
		{"[mostro]\nfee = inf", nil, []string{"mostro.fee"}},
		{"[mostro]\nfee = \"0.1\"", nil, []string{`mostro.fee is "0.1"`}},
		{"[mostro]\npow = 1.5", nil, []string{"mostro.pow is 1.5, want a whole number from 0 to 40"}},
		{"[mostro]\npow = 41", nil, []string{"mostro.pow is 41"}},
		{"[mostro]\nname = 5", nil, []string{"mostro.name is a number, want a string"}},
		{"[mostro]\nname = \"a\"\nname = \"b\"", nil, []string{"f line 3", "name", "keep one"}},
		{"[mostro]\nname = \"a\"\npow = 1\n  name = \"b\"\n", nil, []string{"f line 4", "name", "keep one"}},
		{"[mostro]\nname = \"a\"\n[relay]\nname = \"a\"\n\n[mostro]\npow = 1\n", nil, []string{"f line 6", "mostro", "keep one"}},
		{"mostro.name = \"a\"\n[mostro]\nname = 'b'\n", nil, []string{"f line 2", "mostro"}},
		{"[mostro]\nabout = \"\"\"\n[mostro]\n\"\"\"\n[mostro]\n", nil, []string{"f line 5", "mostro", "keep one"}},
		{"mostro = 5\n[mostro]\n", nil, []string{"f line 2"}},
		{"[mostro\n", nil, []string{"f line 1"}},
		{"[mostro]\nname = plain", nil, []string{"f line 2"}},
		{"[[mostro]]\nname = \"a\"\n[[mostro]]\nname = 2", nil, []string{"mostro.name"}},
		{"[mostro]\nfiat_currencies_accepted = [\"usd\"]", nil, []string{"three capitals"}},
		{"[mostro]\nfiat_currencies_accepted = [1]", nil, []string{"want a list of strings"}},
		{"[mostro]\nmin_payment_amount = 5000\nmax_order_amount = 1000", nil, []string{"f line 2: mostro.min_payment_amount is 5000, above"}},
		{"[mostro]\npow = 9\npow_first_contact = 8", nil, []string{"f line 3", "below mostro.pow"}},
		{"[lightning]\nhold_invoice_cltv_delta = 100\nlnd_hold_expiry_delta = 80", nil, []string{"f line 2", "116 or more"}},
		{"[mostro]\ndev_fee_percentage = 0.3", nil, []string{"f line 2: mostro.dev_fee_percentage is set, and no address that it goes to", "set mostro.dev_fee_address, or delete this"}},
		{"[mostro]\ndev_fee_percentage = 0.91", nil, []string{"want a decimal from 0 to 0.9"}},
		{"[mostro]\ndev_fee_percentage = 0.1\ndev_fee_address = \"dev@localhost\"", nil, []string{"f line 3: mostro.dev_fee_address is \"dev@localhost\", which is no public"}},
		{"[lightning]\npayout_cltv_limit = 303", nil, []string{"f line 2: lightning.payout_cltv_limit is 303: too short", "304 or more"}},
		{"[lightning]\nlnd_hold_expiry_delta = 10", nil, []string{"from 11"}},
		{"[lightning]\nlnd_grpc_host = \"localhost\"", nil, []string{"want host:port, such as", "mostro settings template"}},
		{"[lightning]\nlnd_grpc_host = \"http://localhost:1\"", nil, []string{"want host:port"}},
		{"[lightning]\nlnd_grpc_host = \"localhost:70000\"", nil, []string{"want host:port"}},
		{"[price.providers.yadio]\nurl = \"http://example.com\"", nil, []string{"without TLS"}},
		{"[price.providers.yadio]\nurl = \"ftp://example.com\"", nil, []string{"https://"}},
		{"[price.providers.yadio]\nurl = \"\"", nil, []string{"is empty"}},
		{"[relay]\nurl = \"https://example.com\"", nil, []string{"wss://"}},
		{"[admin]\npubkeys = [\"abc\"]", nil, []string{`has "abc", want npub1... or 64 hex digits`}},
		{"[anti_abuse_bond]\napply_to = \"all\"", nil, []string{`f line 2: anti_abuse_bond.apply_to is "all", want take or make or both`}},
		{"[anti_abuse_bond]\nbase_amount_sats = 300", nil, []string{"f line 2", "from 600"}},
		{"[anti_abuse_bond]\nenabled = true\nslash_node_share_pct = 0", nil, []string{"f line 3", "of a bond of 1000 sat it leaves 0 to route", "routing_subsidy to 10 or more"}},
		{"[anti_abuse_bond]\nenabled = true\nslash_node_share_pct = 0.009", nil, []string{"f line 3", "leaves 9 to route", "routing_subsidy to 1 or more"}},
		{"[lightning]\nrouting_subsidy = 10\n[anti_abuse_bond]\nenabled = true\nslash_node_share_pct = 0", nil,
			[]string{"f line 5", "of a bond of 10000 sat it leaves 0 to route the winner's share with, which may cost 20", "routing_subsidy to 20 or more"}},
		{"[lightning]\nrouting_subsidy = 19\n[anti_abuse_bond]\nenabled = true\napply_to = \"both\"", nil,
			[]string{"f line 5", "which may cost 20 sat", "routing_subsidy to 20 or more"}},
		{"[nostr]\nrelays = [\"https://x\"]\n[database]\nurl = \"sqlite://x\"", nil, []string{"f line 2: nostr.relays has \"https://x\"", "f line 4: database.url"}},
		{"[federation]\nfollow = [\"abc@wss://x\"]", nil, []string{`has "abc", want npub1... or 64 hex digits`}},
		{"[federation]\nfollow = [\"7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e@x\"]", nil, []string{"an address that starts with wss://"}},
		{"[federation]\nplatforms = [\"7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e@wss://x\"]", nil, []string{"want NAME:KEY@RELAY"}},
		{"", []string{"mostro.fee"}, []string{"--settings", "is not KEY=VALUE"}},
		{"", []string{"=1"}, []string{"is not KEY=VALUE"}},
		{"", []string{"mostro.fee=x"}, []string{`--settings: mostro.fee is "x"`}},
		{"", []string{"mostro.fee=0.1\npow=7"}, []string{"mostro.fee"}},
		{"", []string{"mostro.fea=0.1"}, []string{"did you mean mostro.fee?"}},
		{"", []string{"nostr.nsec_privkey=nsec1abc"}, []string{"command line", nsecVariable}},
	}
	for _, test := range tests {
		_, err := loadSettings("f", []byte(test.file), test.overrides)
		if err == nil {
			t.Errorf("%q %q: no error", test.file, test.overrides)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q %q: %v\nwant it to say %q", test.file, test.overrides, err, want)
			}
		}
	}
}

// TestSecretsStayOut puts secrets where they do not belong and looks for them in the errors.
func TestSecretsStayOut(t *testing.T) {
	const secret = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
	for _, file := range []string{
		"[nostr]\nnsec_privkey = [\"" + secret + "\"]",
		"[admin]\npubkeys = [\"" + secret + "\"]",
		"[admin]\npubkeys = [\" nostr:" + secret + "\"]",
		"[admin]\npubkeys = [\"" + strings.ToUpper(secret) + "\"]",
	} {
		_, err := loadSettings("f", []byte(file), nil)
		if err == nil || strings.Contains(strings.ToLower(err.Error()), secret) {
			t.Errorf("%q: %v", file, err)
		}
	}
	if _, err := loadSettings("f", nil, []string{"network.proxy=socks5h://me:hush@127.0.0.1:9050"}); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("a proxy's password on the command line: %v", err)
	}
	if _, err := loadSettings("f", nil, []string{"network.proxy=socks5h://127.0.0.1:9050"}); err != nil {
		t.Errorf("a proxy without one: %v", err)
	}
	_, err := loadSettings("f", nil, []string{"nostr.nsec_privkey=" + secret})
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Error(err)
	}
}

func FuzzLoadSettings(f *testing.F) {
	f.Add([]byte(settingsTemplate()), "mostro.fee=0.1")
	f.Add([]byte("[mostro]\nfee = 0.1\n[price]\nproviders = {yadio={url=\"x\"}}"), "mostro.name=\"x\"")
	f.Add([]byte("a.b.c = [[1],{x=2}]\n'' = 1979-05-27\n[[x]]"), "x")
	f.Fuzz(func(t *testing.T, file []byte, override string) {
		l, err := loadSettings("f", file, []string{override})
		if err != nil {
			return
		}
		if l.Mostro.FeePPM < 0 || l.Mostro.FeePPM > 500_000 || l.Lightning.CLTVDelta < minCLTVDelta(l.Lightning.HoldExpiry) {
			t.Errorf("accepted %+v", l.Settings)
		}
	})
}

func TestParsePPM(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "0.006": 6000, "0.5": 500_000, "1": 1_000_000, "0.000001": 1, "0.10": 100_000, "0.1000000000": 100_000,
		"": -1, ".5": -1, "+1": -1, "-1": -1, "1e3": -1, "0.0000001": -1, "0x1": -1, "1_0": -1, "9999999": -1,
	} {
		got, err := parsePPM(in)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("parsePPM(%q) = %d, %v; want %d", in, got, err, want)
		}
		if want >= 0 && len(in) > 0 {
			if back, err := parsePPM(formatPPM(want)); err != nil || back != want {
				t.Errorf("formatPPM(%d) = %q", want, formatPPM(want))
			}
		}
	}
}
