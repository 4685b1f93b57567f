package mirror

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
	"mostro/relay/store"
)

// differ finds out what a relay has and this side has not, and the other way round, of the events
// that f matches, by negentropy (NIP-77). Where there are too many for one reconciling it goes
// through time in parts. errNoNegentropy means that the relay does not know how, errTooMuch that it says to have
// more than most events that are not here; those that it has named come all the same. What is lacking comes newest
// first, as far as relays go by time.
func (l *link) differ(ctx context.Context, f nostr.Filter, most int, items func(context.Context, nostr.Filter, int) (reconcile.Set, error)) (reconcile.Difference, error) {
	var all reconcile.Difference
	if l.plain.Load() {
		return all, errNoNegentropy
	}
	// Parts of time that are still to be reconciled, as whole seconds from and to.
	parts, refused := [][2]int64{{0, math.MaxUint32}}, 0
	for len(parts) > 0 {
		part := parts[len(parts)-1]
		parts = parts[:len(parts)-1]
		within := f
		if part != [2]int64{0, math.MaxUint32} {
			since, until := nostr.Timestamp(part[0]), nostr.Timestamp(part[1])
			within.Since, within.Until = &since, &until
		}
		set, err := items(ctx, within, maxItems)
		if err == nil {
			var d reconcile.Difference
			if d, err = l.reconcileDown(ctx, within, set, most); err == nil || errors.Is(err, errTooMuch) {
				all.Have, all.Need = append(all.Have, d.Have...), append(all.Need, d.Need...)
				if len(all.Need) > most {
					return all, errTooMuch
				}
				continue
			}
		}
		if !tooMany(err) || part[0] == part[1] {
			return all, err
		}
		// The first cut is a day ago, where most of what is public lies on either side; then halves.
		now := time.Now().Unix()
		future := now + 3600
		if refused++; refused > maxRefused || part[0] > future {
			return all, errNoNegentropy // it is not for their size: there is nothing yet of the future
		}
		middle := part[0] + (min(part[1], future)-part[0])/2
		if part == [2]int64{0, math.MaxUint32} {
			middle = now - int64(fullEvery/time.Second)
		}
		parts = append(parts, [2]int64{part[0], middle}, [2]int64{middle + 1, part[1]})
	}
	return all, nil
}

var errTooMuch = errors.New("the relay has more events than can be copied")

// tooMany reports whether a relay, or the store here, refused a reconciling for its size.
func tooMany(err error) bool {
	var refused *RefusedError
	return errors.Is(err, store.ErrTooMany) ||
		errors.As(err, &refused) && (strings.HasPrefix(refused.Reason, "blocked") || strings.Contains(refused.Reason, "too many"))
}

// reconcile runs one negentropy session.
func (l *link) reconcile(ctx context.Context, f nostr.Filter, set reconcile.Set, most int) (reconcile.Difference, error) {
	var all reconcile.Difference
	ctx, cancel := context.WithTimeout(ctx, negAll)
	defer cancel()
	type word struct {
		message []byte
		err     error
	}
	answers := make(chan word, 1)
	s := &sub{neg: func(message []byte, err error) {
		select {
		case answers <- word{message, err}:
		default: // more than was asked for
		}
	}}
	if err := l.add(s); err != nil {
		return all, err
	}
	l.awaits.Add(1)
	defer l.awaits.Add(-1)
	if err := l.send("NEG-OPEN", s.id, f, hex.EncodeToString(set.Begin())); err != nil {
		return all, err
	}
	for round := range negRounds {
		wait := answerTime
		if round == 0 {
			wait = negTime
		}
		var got word
		select {
		case got = <-answers:
		case <-ctx.Done():
			l.noteBroken()
			return all, ctx.Err()
		case <-time.After(wait):
			l.drop(s.id)
			if round > 0 {
				return all, l.noAnswer()
			}
			if l.silent.Add(1) >= maxSilent {
				l.plain.Store(true)
			}
			return all, errNoNegentropy
		}
		l.silent.Store(0)
		if got.err != nil {
			l.noteBroken()
			l.drop(s.id)
			return all, got.err
		}
		next, d, err := set.Next(got.message, negBytes)
		if err != nil {
			l.drop(s.id)
			return all, fmt.Errorf("reconcile: %w", err)
		}
		all.Have, all.Need = append(all.Have, d.Have...), append(all.Need, d.Need...)
		if next == nil {
			l.drop(s.id)
			return all, l.send("NEG-CLOSE", s.id)
		}
		if len(all.Have) > len(set) { // each of ours is lacking once at most
			break
		}
		if len(all.Need) > most {
			l.drop(s.id)
			return all, errors.Join(errTooMuch, l.send("NEG-CLOSE", s.id))
		}
		if err := l.send("NEG-MSG", s.id, hex.EncodeToString(next)); err != nil {
			return all, err
		}
	}
	l.drop(s.id)
	return all, errors.New("reconcile: the relay does not come to an end")
}

// pace waits before the next page, when pages come faster than they may: so many events of so many bytes have
// come.
type pace func(ctx context.Context, events, bytes int) error

func unhurried(context.Context, int, int) error { return nil }

// fetchIDs gets events by their ids. What the relay does not give out is left, unless that is nearly
// all: then it has made up the ids.
// kinds are theirs, nil when that is not known: a relay may refuse a question that could be about others' messages.
func (l *link) fetchIDs(ctx context.Context, ids []reconcile.ID, kinds []int, wait pace, take func(*nostr.Event)) error {
	atOnce := idsAtOnce
	for empty := 0; len(ids) > 0; {
		n := min(len(ids), atOnce)
		missing := make(map[string]struct{}, n)
		for _, id := range ids[:n] {
			missing[hex.EncodeToString(id[:])] = struct{}{}
		}
		ids = ids[n:]
		bytes := 0
		// When some do not come, the relay has them no more, or that was as many as it gives out.
		for got := 1; got > 0 && len(missing) > 0; {
			asked := len(missing)
			err := l.fetch(ctx, nostr.Filter{IDs: slices.Collect(maps.Keys(missing)), Kinds: kinds, Limit: asked}, func(ev *nostr.Event) {
				delete(missing, ev.ID)
				bytes += sizeOf(ev)
				take(ev)
			})
			got = asked - len(missing)
			if empty++; got > 0 {
				empty, atOnce = 0, min(max(2*got, fewestIDs), idsAtOnce)
			}
			if err == nil && empty >= maxEmpty {
				err = fmt.Errorf("%w: it names events and does not give them out", errMisbehaves)
			}
			if err != nil {
				return fmt.Errorf("fetch events: %w", err)
			}
		}
		if err := wait(ctx, n, bytes); err != nil {
			return err
		}
	}
	return nil
}

// walk gets all stored events that match f, from the newest back to since, in pages. A relay gives
// out as many at a time as it likes, and the newest first (NIP-01); so each page begins at the
// second in which the last one ended, until there is nothing new. When all of the
// largest page is of one second, that second is asked for once more, kind by kind; gap reports that
// even so not all of it may have come.
func (l *link) walk(ctx context.Context, f nostr.Filter, since int64, take func(*nostr.Event)) (gap bool, err error) {
	return l.walkMost(ctx, f, since, course{most: math.MaxInt, wait: unhurried, ask: l.fetch}, take)
}

// course is how far a walk goes, and how.
type course struct {
	most int // events, after which it ends
	wait pace
	ask  func(context.Context, nostr.Filter, func(*nostr.Event)) error // fetch, or fetchOnce
}

// walkMost ends when it has got as many as it may.
func (l *link) walkMost(ctx context.Context, f nostr.Filter, since int64, c course, take func(*nostr.Event)) (gap bool, err error) {
	if since > 0 {
		from := nostr.Timestamp(since)
		f.Since = &from
	}
	f.Limit = pageEvents
	until := nostr.Timestamp(math.MaxUint32)
	if f.Until != nil {
		until = *f.Until
	}
	seen := make(map[string]struct{}) // ids of the second in which the last page ended
	largest := 0                      // page; the relay's own limit cannot be below it
	got := 0
	var edge nostr.Timestamp // 1 for a relay that leaves out the second of until itself
	wide := false            // it is none: it gives out the second after
	for range maxPages {
		if int64(until) < since || got >= c.most {
			return gap, nil
		}
		f.Until = nil
		if until != math.MaxUint32 {
			at := until + edge
			f.Until = &at
		}
		page, more, err := c.page(ctx, f, since, until)
		if err != nil {
			return gap, err
		}
		if edge == 1 && more.beyond {
			edge, wide = 0, true // what was seen of that second has been replaced since
			clear(seen)
			continue
		}
		if edge == 0 && !wide && len(seen) > 0 && !slices.ContainsFunc(page, func(ev *nostr.Event) bool { return ev.CreatedAt == until }) {
			edge = 1 // it has given out events of that second before
			continue
		}
		largest = max(largest, len(page))
		oldest, fresh, bytes := until, 0, 0
		for _, ev := range page {
			oldest = min(oldest, ev.CreatedAt)
			bytes += sizeOf(ev)
			if _, twice := seen[ev.ID]; !twice {
				fresh++
				got++
				take(ev)
			}
		}
		if err := c.wait(ctx, len(page), bytes); err != nil {
			return gap, err
		}
		switch {
		case len(page) == 0:
			return gap, nil
		case oldest < until:
			clear(seen)
			until = oldest
		case fresh == 0:
			// The whole second is known, as far as the relay tells.
			if len(seen) == largest || more.cut {
				crowded, err := c.second(ctx, f, until, edge, largest, take)
				if err != nil {
					return gap, err
				}
				gap = gap || crowded
			}
			clear(seen)
			until--
			continue
		}
		for _, ev := range page {
			if ev.CreatedAt == until {
				seen[ev.ID] = struct{}{}
			}
		}
		if len(seen) > maxSecond {
			return gap, errors.New("the relay does not come to the end of a second")
		}
	}
	return gap, errors.New("the relay has more events than can be copied")
}

// more is what a page leaves out: cut for its number or size, beyond of the second after its end.
type more struct{ cut, beyond bool }

// page gets one page, no larger than what may wait of a duty. What does not belong there is left out: a relay that ignores
// the window must not lead the walk astray.
func (c course) page(ctx context.Context, f nostr.Filter, since int64, until nostr.Timestamp) (page []*nostr.Event, left more, err error) {
	memory := 0
	err = c.ask(ctx, f, func(ev *nostr.Event) {
		left.beyond = left.beyond || ev.CreatedAt == until+1
		if ev.CreatedAt > until || int64(ev.CreatedAt) < since {
			return
		}
		memory += memoryOf(ev)
		left.cut = left.cut || len(page) >= 4*pageEvents || memory > intakeBytes && len(page) > 0
		if !left.cut {
			page = append(page, ev)
		}
	})
	if err != nil {
		return nil, left, fmt.Errorf("fetch events: %w", err)
	}
	return page, left, nil
}

// second asks for one second kind by kind, since all of it together filled a page of the largest
// size. crowded says that one kind does too.
func (c course) second(ctx context.Context, f nostr.Filter, at, edge nostr.Timestamp, largest int, take func(*nostr.Event)) (crowded bool, err error) {
	end := at + edge
	f.Since, f.Until = &at, &end
	for _, kind := range f.Kinds {
		f.Kinds = []int{kind}
		page, more, err := c.page(ctx, f, int64(at), at)
		if err != nil {
			return crowded, err
		}
		for _, ev := range page {
			take(ev)
		}
		crowded = crowded || more.cut || len(page) >= max(largest, fewestPage)
	}
	return crowded, nil
}

// noteBroken notes that the connection has ended while the relay was to answer a word of negentropy.
func (l *link) noteBroken() {
	select {
	case <-l.ended:
		l.broken.Store(true)
	default:
	}
}
