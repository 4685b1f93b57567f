package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// Mode says how a trade shows itself to the node.
type Mode struct {
	// FullPrivacy hides the identity key. There is no reputation then, earned or shown.
	FullPrivacy bool
	Transport   mostro.Transport // 0 = what the node tells its clients to use
}

// Trade is one trade of the user: a key, an order, and the messages of the node to that key.
// Its methods may be called from many goroutines.
type Trade struct {
	client *Client
	index  uint32
	party  mostro.Party
	mode   Mode

	seen map[string]bool // event ids; of the goroutine that reads the connection

	mu      sync.Mutex
	id      string
	stored  bool // what the relay keeps has come
	log     []logged
	status  mostro.Status
	over    bool
	changed chan struct{} // closed and replaced at every message
}

type logged struct {
	message mostro.Message
	read    bool
}

// NewOrder publishes an order and returns its trade, with the order as the node has it, when
// it is in the book. Of the order, Kind, Amount, FiatCode, FiatAmount, PaymentMethod, Premium,
// BuyerInvoice and ExpiresAt count.
//
// Errors are those of a request: *CantDoError, *RefusedError, ErrNoAnswer, ErrNoInfo,
// ErrClosed, or the context's. The trade is nil only when there is none for sure: after
// ErrNoAnswer, when the context ends after the request was sent, or when the relay says that it
// has failed (a *RefusedError with "error:"), the order may stand.
func (c *Client) NewOrder(ctx context.Context, o mostro.SmallOrder, mode Mode) (*Trade, mostro.Message, error) {
	o.Status = mostro.StatusPending
	return c.begin(ctx, mode, mostro.Message{Action: mostro.NewOrder, Payload: &mostro.Payload{Order: &o}})
}

// Take takes an order of the book and returns the trade with the node's answer, which says
// what to do next. A buyer may give an invoice for his payout at once; otherwise, and for a
// seller, it is "". Errors are those of NewOrder.
func (c *Client) Take(ctx context.Context, o mostro.BookOrder, invoice string, mode Mode) (*Trade, mostro.Message, error) {
	m := mostro.Message{ID: o.ID, Action: mostro.TakeBuy}
	if o.Kind == mostro.Sell {
		m.Action = mostro.TakeSell
	}
	if invoice != "" {
		m.Payload = &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: invoice}}
	}
	return c.begin(ctx, mode, m)
}

// Resume opens a trade that an earlier client began, by its order, index and mode. The
// messages that the relay keeps are read again.
func (c *Client) Resume(orderID string, index uint32, mode Mode) (*Trade, error) {
	t, err := c.addTrade(orderID, index, mode)
	if err != nil {
		return nil, fmt.Errorf("resume trade of order %s: %w", orderID, err)
	}
	return t, nil
}

// begin opens a trade with a request that carries its trade index.
func (c *Client) begin(ctx context.Context, mode Mode, m mostro.Message) (*Trade, mostro.Message, error) {
	select {
	case c.opening <- struct{}{}:
	case <-ctx.Done():
		return nil, mostro.Message{}, fmt.Errorf("%s: %w", m.Action, ctx.Err())
	}
	t, err := c.open(m.ID, mode)
	if err == nil {
		if !mode.FullPrivacy {
			index := int64(t.index)
			m.TradeIndex = &index
		}
		err = t.send(ctx, &m)
	}
	<-c.opening
	var answer mostro.Message
	if err == nil {
		answer, err = t.await(ctx, m)
		t.explain(ctx, err)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", m.Action, err)
	}
	if t != nil && !stands(err) {
		t.Close()
		t = nil
	}
	return t, answer, err
}

// AddInvoice gives the buyer's invoice for the payout.
func (t *Trade) AddInvoice(ctx context.Context, invoice string) (mostro.Message, error) {
	return t.request(ctx, mostro.Message{
		Action: mostro.AddInvoice, Payload: &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: invoice}},
	})
}

// ClaimBond gives the invoice for the share of a bond that the user has won.
func (t *Trade) ClaimBond(ctx context.Context, invoice string) (mostro.Message, error) {
	return t.request(ctx, mostro.Message{
		Action: mostro.AddBondInvoice, Payload: &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: invoice}},
	})
}

// FiatSent says that the buyer has sent the fiat.
func (t *Trade) FiatSent(ctx context.Context) (mostro.Message, error) {
	return t.request(ctx, mostro.Message{Action: mostro.FiatSent})
}

// Release gives the escrow to the buyer, for ever.
func (t *Trade) Release(ctx context.Context) (mostro.Message, error) {
	return t.request(ctx, mostro.Message{Action: mostro.Release})
}

// Cancel takes back the order or the take; once sats are held, it asks the peer to agree or
// agrees with him.
func (t *Trade) Cancel(ctx context.Context) (mostro.Message, error) {
	return t.request(ctx, mostro.Message{Action: mostro.Cancel})
}

// request sends a message about the order and returns the node's answer.
func (t *Trade) request(ctx context.Context, m mostro.Message) (mostro.Message, error) {
	m.ID = t.OrderID()
	err := t.send(ctx, &m)
	var answer mostro.Message
	if err == nil {
		answer, err = t.await(ctx, m)
	}
	if err != nil {
		return answer, fmt.Errorf("%s for order %s: %w", m.Action, m.ID, err)
	}
	return answer, nil
}

// send seals a message and waits until the relay has taken it.
func (t *Trade) send(ctx context.Context, m *mostro.Message) error {
	return t.client.send(ctx, t.party, t.mode.Transport, m)
}

// send seals a message of a party, on the transport that the node tells clients to use when it
// is 0, and waits until the relay has taken it.
func (c *Client) send(ctx context.Context, from mostro.Party, transport mostro.Transport, m *mostro.Message) error {
	info, err := c.Info(ctx)
	if err != nil {
		return unsentError{err}
	}
	if transport == 0 {
		transport = info.Transport
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	id := binary.BigEndian.Uint64(random[:])
	m.Version, m.RequestID = transport.Version(), &id
	if m.Wrapper == "" {
		m.Wrapper = mostro.WrapOrder
	}
	// Always the higher value: a fresh key is a first contact until the node has answered it,
	// and a gift wrap for ever.
	bits := max(info.Pow, info.PowFirstContact)
	ev, err := mostro.SealRequestContext(ctx, *m, transport, from, c.node, time.Now().Unix(), bits)
	if err != nil {
		return unsentError{err}
	}
	return c.link.publish(ctx, ev)
}

// await returns the answer to a request that the relay has taken.
func (t *Trade) await(ctx context.Context, asked mostro.Message) (mostro.Message, error) {
	answer, err := t.next(ctx, nil, func(m mostro.Message) bool { return m.RequestID != nil && *m.RequestID == *asked.RequestID })
	switch {
	case ctx.Err() != nil && err != nil:
		return answer, fmt.Errorf("%w: %w", ErrNoAnswer, err)
	case err != nil:
		return answer, err
	}
	return answer, refusal(asked, answer)
}

// wordsLag is how long the words may lag behind a refusal that are sent with it. Other daemons send none.
const wordsLag = 2 * time.Second

// explain adds to a refusal what the node says of it in words, where no reason fits.
func (t *Trade) explain(ctx context.Context, err error) {
	var cantDo *CantDoError
	if !errors.As(err, &cantDo) || cantDo.Reason != mostro.NotAllowedByStatus {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, wordsLag)
	defer cancel()
	m, err := t.next(ctx, nil, func(m mostro.Message) bool { return m.Action == mostro.SendDM })
	if err == nil && m.Payload != nil && m.Payload.TextMessage != nil {
		cantDo.Words = *m.Payload.TextMessage
	}
}

// refusal is the error that an answer stands for, nil when it is no refusal.
func refusal(asked, answer mostro.Message) error {
	if answer.Action == mostro.CantDo && answer.Payload != nil && answer.Payload.CantDo != nil {
		return &CantDoError{Action: asked.Action, Reason: *answer.Payload.CantDo}
	}
	return nil
}

// Wait returns the oldest message with one of the actions, any without actions, that neither
// Wait nor a request has returned before. ErrOver when the trade ends and there is none. The
// taker's reputation is not taken for the action that it travels under.
func (t *Trade) Wait(ctx context.Context, actions ...mostro.Action) (mostro.Message, error) {
	m, err := t.next(ctx, ErrOver, func(m mostro.Message) bool {
		_, notice := ReputationOf(m)
		return len(actions) == 0 || !notice && slices.Contains(actions, m.Action)
	})
	if err != nil {
		return m, fmt.Errorf("wait for %s in order %s: %w", list(actions), t.OrderID(), err)
	}
	return m, nil
}

func list(actions []mostro.Action) string {
	if len(actions) == 0 {
		return "a message"
	}
	words := make([]string, len(actions))
	for i, a := range actions {
		words[i] = string(a)
	}
	return strings.Join(words, " or ")
}

// next returns the oldest unread message that is wanted, and marks it read. When the trade is
// over and there is none, the error is over; nil waits on.
func (t *Trade) next(ctx context.Context, over error, wanted func(mostro.Message) bool) (mostro.Message, error) {
	for {
		t.mu.Lock()
		changed, ended := t.changed, t.over
		for i := range t.log {
			if entry := &t.log[i]; !entry.read && wanted(entry.message) {
				entry.read = true
				t.mu.Unlock()
				return entry.message, nil
			}
		}
		t.mu.Unlock()
		if ended && over != nil {
			return mostro.Message{}, over
		}
		select {
		case <-changed:
		case <-t.client.link.done:
			return mostro.Message{}, ErrClosed
		case <-ctx.Done():
			return mostro.Message{}, t.client.link.because(ctx.Err())
		}
	}
}

// receive takes events that may hold messages of the node, oldest first. Only the goroutine
// that reads the connection calls it.
func (t *Trade) receive(events []*nostr.Event) {
	var fresh []received
	for _, ev := range events {
		if t.seen[ev.ID] {
			continue
		}
		m, err := mostro.OpenReply(ev, t.party.Trade, t.client.node)
		if err != nil {
			t.client.cfg.Logger.Debug("left alone what is not of the node", "event", ev.ID, "error", err)
			continue
		}
		// Only what is proven is remembered: the id of a forged event proves nothing.
		t.seen[ev.ID] = true
		fresh = append(fresh, received{m, ev.CreatedAt})
	}
	// Relays order events of one second by chance; a trade has an order of its own.
	slices.SortStableFunc(fresh, func(a, b received) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(stage(a.message), stage(b.message)))
	})
	for _, r := range fresh {
		t.note(r.message)
		if t.client.cfg.Heard != nil {
			t.client.cfg.Heard(t, r.message)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range fresh {
		t.log = append(t.log, logged{message: r.message})
		t.over = t.over || isEnd(r.message.Action)
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

type received struct {
	message mostro.Message
	at      nostr.Timestamp
}
