package order

import (
	"math/big"
	"math/rand/v2"
	"testing"
)

// The protocol's rule in exact arithmetic: round(fee * amount / 2), halves away from zero.
func feeByRule(amount Sat, feePPM int64) Sat {
	num := new(big.Int).Mul(big.NewInt(int64(amount)), big.NewInt(feePPM))
	twice := num.Add(num.Mul(num, big.NewInt(1)), big.NewInt(1_000_000)) // + half of 2e6
	return Sat(twice.Quo(twice, big.NewInt(2_000_000)).Int64())
}

// M50: what the seller pays less what the buyer gets is the fee of both sides, for every
// amount, and the fee is the protocol's.
func TestM50FeesAddUp(t *testing.T) {
	check := func(amount Sat, feePPM int64) {
		o := Order{Amount: amount, Fee: FeeSide(amount, feePPM)}
		if got := o.SellerPays() - o.BuyerGets(); got != 2*o.Fee {
			t.Fatalf("amount %d: %d between seller and buyer, fees %d", amount, got, 2*o.Fee)
		}
		if want := feeByRule(amount, feePPM); o.Fee != want {
			t.Fatalf("fee of %d at %d ppm is %d, by the rule %d", amount, feePPM, o.Fee, want)
		}
	}
	for amount := Sat(1); amount <= 1_000_000; amount++ {
		check(amount, 6000)
		checkDevFee(t, amount, 6000, 300_000)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 100_000 {
		check(Sat(r.Int64N(maxSupply)), r.Int64N(500_001))
		checkDevFee(t, Sat(1+r.Int64N(maxSupply)), r.Int64N(500_001), r.Int64N(900_001))
	}
}

// checkDevFee looks at an order whose payout has cost all that routing may: what is left covers
// the development fee and its own way, and the fee is the protocol's share.
func checkDevFee(t *testing.T, amount Sat, feePPM, sharePPM int64) {
	t.Helper()
	o := Order{Amount: amount, Fee: FeeSide(amount, feePPM), Terms: Terms{FeePPM: feePPM, RoutingFeePPM: 2000, DevFeePPM: sharePPM}}
	gross := 2 * o.Fee
	for _, routing := range []Msat{0, RoutingBudget(o.Terms, amount, o.Fee)} {
		o.Ledger = Ledger{{Kind: NodeFee, State: Booked, Amount: gross.Msat()}, {Kind: OwedBuyer, State: Paid, Routing: routing}}
		fee, left := DevFeeOf(&o), gross.Msat()-routing
		if fee < 0 || fee > left.Sat()*9/10 {
			t.Fatalf("amount %d at %d ppm: development fee %d of %d msat", amount, feePPM, fee, left)
		}
		share := new(big.Int).Mul(big.NewInt(int64(gross)), big.NewInt(2*sharePPM))
		share.Add(share, big.NewInt(ppm)).Quo(share, big.NewInt(2*ppm))
		if want := min(Sat(share.Int64()), left.Sat()*9/10); fee != want {
			t.Fatalf("amount %d at %d ppm: development fee %d, want %d", amount, feePPM, fee, want)
		}
		if cap := routingCap(o.Terms, fee, left-fee.Msat()); fee.Msat()+cap+routing > gross.Msat() {
			t.Fatalf("amount %d at %d ppm: %d and its routing %d are more than %d", amount, feePPM, fee, cap, left)
		}
	}
}

func TestFeeSide(t *testing.T) {
	for _, c := range []struct {
		amount Sat
		ppm    int64
		want   Sat
	}{{100_000, 6000, 300}, {1000, 6000, 3}, {83, 6000, 0}, {84, 6000, 0}, {167, 6000, 1}, {500, 6000, 2}, {100_000, 0, 0}, {maxSupply, 500_000, maxSupply / 4}} {
		if got := FeeSide(c.amount, c.ppm); got != c.want {
			t.Errorf("FeeSide(%d, %d) = %d, want %d", c.amount, c.ppm, got, c.want)
		}
	}
}

func TestQuote(t *testing.T) {
	usd := Price{PerBTC: 50_000_000_000} // 50,000.000000
	for _, c := range []struct {
		fiat, premium int64
		p             Price
		want          Sat
	}{
		{50, 0, usd, 100_000},
		{50, 10, usd, 90_000},
		{50, -10, usd, 110_000},
		{50, 100, usd, 0},
		{50, 150, usd, -50_000},
		{1, 0, Price{PerBTC: 60_000_000_000}, 1666},
		{0, 0, usd, 0},
		{50, 0, Price{}, 0},
		{maxFiatAmount, -99, Price{PerBTC: 1}, maxSupply + 1},
	} {
		if got := Quote(c.fiat, c.p, c.premium); got != c.want {
			t.Errorf("Quote(%d, %d, %d) = %d, want %d", c.fiat, c.p.PerBTC, c.premium, got, c.want)
		}
	}
}

// An order never pays out more than it takes in, whatever its routing costs.
func TestRoutingBudgetIsCovered(t *testing.T) {
	for _, terms := range []Terms{{FeePPM: 6000, RoutingFeePPM: 2000}, {RoutingFeePPM: 2000}, {FeePPM: 1000, RoutingFeePPM: 500_000}, {RoutingFeePPM: 2000, RoutingSubsidy: 5}} {
		for _, amount := range []Sat{100, 1000, 1001, 50_000, 1_000_000} {
			fee := FeeSide(amount, terms.FeePPM)
			if got, most := RoutingBudget(terms, amount, fee), (2*fee + terms.RoutingSubsidy).Msat(); got > most {
				t.Errorf("%+v at %d: budget %d of %d", terms, amount, got, most)
			}
		}
	}
	if got := RoutingBudget(Terms{FeePPM: 6000, RoutingFeePPM: 2000}, 100_000, 300); got != 200_000 {
		t.Errorf("0.2 %% of 100,000 sat is %d msat", got)
	}
}
