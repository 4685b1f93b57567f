package escrow

import (
	"os"
	"testing"
)

// TestSimulation plays seeds; each prints how to play it again when it breaks.
func TestSimulation(t *testing.T) {
	seeds := uint64(300)
	if testing.Short() {
		seeds = 60
	}
	var trades, crashes, fees int
	ends, bonds := map[string]int{}, map[string]int{}
	for seed := uint64(1); seed <= seeds; seed++ {
		stats, err := Simulate(SimulationConfig{Seed: seed})
		if err != nil {
			t.Errorf("%v", err)
			if os.Getenv("TRACE") != "" {
				_, _ = Simulate(SimulationConfig{Seed: seed, Trace: os.Stdout})
			}
			return
		}
		trades += stats.Trades
		crashes += stats.Crashes
		fees += stats.DevFees
		for status, n := range stats.Ends {
			ends[string(status)] += n
		}
		for state, n := range stats.Bonds {
			bonds[string(state)] += n
		}
	}
	t.Logf("%d seeds, %d trades, %d crashes, %d development fees, ends %v, bonds %v", seeds, trades, crashes, fees, ends, bonds)
	if fees < int(seeds) {
		t.Errorf("only %d development fees were paid", fees)
	}
}
