package bench

import (
	"os"
	"testing"
)

const smokeEvents = 200

// TestSides keeps the benchmarks from rotting: relay and baseline take a small load and answer
// every kind of question that the benchmarks ask, with the same events.
func TestSides(t *testing.T) {
	m := &market{TB: t, load: makeLoad(t, smokeEvents)}
	events := frames(m.load.events)
	for _, side := range []string{ours, served, cold, stock} {
		t.Run(side, func(t *testing.T) {
			p := launch(t, side, t.TempDir())
			if _, err := os.Stat("/proc/self/stat"); err != nil {
				t.Skip("what a process uses can be read only on Linux")
			}
			ingest(t, p, events)
			c := audience(t, p, 1, func(int) [][]byte { return nil })[0]
			for _, q := range m.queries() {
				for _, question := range m.questions(q) {
					if hits, err := c.subscribe(question.frame); err != nil || hits != question.hits {
						t.Errorf("%s: %d events answered, expected %d: %v", q.name, hits, question.hits, err)
					}
				}
			}
		})
	}
}
