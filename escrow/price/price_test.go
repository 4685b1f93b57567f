package price

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/order"
)

func TestParseMillionths(t *testing.T) {
	tests := []struct {
		in   string
		want int64 // 0: refused
	}{
		{"1", 1_000_000},
		{"61234.5", 61_234_500_000},
		{"0.000001", 1},
		{"0.0000019", 1},
		{"5.0e4", 50_000_000_000},
		{"5E+4", 50_000_000_000},
		{"123456789e-4", 12_345_678_900},
		{"9223372036854.775807", 9223372036854775807},
		{"9223372036854.775808", 0},
		{"1e400", 0},
		{"1e99999", 0},
		{"1e-7", 0},
		{"0", 0},
		{"-0", 0},
		{"-5", 0},
		{"null", 0},
		{`"61234.5"`, 0},
		{"{}", 0},
		{"true", 0},
		{"", 0},
		{"e5", 0},
		{".", 0},
	}
	for _, test := range tests {
		got, err := parseMillionths(test.in)
		if got != test.want || (err == nil) != (test.want != 0) {
			t.Errorf("parseMillionths(%q) = %d, %v; want %d", test.in, got, err, test.want)
		}
	}
}

// FuzzParseMillionths compares with exact rational arithmetic on every JSON number.
func FuzzParseMillionths(f *testing.F) {
	for _, seed := range []string{"1", "61234.56789012", "1e3", "12e-3", "0.1", "99999999999999999999", "-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := parseMillionths(in)
		if !json.Valid([]byte(in)) || len(in) > 40 {
			return // never given to it; it must only not panic
		}
		exact, ok := new(big.Rat).SetString(in)
		if !ok || strings.ContainsAny(in, "_xXpPoObB/n") {
			if err == nil {
				t.Fatalf("parseMillionths(%q) = %d; it is no number", in, got)
			}
			return
		}
		exact.Mul(exact, big.NewRat(1_000_000, 1))
		want := new(big.Int).Quo(exact.Num(), exact.Denom())
		if want.Sign() <= 0 || !want.IsInt64() {
			if err == nil {
				t.Fatalf("parseMillionths(%q) = %d; want it refused", in, got)
			}
		} else if err != nil || got != want.Int64() {
			t.Fatalf("parseMillionths(%q) = %d, %v; want %d", in, got, err, want)
		}
	})
}

func TestParseYadio(t *testing.T) {
	got, err := parseYadio([]byte(`{"BTC":{"USD":60000.25,"EUR":null,"ARS":0,"CUP":-3,"usd":1,"EURO":2,
		"XAU":25,"BTC":1,"VES":"7","ZZZ":[1],"JPY":9e6},"base":"BTC","timestamp":1750000000000}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"USD": 60_000_250_000, "JPY": 9_000_000_000_000}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{``, `[]`, `{}`, `{"BTC":{}}`, `{"BTC":{"USD":null}}`, `{"BTC":{"USD":1}`, `{"BTC":1}`} {
		if got, err := parseYadio([]byte(bad)); err == nil {
			t.Errorf("parseYadio(%s) = %v, want an error", bad, got)
		}
	}
}

// server answers each poll with the next of the given bodies; "" is a status 500.
func server(t *testing.T, bodies ...string) (*httptest.Server, *int) {
	t.Helper()
	polls := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := bodies[min(polls, len(bodies)-1)]
		polls++
		if r.URL.Path != "/exrates/BTC" || body == "" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, body)
	}))
	t.Cleanup(s.Close)
	return s, &polls
}

func TestFeedKeepsLastGoodPriceUntilStale(t *testing.T) {
	s, _ := server(t, `{"BTC":{"USD":60000,"EUR":50000}}`, `{"BTC":{"USD":61000}}`, ``)
	now := time.Unix(1_750_000_000, 0)
	f := New(Config{URL: s.URL, Interval: time.Minute, Staleness: 10 * time.Minute, Timeout: time.Minute,
		Now: func() time.Time { return now }})

	if _, ok := f.Price("USD"); ok {
		t.Error("a price before the first poll")
	}
	check := func(fiat string, want order.Price) {
		t.Helper()
		got, ok := f.Price(fiat)
		if ok != (want != order.Price{}) || got != want {
			t.Errorf("Price(%s) = %v, %v; want %v", fiat, got, ok, want)
		}
	}
	first := now.Unix()
	if err := f.poll(context.Background()); err != nil {
		t.Fatal(err)
	}
	check("USD", order.Price{PerBTC: 60_000e6, At: first})
	check("XYZ", order.Price{})

	now = now.Add(5 * time.Minute)
	if err := f.poll(context.Background()); err != nil {
		t.Fatal(err)
	}
	check("USD", order.Price{PerBTC: 61_000e6, At: first + 300})
	check("EUR", order.Price{PerBTC: 50_000e6, At: first})

	now = now.Add(5*time.Minute + time.Second)
	if err := f.poll(context.Background()); err == nil {
		t.Error("no error for a status 500")
	}
	check("USD", order.Price{PerBTC: 61_000e6, At: first + 300})
	check("EUR", order.Price{}) // 10 min 1 s old
}

func TestFeedBoundsTheAnswer(t *testing.T) {
	s, _ := server(t, `{"BTC":{"USD":1,"pad":"`+strings.Repeat("x", maxBody)+`"}}`)
	f := New(Config{URL: s.URL, Timeout: time.Minute})
	if err := f.poll(context.Background()); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("poll = %v, want a complaint about the size", err)
	}
}

func TestFeedFollowsNoRedirect(t *testing.T) {
	good, polls := server(t, `{"BTC":{"USD":1}}`)
	s := httptest.NewServer(http.RedirectHandler(good.URL+"/exrates/BTC", http.StatusFound))
	defer s.Close()
	f := New(Config{URL: s.URL, Timeout: time.Minute})
	if err := f.poll(context.Background()); err == nil || *polls != 0 {
		t.Errorf("poll = %v after %d requests to the target, want an error and none", err, *polls)
	}
}

// TestReaderNeverWaits reads a price while the source hangs.
func TestReaderNeverWaits(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-release
	}))
	defer s.Close()
	defer close(release)
	f := New(Config{URL: s.URL, Interval: time.Hour, Staleness: time.Hour, Timeout: time.Hour})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	<-asked
	if _, ok := f.Price("USD"); ok {
		t.Error("a price from a source that has not answered")
	}
	cancel()
	<-done // Run ends although the source still hangs
}
