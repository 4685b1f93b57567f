package price

import (
	"encoding/json"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
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
		got, err := ParseMillionths(test.in)
		if got != test.want || (err == nil) != (test.want != 0) {
			t.Errorf("ParseMillionths(%q) = %d, %v; want %d", test.in, got, err, test.want)
		}
	}
}

// FuzzParseMillionths compares with exact rational arithmetic on every JSON number.
func FuzzParseMillionths(f *testing.F) {
	for _, seed := range []string{"1", "61234.56789012", "1e3", "12e-3", "0.1", "99999999999999999999", "-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := ParseMillionths(in)
		if !json.Valid([]byte(in)) || len(in) > 40 {
			return // never given to it; it must only not panic
		}
		exact, ok := new(big.Rat).SetString(in)
		if !ok || strings.ContainsAny(in, "_xXpPoObB/n") {
			if err == nil {
				t.Fatalf("ParseMillionths(%q) = %d; it is no number", in, got)
			}
			return
		}
		exact.Mul(exact, big.NewRat(1_000_000, 1))
		want := new(big.Int).Quo(exact.Num(), exact.Denom())
		if want.Sign() <= 0 || !want.IsInt64() {
			if err == nil {
				t.Fatalf("ParseMillionths(%q) = %d; want it refused", in, got)
			}
		} else if err != nil || got != want.Int64() {
			t.Fatalf("ParseMillionths(%q) = %d, %v; want %d", in, got, err, want)
		}
	})
}

// TestArithmetic compares with exact arithmetic at random, small and extreme values.
func TestArithmetic(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	value := func() int64 {
		switch random.IntN(4) {
		case 0:
			return 1 + random.Int64N(3)
		case 1:
			return math.MaxInt64 - random.Int64N(3)
		}
		return 1 + random.Int64()>>random.IntN(62)
	}
	for range 20_000 {
		a, b, c := value(), value(), value()
		product := new(big.Int).Mul(big.NewInt(a), big.NewInt(b))
		want := product.Quo(product, big.NewInt(c))
		if got, ok := mulDiv(a, b, c); ok != (want.IsInt64() && want.Sign() > 0) || ok && got != want.Int64() {
			t.Fatalf("seed %d: mulDiv(%d, %d, %d) = %d, %v; want %d", seed, a, b, c, got, ok, want)
		}
		limit := random.Int64N(3 * million)
		off := new(big.Int).Mul(new(big.Int).Abs(big.NewInt(a-b)), big.NewInt(million))
		bound := new(big.Int).Mul(big.NewInt(min(a, b)), big.NewInt(limit))
		if got, want := within(a, b, limit), off.Cmp(bound) <= 0; got != want {
			t.Fatalf("seed %d: within(%d, %d, %d) = %v", seed, a, b, limit, got)
		}
		sum := new(big.Int).Add(big.NewInt(a), big.NewInt(b))
		mean := sum.Add(sum, big.NewInt(c)).Quo(sum, big.NewInt(3)).Int64()
		if got := average([]quote{{perBTC: a}, {perBTC: b}, {perBTC: c}}).perBTC; got != mean {
			t.Fatalf("seed %d: average of %d, %d, %d = %d, want %d", seed, a, b, c, got, mean)
		}
		if back, err := ParseMillionths(formatMillionths(a)); err != nil || back != a || !json.Valid([]byte(formatMillionths(a))) {
			t.Fatalf("seed %d: %d is written %s and read as %d, %v", seed, a, formatMillionths(a), back, err)
		}
	}
	for value, want := range map[int64]string{1: "0.000001", 1_000_000: "1", 61_234_500_000: "61234.5", 10_000_000: "10", 10_100_000: "10.1"} {
		if got := formatMillionths(value); got != want {
			t.Errorf("formatMillionths(%d) = %s, want %s", value, got, want)
		}
	}
}
