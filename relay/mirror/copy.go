package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/semaphore"

	"mostro/relay"
	"mostro/relay/store"
)

// arrival is an event of another relay on its way to the store, or what is to be done when all before it has got there.
type arrival struct {
	ev   *nostr.Event
	then func() error
}

// intake takes events of one duty of a connection to the store, in batches. It holds no more than
// intakeBytes: how large events are is the other relay's choice.
type intake struct {
	ctx  context.Context
	come chan arrival
	room *semaphore.Weighted // bytes
}

func newIntake(ctx context.Context) *intake {
	return &intake{ctx: ctx, come: make(chan arrival, 2*batchEvents), room: semaphore.NewWeighted(intakeBytes)}
}

// take gives an event to the intake, and waits while that is full.
func (in *intake) take(ev *nostr.Event) {
	if in.room.Acquire(in.ctx, share(ev)) != nil {
		return
	}
	select {
	case in.come <- arrival{ev: ev}:
	case <-in.ctx.Done():
	}
}

// share is the part of intakeBytes that an event takes up.
func share(ev *nostr.Event) int64 { return int64(min(memoryOf(ev), intakeBytes)) }

// then has something done when everything taken before is stored, and before what is taken later. It waits only while as many
// arrivals wait as may.
func (in *intake) then(do func() error) {
	select {
	case in.come <- arrival{then: do}:
	case <-in.ctx.Done():
	}
}

// settle waits until everything taken before is stored.
func (in *intake) settle() error {
	done := make(chan struct{})
	in.then(func() error { close(done); return nil })
	select {
	case <-done:
		return nil
	case <-in.ctx.Done():
		return in.ctx.Err()
	}
}

// run stores what comes, one batch after another, until an error or the end of the context.
func (in *intake) run(store func(context.Context, []*nostr.Event) error) error {
	return in.runSome(1, store)
}

// runSome stores up to so many full batches at a time: with two, one is verified while the other is
// committed. More gain nothing, since verifying uses all processors that it may.
func (in *intake) runSome(atOnce int, store func(context.Context, []*nostr.Event) error) error {
	failed := make(chan error, 1)
	var storing sync.WaitGroup
	defer storing.Wait()
	room := make(chan struct{}, atOnce)
	for {
		var batch []*nostr.Event
		var then func() error
		add := func(a arrival) {
			if a.then != nil {
				then = a.then
			} else {
				batch = append(batch, a.ev)
			}
		}
		select {
		case a := <-in.come:
			add(a)
		case err := <-failed:
			return err
		case <-in.ctx.Done():
			return nil
		}
	more:
		for len(batch) < batchEvents && then == nil {
			select {
			case a := <-in.come:
				add(a)
			default:
				break more
			}
		}
		if len(batch) < batchEvents {
			storing.Wait() // what comes one by one is stored in its order
		}
		if len(batch) > 0 {
			var held int64
			for _, ev := range batch {
				held += share(ev)
			}
			room <- struct{}{}
			storing.Go(func() {
				defer func() { <-room }()
				if err := safely(func() error { return store(in.ctx, batch) }); err != nil { // which may change the batch
					select {
					case failed <- err:
					default: // one is enough
					}
				}
				in.room.Release(held)
			})
		}
		if len(batch) < batchEvents {
			storing.Wait()
		}
		select {
		case err := <-failed:
			return err
		default:
		}
		if then != nil {
			if err := then(); err != nil {
				return err
			}
		}
	}
}

// follow copies the events of the peer's followed keys: it is live first, then compares what is
// stored, again and again.
func (p *peer) follow(ctx context.Context, l *link) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := newIntake(ctx)
	stored := make(chan error, 1)
	var held atomic.Int64
	hold := func(ev *nostr.Event, wait time.Duration) {
		size := int64(memoryOf(ev))
		if held.Add(size) > maxHeld {
			held.Add(-size)
			return // comparing finds it
		}
		time.AfterFunc(wait, func() {
			held.Add(-size)
			in.take(ev)
		})
	}
	go func() {
		err := in.runSome(backlogAtOnce, func(ctx context.Context, evs []*nostr.Event) error { return p.ingest(ctx, evs, hold) })
		stored <- err
		if err != nil {
			cancel()
		}
	}()
	err := p.copyAll(ctx, l, in)
	cancel()
	if err = because(<-stored, err); errors.Is(err, store.ErrFull) {
		p.set(Syncing, err)
	}
	return err
}

// because is why a duty has ended: for what storing has failed with, unless it was only told to stop, or for what
// reading has.
func because(stored, read error) error {
	if stored != nil && !errors.Is(stored, context.Canceled) {
		return stored
	}
	return read
}

func (p *peer) copyAll(ctx context.Context, l *link, in *intake) error {
	live := p.listening(ctx, in)
	defer func() { _ = l.unsubscribe(live.sub) }() // fails only when the connection has ended
	if err := p.listen(ctx, l, live); err != nil {
		return err
	}
	for {
		if err := p.compareAll(ctx, l, in); err != nil {
			return err
		}
		p.synced.Store(time.Now().UnixNano())
		p.set(Live, nil)
		again := rewalkEvery
		if p.negentropy.Load() {
			again = resyncEvery
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-live.ended:
			return err
		case <-time.After(again):
		}
	}
}

// listening is the subscription for what comes from now on.
type listening struct {
	*sub
	stands chan struct{} // closed when it does
	ended  chan error    // tells when the relay ends it
}

func (p *peer) listening(ctx context.Context, in *intake) *listening {
	to := &listening{stands: make(chan struct{}), ended: make(chan error, 1)}
	var stand sync.Once
	var stands atomic.Bool
	to.sub = &sub{
		event: func(ev *nostr.Event) {
			if p.events.Wait(ctx) != nil || p.bytes.WaitN(ctx, min(sizeOf(ev), liveBurstB)) != nil {
				return
			}
			if stands.Load() {
				p.lag.Store(int64(time.Since(ev.CreatedAt.Time())))
			}
			in.take(ev)
		},
		end: func(err error) {
			if err == nil {
				stand.Do(func() { close(to.stands) })
				stands.Store(true)
				return
			}
			select {
			case to.ended <- err:
			default:
			}
		},
	}
	return to
}

// listen makes the subscription, and waits until it stands.
func (p *peer) listen(ctx context.Context, l *link, to *listening) error {
	var filters []nostr.Filter
	for _, part := range p.parts() {
		filters = append(filters, nostr.Filter{Authors: part.authors, Kinds: part.kinds, Limit: 1})
	}
	if err := l.subscribe(to.sub, filters...); err != nil {
		return err
	}
	select {
	case <-to.stands:
		return nil
	case err := <-to.ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(answerTime):
		return l.noAnswer()
	}
}

// part is some of the followed keys and what is copied of them.
type part struct {
	authors []string
	kinds   []int
}

func (p *peer) parts() (parts []part) {
	if len(p.duties.mostros) > 0 {
		parts = append(parts, part{p.duties.mostros, mostroKinds})
	}
	if len(p.duties.platforms) > 0 {
		parts = append(parts, part{p.duties.platforms, platformKinds})
	}
	return parts
}

// ingest stores events of followed keys. It fails when too many were bad.
func (p *peer) ingest(ctx context.Context, evs []*nostr.Event, hold func(*nostr.Event, time.Duration)) (bad error) {
	for len(evs) > 0 {
		n, err := p.ingestSome(ctx, evs, hold)
		evs, bad = evs[n:], cmp.Or(bad, err)
	}
	return bad
}

// ingestSome does so with the first of them, as many as there is room for. Orders from the future,
// which would hide later ones from every other clock, are held back until their time has come.
func (p *peer) ingestSome(ctx context.Context, evs []*nostr.Event, hold func(*nostr.Event, time.Duration)) (n int, bad error) {
	good := evs[:0]
	latest := p.m.cfg.Now().Add(orderFuture).Unix()
	for _, ev := range evs {
		if p.m.crowded(ev) {
			if n > 0 {
				break
			}
			if err := p.m.makeRoom(ctx, ev); err != nil {
				return len(evs), err
			}
		}
		n++
		switch {
		case !p.asked(ev):
			bad = cmp.Or(bad, p.strike(ev, unasked))
		case ev.Kind >= kindOrder && int64(ev.CreatedAt) > latest:
			p.ahead.Add(1)
			if wait := int64(ev.CreatedAt) - latest; wait < int64(maxHold/time.Second) { // so it fits into a Duration
				hold(ev, time.Duration(wait)*time.Second)
			}
			p.cause(ahead)
			p.refusal(ahead)
		case p.m.outdone(ctx, ev):
			p.refuse(older)
		case !p.m.room(ctx, ev):
			p.full.Store(true)
			p.refuse(crowded)
		default:
			p.full.Store(p.m.full(ev.PubKey))
			good = append(good, ev)
			p.m.expect(ev)
		}
	}
	for i, t := range p.m.relay.Take(ctx, p.url, good) {
		if !t.New {
			p.m.grow(good[i], -1)
			p.m.notCome(good[i])
		}
		bad = cmp.Or(bad, p.count(good[i], t))
	}
	return n, bad
}

// count books what became of an event.
func (p *peer) count(ev *nostr.Event, t relay.Taken) error {
	if t.Checked {
		p.checked.Add(1)
	}
	switch {
	case t.New:
		p.stored.Add(1)
		p.lastEvent.Store(time.Now().UnixNano())
	case t.Known:
		p.known.Add(1)
	case t.Err != nil:
		return fmt.Errorf("store event: %w", t.Err)
	case strings.HasPrefix(t.Refused, "invalid: the id"), strings.HasPrefix(t.Refused, "invalid: the signature"),
		ev.PubKey == p.m.cfg.Pubkey:
		return p.strike(ev, t.Refused)
	default:
		p.refuse(t.Refused)
	}
	return nil
}

// asked reports whether an event is one of those that the peer was asked for. The signature is not
// checked yet.
func (p *peer) asked(ev *nostr.Event) bool {
	for _, part := range p.parts() {
		if slices.Contains(part.authors, ev.PubKey) && slices.Contains(part.kinds, ev.Kind) {
			return true
		}
	}
	return false
}

// strike counts a bad event. Enough of them end the connection.
func (p *peer) strike(ev *nostr.Event, why string) error {
	p.cause(why)
	p.refusal(fmt.Sprintf("%s (id %.64s, kind %d, by %.64s)", why, ev.ID, ev.Kind, ev.PubKey))
	if p.bad.Add(1)%strikes == 0 {
		return fmt.Errorf("%w: %s", errMisbehaves, why)
	}
	return nil
}

// memoryOf is about how many bytes an event takes up while it waits. Many short tag elements are far
// more than their JSON.
func memoryOf(ev *nostr.Event) int {
	size := sizeOf(ev)
	for _, tag := range ev.Tags {
		size += 24 + 16*len(tag) // headers of a slice and of strings
	}
	return size
}

// sizeOf is about how many bytes of JSON an event has.
func sizeOf(ev *nostr.Event) int {
	size := 350 + len(ev.Content)
	for _, tag := range ev.Tags {
		for _, element := range tag {
			size += len(element) + 3
		}
	}
	return size
}
