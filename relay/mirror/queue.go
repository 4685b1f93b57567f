package mirror

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
)

// queue holds own events that an outside relay has not confirmed: of an address the newest only,
// in the order in which they came. It is in memory, because comparing finds them again, or all are sent again. Of what is
// too much for that only ids are.
type queue struct {
	mu    sync.Mutex
	order []string
	last  map[string]*nostr.Event
	rest  []reconcile.ID       // of events that come behind these, in the order in which they are sent
	lacks time.Time            // since when there is a rest
	since map[string]time.Time // that the relay lacks something of an address
	never map[string]time.Time // events that the relay will not take, by id, and when it said so
	taken map[string]struct{}  // ids of those that are done while what the relay has is being found out; else nil
	shown map[uint64]shown     // by the beginning of the id, what it lacked when it was last compared
	tried []string             // ids of what it was shown all the same
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
	if old == nil && len(q.order) >= maxQueued {
		q.rest = append(q.rest, idOf(ev.ID)) // an older version of it is found no more
		q.lacks = earlier(q.lacks, now)
		q.mu.Unlock()
		return
	}
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

// lack queues what the relay lacked when it was asked, unless that was sent meanwhile or waits already.
func (q *queue) lack(ids []reconcile.ID, now time.Time) {
	q.mu.Lock()
	waits := q.waiting()
	for _, id := range ids {
		_, is := waits[id]
		if !is && q.lacking(hex.EncodeToString(id[:])) {
			q.rest = append(q.rest, id)
			q.lacks = earlier(q.lacks, now)
		}
	}
	q.mu.Unlock()
	q.stir()
}

// lacking reports whether what the relay lacked when it was asked is still to be sent. The caller holds mu.
func (q *queue) lacking(id string) bool {
	_, no := q.never[id]
	_, done := q.taken[id]
	return !no && !done
}

// more takes the first ids of the rest, as many events as there is room for. since is that they wait.
func (q *queue) more() (ids []reconcile.ID, since time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.rest), sentAtOnce, max(maxQueued-len(q.order), 0))
	ids, since = slices.Clone(q.rest[:n]), q.lacks
	if q.rest = q.rest[n:]; len(q.rest) == 0 {
		q.rest, q.lacks = nil, time.Time{}
	}
	return ids, since
}

// waits is how many events wait, and since when the first does.
func (q *queue) waits() (n int, since time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for at := range q.last {
		since = earlier(since, q.since[at])
	}
	return len(q.order) + len(q.rest), earlier(since, q.lacks)
}

// earlier is the first of two times; no time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
