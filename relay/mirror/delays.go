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
func (d delays) sent(ev *nostr.Event) bool {
	_, is := d.of[ev.ID]
	return is
}

// first is what is to be sent of the events that wait: of those that were not sent yet as many as are
// wanted, in their order, and after them a few that are due again.
func (d delays) first(waiting iter.Seq[*nostr.Event], most int) (evs []*nostr.Event) {
	for ev := range waiting {
		if len(evs) == most {
			return evs
		}
		if !d.sent(ev) {
			evs = append(evs, ev)
		}
	}
	return append(evs, d.paced(d.due(nil, waiting), most-len(evs))...)
}

// due adds events to those that are due again, as far as they are: it keeps a few that have been for longest, in that
// order, so that however many wait, each has its turn.
func (d delays) due(few []*nostr.Event, evs iter.Seq[*nostr.Event]) []*nostr.Event {
	now := time.Now()
	for ev := range evs {
		if x, sent := d.of[ev.ID]; sent && !now.Before(x.next) {
			few = append(few, ev)
		}
	}
	slices.SortStableFunc(few, func(a, b *nostr.Event) int { return d.of[a.ID].next.Compare(d.of[b.ID].next) })
	return few[:min(len(few), againAtOnce)]
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
