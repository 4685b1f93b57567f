package relay

import (
	"testing"
	"time"
)

// TestClockSteps: a clock that was put forward is believed when it has stayed so, and one that was put back at once.
func TestClockSteps(t *testing.T) {
	began := time.Unix(1_700_000_000, 0)
	c := steps{began: began}
	for i, step := range []struct {
		up, forward time.Duration
		yes, first  bool
	}{
		{time.Minute, 0, false, false},
		{2 * time.Minute, 50 * time.Minute, false, false},
		{3 * time.Minute, 100 * day, true, true},
		{4 * time.Minute, 100 * day, true, false},
		{5 * time.Minute, 0, false, false}, // put right
		{6 * time.Minute, -day, false, false},
		{7 * time.Minute, 100 * day, true, true},
		{11 * time.Hour, 100*day + time.Minute, true, false},
		{12 * time.Hour, 3000 * day, true, true}, // once more
		{20 * time.Hour, 3000 * day, true, false},
		{24 * time.Hour, 3000 * day, false, false},
		{25 * time.Hour, 3000 * day, false, false},
		{26 * time.Hour, 3001 * day, true, true},
		{27 * time.Hour, 0, false, false},
	} {
		if yes, first := c.doubts(began.Add(step.up+step.forward), step.up); yes != step.yes || first != step.first {
			t.Errorf("step %d: %v %v", i, yes, first)
		}
	}
}
