package mirror

import (
	"context"
	"errors"
	"strings"

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

// receiveKinds knows each message by its name, so that one that arrives in several places is handled
// once.
func (p *peer) receiveKinds(ctx context.Context, l *link, kinds ...int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // also of what asks for old ones
	messages, room := make(chan *nostr.Event, messageBurst), semaphore.NewWeighted(intakeBytes)
	since := nostr.Timestamp(p.m.cfg.Now().Add(-mailPast).Unix())
	ended := make(chan error, 2)
	missed := newMissed()
	s := &sub{
		// Whoever waits here holds up everything that the relay sends, and strangers can write to the node.
		event: func(ev *nostr.Event) {
			if p.mail.Allow() && room.TryAcquire(share(ev)) {
				select {
				case messages <- ev:
					return
				default:
					room.Release(share(ev))
				}
			}
			missed.add([]string{p.m.cfg.Pubkey})
		},
		end: func(err error) {
			if err != nil {
				ended <- err
			}
		},
	}
	f := nostr.Filter{Kinds: kinds, Tags: nostr.TagMap{"p": {p.m.cfg.Pubkey}}, Since: &since}
	if err := l.subscribe(s, f); err != nil {
		return err
	}
	go func() {
		for {
			p.receiveOld(ctx, l, kinds, func(ev *nostr.Event) {
				if p.m.marks.knows(nameOf(ev)) || p.mail.Wait(ctx) != nil || room.Acquire(ctx, share(ev)) != nil {
					return
				}
				select {
				case messages <- ev:
				case <-ctx.Done():
				}
			})
			select {
			case <-missed.due:
				missed.all()
			case <-ctx.Done():
				return
			}
		}
	}()
	from := context.WithValue(ctx, originKey{}, p.url)
	for {
		select {
		case ev := <-messages:
			room.Release(share(ev))
			if ev.CheckID() && p.m.marks.heard(nameOf(ev)) {
				continue // else it is another event than its name says, and refused
			}
			// Only what the node has taken, or will never take, is not heard again.
			if err := p.m.relay.Deliver(from, p.url, ev); err != nil && passing(err.Error()) {
				p.m.marks.forget(nameOf(ev))
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

// receiveOld asks for what is behind the newest messages, which is all that a relay gives out with a
// subscription: gift wraps are dated back by days, so that one of a break can be anywhere.
func (p *peer) receiveOld(ctx context.Context, l *link, kinds []int, take func(*nostr.Event)) {
	since := p.m.cfg.Now().Add(-mailPast).Unix()
	for _, kind := range kinds {
		f := nostr.Filter{Kinds: []int{kind}, Tags: nostr.TagMap{"p": {p.m.cfg.Pubkey}}}
		if _, err := l.walkMost(ctx, f, since, course{mostOld, unhurried, l.fetch}, take); err != nil {
			if ctx.Err() == nil {
				p.cause(there + "older messages: " + err.Error())
			}
			return // the next connection asks again
		}
	}
}
