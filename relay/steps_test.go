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

// TestClockAlone: where nobody agrees, a clock that was put forward is believed after a week of running, over restarts.
func TestClockAlone(t *testing.T) {
	last := time.Unix(1_700_000_000, 0)
	state := clockState{Time: last.Unix()}
	for i, run := range []struct {
		took time.Duration
		yes  bool
	}{{3 * day, true}, {4*day - 2*time.Hour, true}, {3 * time.Hour, false}} {
		c := stepsFrom(state, last.Add(400*day))
		yes := false
		for up := time.Minute; up <= run.took; up += 10 * time.Minute {
			yes, _ = c.doubts(last.Add(400*day+up), up, false)
			state = c.state(last.Add(400*day+up), up)
		}
		if yes != run.yes {
			t.Errorf("run %d: doubted %v", i, yes)
		}
	}
}

// TestClockBehind: a clock that is behind the last run's, as of a machine that keeps no time while it is off, does not
// become what the next start is compared with. That it is put right is no doubt, and that it goes to a wrong year is; and when it
// stays behind, or others agree with it, the last run's was wrong.
func TestClockBehind(t *testing.T) {
	last := time.Unix(1_700_000_000, 0)
	began := time.Unix(0, 0)
	for name, c := range map[string]struct {
		clock  time.Time // after the start
		up     time.Duration
		agreed bool
		yes    bool
		kept   time.Time
	}{
		"not put right":            {began, time.Hour, false, false, last},
		"some days later":          {last.Add(20 * day), time.Hour, false, false, last.Add(20 * day)},
		"in a wrong year":          {last.Add(400 * day), time.Hour, true, true, last},
		"in a wrong year for long": {last.Add(400 * day), 20 * time.Hour, true, false, last.Add(400 * day)},
		"it stays so":              {began, 13 * time.Hour, false, false, began},
		"others agree":             {last.Add(-day), time.Hour, true, false, last.Add(-day)},
	} {
		steps := stepsFrom(clockState{Time: last.Unix()}, began)
		if yes, _ := steps.doubts(began, 0, false); yes {
			t.Errorf("%s: it is doubted at the start", name)
		}
		if kept := steps.state(began, 0).Time; kept != last.Unix() {
			t.Errorf("%s: %d is kept at the start", name, kept)
		}
		var yes bool
		for up := time.Minute; up <= c.up; up += time.Minute {
			yes, _ = steps.doubts(c.clock.Add(up), up, c.agreed)
		}
		if kept := steps.state(c.clock.Add(c.up), c.up).Time; yes != c.yes || kept != c.kept.Add(c.up).Unix() {
			t.Errorf("%s: doubted %v, kept %d", name, yes, kept)
		}
	}
}

// TestClockCompared: the time since the start, which Go's times have with them, does not hide that the clock was put forward.
func TestClockCompared(t *testing.T) {
	if c := stepsFrom(clockState{}, time.Now()); c.began != c.began.Round(0) {
		t.Error("it is compared by the time since the start")
	}
}
