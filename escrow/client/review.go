package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// ReviewKey is the key by which the trade's review of the node is signed. It is made from the
// words, so that a second request asks for the same proof, and nobody who has not the words can
// tell whose it is.
func (t *Trade) ReviewKey() (mostro.Secret, error) {
	nsec := t.party.Trade.Nsec()
	return mostro.NewSecret(sha256.Sum256([]byte("mostro review key of " + nsec)))
}

// ProveReview asks for the proof that the user may review the node. It errs as a request does,
// and when the node gives something else.
func (t *Trade) ProveReview(ctx context.Context) (mostro.ReviewProof, error) {
	key, err := t.ReviewKey()
	if err != nil {
		return mostro.ReviewProof{}, fmt.Errorf("make a review key: %w", err)
	}
	public := key.Public()
	answer, err := t.request(ctx, mostro.Message{Action: mostro.ProveReview, Payload: &mostro.Payload{ReviewKey: &public}})
	if err != nil {
		return mostro.ReviewProof{}, err
	}
	if answer.Payload == nil || answer.Payload.ReviewProof == nil {
		return mostro.ReviewProof{}, fmt.Errorf("the node answers %s and no proof", answer.Action)
	}
	p := *answer.Payload.ReviewProof
	if p.Key != public || p.Mostro != t.client.node {
		return p, errors.New("the proof is for another key or by another node")
	}
	return p, p.Check()
}

// Publish sends a finished event of the user's to the relay, and waits until it has taken it.
func (c *Client) Publish(ctx context.Context, ev nostr.Event) error {
	if err := c.link.publish(ctx, ev); err != nil {
		return fmt.Errorf("publish event of kind %d: %w", ev.Kind, err)
	}
	return nil
}

// How much of public events is read of a relay, which may have any number of them.
const (
	pageOfEvents = 500 // asked for at once
	mostPages    = 400 // in all
	partsOfTime  = 30
	pagesOfPart  = 3
)

// Public hands over the events that the relay has for a filter, newest first, page by page until
// there are no more, and tells whether that were all: it gives up on a relay that never ends. They
// are not verified. What was shown already is not shown again.
func (c *Client) Public(ctx context.Context, f nostr.Filter, seen func(*nostr.Event)) (all bool, err error) {
	r := reading{c: c, pages: mostPages, known: make(map[string]bool), seen: seen}
	_, all, err = r.read(ctx, f, mostPages)
	return all && !r.cut, err
}

// PublicSince is Public for what anybody can write, of the time from since on, in unix seconds. Where that is so much that
// what somebody publishes now could hide the rest, it is read in parts of time, some of each, and halves of those that hold more:
// so hides only what fills every part.
func (c *Client) PublicSince(ctx context.Context, f nostr.Filter, since int64, seen func(*nostr.Event)) (all bool, err error) {
	return c.publicSince(ctx, f, since, mostPages, seen)
}

func (c *Client) publicSince(ctx context.Context, f nostr.Filter, since int64, pages int, seen func(*nostr.Event)) (all bool, err error) {
	r, from := reading{c: c, pages: pages, known: make(map[string]bool), seen: seen}, nostr.Timestamp(since)
	f.Since = &from
	until, all, err := r.read(ctx, f, pages/10)
	if err != nil || all {
		return all && !r.cut, err
	}
	var parts [][2]nostr.Timestamp // first and last second
	split := func(from, until, n nostr.Timestamp) {
		for width := (until-from)/n + 1; until >= from; until -= width {
			parts = append(parts, [2]nostr.Timestamp{max(from, until-width+1), until})
		}
	}
	for split(from, until, partsOfTime); len(parts) > 0 && r.pages > 0; {
		part := parts[0]
		parts = parts[1:]
		f.Since, f.Until = &part[0], &part[1]
		until, all, err := r.read(ctx, f, pagesOfPart)
		if err != nil {
			return false, err
		}
		if !all {
			split(part[0], until, 2)
		}
	}
	return len(parts) == 0 && !r.cut, nil
}

// reading hands over public events, each once.
type reading struct {
	c     *Client
	pages int             // that may still be asked for
	known map[string]bool // by id
	seen  func(*nostr.Event)
	cut   bool // one second holds more than a page
}

// read reads pages, newest first, until there are no more or that were so many. It tells which second it has reached.
func (r *reading) read(ctx context.Context, f nostr.Filter, most int) (until nostr.Timestamp, all bool, err error) {
	f.Limit = pageOfEvents
	for ; most > 0 && r.pages > 0; most, r.pages = most-1, r.pages-1 {
		got, fresh, oldest := 0, 0, nostr.Timestamp(0)
		err := r.c.stored(ctx, f, func(ev *nostr.Event) {
			got++
			if oldest == 0 || ev.CreatedAt < oldest {
				oldest = ev.CreatedAt
			}
			if !r.known[ev.ID] {
				r.known[ev.ID] = true
				fresh++
				r.seen(ev)
			}
		})
		if err != nil {
			return 0, false, fmt.Errorf("read public events: %w", err)
		}
		switch {
		case got == 0:
			return 0, true, nil
		case fresh == 0:
			// All of one second. What of it does not fit into a page nobody can ask for.
			r.cut = r.cut || got >= pageOfEvents
			oldest--
		}
		if f.Since != nil && oldest < *f.Since {
			return oldest, true, nil
		}
		until, f.Until = oldest, &oldest // again the same second: it may hold more than this page
	}
	return until, false, nil
}
