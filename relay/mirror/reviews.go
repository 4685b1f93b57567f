package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// What people say of Mostros is spread over the relays that they use. Here it is found for the
// followed ones, Mostros and coordinators of other platforms, and for this one, wherever it was said: reviews that whom
// they are about has proven (kind 31986), and recommendations (38000, NIP-87) and labels (1985, NIP-32), which can be by anybody. So
// there is a cap on what is kept of each kind about one Mostro, and what comes is no reason to trust
// a relay less: it does not answer for what others write there.

var (
	saysP = []int{kindReview, kindLabel}         // name a Mostro by its key
	saysA = []int{kindRecommendation, kindLabel} // or by the address of its terms
)

// reviewed are those whose reviews are copied.
func (m *Mirror) reviewed() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := []string{m.cfg.Pubkey}
	for pubkey, f := range m.followed {
		if f.now() {
			all = append(all, pubkey)
		}
	}
	slices.Sort(all)
	return all
}

// addresses are those of the terms of Mostros.
func addresses(of []string) []string {
	all := make([]string, len(of))
	for i, pubkey := range of {
		all[i] = fmt.Sprint(kindInfo, ":", pubkey, ":", pubkey)
	}
	return all
}

// opinions asks for all that is said of Mostros.
func opinions(of ...string) []nostr.Filter {
	return []nostr.Filter{
		{Kinds: saysP, Tags: nostr.TagMap{"p": of}},
		{Kinds: saysA, Tags: nostr.TagMap{"a": addresses(of)}},
	}
}

// copyReviews copies what is said of Mostros at the peer, until ctx ends.
func (p *peer) copyReviews(ctx context.Context, l *link) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := newIntake(ctx)
	stored := make(chan error, 1)
	go func() {
		err := in.run(p.ingestReviews)
		stored <- err
		if err != nil {
			cancel()
		}
	}()
	err := p.readReviews(ctx, l, in)
	cancel()
	return because(<-stored, err)
}

func (p *peer) readReviews(ctx context.Context, l *link, in *intake) error {
	for ctx.Err() == nil {
		of := p.m.reviewed() // may change
		ended := make(chan error, 1)
		s := &sub{
			event: func(ev *nostr.Event) {
				if p.opinions.Allow() { // the next round finds the others
					in.take(ev)
				}
			},
			end: func(err error) {
				if err != nil {
					ended <- err
				}
			},
		}
		live := opinions(of...)
		for i := range live {
			live[i].Limit = 1
		}
		if err := l.subscribe(s, live...); err != nil {
			return err
		}
		for _, mostro := range of {
			if err := p.readReviewsOf(ctx, l, in, mostro); err != nil {
				return errors.Join(err, l.unsubscribe(s))
			}
		}
		select {
		case <-ctx.Done():
		case err := <-ended:
			return err
		case <-time.After(rewalkEvery):
		}
		if err := l.unsubscribe(s); err != nil {
			return err
		}
	}
	return nil
}

// readReviewsOf gets what has been said of a Mostro, the newest first, as much as may be kept.
func (p *peer) readReviewsOf(ctx context.Context, l *link, in *intake, mostro string) error {
	row := "reviews of " + mostro
	began := p.m.cfg.Now().Unix()
	w, err := p.walked(row)
	if err != nil {
		return err
	}
	since := max(0, w.At-int64(overlap/time.Second))
	if began-w.Full >= int64(fullEvery/time.Second) {
		since, w.Full = 0, began
	}
	for _, f := range opinions(mostro) {
		for _, kind := range f.Kinds {
			f.Kinds = []int{kind}
			if err := l.readSaid(ctx, f, max(since, oldest(kind, began)), mostOpinions(kind), in.take); err != nil {
				return fmt.Errorf("read reviews of %s: %w", mostro, err)
			}
		}
	}
	if err := in.settle(); err != nil {
		return err
	}
	w.At = began
	return p.m.state.setWalked(p.url, row, w)
}

// readSaid gets so many of what is said since some time, the newest first. Where there are more reviews, which anybody can have
// written, some of each part of the rest of the time come, and of halves of those that hold more: what is newer and false
// hides nothing of before, unless it fills every part.
func (l *link) readSaid(ctx context.Context, f nostr.Filter, since int64, most int, take func(*nostr.Event)) error {
	got, reached := 0, int64(math.MaxUint32)
	counted := func(ev *nostr.Event) {
		got++
		reached = min(reached, int64(ev.CreatedAt))
		take(ev)
	}
	course := course{most, unhurried, l.fetch}
	if _, err := l.walkMost(ctx, f, since, course, counted); err != nil || got < most || f.Kinds[0] != kindReview {
		return err
	}
	var parts [][2]int64 // first and last second
	split := func(from, until, n int64) {
		for width := (until-from)/n + 1; until >= from; until -= width {
			parts = append(parts, [2]int64{max(from, until-width+1), until})
		}
	}
	course.most = pageEvents
	for split(max(since, 1), reached, partsSaid); len(parts) > 0 && got < maxSaid; {
		part, before := parts[0], got
		parts, reached = parts[1:], part[1]
		until := nostr.Timestamp(part[1])
		f.Until = &until
		if _, err := l.walkMost(ctx, f, part[0], course, counted); err != nil {
			return err
		}
		if got-before >= course.most && reached > part[0] {
			split(part[0], reached, 2)
		}
	}
	return nil
}

// mostOpinions is how many of a kind are kept about one Mostro.
func mostOpinions(kind int) int {
	if kind == kindReview {
		return maxReviews // each had a trade
	}
	return maxOpinions
}

// oldest is from when on a kind is of use, in unix seconds.
func oldest(kind int, now int64) int64 {
	if kind == kindReview {
		return now - int64(reviewPast/time.Second)
	}
	return 0
}

// ingestReviews stores what is said of Mostros.
func (p *peer) ingestReviews(ctx context.Context, evs []*nostr.Event) error {
	m := p.m
	of, now := m.reviewed(), m.cfg.Now().Unix()
	room := make(map[string]int) // for a kind about a Mostro
	var bad error
	good := evs[:0]
	for _, ev := range evs {
		about := said(ev, of)
		if about == "" {
			p.refuse("invalid: it says nothing of a Mostro that was asked for")
			continue
		}
		place := fmt.Sprint(ev.Kind, about)
		if _, counted := room[place]; !counted {
			n, err := m.opinionsHere(ctx, ev.Kind, about, len(evs))
			if err != nil {
				return fmt.Errorf("count reviews: %w", err)
			}
			room[place] = mostOpinions(ev.Kind) - n
		}
		switch known, err := m.relay.Has(ctx, ev.ID); {
		case err != nil:
			return fmt.Errorf("look for review: %w", err)
		case known:
			p.known.Add(1)
		case int64(ev.CreatedAt) < oldest(ev.Kind, now):
		case ev.Kind == kindReview && (m.cfg.Review == nil || !m.cfg.Review(ev)):
			p.refuse("invalid: the review has no proof of its Mostro")
		case room[place] <= 0:
			p.refuse("blocked: as many of this kind about one Mostro are here as may be kept")
		default:
			room[place]--
			good = append(good, ev)
		}
	}
	for i, t := range m.relay.Take(ctx, p.url, good) {
		if t.New {
			p.reviews.Add(1)
		}
		bad = cmp.Or(bad, p.count(good[i], t))
	}
	return bad
}

// opinionsHere counts what is kept of a kind about a Mostro, before some more come. Anybody may publish here what only looks
// like a review; proven ones alone fill the room that there is for them. A false proof is not taken by any way, so the tag
// tells which they are.
func (m *Mirror) opinionsHere(ctx context.Context, kind int, about string, more int) (int, error) {
	f := opinions(about)[0]
	if f.Kinds = []int{kind}; kind == kindRecommendation {
		f.Tags = opinions(about)[1].Tags
	}
	n, _, err := m.relay.Count(ctx, f)
	if err != nil || kind != kindReview || n+more <= maxReviews {
		return n, err
	}
	n = 0
	err = m.relay.Each(ctx, f, func(ev *nostr.Event) {
		if ev.Tags.Find("sig") != nil {
			n++
		}
	})
	return n, err
}

// said tells of which of the Mostros an event says something, "" for none. A Mostro's word about
// itself is none.
func said(ev *nostr.Event, of []string) string {
	name, names := "p", of
	if !slices.Contains(saysP, ev.Kind) && !slices.Contains(saysA, ev.Kind) {
		return ""
	}
	for range 2 {
		for tag := range ev.Tags.FindAll(name) {
			if i := slices.Index(names, tag[1]); i >= 0 && of[i] != ev.PubKey {
				return of[i]
			}
		}
		name, names = "a", addresses(of)
	}
	return ""
}
