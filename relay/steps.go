package relay

import "time"

const (
	stepSlack = time.Hour      // by which clocks are put right all the time, and machines sleep
	stepStays = 12 * time.Hour // until a clock that was put forward by more is believed
)

// steps notices that the clock was put forward while the relay runs. A machine that slept for long looks like that too, since
// time since the start stands still meanwhile. For its age nothing is removed then until the clock has stayed so: what is
// hidden comes back when it is put right, what is removed does not.
type steps struct {
	began time.Time // by the clock

	believed time.Duration // by how much the clock was put forward
	doubted  time.Duration // the same, since
	since    time.Duration // after the start; 0 = nothing is doubted
}

// doubts reports whether the clock is not to be believed when it shows now, so long after the start, and whether that is new.
func (c *steps) doubts(now time.Time, up time.Duration) (yes, first bool) {
	forward := now.Round(0).Sub(c.began.Round(0)) - up
	switch {
	case forward <= c.believed+stepSlack:
		c.since = 0
		return false, false
	case c.since == 0 || (forward-c.doubted).Abs() > stepSlack:
		c.doubted, c.since = forward, up
		return true, true
	case up-c.since >= stepStays:
		c.believed, c.since = forward, 0
		return false, false
	}
	return true, false
}
