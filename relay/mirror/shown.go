package mirror

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"time"

	"mostro/relay/reconcile"
)

// Some relays say that they take an event and do not keep it, or not for long, and what others refuse for its age they refuse for
// ever; comparing finds all of that lacking each time. So what a relay was shown again and still lacks it is shown ever more rarely,
// but for the first freelyShown of a comparing: when it has kept one of these, its rules have changed, and it is shown all.

const (
	freelyShown = 200 // events that a relay lacks after all, shown at each comparing
	shownTwice  = 2   // times that any number of them is
)

// shown is how often comparing has found an event lacking that was sent then.
type shown struct {
	times int
	next  time.Time // before which it is not sent once more, unless it is among the first
}

// again are those of the events which a relay lacks that are to be sent now.
func (q *queue) again(lacks []reconcile.ID) (send []reconcile.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	waits := q.waiting()
	before, now, free := q.shown, time.Now(), freelyShown
	q.shown, q.tried = make(map[uint64]shown), nil // what is not lacking any more is forgotten
	for _, id := range lacks {
		key := binary.BigEndian.Uint64(id[:])
		s, was := before[key]
		if _, is := waits[id]; is || !q.lacking(hex.EncodeToString(id[:])) { // it was not sent meanwhile, or just now
			if was {
				q.shown[key] = s
			}
			continue
		}
		if s.times >= shownTwice && now.Before(s.next) {
			if free == 0 {
				q.shown[key] = s
				continue
			}
			free--
			q.tried = append(q.tried, hex.EncodeToString(id[:]))
		} else {
			s.times++
			s.next = now.Add(min(resyncEvery<<min(s.times, 10), fullEvery))
		}
		q.shown[key] = s
		send = append(send, id)
	}
	return send
}

// keepsAgain forgets how often a relay was shown what it lacked, when it has kept some of what it was sent freely.
func (m *Mirror) keepsAgain(ctx context.Context, q *queue, lacks map[string]struct{}) {
	q.mu.Lock()
	tried := q.tried
	q.mu.Unlock()
	for _, id := range tried {
		if _, is := lacks[id]; is {
			continue
		}
		if has, err := m.relay.Has(ctx, id); err == nil && has { // else it is not lacking because it is here no more
			q.mu.Lock()
			q.shown = nil
			q.mu.Unlock()
			return
		}
	}
}

// waiting are the ids of all that waits. The caller holds mu.
func (q *queue) waiting() map[reconcile.ID]struct{} {
	waits := make(map[reconcile.ID]struct{}, len(q.last)+len(q.rest))
	for _, ev := range q.last {
		waits[idOf(ev.ID)] = struct{}{}
	}
	for _, id := range q.rest {
		waits[id] = struct{}{}
	}
	return waits
}
