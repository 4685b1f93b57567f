package escrow

import (
	"strings"
	"testing"
	"time"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// M42: what was paid while the clock was ahead closes the node for an hour from when that is noticed, also after a start, and not until
// an hour after the time that the clock showed.
func TestM42VolumeOfAClockThatWasAhead(t *testing.T) {
	for _, crash := range []bool{false, true} {
		w := newWorld(t)
		w.e.cfg.Settings.Guards.VolumeHour, w.e.cfg.Settings.Guards.VolumeDay = 150_000, 250_000
		w.cfg = w.e.cfg
		w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n carol new sell sats=100000\n dan take invoice=99700\n carol pay\n dan fiat-sent")
		w.skewed(48 * time.Hour)
		w.check(w.e.lookAtClock(t.Context()))
		w.play(t, "alice release order=A\n carol release order=B")
		if a, b := w.statusOf(w.order(args{named: map[string]string{"order": "A"}})), w.statusOf(w.order(args{})); a != mostro.StatusSuccess || b != mostro.StatusSuccess {
			t.Fatalf("the orders are %s and %s", a, b)
		}
		w.check(w.e.beat(t.Context()))
		w.skewed(0)
		if crash {
			w.crash()
		}
		w.check(w.e.lookAtClock(t.Context()))
		w.settle()
		refused := func() bool {
			w.out.Reset()
			w.play(t, "dave new sell sats=5000")
			return strings.Contains(w.out.String(), "has reached the most that it trades in an hour or a day")
		}
		hour, day := w.e.guards.volume(w.e.now(), time.Hour), w.e.guards.volume(w.e.now(), 24*time.Hour)
		if want := order.Msat(2 * 99_700_000); hour != want || day != want || !refused() {
			t.Errorf("crash %v: %d msat of this hour and %d of this day, want %d of each; answered with %s", crash, hour, day, want, w.out.String())
		}
		w.advance(50 * time.Minute)
		if !refused() {
			t.Errorf("crash %v: it counts for less than an hour", crash)
		}
		w.advance(15 * time.Minute)
		if refused() {
			t.Errorf("crash %v: it counts for more than an hour", crash)
		}
		w.crash()
		w.settle()
		if got := w.e.guards.volume(w.e.now(), 24*time.Hour); got != hour {
			t.Errorf("crash %v: after another start %d msat of this day, want %d", crash, got, hour)
		}
	}
}

// M42: so it is with what the breaker counts: for a whole day from when the clock is right again, and no longer.
func TestM42BreakerOfAClockThatWasAhead(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		trips bool
	}{{23 * time.Hour, true}, {25 * time.Hour, false}} {
		w := limited(t, 1000)
		id := w.trade(t, "1000", "997")
		w.skewed(48 * time.Hour)
		w.check(w.e.lookAtClock(t.Context()))
		w.overpay(id, order.Hash{1}, 0)
		w.check(w.e.beat(t.Context()))
		w.skewed(0)
		w.crash()
		w.check(w.e.lookAtClock(t.Context()))
		w.advance(c.after)
		w.overpay(id, order.Hash{2}, 0)
		if got := w.e.guards.latched(); got != c.trips {
			t.Errorf("%v later another 997 sat of 1000 went out: tripped %v", c.after, got)
		}
	}
}
