package mirror

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// queue holds own events that an outside relay has not confirmed: of an address the newest only,
// in the order in which they came. It is in memory, because comparing finds them again, or all are sent again.
type queue struct {
	mu    sync.Mutex
	order []string
	last  map[string]*nostr.Event
	since map[string]time.Time // that the relay lacks something of an address
	never map[string]time.Time // events that the relay will not take, by id, and when it said so
	taken map[string]struct{}  // ids of those that are done while what the relay has is being found out; else nil
	wake  chan struct{}
}

func newQueue() queue {
	return queue{
		last: make(map[string]*nostr.Event), since: make(map[string]time.Time), never: make(map[string]time.Time),
		wake: make(chan struct{}, 1),
	}
}

// place is what later events of the same kind replace.
func place(ev *nostr.Event) string {
	switch {
	case nostr.IsReplaceableKind(ev.Kind):
		return fmt.Sprint(ev.Kind)
	case nostr.IsAddressableKind(ev.Kind):
		return fmt.Sprint(ev.Kind, ":", ev.Tags.GetD())
	}
	return ev.ID
}

func (q *queue) put(ev *nostr.Event, now time.Time) {
	q.mu.Lock()
	at := place(ev)
	old := q.last[at]
	if _, waits := q.since[at]; !waits {
		q.since[at] = now
	}
	if old == nil {
		q.order = append(q.order, at)
	}
	if old == nil || old.CreatedAt <= ev.CreatedAt {
		q.last[at] = ev
	}
	q.mu.Unlock()
	q.stir()
}

// stir wakes the duty that empties the queue.
func (q *queue) stir() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// all gives the events, those that wait longest first. They stay until done.
func (q *queue) all(yield func(*nostr.Event) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, at := range q.order {
		if !yield(q.last[at]) {
			return
		}
	}
}

// done takes an event away, unless a newer one has taken its place meanwhile.
func (q *queue) done(ev *nostr.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drop(ev)
}

func (q *queue) drop(ev *nostr.Event) {
	if q.taken != nil {
		q.taken[ev.ID] = struct{}{}
	}
	at := place(ev)
	if old := q.last[at]; old == nil || old.ID != ev.ID {
		return
	}
	delete(q.last, at)
	delete(q.since, at)
	if i := slices.Index(q.order, at); i >= 0 {
		q.order = slices.Delete(q.order, i, i+1)
	}
}

// refused takes away what the relay will not take; until neverAgain it is not queued when comparing finds it.
func (q *queue) refused(ev *nostr.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drop(ev)
	if len(q.never) < maxRejected {
		q.never[ev.ID] = time.Now()
	}
}

// compare begins to find out what the relay has, while events come and go. It returns those that wait.
func (q *queue) compare() (waiting []*nostr.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	maps.DeleteFunc(q.never, func(_ string, at time.Time) bool { return time.Since(at) > neverAgain })
	q.taken = make(map[string]struct{})
	for _, at := range q.order {
		waiting = append(waiting, q.last[at])
	}
	return waiting
}

// compared ends it.
func (q *queue) compared() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = nil
}

// lacking reports whether what the relay lacked when it was asked is still to be sent.
func (q *queue) lacking(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, no := q.never[id]
	_, done := q.taken[id]
	return !no && !done
}

// waits is how many events wait, and since when the first does.
func (q *queue) waits() (n int, since time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for at := range q.last {
		since = earlier(since, q.since[at])
	}
	return len(q.order), since
}

// earlier is the first of two times; no time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
