package mirror

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// TestReadOffer: the dialects of NIP-69, and what is none of them.
func TestReadOffer(t *testing.T) {
	for name, test := range map[string]struct {
		tags nostr.Tags
		want *Offer // nil = it is no offer
	}{
		"a Mostro's range": {
			nostr.Tags{{"d", "1d37787e"}, {"k", "buy"}, {"f", "VES"}, {"s", "pending"}, {"amt", "0"}, {"fa", "100", "500"}, {"pm", "face to face", "mobile"},
				{"premium", "-2"}, {"source", "mostro:1d37787e"}, {"network", "mainnet"}, {"layer", "lightning"}, {"expires_at", "200"}, {"expiration", "200"}, {"y", "mostro", "Casa"}, {"z", "order"}},
			&Offer{ID: "1d37787e", Name: "Casa", Side: "buy", Fiat: "VES", Min: "100", Max: "500", Premium: "-2", Methods: []string{"face to face", "mobile"},
				Network: "mainnet", Layer: "lightning", ExpiresAt: 200, Source: "mostro:1d37787e"},
		},
		"lnp2pbot: methods in one value, a community": {
			nostr.Tags{{"d", "66ab"}, {"k", "sell"}, {"f", "CUP"}, {"s", "pending"}, {"amt", "21000"}, {"fa", "4000"}, {"pm", "Transfermóvil, efectivo ,"},
				{"premium", "0"}, {"source", "https://t.me/p2plightning/1"}, {"expires_at", "100"}, {"expiration", "300"}, {"y", "lnp2pbot"}, {"community_id", "c"}, {"z", "order"}},
			&Offer{ID: "66ab", Side: "sell", Fiat: "CUP", Min: "4000", Max: "4000", Sats: 21000, Premium: "0", Methods: []string{"Transfermóvil", "efectivo"},
				ExpiresAt: 100, Source: "https://t.me/p2plightning/1"},
		},
		"RoboSats: a coordinator, words of methods, decimals, a duration": {
			nostr.Tags{{"d", "5bb1"}, {"name", "AwkwardRobot77"}, {"k", "sell"}, {"f", "EUR"}, {"s", "pending"}, {"amt", "150000.00"}, {"fa", "20.50"},
				{"pm", "SEPA", "Instant", "Revolut"}, {"premium", "3.25"}, {"source", "http://robo.onion/order/lake/1"}, {"expiration", "900", "86400"},
				{"y", "robosats", "lake"}, {"network", "mainnet"}, {"layer", "lightning"}, {"bond", "3"}, {"g", "u0yj"}, {"z", "order"}},
			&Offer{ID: "5bb1", Name: "lake", Side: "sell", Fiat: "EUR", Min: "20.50", Max: "20.50", Sats: 150_000, Premium: "3.25", Methods: []string{"SEPA", "Instant", "Revolut"},
				Network: "mainnet", Layer: "lightning", Bond: "3", ExpiresAt: 900, Source: "http://robo.onion/order/lake/1"},
		},
		"several currencies, a tag for each method, on chain": {
			nostr.Tags{{"d", "x"}, {"k", "SELL"}, {"f", "eur", "CHF"}, {"f", "EUR"}, {"f", "GBP"}, {"s", "pending"}, {"amt", "1000000"}, {"fa", "600", ""},
				{"pm", "sepa"}, {"pm", "twint"}, {"pm", "sepa"}, {"layer", "onchain"}, {"y", "peach"}},
			&Offer{ID: "x", Side: "sell", Fiat: "EUR,CHF,GBP", Min: "600", Max: "600", Sats: 1_000_000, Methods: []string{"sepa", "twint"}, Layer: "onchain"},
		},
		"amounts that are none": {
			nostr.Tags{{"d", "x"}, {"k", "buy"}, {"f", "USD"}, {"amt", "-5"}, {"fa", "1"}, {"expires_at", "-1"}, {"expiration", "soon"}},
			&Offer{ID: "x", Side: "buy", Fiat: "USD", Min: "1", Max: "1", Methods: []string{}},
		},
		"half a sat": {
			nostr.Tags{{"d", "x"}, {"k", "buy"}, {"f", "USD"}, {"amt", "100.5"}},
			&Offer{ID: "x", Side: "buy", Fiat: "USD", Methods: []string{}},
		},
		"no id":       {tags: nostr.Tags{{"k", "buy"}, {"f", "USD"}}},
		"no side":     {tags: nostr.Tags{{"d", "x"}, {"k", "swap"}, {"f", "USD"}}},
		"no currency": {tags: nostr.Tags{{"d", "x"}, {"k", "buy"}, {"f", " "}}},
		"short tags":  {tags: nostr.Tags{{}, {"d"}, {"k"}, {"f"}, {"fa"}, {"pm"}, {"y"}, {"expiration"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := readOffer(&nostr.Event{Kind: kindOrder, Tags: test.tags})
			if ok != (test.want != nil) {
				t.Fatalf("an offer: %v", ok)
			}
			if test.want == nil {
				return
			}
			if diff := cmp.Diff(*test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
