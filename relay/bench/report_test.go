package bench

import (
	"fmt"
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

// growth is what rows cost with different numbers of events stored.
type growth struct{ rows []*grown }

// grown are the figures of one row, with the fewest events first.
type grown struct {
	name    string
	events  []int
	figures [][]figure // of each number of events
}

// note keeps what a row costs among so many events.
func (g *growth) note(row string, events int, figures ...figure) {
	if g == nil {
		return
	}
	i := slices.IndexFunc(g.rows, func(r *grown) bool { return r.name == row })
	if i < 0 {
		i, g.rows = len(g.rows), append(g.rows, &grown{name: row})
	}
	g.rows[i].events, g.rows[i].figures = append(g.rows[i].events, events), append(g.rows[i].figures, figures)
}

// report prints the figures side by side, and how many times that among the fewest events the one among the most is.
func (r *grown) report(b *testing.B) {
	b.ReportMetric(0, "ns/op")
	last := len(r.events) - 1
	for k, first := range r.figures[0] {
		for side, value := range first.value {
			for i, n := range r.events {
				b.ReportMetric(r.figures[i][k].value[side], fmt.Sprintf("%s-%s-of-%d", side, first.unit, n))
			}
			if value > 0 {
				b.ReportMetric(r.figures[last][k].value[side]/value, "times-"+side+"-"+first.unit)
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
