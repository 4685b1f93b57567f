package mirror

import (
	"cmp"
	"context"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/semaphore"
)

// receive takes messages to the node that arrive at an outside relay to the node. Where no gift wraps
// are given out it is content with messages of the other kind.
func (p *peer) receive(ctx context.Context, l *link) error {
	err := p.receiveKinds(ctx, l, kindMessage, kindWrap)
	if refusesWraps(err) {
		p.cause(there + "gift wraps: " + err.Error())
		err = p.receiveKinds(ctx, l, kindMessage)
	}
	return err
}

// refusesWraps reports whether a relay has refused a question that was also about gift wraps.
func refusesWraps(err error) bool {
	var closed *ClosedError
	return errors.As(err, &closed) && !closed.Stood && !strings.HasPrefix(closed.Reason, "rate-limited")
}

// reception hands messages to the node that come over one relay to it, in lanes: those of one author in their order,
// and one that takes long (an invoice whose route is looked for) delays only those behind it. What does not get
// through now is looked for again a while later.
type reception struct {
	p      *peer
	kinds  []int
	from   context.Context // tells the node over which relay a message came
	lanes  [receiveLanes]chan letter
	room   *semaphore.Weighted // bytes that wait
	failed chan error

	mu     sync.Mutex
	behind map[int]int64 // by kind, how far back something is that did not get through
	due    chan struct{}

	ended atomic.Int64 // messages from behind that need not be looked for again
}

// letter is a message to the node.
type letter struct {
	*nostr.Event
	behind bool // it did not come live
}

// receiveKinds receives messages of some kinds until an error or the end of the context.
func (p *peer) receiveKinds(ctx context.Context, l *link, kinds ...int) error {
	ctx, cancel := context.WithCancel(ctx)
	var lanes sync.WaitGroup
	defer lanes.Wait()
	defer cancel()
	r := &reception{
		p: p, kinds: kinds, from: context.WithValue(ctx, originKey{}, p.url), room: semaphore.NewWeighted(intakeBytes),
		failed: make(chan error, 1), behind: make(map[int]int64), due: make(chan struct{}, 1),
	}
	for i := range r.lanes {
		r.lanes[i] = make(chan letter, messageBurst/receiveLanes)
		lanes.Go(func() { r.work(ctx, r.lanes[i]) })
	}
	since := r.first()
	s := &sub{event: r.live, end: func(err error) {
		if err != nil {
			r.fail(err)
		}
	}}
	for _, kind := range kinds {
		r.behind[kind] = since // when a connection is new, all of it
	}
	from := nostr.Timestamp(since)
	f := nostr.Filter{Kinds: kinds, Tags: nostr.TagMap{"p": {p.m.cfg.Pubkey}}, Since: &from}
	if err := l.subscribe(s, f); err != nil {
		return err
	}
	lanes.Go(func() {
		if err := safely(func() error { r.lookBehind(ctx, l); return nil }); err != nil {
			r.fail(err)
		}
	})
	select {
	case err := <-r.failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// fail ends the reception; the first cause counts.
func (r *reception) fail(err error) {
	select {
	case r.failed <- err:
	default:
	}
}

// lane is where a message waits. Gift wraps have an author each, and no order.
func (r *reception) lane(ev *nostr.Event) chan letter {
	return r.lanes[crc32.ChecksumIEEE([]byte(ev.PubKey))%receiveLanes]
}

// live takes what comes live. It never waits: that would hold up everything that the relay sends, and strangers can write to
// the node.
func (r *reception) live(ev *nostr.Event) {
	if r.p.mail.Allow() && r.room.TryAcquire(share(ev)) {
		select {
		case r.lane(ev) <- letter{ev, false}:
			return
		default:
			r.room.Release(share(ev))
		}
	}
	r.again(ev)
}

// first is from when messages are of use.
func (r *reception) first() int64 { return r.p.m.cfg.Now().Add(-mailPast).Unix() }

// again lets a message be looked for in a while.
func (r *reception) again(ev *nostr.Event) { r.miss(ev.Kind, int64(ev.CreatedAt)) }

// miss lets messages of a kind be looked for in a while, back to a time.
func (r *reception) miss(kind int, at int64) {
	if !slices.Contains(r.kinds, kind) {
		return // it was not asked for
	}
	r.mu.Lock()
	if back, missed := r.behind[kind]; !missed || at < back {
		r.behind[kind] = max(at, r.first())
	}
	r.mu.Unlock()
	select {
	case r.due <- struct{}{}:
	default:
	}
}

// lookBehind fetches what is stored, and then again and again what was missed. In between it waits as long as that took, up to
// mostMissed: how much strangers leave there costs no more. While it fetches much of which little is done with then, as strangers'
// messages are for which the node has no room, it waits twice as long each time, up to mostPatience.
func (r *reception) lookBehind(ctx context.Context, l *link) {
	wait := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-ctx.Done():
			return false
		}
	}
	for barren := 0; ; {
		r.mu.Lock()
		behind := r.behind
		r.behind = make(map[int]int64)
		r.mu.Unlock()
		began, ended := time.Now(), r.ended.Load()
		fetched := r.fetchOld(ctx, l, behind)
		pause := min(max(time.Since(began), checkEvery), mostMissed)
		select {
		case <-r.due:
		case <-ctx.Done():
			return
		}
		if !wait(pause) {
			return
		}
		if ended = r.ended.Load() - ended; fetched < barrenRound || ended >= int64(fetched/10) {
			barren = 0
			continue
		}
		barren = min(barren+1, 10)
		if !wait(min(pause<<barren, mostPatience) - pause) {
			return
		}
	}
}

// fetchOld asks for what is behind the newest messages, which is all that a relay gives out with a
// subscription: gift wraps are dated back by days, so that one of a break can be anywhere. As many as are asked for at once
// are handed over in the order in which they were written. It goes back as far as it says for each kind, however many
// strangers have left there. It says how many the relay has given out.
func (r *reception) fetchOld(ctx context.Context, l *link, behind map[int]int64) (fetched int) {
	var some []*nostr.Event
	hand := func() {
		slices.SortStableFunc(some, func(a, b *nostr.Event) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) })
		for _, ev := range some {
			if r.p.oldMail.Wait(ctx) != nil || r.room.Acquire(ctx, share(ev)) != nil {
				return
			}
			select {
			case r.lane(ev) <- letter{ev, true}:
			case <-ctx.Done():
				return
			}
		}
		some = nil
	}
	bytes := 0
	for _, kind := range r.kinds {
		since, missed := behind[kind]
		if !missed {
			continue
		}
		f := nostr.Filter{Kinds: []int{kind}, Tags: nostr.TagMap{"p": {r.p.m.cfg.Pubkey}}}
		_, err := l.walkMost(ctx, f, since, course{maxItems, unhurried, l.fetch}, func(ev *nostr.Event) {
			fetched++
			if r.p.m.marks.knows(nameOf(ev)) || r.p.heard.knows(nameOf(ev)) {
				return
			}
			some, bytes = append(some, ev), bytes+memoryOf(ev)
			if len(some) >= pageEvents || bytes >= intakeBytes {
				hand()
				bytes = 0
			}
		})
		if err != nil && ctx.Err() == nil {
			r.p.cause(there + "older messages: " + err.Error())
			r.miss(kind, since)
		}
	}
	hand()
	return fetched
}

// work hands the messages of a lane over.
func (r *reception) work(ctx context.Context, lane <-chan letter) {
	for {
		select {
		case ev := <-lane:
			r.room.Release(share(ev.Event))
			var again bool
			err := safely(func() (err error) { again, err = r.deliver(ev.Event); return err })
			switch {
			case errors.Is(err, errFault): // it is of whoever has written there, and not read again
				r.p.m.log.Error("handle a message from another relay", "relay", r.p.url, "error", err)
			case err != nil:
				r.fail(err)
			}
			if ev.behind && !again {
				r.ended.Add(1)
			}
		case <-ctx.Done():
			return
		}
	}
}

// deliver knows each message that came over this relay by its name. A copy of one that has come elsewhere goes to the node too,
// which handles it once, and learns that its author may read here. again says that it is to be looked for once more. An error
// ends the connection.
func (r *reception) deliver(ev *nostr.Event) (again bool, err error) {
	p := r.p
	switch to := recipients(ev); {
	case !slices.Contains(to, p.m.cfg.Pubkey):
		return false, p.strike(ev, unasked)
	case len(to) > 1:
		p.refuse("invalid: a message to this node has exactly one p tag")
		return false, nil
	case ev.CheckID() && (p.m.marks.knows(nameOf(ev)) || p.heard.heard(nameOf(ev))):
		return false, nil // else it is another event than its name says, and refused
	}
	// Only what the node has taken, or will never take, is not heard again.
	switch err := p.m.relay.Deliver(r.from, p.url, ev); {
	case err == nil:
		p.received.Add(1)
	case passing(err.Error()):
		p.heard.forget(nameOf(ev))
		p.refusal(err.Error())
		r.again(ev)
		return true, nil
	default:
		p.refuse(err.Error())
	}
	return false, nil
}
