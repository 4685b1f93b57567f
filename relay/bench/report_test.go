package bench

import (
	"slices"
	"testing"
	"time"
)

// figure is one measured quantity of a row, by side.
type figure struct {
	unit  string
	rate  bool // more is better
	value map[string]float64
}

func newFigure(unit string, rate bool) figure { return figure{unit, rate, make(map[string]float64)} }

// report gives figures to the benchmark, each with the ratio of our side to the baselines.
func report(b *testing.B, figures ...figure) {
	b.Helper()
	b.ReportMetric(0, "ns/op") // a row has figures of its own
	for _, f := range figures {
		for side, value := range f.value {
			b.ReportMetric(value, side+"-"+f.unit)
			our, both := f.value[ours]
			switch {
			case side == ours || !both || our == 0 || value == 0:
			case f.rate:
				b.ReportMetric(our/value, "x-"+f.unit+"-of-"+side)
			default:
				b.ReportMetric(value/our, "x-less-"+f.unit+"-than-"+side)
			}
		}
	}
}

func (s span) micros(operations int) float64 {
	return float64(s.cpu.Microseconds()) / float64(operations)
}

func (s span) perSecond(operations int) float64 { return float64(operations) / s.wall.Seconds() }

// percentile of sorted durations, in milliseconds.
func percentile(sorted []time.Duration, hundredths int) float64 {
	return float64(sorted[(len(sorted)-1)*hundredths/100].Microseconds()) / 1000
}

func sortedTimes(parts [][]time.Duration) []time.Duration {
	all := slices.Concat(parts...)
	slices.Sort(all)
	return all
}
