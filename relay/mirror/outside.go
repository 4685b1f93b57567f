package mirror

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
)

// queue holds own events that an outside relay has not confirmed: of an address the newest only,
// in the order in which they came. It is in memory, because comparing finds them again.
type queue struct {
	mu    sync.Mutex
	order []string
	last  map[string]*nostr.Event
	since map[string]time.Time // that the relay lacks something of an address
	wake  chan struct{}
}

func newQueue() queue {
	return queue{last: make(map[string]*nostr.Event), since: make(map[string]time.Time), wake: make(chan struct{}, 1)}
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

// first lists the events that wait longest. They stay until done.
func (q *queue) first(most int) (evs []*nostr.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, at := range q.order[:min(most, len(q.order))] {
		evs = append(evs, q.last[at])
	}
	return evs
}

// done takes an event away, unless a newer one has taken its place meanwhile.
func (q *queue) done(ev *nostr.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := place(ev)
	if q.last[at] != ev || len(q.order) == 0 {
		return
	}
	delete(q.last, at)
	delete(q.since, at)
	for i := range q.order {
		if q.order[i] == at {
			q.order = append(q.order[:i], q.order[i+1:]...)
			break
		}
	}
}

// clear forgets everything but since when it waits, until prune.
func (q *queue) clear() {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.last)
	q.order = nil
}

// prune forgets since when those have waited that do not wait any more.
func (q *queue) prune() {
	q.mu.Lock()
	defer q.mu.Unlock()
	maps.DeleteFunc(q.since, func(at string, _ time.Time) bool { return q.last[at] == nil })
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

// publishOut brings the node's public events to an outside relay and keeps them equal, and sends
// the answers that wait for it.
func (p *peer) publishOut(ctx context.Context, l *link) error {
	repaired := time.Time{}
	for {
		if time.Since(repaired) > resyncEvery {
			if err := p.repair(ctx, l); err != nil {
				return err
			}
			repaired = time.Now()
		}
		if err := p.sendReplies(ctx, l); err != nil {
			return err
		}
		if err := p.sendQueued(ctx, l); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.out.wake:
		case <-time.After(checkEvery):
		}
	}
}

// sendQueued publishes what is queued.
func (p *peer) sendQueued(ctx context.Context, l *link) error {
	for pause := time.Second; ctx.Err() == nil; {
		evs := p.out.first(sentAtOnce)
		if len(evs) == 0 {
			return nil
		}
		again, err := p.send(ctx, l, evs, p.out.done)
		if err != nil {
			return err
		}
		if !again {
			pause = time.Second
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, mostRetry)
	}
	return nil
}

// send publishes events, and calls done for those that the relay has taken or will never take.
// again says that it may take the others in a while. An error is for the whole connection.
func (p *peer) send(ctx context.Context, l *link, evs []*nostr.Event, done func(*nostr.Event)) (again bool, err error) {
	try, cancel := context.WithTimeout(ctx, okTime)
	defer cancel()
	for i, answer := range l.publishAll(try, evs...) {
		var refused *RefusedError
		switch {
		case answer == nil:
			p.published.Add(1)
			done(evs[i])
		case errors.As(answer, &refused) && passing(refused.Reason):
			p.refusal(refused.Reason)
			again = true
		case refused != nil:
			p.rejections.Add(1)
			p.cause(there + refused.Reason)
			p.refusal(refused.Reason)
			if len(p.rejected) < maxRejected {
				p.rejected[evs[i].ID] = struct{}{}
			}
			done(evs[i])
		case ctx.Err() == nil:
			return false, fmt.Errorf("publish event %s: %w", evs[i].ID, answer)
		}
	}
	return again, nil
}

// maxRejected is how many events are remembered that a relay will not take.
const maxRejected = 10_000

// passing reports whether a refusal may be another one in a while.
func passing(reason string) bool {
	return strings.HasPrefix(reason, "rate-limited") || strings.HasPrefix(reason, "error")
}

// repair finds out which of the node's public events the relay lacks, and queues them.
func (p *peer) repair(ctx context.Context, l *link) error {
	m := p.m
	p.out.clear() // comparing finds what of it was not taken; the OK of the rest may have been lost
	f := nostr.Filter{Authors: []string{m.cfg.Pubkey}, Kinds: mostroKinds}
	d, err := l.differ(ctx, f, maxItems, m.relay.Items)
	var refused *RefusedError
	switch {
	case err == nil:
		p.negentropy.Store(true)
	case errors.Is(err, errNoNegentropy), errors.Is(err, reconcile.ErrVersion), errors.As(err, &refused):
		if d.Have, err = p.lacks(ctx, l, f); err != nil {
			return fmt.Errorf("compare own events: %w", err)
		}
	default:
		return fmt.Errorf("compare own events: %w", err)
	}
	for len(d.Have) > 0 {
		n := min(len(d.Have), idsAtOnce)
		evs, err := m.relay.Get(ctx, d.Have[:n]...)
		if err != nil {
			return err
		}
		for i := range evs {
			if _, no := p.rejected[evs[i].ID]; !no {
				p.out.put(&evs[i], m.cfg.Now())
			}
		}
		d.Have = d.Have[n:]
	}
	p.out.prune()
	return nil
}

// lacks finds out by ids which own events a relay without negentropy lacks.
func (p *peer) lacks(ctx context.Context, l *link, f nostr.Filter) (lacks []reconcile.ID, err error) {
	own, err := p.m.relay.All(ctx, f)
	if err != nil {
		return nil, err
	}
	missing := make(map[string]struct{}, len(own)) // not all that is there: how much that is, the relay chooses
	for i := range own {
		missing[own[i].ID] = struct{}{}
	}
	if _, err := l.walk(ctx, f, 0, func(ev *nostr.Event) { delete(missing, ev.ID) }); err != nil {
		return nil, err
	}
	for i := range own {
		if _, is := missing[own[i].ID]; is {
			lacks = append(lacks, idOf(own[i].ID))
		}
	}
	return lacks, nil
}

// Publish stores own events and sees to it that they get to outside relays: public ones to all,
// answers to where the last message of their recipient came from. It can be repeated.
func (m *Mirror) Publish(ctx context.Context, evs ...nostr.Event) error {
	// Answers are in the outbox before they are in the store: a crash in between sends them twice,
	// which is harmless, and the other way round it would lose them.
	rows := make(map[string][]byte)
	wake := make(map[string]struct{})
	for i := range evs {
		if evs[i].Kind != kindMessage && evs[i].Kind != kindWrap {
			continue
		}
		for tag := range evs[i].Tags.FindAll("p") {
			if to, ok := m.routes.of.Get(tag[1]); ok && slices.Contains(m.cfg.Outside, to.URL) {
				rows[outboxRow(to.URL, &evs[i])] = append(encodeTime(m.cfg.Now()), evs[i].String()...)
				wake[to.URL] = struct{}{}
			}
		}
	}
	if len(rows) > 0 {
		if err := m.state.set(rows); err != nil {
			return err
		}
	}
	if err := m.relay.Publish(ctx, evs...); err != nil {
		return err
	}
	for _, p := range m.list() {
		if _, ok := wake[p.url]; ok {
			p.out.stir()
		}
	}
	return nil
}

// sendReplies sends the answers in the outbox of the relay, and takes away what it has confirmed
// or will never take. What it does not take for now does not hold up what is behind it, unless it takes nothing.
func (p *peer) sendReplies(ctx context.Context, l *link) error {
	late := false
	for after := ""; ctx.Err() == nil; {
		evs, err := p.m.state.waiting(p.url, after, sentAtOnce)
		if err != nil {
			return err
		}
		if len(evs) == 0 {
			break
		}
		after = outboxRow(p.url, evs[len(evs)-1])
		rows := make(map[string][]byte)
		again, err := p.send(ctx, l, evs, func(ev *nostr.Event) { rows[outboxRow(p.url, ev)] = nil })
		if err != nil {
			return err
		}
		if err := p.m.state.set(rows); err != nil {
			return err
		}
		if late = late || again; again && len(rows) == 0 {
			break
		}
	}
	if late {
		return p.later(ctx)
	}
	return nil
}

// later lets the duty come back after a while to what the relay did not take now.
func (p *peer) later(ctx context.Context) error {
	time.AfterFunc(firstRetry*5, func() {
		if ctx.Err() == nil {
			p.out.stir()
		}
	})
	return nil
}

// trimOutbox bounds what waits for relays that are away, or that the settings do not name any more.
func (m *Mirror) trimOutbox() {
	gone, err := m.state.trim(func(url string) bool { return slices.Contains(m.cfg.Outside, url) }, m.cfg.Now().Add(-keysKept), maxOutbox)
	if err != nil {
		m.log.Error("bound the replies that wait for outside relays", "error", err)
	}
	for url, n := range gone {
		m.log.Warn("replies that an outside relay has not taken are dropped", "relay", url, "replies", n)
	}
}

// receive takes messages to the node that arrive at an outside relay to the node. It knows each by
// its id, so that one that arrives in several places is handled once.
func (p *peer) receive(ctx context.Context, l *link) error {
	messages := make(chan *nostr.Event, batchEvents)
	since := nostr.Timestamp(p.m.cfg.Now().Add(-mailPast).Unix())
	ended := make(chan error, 2)
	s := &sub{
		event: func(ev *nostr.Event) {
			if p.mail.Wait(ctx) != nil {
				return
			}
			select {
			case messages <- ev:
			case <-ctx.Done():
			}
		},
		end: func(err error) {
			if err != nil {
				ended <- err
			}
		},
	}
	f := nostr.Filter{Kinds: []int{kindMessage, kindWrap}, Tags: nostr.TagMap{"p": {p.m.cfg.Pubkey}}, Since: &since}
	if err := l.subscribe(s, f); err != nil {
		return err
	}
	from := context.WithValue(ctx, originKey{}, p.url)
	for {
		select {
		case ev := <-messages:
			if p.m.marks.heard(ev.ID) {
				continue
			}
			// Only what the node has taken, or will never take, is not heard again.
			if err := p.m.relay.Deliver(from, p.url, ev); err != nil && passing(err.Error()) {
				p.m.marks.forget(ev.ID)
				p.refusal(err.Error())
			} else if err != nil {
				p.refuse(err.Error())
			} else {
				p.received.Add(1)
			}
		case err := <-ended:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}
