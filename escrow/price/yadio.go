package price

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// parseYadio reads the answer to GET /exrates/BTC: {"BTC":{"USD":61234.5,"XYZ":null,...}},
// fiat units per bitcoin. The result is in millionths. Values that are no price and codes
// that are no currency are left out; an answer without any price is an error.
func parseYadio(body []byte) (map[string]int64, error) {
	var answer struct {
		BTC map[string]json.RawMessage `json:"BTC"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	prices := make(map[string]int64, len(answer.BTC))
	for code, raw := range answer.BTC {
		if !plausible(code) {
			continue
		}
		if value, err := parseMillionths(string(raw)); err == nil {
			prices[code] = value
		}
	}
	if len(prices) == 0 {
		return nil, errors.New("the answer has no price")
	}
	return prices, nil
}

// plausible tells whether a code can be a fiat currency: three upper-case letters, and
// neither bitcoin itself nor one of the metals that sources list among currencies.
func plausible(code string) bool {
	switch code {
	case "BTC", "XBT", "XAU", "XAG", "XPT", "XPD":
		return false
	}
	if len(code) != 3 {
		return false
	}
	for _, c := range []byte(code) {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}

// fractionDigits is the precision of a price: millionths of the currency's unit.
const fractionDigits = 6

// parseMillionths reads a positive JSON number exactly into millionths; digits beyond the
// sixth are cut off. It refuses zero, negative numbers, numbers below a millionth and
// numbers beyond an int64.
func parseMillionths(s string) (int64, error) {
	mantissa, exponent := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		e, err := strconv.ParseInt(s[i+1:], 10, 16)
		if err != nil {
			return 0, fmt.Errorf("price %.32q: bad exponent", s)
		}
		mantissa, exponent = s[:i], int(e)
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	// keep is how many digits stand before the cut at a millionth.
	keep := len(whole) + exponent + fractionDigits
	var value int64
	for i := range max(keep, len(digits)) {
		digit := byte('0')
		if i < len(digits) {
			digit = digits[i]
		}
		if digit < '0' || digit > '9' {
			return 0, fmt.Errorf("price %.32q: not a positive number", s)
		}
		if i >= keep {
			continue
		}
		if value > (math.MaxInt64-int64(digit-'0'))/10 {
			return 0, fmt.Errorf("price %.32q: too large", s)
		}
		value = 10*value + int64(digit-'0')
	}
	if value == 0 {
		return 0, fmt.Errorf("price %.32q: not a positive number of millionths", s)
	}
	return value, nil
}
