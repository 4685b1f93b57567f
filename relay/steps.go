package relay

import "time"

const (
	stepSlack  = time.Hour      // by which clocks are put right all the time, and machines sleep
	startSlack = 30 * day       // the same at a start: relays are off for days
	stepStays  = 12 * time.Hour // until a clock that was put forward by more is believed, if others agree
	stepAlone  = 7 * day        // the same where nobody does: there may be nobody to do it
)

// steps notices that the clock was put forward, while the relay runs or while it did not. A machine that slept for long looks
// like that too, since time since the start stands still meanwhile. For its age nothing is removed then until the clock has
// stayed so and somebody else's events are of its time, or has stayed so for long: what is hidden comes back when it is put
// right, what is removed does not.
type steps struct {
	began    time.Time     // by the clock at the start, or when the last run had it if it is not believed
	believed time.Duration // by how much the clock was put forward
	behind   bool          // the clock was not even there at the start, as of a machine that keeps no time while it is off

	doubting bool
	doubted  time.Duration // by how much the clock is ahead of what is believed from began on
	since    time.Duration // after the start; less than 0 when the last run doubted it too
}

// clockState is what is kept of steps from one run to the next.
type clockState struct {
	Time  int64 `json:"time"`  // second, when the clock was last believed; 0 = not known
	Ahead int64 `json:"ahead"` // seconds by which it was ahead of that and of the time the relay ran since; 0 = it is believed
	For   int64 `json:"for"`   // seconds of running in which it has stayed so
}

// stepsFrom begins a run at now, by the clock, after what the last one has left.
func stepsFrom(was clockState, now time.Time) steps {
	before := time.Unix(was.Time, 0)
	forward := now.Round(0).Sub(before)
	if was.Time == 0 || forward >= 0 && forward <= startSlack {
		return steps{began: now.Round(0)} // compared by the clock, not by the time since the start
	}
	c := steps{began: before, behind: forward < 0}
	if ahead := time.Duration(was.Ahead) * time.Second; ahead > 0 && !c.behind && (forward-ahead).Abs() <= startSlack {
		c.doubting, c.doubted, c.since = true, forward, -time.Duration(was.For)*time.Second
	}
	return c
}

// doubts reports whether the clock is not to be believed when it shows now, so long after the start, and whether that is
// new. agreed says that somebody else's events are of its time.
func (c *steps) doubts(now time.Time, up time.Duration, agreed bool) (yes, first bool) {
	forward := now.Round(0).Sub(c.began) - up
	switch {
	case !c.behind:
	case forward > 0: // it is put right, as long after the last run as a start may be
		c.behind = false
		if forward <= startSlack {
			c.believed = forward
		}
	case agreed || up >= stepStays: // the last run's was wrong
		c.behind, c.began, forward = false, now.Round(0).Add(-up), 0
	}
	switch {
	case forward <= c.believed+stepSlack:
		c.doubting = false
		return false, false
	case !c.doubting || (forward-c.doubted).Abs() > stepSlack:
		c.doubting, c.doubted, c.since = true, forward, up
		return true, true
	case up-c.since >= stepStays && agreed || up-c.since >= stepAlone:
		c.believed, c.doubting = forward, false
		return false, false
	}
	return true, false
}

// time is now, as far as that is believed.
func (c *steps) time(now time.Time, up time.Duration) time.Time {
	if !c.doubting {
		return now
	}
	return c.began.Add(c.believed + up)
}

// state is what to keep of it.
func (c *steps) state(now time.Time, up time.Duration) clockState {
	kept := clockState{Time: c.time(now, up).Unix()}
	if c.behind {
		kept.Time = c.began.Add(up).Unix() // the next start is compared with it
	}
	if c.doubting {
		kept.Ahead, kept.For = int64(now.Sub(c.time(now, up))/time.Second), int64((up-c.since)/time.Second)
	}
	return kept
}
