package main

import (
	"testing"
	"time"
)

// TestPricesFromFollowed: a node without any price source of its own has the prices of a Mostro
// that it follows and trusts, brought by the connection to that one's relay.
func TestPricesFromFollowed(t *testing.T) {
	first := pricedNode(t, "price.providers.fixed.enabled=true", `price.providers.fixed.rates=["USD=100000"]`)
	key := first.cfg.key.Public()
	second := pricedNode(t, "price.providers.nostr.enabled=true", `price.providers.nostr.trusted_nodes=["`+key+`"]`,
		`federation.follow=["`+key+`@`+first.url+`"]`)
	for end := time.Now().Add(relayPatience); ; time.Sleep(10 * time.Millisecond) {
		if got, ok := second.prices.Price("USD"); ok {
			if got.PerBTC != 100_000_000_000 {
				t.Errorf("USD is %v", got)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal("the price never comes")
		}
	}
}
