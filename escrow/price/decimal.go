package price

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// fractionDigits is the precision of a price: millionths of the currency's unit.
const fractionDigits = 6

// million is a whole in millionths and in parts per million.
const million = 1_000_000

// ParseMillionths reads a positive JSON number exactly into millionths; digits beyond the
// sixth are cut off. It refuses zero, negative numbers, numbers below a millionth and
// numbers beyond an int64.
func ParseMillionths(s string) (int64, error) {
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

// formatMillionths is the shortest decimal that ParseMillionths reads back.
func formatMillionths(value int64) string {
	text := fmt.Sprintf("%d.%06d", value/million, value%million)
	return strings.TrimRight(strings.TrimRight(text, "0"), ".")
}

// mulDiv is a*b/c, rounded down, for positive numbers; false when it is not an int64 above 0.
func mulDiv(a, b, c int64) (int64, bool) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi >= uint64(c) {
		return 0, false
	}
	quotient, _ := bits.Div64(hi, lo, uint64(c))
	return int64(quotient), quotient > 0 && quotient <= math.MaxInt64
}

// within tells whether two positive values differ by at most ppm parts per million of the
// smaller one.
func within(a, b, ppm int64) bool {
	a, b = min(a, b), max(a, b)
	hi1, lo1 := bits.Mul64(uint64(b-a), million)
	hi2, lo2 := bits.Mul64(uint64(a), uint64(ppm))
	return hi1 < hi2 || hi1 == hi2 && lo1 <= lo2
}
