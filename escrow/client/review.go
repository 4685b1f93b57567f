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

// pageOfEvents is how many events Public asks for at once.
const pageOfEvents = 500

// mostPages bounds what a relay can make Public read.
const mostPages = 400

// Public hands over the events that the relay has for a filter, newest first, page by page until
// there are no more, and tells whether that were all: it gives up on a relay that never ends. They
// are not verified. What was shown already is not shown again.
func (c *Client) Public(ctx context.Context, f nostr.Filter, seen func(*nostr.Event)) (all bool, err error) {
	known, cut := make(map[string]bool), false
	f.Limit = pageOfEvents
	for range mostPages {
		got, fresh, oldest := 0, 0, nostr.Timestamp(0)
		err := c.stored(ctx, f, func(ev *nostr.Event) {
			got++
			if oldest == 0 || ev.CreatedAt < oldest {
				oldest = ev.CreatedAt
			}
			if !known[ev.ID] {
				known[ev.ID] = true
				fresh++
				seen(ev)
			}
		})
		if err != nil {
			return false, fmt.Errorf("read public events: %w", err)
		}
		switch {
		case got == 0:
			return !cut, nil
		case fresh == 0:
			// All of one second. What of it does not fit into a page nobody can ask for.
			cut = cut || got >= pageOfEvents
			oldest--
		}
		f.Until = &oldest // again the same second: it may hold more than this page
	}
	return false, nil
}
