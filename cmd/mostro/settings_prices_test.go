package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const aNode = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg"

// TestPriceSettings reads the sections of an existing Mostro, and what this one adds.
func TestPriceSettings(t *testing.T) {
	got, err := loadSettings("f", []byte(`
[price]
update_interval_seconds = 60
outlier_threshold_pct = 2.5
max_jump_pct = 0
provider_failure_threshold = 5
provider_failure_cooldown_seconds = 60
publish_to_nostr = false
[price.providers.yadio]
fallback_urls = ["https://a.example.com/x/", "http://127.0.0.1:8080"]
except = ["CUP"]
[price.providers.coingecko]
enabled = true
api_key = "secret-key"
only = ["USD", "EUR"]
[price.providers.blockchain]
enabled = true
url = "http://`+strings.Repeat("a", 56)+`.onion"
[price.providers.eltoque]
enabled = true
token = "t"
[price.providers.nostr]
enabled = true
trusted_nodes = ["`+aNode+`"]
[network]
proxy = "socks5h://user:pass@127.0.0.1:9050"
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	defaults, err := loadSettings("f", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults.Price
	want.UpdateSeconds, want.OutlierPPM, want.JumpPPM, want.Failures, want.CooldownSeconds = 60, 25_000, 0, 5, 60
	want.Publish = false
	want.Yadio.Fallbacks = []string{"https://a.example.com/x", "http://127.0.0.1:8080"}
	want.Yadio.Except = []string{"CUP"}
	want.CoinGecko.Enabled, want.CoinGecko.Key, want.CoinGecko.Only = true, "secret-key", []string{"USD", "EUR"}
	want.Blockchain.Enabled, want.Blockchain.URL = true, "http://"+strings.Repeat("a", 56)+".onion"
	want.ElToque.Enabled, want.ElToque.Key = true, "t"
	want.Nostr.Enabled, want.Nostr.Nodes = true, []string{"7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e"}
	if diff := cmp.Diff(want, got.Price); diff != "" {
		t.Error(diff)
	}
	if n := len(got.Price.sources()); n != 5 {
		t.Errorf("%d sources of 5", n)
	}
	if n := len(defaults.Price.sources()); n != 1 || !defaults.Price.Yadio.Enabled {
		t.Errorf("by default %d sources", n)
	}
	if defaults.Price.OutlierPPM != 50_000 || defaults.Price.JumpPPM != 100_000 {
		t.Errorf("by default outliers from %d and jumps from %d ppm", defaults.Price.OutlierPPM, defaults.Price.JumpPPM)
	}

	got, err = loadSettings("f", nil, []string{"price.providers.yadio.enabled=false", "price.providers.fixed.enabled=true",
		`price.providers.fixed.rates=["USD=100000", "EUR=90000.5"]`})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int64{"USD": 100_000_000_000, "EUR": 90_000_500_000}, got.Price.Fixed.Rates); diff != "" {
		t.Error(diff)
	}
}

// TestPriceSettingsErrors: what does not go together is refused with key, line and remedy.
func TestPriceSettingsErrors(t *testing.T) {
	for _, test := range []struct{ file, want string }{
		{"[price]\nupdate_interval_seconds = 600\nmax_price_staleness_seconds = 599",
			"f line 3: price.max_price_staleness_seconds is 599, below price.update_interval_seconds, 600: prices would be stale between two polls\n    -> raise it"},
		{"[price]\noutlier_threshold_pct = 0", "f line 2: price.outlier_threshold_pct is 0, want a percentage from 0.0001 to 100"},
		{"[price]\noutlier_threshold_pct = 100.1", "is 100.1"},
		{"[price]\nmax_jump_pct = 0.00001", "at most four digits"},
		{"[price.providers.yadio]\nonly = [\"USD\"]\nexcept = [\"CUP\"]",
			"f line 3: price.providers.yadio.except stands together with price.providers.yadio.only\n    -> keep one of the two"},
		{"[price.providers.yadio]\nonly = [\"BTX\"]", `f line 2: price.providers.yadio.only has "BTX"`},
		{"[price.providers.yadio]\napi_key = \"x\"", "f line 2: price.providers.yadio.api_key cannot be used: this provider has no use for it; delete it"},
		{"[price.providers.yadio]\nfallback_urls = [\"http://example.com\"]", "without TLS"},
		{"[price.providers.yadio]\nfallback_urls = [\"\"]", "has an empty address"},
		{"[price.providers.coingecko]\nenabled = true\nurl = \"\"", "f line 3: price.providers.coingecko.url is empty"},
		{"[price.providers.blockchain]\nenabled = true\nurl = \"http://abc.onion\"", "f line 3: price.providers.blockchain.url is an onion service, which only a proxy reaches\n    -> set network.proxy"},
		{"[price.providers.yadio]\nfallback_urls = [\"https://abc.onion\"]", "f line 2: price.providers.yadio.fallback_urls is an onion service"},
		{"[price.providers.eltoque]\nenabled = true", "price.providers.eltoque.token is empty\n    -> give the token"},
		{"[price.providers]\nyadio.enabled = false\n[price.providers.eltoque]\nenabled = true\ntoken = \"t\"", "f line 4: price.providers.eltoque.enabled is true, but no provider tells"},
		{"[price.providers.nostr]\nenabled = true", "price.providers.nostr.trusted_nodes is empty\n    -> name a node"},
		{"[price.providers.nostr]\ntrusted_nodes = [\"x\"]", `f line 2: price.providers.nostr.trusted_nodes has "x"`},
		{"[price.providers.fixed]\nenabled = true\nrates = [\"USD=1\"]", "f line 2: price.providers.fixed.enabled is true beside yadio: a rate that never moves"},
		{"[price.providers]\nyadio.enabled = false\n[price.providers.fixed]\nenabled = true", "price.providers.fixed.rates is empty"},
		{"[price.providers.fixed]\nrates = [\"USD\"]", `has "USD", want each currency once`},
		{"[price.providers.fixed]\nrates = [\"USD=0\"]", `has "USD=0"`},
		{"[price.providers.fixed]\nrates = [\"USD=1\", \"USD=2\"]", `has "USD=2"`},
		{"[price.providers.fixed]\nrates = [\"BTX=1\"]", `has "BTX=1"`},
		{"[price.providers.kraken]\nenabled = true", "f line 2: price.providers.kraken.enabled is not a setting"},
		{"[network]\nproxy = \"http://user:hunter2@127.0.0.1:1\"", "f line 2: network.proxy is not of the form socks5h://host:port"},
		{"[network]\nproxy = \"socks5://127.0.0.1\"", "network.proxy"},
		{"[network]\nproxy = 9050", "network.proxy is a number"},
		{"[mostro]\npublish_exchange_rates_to_nostr = true", "it is price.publish_to_nostr now"},
	} {
		_, err := loadSettings("f", []byte(test.file), nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v\nwant it to say %q", test.file, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error holds the password", test.file)
		}
	}
	if _, err := loadSettings("f", nil, []string{"price.providers.coingecko.api_key=hunter2"}); err == nil || strings.Contains(err.Error(), "hunter2") ||
		!strings.Contains(err.Error(), "read a command line") {
		t.Errorf("a key on the command line: %v", err)
	}
	own, err := loadSettings("f", []byte("[price.providers.nostr]\ntrusted_nodes = [\""+aNode+"\"]"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := own.checkOwn(own.Price.Nostr.Nodes[0]); err == nil || !strings.Contains(err.Error(), "f line 2: price.providers.nostr.trusted_nodes names this node itself") {
		t.Errorf("a node that trusts itself: %v", err)
	}
}
