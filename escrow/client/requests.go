package client

import (
	"context"
	"fmt"
	"slices"

	"mostro/escrow/mostro"
)

// TakeRange takes a part of a range order: fiat is in whole units, within the range. The rest
// is as in Take.
func (c *Client) TakeRange(ctx context.Context, o mostro.BookOrder, fiat int64, invoice string, mode Mode) (*Trade, mostro.Message, error) {
	m := mostro.Message{ID: o.ID, Action: mostro.TakeBuy, Payload: &mostro.Payload{Amount: &fiat}}
	if o.Kind == mostro.Sell {
		m.Action = mostro.TakeSell
	}
	if invoice != "" {
		m.Payload = &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: invoice, Amount: &fiat}}
	}
	return c.begin(ctx, mode, m)
}

// FiatSentNext is FiatSent of the maker of a range order. It names the key for the order over
// the rest, which the node makes at the release, and returns that order's trade.
func (t *Trade) FiatSentNext(ctx context.Context) (*Trade, mostro.Message, error) {
	return t.requestNext(ctx, mostro.FiatSent)
}

// ReleaseNext is Release of the maker of a range order, and returns the trade of the order over
// the rest. When nothing is left, that trade stays without an order.
func (t *Trade) ReleaseNext(ctx context.Context) (*Trade, mostro.Message, error) {
	return t.requestNext(ctx, mostro.Release)
}

// requestNext sends a request that names the next trade key. The trade of that key is nil only
// when the node has not learned it for sure.
func (t *Trade) requestNext(ctx context.Context, action mostro.Action) (*Trade, mostro.Message, error) {
	c := t.client
	select {
	case c.opening <- struct{}{}:
	case <-ctx.Done():
		return nil, mostro.Message{}, fmt.Errorf("%s for order %s: %w", action, t.OrderID(), ctx.Err())
	}
	next, err := c.open("", t.mode)
	<-c.opening
	if err != nil {
		return nil, mostro.Message{}, fmt.Errorf("%s for order %s: %w", action, t.OrderID(), err)
	}
	answer, err := t.request(ctx, mostro.Message{Action: action, Payload: &mostro.Payload{
		NextTrade: &mostro.NextTrade{Pubkey: next.Pubkey(), Index: int64(next.Index())},
	}})
	if !stands(err) {
		next.Close()
		next = nil
	}
	return next, answer, err
}

// Dispute asks for a solver.
func (t *Trade) Dispute(ctx context.Context) (mostro.Message, error) {
	return t.request(ctx, mostro.Message{Action: mostro.Dispute})
}

// Rate rates the peer after a trade, with 1 to 5 stars. Only the first time counts.
func (t *Trade) Rate(ctx context.Context, stars int) (mostro.Message, error) {
	return t.request(ctx, mostro.Message{Action: mostro.RateUser, Payload: &mostro.Payload{RatingUser: &stars}})
}

// CaughtUp waits until the trade has the messages that the relay keeps.
func (t *Trade) CaughtUp(ctx context.Context) error {
	for {
		t.mu.Lock()
		stored, changed := t.stored, t.changed
		t.mu.Unlock()
		if stored {
			return nil
		}
		select {
		case <-changed:
		case <-t.client.link.done:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("read the messages of the trade: %w", t.client.link.because(ctx.Err()))
		}
	}
}

// catchUp notes that the messages that the relay keeps have come.
func (t *Trade) catchUp() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.stored {
		t.stored = true
		close(t.changed)
		t.changed = make(chan struct{})
	}
}

// Messages are all messages of the node to the trade so far, oldest first.
func (t *Trade) Messages() []mostro.Message {
	t.mu.Lock()
	defer t.mu.Unlock()
	messages := make([]mostro.Message, len(t.log))
	for i, entry := range t.log {
		messages[i] = entry.message
	}
	return messages
}

// Peer is the trade key of the other side, "" before the node has named it, which it does when
// the escrow is held.
func (t *Trade) Peer() string {
	for _, m := range slices.Backward(t.Messages()) {
		if m.Payload == nil {
			continue
		}
		switch p := m.Payload; {
		case m.Action == mostro.FiatSentOk && p.Peer != nil:
			return p.Peer.Pubkey
		case p.Order != nil && p.Order.BuyerTradePubkey == t.Pubkey():
			return p.Order.SellerTradePubkey
		case p.Order != nil && p.Order.SellerTradePubkey == t.Pubkey():
			return p.Order.BuyerTradePubkey
		}
	}
	return ""
}

// Solver is the key of the solver who has taken the trade's dispute, "" when none has.
func (t *Trade) Solver() string {
	for _, m := range slices.Backward(t.Messages()) {
		if m.Action == mostro.AdminTookDispute && m.Payload != nil && m.Payload.Peer != nil {
			return m.Payload.Peer.Pubkey
		}
	}
	return ""
}

// SkipTo makes the next trade begin above an index, which somebody else with the same words may
// have used.
func (c *Client) SkipTo(index uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index = max(c.index, index)
}
