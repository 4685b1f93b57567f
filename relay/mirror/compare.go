package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
)

// compareAll gets what is stored at the relay and not here.
func (p *peer) compareAll(ctx context.Context, l *link, in *intake) error {
	for _, part := range p.parts() {
		for _, author := range part.authors {
			f := nostr.Filter{Authors: []string{author}, Kinds: part.kinds}
			if err := p.compare(ctx, l, in, author, f); err != nil {
				return fmt.Errorf("compare events of %s: %w", author, err)
			}
		}
	}
	return nil
}

// compared is how the stored events of a followed key were compared with a relay's.
type compared struct {
	last, full int64 // when that began, in unix seconds; of all times
	barren     int   // how often in a row much was fetched and little of it was new
}

// since is from when on there is something to compare now, 0 = all times. Whoever says again and again that he has
// much that turns out to be worth nothing, such as all old versions of his events, is asked for it ever more rarely:
// in between, for what is of the time since he was asked last. A clock that has gone back has not noted when that was.
func (c *compared) since(now int64) int64 {
	rest := min(resyncEvery<<min(c.barren, 10), fullEvery)
	if c.barren == 0 || now-c.full >= int64(rest/time.Second) || now < c.last {
		return 0
	}
	return max(c.last-int64(lateTime/time.Second), 1)
}

// done books a comparing that found so many events, of which some were new; much is how many are not worth it for less.
func (c *compared) done(began, since int64, found, much int, fresh int64) {
	c.last = began
	if since > 0 {
		return
	}
	c.full = began
	if found >= min(barrenRound, much) && fresh < int64(found/10) {
		c.barren++
	} else {
		c.barren = 0
	}
}

func (p *peer) compare(ctx context.Context, l *link, in *intake, author string, f nostr.Filter) error {
	began := p.m.cfg.Now().Unix()
	c := p.compared[author]
	if c == nil {
		c = new(compared)
		p.compared[author] = c
	}
	from, stored := c.since(began), p.stored.Load()
	within := f
	if from > 0 {
		since := nostr.Timestamp(from)
		within.Since = &since
	}
	d, err := l.differ(ctx, within, p.mostNeeded(), p.m.relay.Items)
	var refused *RefusedError
	switch {
	case err == nil:
		p.negentropy.Store(true)
		d.Need = p.m.worth(author, d.Need)
		p.backlog.Store(int64(len(d.Need)))
		err := l.fetchIDs(ctx, d.Need, f.Kinds, p.pace, func(ev *nostr.Event) {
			in.take(ev)
			p.backlog.Add(-1)
		})
		p.backlog.Store(0) // what the relay did not give out is no backlog
		if err != nil {
			return err
		}
		if err := in.settle(); err != nil {
			return err
		}
		c.done(began, from, len(d.Need), p.mostNeeded(), p.stored.Load()-stored)
		w := walked{At: began, Full: began}
		if from > 0 {
			before, err := p.walked(author)
			if err != nil {
				return err
			}
			w.Full = before.Full
		}
		return p.m.state.setWalked(p.url, author, w)
	case errors.Is(err, errTooMuch):
		p.full.Store(true)
		p.refusal(err.Error())
	case errors.Is(err, errNoNegentropy), errors.Is(err, reconcile.ErrVersion), errors.As(err, &refused):
		p.negentropy.Store(false)
	default:
		return err
	}
	w, err := p.walked(author)
	if err != nil {
		return err
	}
	since := w.At - int64(overlap/time.Second)
	full := began-w.Full >= int64(fullEvery/time.Second)
	if full {
		since = 0
	}
	gap, err := l.walkMost(ctx, f, max(since, 0), course{p.mostNeeded(), p.pace, l.fetch}, in.take)
	if err != nil {
		return err
	}
	p.gap.Store(gap)
	if err := in.settle(); err != nil {
		return err
	}
	c.done(began, from, len(d.Need), p.mostNeeded(), p.stored.Load()-stored)
	w.At = began
	if full {
		w.Full = began
	}
	return p.m.state.setWalked(p.url, author, w)
}

// walked is up to when everything of an author was copied from the relay. What is of the future was noted by a clock that was
// wrong, and is believed no more: nothing would be looked for until then.
func (p *peer) walked(author string) (walked, error) {
	w, err := p.m.state.walked(p.url, author)
	if now := p.m.cfg.Now().Unix(); w.At > now || w.Full > now {
		w = walked{}
	}
	return w, err
}

// mostNeeded is how many events of one key are fetched at once: some more than may be kept, since not all that a
// relay has are worth keeping.
func (p *peer) mostNeeded() int { return min(2*p.m.cfg.MaxEvents, maxItems) }

// pace lets as much of a backlog through as may be kept, and then no more than comes live.
func (p *peer) pace(ctx context.Context, events, bytes int) error {
	for ; bytes > 0; bytes -= liveBytes {
		if err := p.oldBytes.WaitN(ctx, min(bytes, liveBytes)); err != nil {
			return err
		}
	}
	return p.oldEvents.WaitN(ctx, min(events, p.oldEvents.Burst()))
}
