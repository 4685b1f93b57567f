package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestM51StatusOfPrices: which currencies have no price, and why, is seen without reading the log.
func TestM51StatusOfPrices(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /exrates/BTC", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"BTC":{"USD":60000,"EUR":50000}}`) })
	mux.HandleFunc("GET /ticker", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"USD":{"last":90000},"EUR":{"last":51000}}`)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	n := pricedNode(t, "price.providers.yadio.enabled=true", "price.providers.yadio.url="+server.URL,
		"price.providers.blockchain.enabled=true", "price.providers.blockchain.url="+server.URL, `mostro.fiat_currencies_accepted=["USD", "EUR", "CUP"]`)
	want := []string{"of yadio, blockchain", "none now for USD, CUP, where market orders are refused", "sources DISAGREE: USD yadio=60000 blockchain=90000"}
	for end := time.Now().Add(relayPatience); ; time.Sleep(10 * time.Millisecond) {
		diff := cmp.Diff(want, n.priceState().text())
		if diff == "" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("status (-want +got):\n%s", diff)
		}
	}
	if text := strings.Join(new(priceState).text(), "\n"); text != "of nobody: market orders are refused; price.providers name sources" {
		t.Errorf("without sources: %s", text)
	}
}
