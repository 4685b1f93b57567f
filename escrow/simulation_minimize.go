package escrow

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
)

// maxReplays bounds the search for a smaller story.
const maxReplays = 3000

// MinimizeSimulation makes the plan of a seed that breaks as small as it gets: first without what
// comes after the breach, then without the steps, and then without the faults, that it does
// not need. What is returned breaks in the same way, but for ids and sums; a plan that does not
// break is returned as it is.
func MinimizeSimulation(cfg SimulationConfig) SimPlan {
	s := newSimulation(cfg)
	err := s.run()
	if err == nil {
		return cfg.Plan
	}
	m := minimizer{cfg: cfg, breach: breachOf(err), left: maxReplays}
	whole := SimPlan{Seed: s.plan.Seed, Trades: s.plan.Trades, Steps: s.played, Faults: s.hits}
	if whole.Steps == nil {
		whole.Steps = []SimStep{}
	}
	if !m.breaks(whole) {
		return cfg.Plan // it is in what follows from a fault, and not in the faults: better whole than wrong
	}
	for again := true; again; {
		before := len(whole.Steps) + len(whole.Faults)
		whole.Steps = reduce(whole.Steps, func(steps []SimStep) bool {
			return m.breaks(SimPlan{whole.Seed, whole.Trades, steps, whole.Faults})
		})
		whole.Faults = reduce(whole.Faults, func(faults []SimFault) bool {
			return m.breaks(SimPlan{whole.Seed, whole.Trades, whole.Steps, faults})
		})
		again = len(whole.Steps)+len(whole.Faults) < before
	}
	return whole
}

type minimizer struct {
	cfg    SimulationConfig
	breach string
	left   int
}

func (m *minimizer) breaks(p SimPlan) bool {
	if m.left--; m.left < 0 {
		return false
	}
	cfg := m.cfg
	cfg.Plan, cfg.Trace = p, nil
	_, err := Simulate(cfg)
	return err != nil && breachOf(err) == m.breach
}

// reduce leaves out of a list what is not needed: halves, quarters, and so on to single items.
func reduce[T any](list []T, enough func([]T) bool) []T {
	for size := max(1, len(list)/2); len(list) > 0; size = max(1, size/2) {
		gone := false
		for from := max(0, len(list)-size); ; from = max(0, from-size) {
			if to := min(len(list), from+size); from < to {
				if rest := slices.Concat(list[:from], list[to:]); enough(rest) {
					list, gone = rest, true
				}
			}
			if from == 0 {
				break
			}
		}
		if size == 1 && !gone {
			break
		}
	}
	return list
}

var (
	breachWhere  = regexp.MustCompile(`^seed \d+, step \d+: `)
	breachDetail = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{64}|\d+`)
)

// breachOf is what broke, without where and about what.
func breachOf(err error) string {
	return breachDetail.ReplaceAllString(breachWhere.ReplaceAllString(err.Error(), ""), "")
}

// WriteSimStory plays a plan and writes it down: the plan, which can be read again, and what
// happened.
func WriteSimStory(w io.Writer, p SimPlan) error { return writeSimStory(w, SimulationConfig{Plan: p}) }

func writeSimStory(w io.Writer, cfg SimulationConfig) error {
	var told bytes.Buffer
	cfg.Trace = &told
	stats, err := Simulate(cfg)
	fmt.Fprintf(w, "# %d orders, %d steps, %d faults: %v\n", stats.Kinds[simOrders], len(cfg.Plan.Steps), len(cfg.Plan.Faults), err)
	if _, err := cfg.Plan.WriteTo(w); err != nil {
		return err
	}
	fmt.Fprintln(w, "story")
	_, err = told.WriteTo(w)
	return err
}
