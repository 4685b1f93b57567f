package escrow

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// SimulationStats counts what was played.
type SimulationStats struct {
	Trades, Steps, Crashes, Payouts, DevFees int
	Ends                                     map[mostro.Status]int
	Bonds                                    map[order.BondState]int
	Events                                   map[order.EventName]int // that orders have taken
	Faults                                   map[string]int          // of simFaults
	Kinds                                    map[string]int          // of simKinds
}

// Kinds of what people do, beside the events.
const (
	simOrders   = "orders"
	simSell     = "sell orders"
	simBuy      = "buy orders"
	simFixed    = "fixed orders"
	simMarket   = "market orders"
	simRange    = "range orders"
	simReplaced = "invoices in place of others"
	simAddress  = "payouts to addresses"
	simSlashed  = "slashed bonds"
	simOldTerms = "orders by other terms than the node's last"
	simVouched  = "payments that an operator has vouched for"
	simDenied   = "payments that an operator has given up"
)

func simKinds() []string {
	return []string{simOrders, simSell, simBuy, simFixed, simMarket, simRange, simReplaced, simAddress, simSlashed, simOldTerms, simVouched, simDenied}
}

func newSimulationStats() SimulationStats {
	return SimulationStats{
		Ends: map[mostro.Status]int{}, Bonds: map[order.BondState]int{}, Events: map[order.EventName]int{}, Faults: map[string]int{}, Kinds: map[string]int{},
	}
}

// Add adds up what was played.
func (s *SimulationStats) Add(more SimulationStats) {
	s.Trades, s.Steps, s.Crashes = s.Trades+more.Trades, s.Steps+more.Steps, s.Crashes+more.Crashes
	s.Payouts, s.DevFees = s.Payouts+more.Payouts, s.DevFees+more.DevFees
	if s.Ends == nil {
		fresh := newSimulationStats()
		s.Ends, s.Bonds, s.Events, s.Faults, s.Kinds = fresh.Ends, fresh.Bonds, fresh.Events, fresh.Faults, fresh.Kinds
	}
	addCounts(s.Ends, more.Ends)
	addCounts(s.Bonds, more.Bonds)
	addCounts(s.Events, more.Events)
	addCounts(s.Faults, more.Faults)
	addCounts(s.Kinds, more.Kinds)
}

func addCounts[K comparable](to, more map[K]int) {
	for k, n := range more {
		to[k] += n
	}
}

// WriteCounts prints how often each thing happened.
func (s *SimulationStats) WriteCounts(w io.Writer) {
	fmt.Fprintln(w, "what was traded:")
	for _, kind := range simKinds() {
		fmt.Fprintf(w, "%10d %s\n", s.Kinds[kind], kind)
	}
	fmt.Fprintln(w, "how it ended:")
	writeCounts(w, s.Ends)
	fmt.Fprintln(w, "how its bonds ended:")
	writeCounts(w, s.Bonds)
	fmt.Fprintln(w, "what went wrong:")
	for _, name := range simFaults() {
		fmt.Fprintf(w, "%10d %s\n", s.Faults[name], name)
	}
	fmt.Fprintln(w, "what orders that ended have heard:")
	writeCounts(w, s.Events)
}

func writeCounts[K ~string](w io.Writer, counts map[K]int) {
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(w, "%10d %s\n", counts[k], k)
	}
}
