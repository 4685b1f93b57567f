package price

import (
	"cmp"
	"math/bits"
	"slices"
)

// quote is what one source, or one node, says a bitcoin costs, in millionths.
type quote struct {
	source int // its place in the configuration
	perBTC int64
	at     int64 // unix seconds
}

// combined is what quotes of one currency add up to.
type combined struct {
	perBTC int64
	at     int64  // of the oldest quote in it
	from   uint64 // a bit for the place of each source in it
	voices int    // how many quotes stand behind it: below 2, no two agree
}

// combine makes one price of quotes: one is taken as it is, of two the mean, which counts only
// when they are within threshold (ppm) of each other, of more the mean of those within threshold
// of their median, or the median itself when none is.
func combine(quotes []quote, threshold int64) combined {
	sorted := slices.SortedFunc(slices.Values(quotes), func(a, b quote) int { return cmp.Compare(a.perBTC, b.perBTC) })
	n := len(sorted)
	if n <= 2 {
		c := average(sorted)
		if n == 2 && !within(sorted[0].perBTC, sorted[1].perBTC, threshold) {
			c.voices = 0
		}
		return c
	}
	middle := average(sorted[(n-1)/2 : n/2+1])
	near := slices.DeleteFunc(sorted, func(q quote) bool { return !within(q.perBTC, middle.perBTC, threshold) })
	if len(near) == 0 {
		middle.voices = 0
		return middle
	}
	return average(near)
}

// average is the mean, rounded down, of at least one quote.
func average(quotes []quote) combined {
	c := combined{at: quotes[0].at, voices: len(quotes)}
	var hi, lo uint64
	for _, q := range quotes {
		var carry uint64
		lo, carry = bits.Add64(lo, uint64(q.perBTC), 0)
		hi += carry
		c.at = min(c.at, q.at)
		c.from |= 1 << q.source
	}
	mean, _ := bits.Div64(hi, lo, uint64(len(quotes))) // of int64s, so it is one
	c.perBTC = int64(mean)
	return c
}
