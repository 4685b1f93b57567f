package mirror

import (
	"iter"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/time/rate"
)

// delays knows which events another relay did not take for now, by id. What it says of one must not
// hold up the others, and none is sent to it all the time.
type delays struct {
	of   map[string]delay
	pace *rate.Limiter // of what is sent again
}

type delay struct {
	next time.Time // zero: the trouble may be over
	wait time.Duration
	rule bool // it was refused for good
	// probe: by it others wait that may have been
	probe bool
}

func newDelays() delays {
	return delays{make(map[string]delay), rate.NewLimiter(rate.Every(firstAgain/againAtOnce), againAtOnce)}
}

// again puts an event off, each time for twice as long.
func (d delays) again(id string) {
	wait := min(max(2*d.of[id].wait, firstAgain), mostAgain)
	d.of[id] = delay{next: time.Now().Add(wait), wait: wait}
}

// probe puts off for long what may have been refused for good, all but one event: when that is taken, so may the others be.
func (d delays) probe(id string) {
	for other, x := range d.of {
		if other != id && x.probe && time.Since(x.next) < 2*mostAgain {
			d.of[id] = delay{next: time.Now().Add(neverAgain)}
			return
		}
	}
	d.again(id)
	x := d.of[id]
	x.probe = true
	d.of[id] = x
}

// refused puts off for long what was refused by a rule, and reports whether it is the only such event.
func (d delays) refused(id string) (first bool) {
	first = true
	for _, x := range d.of {
		if first = !x.rule; !first {
			break
		}
	}
	d.of[id] = delay{next: time.Now().Add(neverAgain), rule: true}
	return first
}

// idle is how long nothing is due.
func (d delays) idle() time.Duration {
	idle := checkEvery
	for _, x := range d.of {
		idle = min(idle, max(time.Until(x.next), firstAgain))
	}
	return idle
}

// sent reports whether an event was sent before.
func (d delays) sent(id string) bool {
	_, is := d.of[id]
	return is
}

// isDue reports whether an event that was sent before is to be sent again.
func (d delays) isDue(id string) bool {
	x, sent := d.of[id]
	return sent && !time.Now().Before(x.next)
}

// fresh are the first of the events that wait and were not sent yet.
func (d delays) fresh(waiting iter.Seq[*nostr.Event], most int) (evs []*nostr.Event) {
	for ev := range waiting {
		if len(evs) == most {
			break
		}
		if !d.sent(ev.ID) {
			evs = append(evs, ev)
		}
	}
	return evs
}

// due are those that are to be sent again, the longest first.
func (d delays) due(waiting iter.Seq[*nostr.Event]) (evs []*nostr.Event) {
	var ids []string
	of := make(map[string]*nostr.Event)
	for ev := range waiting {
		if d.isDue(ev.ID) {
			ids, of[ev.ID] = append(ids, ev.ID), ev
		}
	}
	for _, id := range d.longest(ids) {
		evs = append(evs, of[id])
	}
	return evs
}

// longest are a few of those that are due, which have been for longest, in that
// order, so that however many wait, each has its turn.
func (d delays) longest(due []string) []string {
	slices.SortStableFunc(due, func(a, b string) int { return d.of[a].next.Compare(d.of[b].next) })
	return due[:min(len(due), againAtOnce)]
}

// paced is how many of the events that are due may be sent now.
func (d delays) paced(due []*nostr.Event, most int) []*nostr.Event {
	for i, ev := range due {
		if i == most || !d.of[ev.ID].next.IsZero() && !d.pace.Allow() {
			return due[:i]
		}
	}
	return due
}

// prune forgets what has been due for long: it waits no more.
func (d delays) prune() {
	for id, x := range d.of {
		if time.Since(x.next) > delaysKept {
			delete(d.of, id)
		}
	}
}

// taken forgets an event. When it had been put off the trouble may be over, and all are due that were put off for the
// same or less.
func (d delays) taken(id string) {
	was, put := d.of[id]
	if !put {
		return
	}
	delete(d.of, id)
	for other, x := range d.of {
		if was.rule || !x.rule {
			x.next = time.Time{}
			d.of[other] = x
		}
	}
}
