package client

import (
	"context"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// Unanswered counts the events that the relay has not answered yet.
func Unanswered(c *Client) int {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	return len(c.link.sent)
}

// Subscriptions counts the open ones.
func Subscriptions(c *Client) int {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	return len(c.link.subs)
}

// Prepared is a request whose answer is subscribed and which is sealed, but not sent: what is
// left is what a node is measured by.
type Prepared struct {
	trade   *Trade
	message mostro.Message
	event   nostr.Event
}

// Prepare makes new orders of trades to come.
func Prepare(c *Client, o mostro.SmallOrder, mode Mode, count int) ([]Prepared, error) {
	prepared := make([]Prepared, count)
	for i := range prepared {
		index := uint32(i + 1)
		key, err := mostro.DeriveKey(c.cfg.Keys.Mnemonic, index)
		if err != nil {
			return nil, err
		}
		number, request := int64(index), uint64(index)
		p := Prepared{
			trade: &Trade{
				client: c, index: index, party: mostro.Party{Trade: key, Identity: c.identity}, mode: mode,
				seen: make(map[string]bool), changed: make(chan struct{}),
			},
			message: mostro.Message{
				Wrapper: mostro.WrapOrder, Version: mode.Transport.Version(), RequestID: &request, TradeIndex: &number,
				Action: mostro.NewOrder, Payload: &mostro.Payload{Order: &o},
			},
		}
		if p.event, err = mostro.SealRequest(p.message, mode.Transport, p.trade.party, c.node, time.Now().Unix(), 0); err != nil {
			return nil, err
		}
		prepared[i] = p
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range prepared {
		c.trades[p.trade.Pubkey()] = p.trade
		c.subscribe(p.trade.Pubkey())
	}
	return prepared, nil
}

// Send sends the request and returns when the answer has been read.
func (p *Prepared) Send(ctx context.Context) error {
	if err := p.trade.client.link.publish(ctx, p.event); err != nil {
		return err
	}
	_, err := p.trade.await(ctx, p.message)
	return err
}

// PublicSinceOf is PublicSince of a few pages.
func (c *Client) PublicSinceOf(ctx context.Context, f nostr.Filter, since int64, pages int, seen func(*nostr.Event)) (bool, error) {
	return c.publicSince(ctx, f, since, pages, seen)
}
