package price

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Source is a place that prices come from, as one of the constructors makes it.
type Source struct {
	name  string
	urls  []string                     // base URLs in the order of asking
	path  func(now time.Time) string   // what to ask below a base URL
	sign  func(req *http.Request)      // adds the key; nil when there is none
	parse func([]byte) (quotes, error) // of an answer
	takes func(code string) bool       // which currencies are taken from here
	// perUSD says that the source quotes units per US dollar, not per bitcoin.
	perUSD bool
	fixed  quotes          // instead of a URL
	nodes  map[string]bool // instead of a URL: hex public keys
}

// quotes are prices by currency, in millionths of its unit per bitcoin.
type quotes map[string]int64

// Provider is how to reach a source on the web.
type Provider struct {
	URL       string   // without the path that the source's format prescribes
	Fallbacks []string // URLs to ask in this order when the first does not answer
	Key       string   // API key or token; "" = none
}

func (p Provider) source(name, path string, parse func([]byte) (quotes, error)) Source {
	return Source{
		name:  name,
		urls:  append([]string{p.URL}, p.Fallbacks...),
		path:  func(time.Time) string { return path },
		parse: parse,
		takes: IsFiat,
	}
}

// Only restricts a source to these currencies.
func (s Source) Only(codes ...string) Source {
	takes := s.takes
	s.takes = func(code string) bool { return takes(code) && slices.Contains(codes, code) }
	return s
}

// Except takes everything from a source but these currencies.
func (s Source) Except(codes ...string) Source {
	takes := s.takes
	s.takes = func(code string) bool { return takes(code) && !slices.Contains(codes, code) }
	return s
}

// direct tells whether the source is asked in rounds, unlike other nodes, which publish.
func (s Source) direct() bool { return s.nodes == nil }

// Yadio quotes most currencies, at the rates of the street where they differ from official ones.
func Yadio(p Provider) Source {
	return p.source("yadio", "/exrates/BTC", func(body []byte) (quotes, error) {
		var answer struct {
			BTC map[string]json.RawMessage `json:"BTC"`
		}
		err := json.Unmarshal(body, &answer)
		return readQuotes(answer.BTC), err
	})
}

// CoinGecko quotes some 40 currencies. A key is sent as one of a paying customer to the host that
// serves these, else as a demo key.
func CoinGecko(p Provider) Source {
	s := p.source("coingecko", "/simple/price?ids=bitcoin&vs_currencies="+geckoCodes, func(body []byte) (quotes, error) {
		var answer struct {
			Bitcoin map[string]json.RawMessage `json:"bitcoin"`
		}
		err := json.Unmarshal(body, &answer)
		return readQuotes(upperCase(answer.Bitcoin)), err
	})
	if p.Key != "" {
		s.sign = func(req *http.Request) {
			header := "x-cg-demo-api-key"
			if strings.HasPrefix(req.URL.Host, "pro-api.") {
				header = "x-cg-pro-api-key"
			}
			req.Header.Set(header, p.Key)
		}
	}
	return s.Only(strings.Split(strings.ToUpper(geckoCodes), ",")...)
}

// CurrencyAPI is a daily table of official rates, so CUP and MLC are not taken from it: their
// official rates are not what anybody trades at.
func CurrencyAPI(p Provider) Source {
	return p.source("currency_api", "/currencies/btc.min.json", func(body []byte) (quotes, error) {
		var answer struct {
			BTC map[string]json.RawMessage `json:"btc"`
		}
		err := json.Unmarshal(body, &answer)
		return readQuotes(upperCase(answer.BTC)), err
	}).Except("CUP", "MLC")
}

// Blockchain is the ticker of blockchain.info.
func Blockchain(p Provider) Source {
	return p.source("blockchain", "/ticker", func(body []byte) (quotes, error) {
		var answer map[string]struct {
			Last json.RawMessage `json:"last"`
		}
		err := json.Unmarshal(body, &answer)
		last := make(map[string]json.RawMessage, len(answer))
		for code, entry := range answer {
			last[code] = entry.Last
		}
		return readQuotes(last), err
	})
}

// ElToque tells what a dollar and the MLC cost in Cuba's informal market. It needs a token.
func ElToque(p Provider) Source {
	s := p.source("eltoque", "", parseElToque).Only("CUP", "MLC")
	s.perUSD = true
	s.path = func(now time.Time) string {
		const layout = "2006-01-02 15:04:05"
		window := url.Values{
			"date_from": {now.UTC().Add(-elToqueWindow).Format(layout)},
			"date_to":   {now.UTC().Format(layout)},
		}
		return "/v1/trmi?" + window.Encode()
	}
	s.sign = func(req *http.Request) { req.Header.Set("Authorization", "Bearer "+p.Key) }
	return s
}

// Fixed quotes the same prices for ever, in millionths of the currency's unit per bitcoin: for
// closed networks.
func Fixed(perBTC map[string]int64) Source {
	return Source{name: "fixed", fixed: maps.Clone(perBTC), takes: IsFiat}
}

// Nodes are other Mostros, by hex public key, whose published rates fill the gaps: currencies that
// no other source has a fresh price of. Config.Published finds the events.
func Nodes(pubkeys ...string) Source {
	s := Source{name: "nostr", nodes: map[string]bool{}, takes: IsFiat}
	for _, pubkey := range pubkeys[:min(len(pubkeys), maxNodes)] {
		s.nodes[pubkey] = true
	}
	return s
}

// parseElToque reads {"tasas":{"USD":410,"MLC":205,...}}, in CUP each, into units per dollar.
func parseElToque(body []byte) (quotes, error) {
	var answer struct {
		Rates map[string]json.RawMessage `json:"tasas"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	usd, err := ParseMillionths(string(answer.Rates["USD"]))
	if err != nil {
		return nil, fmt.Errorf("CUP per USD: %w", err)
	}
	perUSD := quotes{"CUP": usd}
	if mlc, err := ParseMillionths(string(answer.Rates["MLC"])); err == nil {
		if value, ok := mulDiv(usd, million, mlc); ok {
			perUSD["MLC"] = value
		}
	}
	return perUSD, nil
}

// readQuotes leaves out what is no price.
func readQuotes(raw map[string]json.RawMessage) quotes {
	read := make(quotes, len(raw))
	for code, text := range raw {
		if value, err := ParseMillionths(string(text)); err == nil {
			read[code] = value
		}
	}
	return read
}

// upperCase turns codes in lower case into ISO's; any other case is no code of these sources.
func upperCase(raw map[string]json.RawMessage) map[string]json.RawMessage {
	upper := make(map[string]json.RawMessage, len(raw))
	for code, text := range raw {
		if code == strings.ToLower(code) {
			upper[strings.ToUpper(code)] = text
		}
	}
	return upper
}

// read is parse with what every source has in common.
func (s Source) read(body []byte) (quotes, error) {
	read, err := s.parse(body)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(read, func(code string, _ int64) bool { return !s.takes(code) })
	if len(read) == 0 {
		return nil, errors.New("the answer has no price")
	}
	return read, nil
}
