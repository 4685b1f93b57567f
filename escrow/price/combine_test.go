package price

import (
	"math"
	"slices"
	"testing"
)

func TestCombine(t *testing.T) {
	tests := []struct {
		name   string
		quotes []int64 // by the place of their source
		want   int64
		from   uint64
		voices int
	}{
		{"one is taken as it is", []int64{7}, 7, 0b1, 1},
		{"two close ones: mean", []int64{100, 105}, 102, 0b11, 2},
		{"two far ones: mean, but they do not agree", []int64{100, 106}, 103, 0b11, 0},
		{"three close ones: mean", []int64{1000, 1010, 1020}, 1010, 0b111, 3},
		{"a high liar", []int64{1000, 9_000_000, 1020}, 1010, 0b101, 2},
		{"a low liar", []int64{1000, 1, 1020}, 1010, 0b101, 2},
		{"a liar at the limit of the type", []int64{1000, math.MaxInt64, 1020}, 1010, 0b101, 2},
		{"three far ones: the median, alone", []int64{100, 200, 400}, 200, 0b010, 1},
		{"two of four lie differently", []int64{1, 1000, 1010, 5000}, 1005, 0b0110, 2},
		{"two of four lie alike: the middle of nowhere", []int64{100, 101, 300, 301}, 200, 0b0110, 0},
		{"five, with two outliers", []int64{1000, 1001, 1002, 1, 5000}, 1001, 0b00111, 3},
		{"exactly at the threshold", []int64{1000, 1000, 1050}, 1016, 0b111, 3},
		{"just beyond the threshold", []int64{1000, 1000, 1051}, 1000, 0b011, 2},
		{"no overflow", []int64{math.MaxInt64, math.MaxInt64, math.MaxInt64}, math.MaxInt64, 0b111, 3},
	}
	for _, test := range tests {
		for range 3 { // the order of answers has no meaning
			var quotes []quote
			for i, value := range test.quotes {
				quotes = append(quotes, quote{source: i, perBTC: value, at: int64(100 + i)})
			}
			slices.Reverse(quotes)
			got := combine(quotes, 50_000)
			if got.perBTC != test.want || got.from != test.from || got.voices != test.voices {
				t.Errorf("%s: %+v; want %d from %b, %d voices", test.name, got, test.want, test.from, test.voices)
			}
		}
	}
	// The oldest quote that counts says how old the price is.
	if got := combine([]quote{{0, 1000, 50}, {1, 1001, 40}, {2, 9000, 30}}, 50_000); got.at != 40 {
		t.Errorf("the price is of %d, want 40", got.at)
	}
}
