package escrow

import (
	"strings"
	"testing"
	"time"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// skewed has the engine's clock go wrong; the node's goes on.
func (w *world) skewed(by time.Duration) {
	clock := func() time.Time { return w.net.Now().Add(by) }
	w.cfg.Clock, w.e.cfg.Clock = clock, clock
}

// M1, M42: the clock is set forward while the grace of a payout runs, which the node has called
// failed and which is on its way. No other invoice is paid before the node could show it: also
// not after a crash, nor for the share of a bond or the development fee.
func TestM42GraceIsNotOfTheClock(t *testing.T) {
	for name, c := range map[string]struct{ before, lied, again string }{
		"a payout": {"attempts 1\n alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent",
			"alice release", "bob add-invoice order=A invoice=99700 request=1"},
		"a payout to an address": {"alice new sell sats=100000\n bob take invoice=bob@ln.example\n alice pay\n bob fiat-sent",
			"alice release", ""},
		"the share of a bond": {"bonds apply=take attempts=1\n alice new buy sats=100000\n bob take\n bob pay\n wait 15m",
			"alice claim invoice=500", "alice claim invoice=500"},
		"the development fee": {"dev-fee ppm=300000 to=dev@ln.example\n server down\n alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n alice release",
			"server up\n wait 1m", ""},
	} {
		for _, crash := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				w.play(t, c.before+"\n node lies\n "+c.lied)
				if len(w.lied) == 0 {
					t.Fatal("nothing was sent")
				}
				w.skewed(6 * time.Minute)
				if crash {
					w.crash()
				}
				w.retry()
				if c.again != "" {
					w.play(t, c.again)
				}
				w.play(t, "wait 2m\n wait 2m")
				if n := len(w.lied); n != 1 {
					t.Errorf("%d payments were sent within the grace", n)
				}
				w.play(t, "node honest")
				for range 6 {
					w.advance(10 * time.Minute)
				}
				w.advance(26 * time.Hour) // the development fee waits longer after each try
				if r := w.audit(); len(r.Owed) != 0 || len(r.Differences) != 0 {
					t.Errorf("in the end owed %+v, differences %+v", r.Owed, r.Differences)
				}
			})
		}
	}
}

// M42: the clock was years ahead when a payout failed, and is right again. The next try does not
// wait for those years, whether the clock is set back under way or by a start.
func TestM42ClockWasAheadWhenAPayoutFailed(t *testing.T) {
	for name, c := range map[string]struct{ before, since string }{
		"a payout":            {"alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n bob route none", "alice release"},
		"an address":          {"alice new sell sats=100000\n bob take invoice=bob@ln.example\n alice pay\n bob fiat-sent\n server down", "alice release"},
		"the development fee": {"dev-fee ppm=300000 to=dev@ln.example\n server down\n alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent", "alice release"},
		"the share of a bond": {"bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay\n wait 15m\n alice route none", "alice claim invoice=500"},
	} {
		for _, crash := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				w.play(t, c.before)
				w.skewed(30 * time.Minute)
				w.check(w.e.lookAtClock(t.Context()))
				w.play(t, c.since)
				w.check(w.e.beat(t.Context()))
				w.play(t, "bob route\n alice route\n server up")
				logged := w.logged.Len()
				w.skewed(0)
				if crash {
					w.crash()
				}
				w.check(w.e.lookAtClock(t.Context()))
				w.settle()
				if got := w.logged.String()[logged:]; !strings.Contains(got, "the clock was set back") {
					t.Errorf("log: %s", got)
				}
				w.play(t, "wait 10m")
				if id := w.order(args{}); name != "the share of a bond" && w.statusOf(id) != mostro.StatusSuccess {
					o, _, _ := w.e.Order(id)
					t.Errorf("the order is %s, its payout %s", o.Status, o.Payout.State)
				}
				if r := w.audit(); len(r.Owed) != 0 || len(r.Differences) != 0 {
					t.Errorf("owed %+v, differences %+v", r.Owed, r.Differences)
				}
			})
		}
	}
}

// What waits for an hour in which somebody may act is not hurried by it: nobody is blamed for a
// clock, and no share is forfeited.
func TestM42SetBackBlamesNobody(t *testing.T) {
	w := newWorld(t)
	w.play(t, "bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay\n wait 15m\n carol new sell sats=50000")
	id := w.order(args{})
	w.skewed(2 * time.Hour)
	w.check(w.e.lookAtClock(t.Context()))
	w.skewed(0)
	w.check(w.e.lookAtClock(t.Context()))
	w.settle()
	bonds, err := w.e.Bonds(w.order(args{named: map[string]string{"order": "A"}}))
	w.check(err)
	if bonds[0].State != order.BondPayout {
		t.Errorf("the share is %s", bonds[0].State)
	}
	if got := w.statusOf(id); got != mostro.StatusPending {
		t.Errorf("an offer is %s", got)
	}
}

// M42: the clock was ahead when a buyer was asked for another invoice, or a winner for one: he
// is asked again, and it is looked whether he was paid after all, once the clock is right.
func TestM42ClockWasAheadWhenSomebodyWasAsked(t *testing.T) {
	for name, c := range map[string]struct{ before, since, asked string }{
		"a buyer":  {"attempts 1\n alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n bob route none", "alice release", "bob <- add-invoice"},
		"a winner": {"bonds apply=take\n alice new sell sats=100000\n bob take invoice=99700\n bob pay\n alice pay\n alice dispute\n operator take-dispute", "operator undo slash=buyer", "alice <- add-bond-invoice"},
	} {
		for _, crash := range []bool{false, true} {
			w := newWorld(t)
			w.play(t, c.before)
			w.skewed(48 * time.Hour) // older messages are not taken
			w.check(w.e.lookAtClock(t.Context()))
			w.play(t, c.since)
			w.check(w.e.beat(t.Context()))
			w.skewed(0)
			w.out.Reset()
			if crash {
				w.crash()
			}
			w.check(w.e.lookAtClock(t.Context()))
			w.settle()
			if got := w.out.String(); strings.Count(got, c.asked) != 1 {
				t.Errorf("%s, crash %v, is asked:\n%s", name, crash, got)
			}
			w.out.Reset()
			w.check(w.e.lookAtClock(t.Context()))
			w.settle()
			if got := w.out.String(); got != "" {
				t.Errorf("%s, crash %v, a second look:\n%s", name, crash, got)
			}
		}
	}
}

// M1: a payment that the node calls failed in the first moment of a start counts from the uptime that
// there was before, and not from nothing, which would end its grace at once.
func TestM1FailedInTheFirstMomentOfAStart(t *testing.T) {
	w := inFolder(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=hold:99700\n alice pay\n bob fiat-sent\n wait 20m\n alice release\n wait 1m")
	id := w.order(args{})
	up := w.e.up()
	w.check(w.e.Close())
	w.later, w.watches, w.told = nil, map[order.Hash]watch{}, map[order.Hash]string{}
	for _, preimage := range w.person("bob").holds {
		w.check(w.person("bob").wallet.Cancel(t.Context(), preimage.Hash()))
	}
	w.open() // and the clock has not had its first word
	w.settle()
	o, _, err := w.e.Order(id)
	w.check(err)
	if p := o.Payout; up < 1200 || p.FailedUptime-1 < up-int64(2*heartbeat.Seconds()) {
		t.Errorf("it failed at an uptime of %d, and %d were counted before: %+v", p.FailedUptime-1, up, p)
	}
}

// M42: the clock jumps ahead while somebody has something to do, and a bond stands for it. The time
// that he lost is given back in one step, not in as many as the jump has quarters of an hour.
func TestM42LostTimeIsGivenBackAtOnce(t *testing.T) {
	w := newWorld(t)
	w.play(t, "bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay\n wait 10m")
	w.skewed(48 * time.Hour)
	w.ring(t.Context())
	if ids := w.e.live.due(w.e.now(), w.e.node.tip(), true); len(ids) != 0 {
		t.Errorf("still due: %q", ids)
	}
	w.ring(t.Context())
	if got := w.statusOf(w.order(args{})); got != mostro.StatusWaitingPayment {
		t.Errorf("the order is %s", got)
	}
}
