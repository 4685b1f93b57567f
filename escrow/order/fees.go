package order

import (
	"math/big"
	"math/bits"
)

// ppm is the number of parts per million in a whole.
const ppm = 1_000_000

// FeeSide is what each side of a trade pays the node: half of feePPM of the amount, rounded
// to whole sats, halves away from zero (protocol: round(fee * amount / 2)).
func FeeSide(amount Sat, feePPM int64) Sat {
	return Sat(mulDiv(uint64(amount), uint64(feePPM), 2*ppm, ppm))
}

// RoutingBudget is the most that all attempts of a payout may cost in routing fees together:
// what its way may cost, and never more than what the order brings the node plus the subsidy,
// so that no order pays out more than it took in.
func RoutingBudget(t Terms, amount, fee Sat) Msat {
	return routingCap(t, amount, (2*fee + t.RoutingSubsidy).Msat())
}

// leastWay is what the way of any amount may cost: hops ask for a sat or so, whatever they carry.
const leastWay Msat = 10_000

// WayCosts is what the way of an amount may cost: routingPPM of it, and at least 10 sat. The daemon
// has that floor up to 1,000 sat only, so that its 1,001 sat find a way for 2 sat or none.
func WayCosts(t Terms, amount Sat) Msat {
	return max(leastWay, Msat(mulDiv(uint64(amount)*1000, uint64(t.RoutingFeePPM), ppm, 0)))
}

// routingCap is the routing budget of an amount, of which there are funds.
func routingCap(t Terms, amount Sat, funds Msat) Msat {
	budget := WayCosts(t, amount)
	return min(budget, funds)
}

// mulDiv is (a*b + round) / c without overflow in between.
func mulDiv(a, b, c, round uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	lo, carry := bits.Add64(lo, round, 0)
	q, _ := bits.Div64(hi+carry, lo, c)
	return q
}

// Price is what one bitcoin costs in a fiat currency.
type Price struct {
	PerBTC int64 `json:"per_btc"` // millionths of the currency's unit
	At     int64 `json:"at"`      // unix seconds when it was read
}

// Quote converts a fiat amount to sats at a price: fiat / price, less premium percent
// (positive premium = fewer sats), rounded down. The result is 0 or less for a premium of
// 100 or more; callers check the limits.
func Quote(fiat int64, p Price, premium int64) Sat {
	if p.PerBTC <= 0 || fiat <= 0 {
		return 0
	}
	num := big.NewInt(fiat)
	num.Mul(num, big.NewInt(100-premium))
	num.Mul(num, big.NewInt(1e12)) // 1e8 sat a bitcoin, 1e6 millionths, over 100 percent
	num.Quo(num, big.NewInt(p.PerBTC))
	if !num.IsInt64() {
		return Sat(maxSupply) + 1
	}
	return Sat(num.Int64())
}

// maxSupply is every sat that will ever exist; nothing is worth more.
const maxSupply = 21_000_000 * 100_000_000
