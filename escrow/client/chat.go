package client

import (
	"context"
	"fmt"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// Chat is a conversation with the other side of a trade, or with a solver. It goes through the
// relay, past the node.
type Chat struct {
	client *Client
	chat   *mostro.Chat
}

// Chat opens the conversation of the trade with another key: Peer or Solver.
func (t *Trade) Chat(with string) (*Chat, error) {
	chat, err := mostro.NewChat(t.party.Trade, with)
	if err != nil {
		return nil, err
	}
	return &Chat{t.client, chat}, nil
}

// Chat opens a solver's conversation with a party of a dispute, by its trade key.
func (a *Admin) Chat(with string) (*Chat, error) {
	chat, err := mostro.NewChat(a.key, with)
	if err != nil {
		return nil, err
	}
	return &Chat{a.client, chat}, nil
}

// Say sends a text and waits until the relay has taken it.
func (c *Chat) Say(ctx context.Context, text string) error {
	ev, err := c.chat.Seal(text, time.Now().Unix())
	if err == nil {
		err = c.client.link.publish(ctx, ev)
	}
	if err != nil {
		return fmt.Errorf("send chat message: %w", err)
	}
	return nil
}

// Watch calls heard with the messages of both sides, first together with those that the relay
// keeps, which may be none, then with each new one, until ctx ends or the client is closed; it
// returns why. What does not prove itself is left out. Like Config.Heard, heard must return
// soon.
func (c *Chat) Watch(ctx context.Context, heard func([]mostro.ChatMessage)) error {
	seen := make(map[string]bool) // after a reconnect everything comes again
	failed := make(chan error, 1)
	sub := c.client.link.subscribe(&subscription{
		filters: nostr.Filters{{Kinds: []int{mostro.KindMessage}, Authors: []string{c.chat.Author()}}},
		handle: func(events []*nostr.Event) {
			var fresh []mostro.ChatMessage
			for _, ev := range events {
				m, err := c.chat.Open(ev, time.Now().Unix())
				if err == nil && !seen[m.ID] {
					seen[m.ID] = true
					fresh = append(fresh, m)
				}
			}
			if ctx.Err() == nil {
				heard(fresh)
			}
		},
		failed: func(err error) { failed <- err },
	})
	defer c.client.link.unsubscribe(sub)
	select {
	case err := <-failed:
		return fmt.Errorf("read chat: %w", err)
	case <-c.client.link.done:
		return fmt.Errorf("read chat: %w", ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("read chat: %w", ctx.Err())
	}
}
