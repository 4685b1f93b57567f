package mirror

import (
	"iter"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// delays knows which events another relay did not take for now, by id. What it says of one must not
// hold up the others, and none is sent to it all the time.
type delays map[string]delay

type delay struct {
	next time.Time
	wait time.Duration
}

func (x delay) due() bool { return !time.Now().Before(x.next) }

// again puts an event off, each time for twice as long.
func (d delays) again(id string) {
	wait := min(max(2*d[id].wait, firstAgain), mostAgain)
	d[id] = delay{time.Now().Add(wait), wait}
}

// first is what is to be sent of the events that wait: of those that were not sent yet as many as are
// wanted, in their order, and after them a few that are due again.
func (d delays) first(waiting iter.Seq[*nostr.Event], most int) (evs []*nostr.Event) {
	for ev := range waiting {
		if len(evs) == most {
			return evs
		}
		if _, sent := d[ev.ID]; !sent {
			evs = append(evs, ev)
		}
	}
	most = min(most, len(evs)+againAtOnce)
	for ev := range waiting {
		if len(evs) == most {
			break
		}
		if x, sent := d[ev.ID]; sent && x.due() {
			evs = append(evs, ev)
		}
	}
	return evs
}

// prune forgets what has been due for long: it waits no more.
func (d delays) prune() {
	for id, x := range d {
		if time.Since(x.next) > 2*mostAgain {
			delete(d, id)
		}
	}
}

// taken forgets an event. When it had been put off the trouble may be over, and all are due.
func (d delays) taken(id string) {
	if _, was := d[id]; !was {
		return
	}
	delete(d, id)
	for other, x := range d {
		x.next = time.Time{}
		d[other] = x
	}
}
