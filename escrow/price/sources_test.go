package price

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// noon is when these tests take place.
var noon = time.Date(2025, 6, 15, 12, 0, 0, 0, time.UTC)

// TestSources asks each provider in its way and reads an answer of its shape, with the oddities
// that such answers have.
func TestSources(t *testing.T) {
	tests := []struct {
		name   string
		make   func(Provider) Source
		path   string
		query  url.Values
		header http.Header
		answer string
		want   quotes
	}{
		{
			name: "yadio", make: Yadio, path: "/exrates/BTC",
			answer: `{"BTC":{"USD":60000.25,"EUR":null,"ARS":0,"CUP":-3,"usd":1,"EURO":2,"XAU":25,"BTC":1,"VES":"7","ZZZ":[1],
				"JPY":9e6,"IRT":5.5e9,"MLC":66000,"VEF":5,"GBP":0.0000001},"base":"BTC","timestamp":1750000000000}`,
			want: quotes{"USD": 60_000_250_000, "JPY": 9_000_000_000_000, "IRT": 5_500_000_000_000_000, "MLC": 66_000_000_000},
		},
		{
			name: "coingecko", make: CoinGecko, path: "/simple/price",
			query:  url.Values{"ids": {"bitcoin"}, "vs_currencies": {geckoCodes}},
			header: http.Header{"X-Cg-Demo-Api-Key": {"key"}},
			answer: `{"bitcoin":{"usd":105123,"eur":91000.5,"vnd":2.7e+9,"eth":40,"bits":1000000,"xau":31,"sats":1e8,"EUR":5,"cop":4}}`,
			want:   quotes{"USD": 105_123_000_000, "EUR": 91_000_500_000, "VND": 2_700_000_000_000_000},
		},
		{
			name: "currency_api", make: CurrencyAPI, path: "/currencies/btc.min.json",
			answer: `{"date":"2025-06-15","btc":{"1inch":500000,"usd":105000.12345678,"cup":2520000,"mlc":105000,"xag":3000,"ggp":77000,"veb":1}}`,
			want:   quotes{"USD": 105_000_123_456, "GGP": 77_000_000_000},
		},
		{
			name: "blockchain", make: Blockchain, path: "/ticker",
			answer: `{"USD":{"15m":1,"last":105000.1,"buy":2,"sell":3,"symbol":"USD"},"ARS":{"last":0},"EUR":{"symbol":"EUR"},"TRY":{"last":4100000}}`,
			want:   quotes{"USD": 105_000_100_000, "TRY": 4_100_000_000_000},
		},
		{
			name: "eltoque", make: ElToque, path: "/v1/trmi",
			query:  url.Values{"date_from": {"2025-06-14 13:00:00"}, "date_to": {"2025-06-15 12:00:00"}},
			header: http.Header{"Authorization": {"Bearer key"}},
			answer: `{"tasas":{"USD":410.0,"MLC":205,"ECU":455,"BTC":400,"USDT_TRC20":420},"date":"2025-06-15","hour":11,"minutes":0,"seconds":12}`,
			want:   quotes{"CUP": 410_000_000, "MLC": 2_000_000},
		},
	}
	for _, test := range tests {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/base"+test.path {
				t.Errorf("%s asks for %s", test.name, r.URL.Path)
			}
			if test.query == nil {
				test.query = url.Values{}
			}
			if diff := cmp.Diff(test.query, r.URL.Query()); diff != "" {
				t.Errorf("%s asks with: %s", test.name, diff)
			}
			for name, want := range test.header {
				if diff := cmp.Diff(want, r.Header[name]); diff != "" {
					t.Errorf("%s: header %s: %s", test.name, name, diff)
				}
			}
			fmt.Fprint(w, test.answer)
		}))
		source := test.make(Provider{URL: server.URL + "/base/", Key: "key"})
		f := New(Config{Timeout: time.Minute, Now: func() time.Time { return noon }})
		got, err := f.ask(t.Context(), source)
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" || source.name != test.name {
			t.Errorf("%s: %v %s", test.name, err, diff)
		}
		if got, err = f.ask(t.Context(), source.Only("USD", "CUP", "BTC")); len(got) != 1 || err != nil {
			t.Errorf("%s, only USD and CUP: %v, %v", test.name, got, err)
		}
		if got, err = f.ask(t.Context(), source.Except("USD", "CUP").Except("MLC")); got["USD"]+got["CUP"]+got["MLC"] != 0 {
			t.Errorf("%s, except USD, CUP and MLC: %v, %v", test.name, got, err)
		}
		server.Close()

		for _, bad := range []string{``, `[]`, `{}`, `null`, `{"BTC":{}}`, `{"bitcoin":{"usd":null}}`, `{"BTC":{"USD":null}}`, `{"BTC":{"USD":1}`, `{"BTC":1}`,
			`{"btc":[]}`, `{"tasas":{"USD":0}}`, `{"tasas":{"MLC":250}}`, `{"USD":{"last":-1}}`, `{"USD":5}`, `<html>blocked</html>`, `{"BTC":{"ZZZ":5}}`,
			`{"error":"rate limit"}`, `{"USD":{"last":NaN}}`, test.answer[:len(test.answer)-1], test.answer + "x"} {
			if got, err := source.read([]byte(bad)); err == nil {
				t.Errorf("%s reads %v from %s", test.name, got, bad)
			}
		}
	}
}

// TestCoinGeckoKeys: the two kinds of key have a header each, and without a key there is none.
func TestCoinGeckoKeys(t *testing.T) {
	for host, want := range map[string]string{"pro-api.coingecko.com": "X-Cg-Pro-Api-Key", "api.coingecko.com": "X-Cg-Demo-Api-Key"} {
		req := httptest.NewRequest(http.MethodGet, "https://"+host+"/", nil)
		CoinGecko(Provider{Key: "key"}).sign(req)
		if len(req.Header) != 1 || req.Header.Get(want) != "key" {
			t.Errorf("%s gets %v", host, req.Header)
		}
	}
	if CoinGecko(Provider{}).sign != nil {
		t.Error("an empty key is sent")
	}
}

func TestCurrencies(t *testing.T) {
	n := 0
	for a := 'A'; a <= 'Z'; a++ {
		for b := 'A'; b <= 'Z'; b++ {
			for c := 'A'; c <= 'Z'; c++ {
				if IsFiat(string([]rune{a, b, c})) {
					n++
				}
			}
		}
	}
	if n < 160 || n > 175 {
		t.Errorf("%d currencies are known, want about 170", n)
	}
	for _, code := range strings.Fields("USD EUR ARS CUP VES IRT GGP IMP JEP MLC " + strings.ToUpper(strings.ReplaceAll(geckoCodes, ",", " "))) {
		if !IsFiat(code) {
			t.Errorf("%s is a currency", code)
		}
	}
	for _, code := range strings.Fields("VEF XAU XAG XPT XPD BTC XBT ETH USDT XDR usd US DOLLAR") {
		if IsFiat(code) {
			t.Errorf("%s is none", code)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"BTC":{"USD":60000.25},"btc":{"usd":1e5},"bitcoin":{"usd":2},"USD":{"last":3},"tasas":{"USD":410,"MLC":0.000001}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, make := range []func(Provider) Source{Yadio, CoinGecko, CurrencyAPI, Blockchain, ElToque} {
			s := make(Provider{})
			read, err := s.read(body)
			if (err == nil) != (len(read) > 0) || err == nil && !json.Valid(body) {
				t.Fatalf("%s reads %v, %v", s.name, read, err)
			}
			for code, value := range read {
				if value <= 0 || !IsFiat(code) {
					t.Fatalf("%s reads %d for %q", s.name, value, code)
				}
			}
		}
	})
}
