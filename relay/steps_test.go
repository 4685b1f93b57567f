package relay

import (
	"testing"
	"time"
)

// TestClockSteps: a clock that was put forward is believed when it has stayed so, and one that was put back at once.
func TestClockSteps(t *testing.T) {
	began := time.Unix(1_700_000_000, 0)
	c := stepsFrom(clockState{}, began)
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
		if yes, first := c.doubts(began.Add(step.up+step.forward), step.up, true); yes != step.yes || first != step.first {
			t.Errorf("step %d: %v %v", i, yes, first)
		}
	}
}

// TestClockAtStart: a clock that is months ahead of the last run is believed after some hours of running, over restarts, and
// only when others agree; one that is some days ahead at once.
func TestClockAtStart(t *testing.T) {
	last := time.Unix(1_700_000_000, 0)
	state := clockState{Time: last.Unix()}
	run := func(ahead, took time.Duration, agreed bool) (yes bool) {
		c := stepsFrom(state, last.Add(ahead))
		for up := time.Minute; up <= took; up += time.Minute {
			yes, _ = c.doubts(last.Add(ahead+up), up, agreed)
			state = c.state(last.Add(ahead+up), up)
		}
		return yes
	}
	for i, c := range []struct {
		ahead, took time.Duration
		agreed, yes bool
	}{
		{20 * day, time.Hour, false, false}, // from here on the last run is 20 days later
		{60 * day, 2 * time.Hour, true, true},
		{61 * day, 9 * time.Hour, true, true}, // together with the run before 11 hours
		{0, time.Minute, false, false},        // put right
		{400 * day, 11 * time.Hour, true, true},
		{401 * day, 30 * time.Hour, false, true}, // nobody agrees
		{402 * day, time.Hour, true, false},
		{403 * day, time.Hour, false, false},
		{4000 * day, 11 * time.Hour, true, true},
		{8000 * day, 11 * time.Hour, true, true}, // another wrong year
	} {
		if yes := run(c.ahead, c.took, c.agreed); yes != c.yes {
			t.Errorf("run %d: doubted %v", i, yes)
		}
	}
}
