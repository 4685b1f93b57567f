package order

import (
	"math/rand/v2"
	"testing"
)

// The way of a larger amount may never cost less than that of a smaller one.
func TestWayCostsGrow(t *testing.T) {
	terms := Terms{RoutingFeePPM: 2000}
	for _, c := range []struct {
		amount Sat
		want   Msat
	}{{0, 10_000}, {1000, 10_000}, {1001, 10_000}, {5000, 10_000}, {5001, 10_002}, {100_000, 200_000}, {maxSupply, maxSupply * 2}} {
		if got := WayCosts(terms, c.amount); got != c.want {
			t.Errorf("the way of %d sat may cost %d msat, want %d", c.amount, got, c.want)
		}
	}
}

// What is left of a bond goes back with what its way may cost, as far as the node's share of the slice
// goes: never with more than that share, never so that less is left for the winner than in proportion.
func TestReserveOfWhatIsLeft(t *testing.T) {
	terms := Terms{RoutingFeePPM: 2000, Bond: &BondTerms{NodeSharePPM: 500_000}}
	for _, c := range []struct {
		node        Msat
		share, rest Sat
		want        Msat
	}{
		{2_500_000, 2500, 15_000, 30_000},    // what it may cost
		{100_000_000, 2500, 90_000, 180_000}, // 10 sat were too few for 90,000
		{60_000, 60, 1000, 10_000},
		{20_000, 20, 980, 10_000}, // just enough for both
		{10_000, 10, 980, 5000},   // half of what both need
		{10_000, 10, 20_000, 8000},
		{10_000, 0, 990, 10_000}, // nobody else is to be paid
		{0, 0, 999, 0},
		{0, 100, 900, 0},
	} {
		b := Bond{Terms: terms, Slash: &Slash{Share: c.share}}
		if got := b.routingReserve(c.node, c.rest); got != c.want {
			t.Errorf("of %d msat %d go along with %d sat beside a share of %d, want %d", c.node, got, c.rest, c.share, c.want)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 100_000 {
		amount := 1 + Sat(r.Int64N(maxSupply))
		slice := Sat(r.Int64N(int64(amount)))
		terms.Bond.NodeSharePPM = r.Int64N(ppm + 1)
		b := Bond{Terms: terms, Slash: &Slash{Slice: slice, Share: terms.Bond.ShareOf(slice)}}
		node := (slice - b.Slash.Share).Msat()
		got := b.routingReserve(node, amount-slice)
		back, share := WayCosts(terms, amount-slice), Msat(0)
		if b.Slash.Share > 0 {
			share = WayCosts(terms, b.Slash.Share)
		}
		if got < 0 || got > node || got > back {
			t.Fatalf("reserve %d of %d for %d", got, node, amount-slice)
		}
		if node >= back+share && (got < back || node-got < share) {
			t.Fatalf("reserve %d of %d: one way may cost %d, the other %d", got, node, back, share)
		}
	}
}
