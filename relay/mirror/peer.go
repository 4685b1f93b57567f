package mirror

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/time/rate"

	"mostro/relay/store"
)

// peer is another relay, whatever this one has to do with it.
type peer struct {
	m      *Mirror
	url    string
	duties duties
	stop   context.CancelFunc

	link    atomic.Pointer[link] // nil while there is no connection
	events  *rate.Limiter        // that come live
	bytes   *rate.Limiter
	mail    *rate.Limiter // messages to the node that come live from there
	oldMail *rate.Limiter // and that were stored there
	heard   *marks        // those that the node has taken or will never take
	letters *rations      // messages to clients here
	talkIn  *rations      // messages of conversations from there
	talkOut *rate.Limiter // and from here, that were said before
	talkNow *rations      // the same, of what clients say now
	unsaid  *missed       // conversations of which something has not arrived there

	opinions *rate.Limiter // that come live

	oldEvents, oldBytes *rate.Limiter // that comparing fetches

	out    queue                  // own events for it
	filled bool                   // it was found out what it lacks, or all was queued; of the comparing duty
	queued atomic.Pointer[walked] // it, when it was all and the relay has not taken it yet
	said   chan *nostr.Event      // messages of conversations for it

	mailUntil map[string]time.Time // by key, until when all mail has come or is coming live; of the duty that fetches it

	delays   delays               // own events that it did not take for now; of the publishing duty
	compared map[string]*compared // by followed key; of the copying duty

	broken       int       // connections in a row that ended at a word of negentropy
	windowsUntil time.Time // none is said to that relay before; both of session

	tally
}

func newPeer(m *Mirror, url string, d duties) *peer {
	p := &peer{
		m: m, url: url, duties: d,
		events: rate.NewLimiter(liveRate, liveBurst), bytes: rate.NewLimiter(liveBytes, liveBurstB),
		mail: rate.NewLimiter(messageRate, messageBurst), oldMail: rate.NewLimiter(messageRate, messageBurst),
		heard: newMarks(), talkIn: newRations(talkQueue, author), talkOut: rate.NewLimiter(letterRate, talkQueue),
		talkNow: newRations(talkQueue, author), unsaid: newMissed(),
		opinions:  rate.NewLimiter(opinionRate, opinionBurst),
		oldEvents: rate.NewLimiter(liveRate, 2*m.cfg.MaxEvents), oldBytes: rate.NewLimiter(liveBytes, max(2*m.cfg.MaxBytes, liveBytes)),
		compared: make(map[string]*compared), mailUntil: make(map[string]time.Time),
		out: newQueue(), said: make(chan *nostr.Event, talkQueue), delays: newDelays(),
	}
	p.letters = newRations(letterBurst, p.mine)
	p.set(Connecting, nil)
	return p
}

// mine are the keys that an event is for and whose mail is fetched: who names others beside them gains nothing by it.
func (p *peer) mine(ev *nostr.Event) (keys []string) {
	for _, key := range recipients(ev) {
		if p.m.interest.has(key, p.duties.carried()) {
			keys = append(keys, key)
		}
	}
	return keys
}

// errMisbehaves ends a connection to a relay that sends what it must not.
var errMisbehaves = errors.New("the relay sends events that are false or were not asked for")

// lied is for how long a relay that misbehaves is left alone. The peer can be made anew in between, by whoever is
// followed and lists that relay out and in.
type lied struct {
	until time.Time
	wait  time.Duration // the last one
}

// run keeps a connection until ctx ends.
func (p *peer) run(ctx context.Context) {
	defer p.set(Stopped, nil)
	if before, _ := p.m.lied.Get(p.url); time.Now().Before(before.until) {
		p.failed(errMisbehaves, before.until)
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(before.until)):
		}
	}
	wait := firstRetry
	for ctx.Err() == nil {
		p.set(Connecting, nil)
		began := time.Now()
		err := p.session(ctx)
		if ctx.Err() != nil {
			return
		}
		lasted := time.Since(began)
		pause := wait
		switch {
		case errors.Is(err, errMisbehaves), errors.Is(err, errFault):
			before, _ := p.m.lied.Get(p.url)
			pause = min(max(2*before.wait, badRetry), mostBad)
			p.m.lied.Add(p.url, lied{time.Now().Add(pause / 2), pause})
			p.m.log.Warn("alarm: a relay of a followed Mostro misbehaves", "relay", p.url, "again in", pause, "error", err)
		case lasted > steadyTime:
			wait, pause = firstRetry, firstRetry
		}
		wait = min(2*wait, mostRetry)
		// Half of it at random, so that a relay that comes back is not asked by all at once.
		pause = pause/2 + rand.N(pause/2)
		if p.failed(err, p.m.cfg.Now().Add(pause)) {
			p.m.log.Info("no connection to relay", "relay", p.url, "again in", pause.Round(time.Millisecond), "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// session uses one connection to its end: all duties side by side, until one fails.
func (p *peer) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !p.m.named(p.url) {
		ctx = outward(ctx)
	}
	l, err := p.m.cfg.Dial.connect(ctx, p.url, agent, p.m.cfg.Sign)
	if err != nil {
		return err
	}
	defer l.close()
	defer p.counted(l)
	defer p.learn(l, time.Now())
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel(nil)
	duty := func(what string, f func(context.Context, *link) error) {
		working.Go(func() {
			for {
				err := safely(func() error { return f(ctx, l) })
				if errors.Is(err, store.ErrFull) && p.awaitRoom(ctx) {
					continue
				}
				if err != nil {
					cancel(fmt.Errorf("%s: %w", what, err))
				}
				return
			}
		})
	}
	if a, err := p.m.cfg.Dial.describe(ctx, p.url); err == nil {
		l.plain.Store(!a.mayReconcile())
		l.largest.Store(int64(a.Limits.Message))
		l.node = a.Pubkey // nobody else has the link yet who asks for it
	}
	if time.Now().Before(p.windowsUntil) {
		l.plain.Store(true)
	}
	p.link.Store(l)
	defer p.link.Store(nil)
	p.set(Syncing, nil)
	if len(p.duties.mostros)+len(p.duties.platforms) > 0 {
		duty("copy events", p.follow)
	}
	if len(p.duties.carried()) > 0 {
		duty("carry messages", p.patiently(p.fetchMail))
	}
	if p.duties.outside {
		duty("publish events", p.publishOut)
		duty("compare own events", p.patiently(p.compareOut))
		duty("receive messages", p.patiently(p.receive))
	}
	if len(p.duties.carried()) > 0 || p.duties.outside {
		duty("carry conversations", p.patiently(p.talk))
		duty("bring conversations", p.sendSaid)
	}
	if p.duties.followsAny() || p.duties.outside {
		duty("copy reviews", p.patiently(p.copyReviews))
	}
	if !p.duties.followsAny() {
		p.set(Live, nil)
	}
	select {
	case <-l.ended:
		cancel(l.cause)
	case <-ctx.Done():
		l.close()
		<-l.ended
	}
	return context.Cause(ctx)
}

// awaitRoom waits before a duty begins anew for which the disk had no room. The others go on meanwhile: the node's own events are
// taken as long as it is only nearly full. false: ctx has ended.
func (p *peer) awaitRoom(ctx context.Context) bool {
	p.refuse("error: the disk of this relay is nearly full")
	select {
	case <-time.After(mostRetry):
		return true
	case <-ctx.Done():
		return false
	}
}

// learn draws conclusions from how a connection ended.
func (p *peer) learn(l *link, began time.Time) {
	switch {
	case l.broken.Load():
		if p.broken++; p.broken >= maxBroken {
			p.broken, p.windowsUntil = 0, time.Now().Add(negAgain)
		}
	case time.Since(began) > steadyTime:
		p.broken = 0
	}
}

// patiently makes a duty one that a relay may refuse: what it does not give out by its own rules is
// no reason to give up the rest, and is asked for again in a while; what it does not for now, soon. One from
// which nothing is copied need not answer questions at all.
func (p *peer) patiently(duty func(context.Context, *link) error) func(context.Context, *link) error {
	return func(ctx context.Context, l *link) error {
		for wait := firstAgain; ; wait = min(2*wait, mostPatience) {
			began := time.Now()
			err := duty(ctx, l)
			var closed *ClosedError
			switch {
			case errors.As(err, &closed):
				p.cause(there + closed.Reason)
				p.refusal(closed.Error())
			case errors.Is(err, errNoAnswer) && !p.duties.followsAny():
				p.cause(there + errNoAnswer.Error())
				p.refusal(err.Error())
			default:
				return err
			}
			if time.Since(began) > steadyTime {
				wait = firstAgain
			}
			pause := max(wait, firstPatience)
			if closed != nil && passing(closed.Reason) {
				pause = min(wait, mostAgain)
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

func (d duties) followsAny() bool { return len(d.mostros)+len(d.platforms) > 0 }

// offer gives the peer an own event to publish; it never waits.
func (p *peer) offer(ev *nostr.Event) {
	if p.duties.outside {
		p.out.put(ev, p.m.cfg.Now())
	}
}
