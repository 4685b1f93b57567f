package escrow

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mostro/escrow/price"
)

// TestMarketTakeCostsNoNetworkCall makes and takes market orders while every source of prices
// hangs: the trades go on at the last good price, and ask nobody for it.
func TestMarketTakeCostsNoNetworkCall(t *testing.T) {
	var asked atomic.Int32
	hanging, release := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) > 1 {
			close(hanging)
			<-release
		}
		fmt.Fprint(rw, `{"BTC":{"USD":40000}}`)
	}))
	defer s.Close()
	defer close(release)
	w := newWorld(t)
	feed := price.New(price.Config{Sources: []price.Source{price.Yadio(price.Provider{URL: s.URL})},
		Interval: time.Millisecond, Staleness: time.Hour, Timeout: time.Hour, Now: w.net.Now})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { feed.Run(ctx); close(done) }()
	<-hanging // the second round is under way, and stays so

	w.e.cfg.Prices = feed.Price
	w.e.cfg.Settings.Rules.MaxTakes = 0
	for i := range 25 {
		for _, line := range []string{
			fmt.Sprintf("maker%d new buy usd=%d", i, 10+i), fmt.Sprintf("taker%d take", i), fmt.Sprintf("taker%d pay", i),
		} {
			w.out.Reset()
			if err := w.command(strings.Fields(line)); err != nil {
				t.Fatal(err)
			}
		}
		// 40,000 USD a bitcoin: 2,500 sat a dollar.
		if want := fmt.Sprintf("%d sat for %d USD", (10+i)*2500*997/1000, 10+i); !strings.Contains(w.out.String(), want) {
			t.Fatalf("trade %d: want %q in:\n%s", i, want, w.out.String())
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("25 trades led to %d requests for prices", n-2)
	}
	cancel()
	<-done
}
