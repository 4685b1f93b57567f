package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// desk asks the node what is not about one trade. It listens for itself, beside the trades.
type desk struct {
	client    *Client
	party     mostro.Party
	transport mostro.Transport
	sub       *subscription

	seen map[string]bool // event ids; of the goroutine that reads the connection

	mu      sync.Mutex
	heard   []mostro.Message
	changed chan struct{} // closed and replaced at every message
}

// openDesk begins to listen; close ends it.
func (c *Client) openDesk(party mostro.Party, transport mostro.Transport) *desk {
	d := &desk{client: c, party: party, transport: transport, seen: make(map[string]bool), changed: make(chan struct{})}
	d.sub = c.link.subscribe(&subscription{filters: c.mail([]string{party.Trade.Public()}), handle: d.receive})
	return d
}

func (d *desk) close() { d.client.link.unsubscribe(d.sub) }

func (d *desk) receive(events []*nostr.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, ev := range events {
		if d.seen[ev.ID] {
			continue
		}
		if m, err := mostro.OpenReply(ev, d.party.Trade, d.client.node); err == nil {
			d.seen[ev.ID] = true
			d.heard = append(d.heard, m)
		}
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

// ask sends a request and returns the node's first answer.
func (d *desk) ask(ctx context.Context, m mostro.Message) (mostro.Message, error) {
	if err := d.client.send(ctx, d.party, d.transport, &m); err != nil {
		return mostro.Message{}, fmt.Errorf("%s: %w", m.Action, err)
	}
	for {
		d.mu.Lock()
		changed := d.changed
		d.mu.Unlock()
		if answers := d.answers(m); len(answers) > 0 {
			if err := refusal(m, answers[0]); err != nil {
				return answers[0], fmt.Errorf("%s: %w", m.Action, err)
			}
			return answers[0], nil
		}
		select {
		case <-changed:
		case <-d.client.link.done:
			return mostro.Message{}, fmt.Errorf("%s: %w", m.Action, ErrClosed)
		case <-ctx.Done():
			return mostro.Message{}, fmt.Errorf("%s: %w: %w", m.Action, ErrNoAnswer, d.client.link.because(ctx.Err()))
		}
	}
}

// answers are those to a request, so far. The existing daemon names no request when it answers restore-session
// (protocol 1.12); a desk asks that once, so what comes without one is the answer.
func (d *desk) answers(to mostro.Message) (answers []mostro.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.heard {
		unnamed := m.RequestID == nil && m.Action == mostro.RestoreSession && m.Action == to.Action
		if unnamed || m.RequestID != nil && to.RequestID != nil && *m.RequestID == *to.RequestID {
			answers = append(answers, m)
		}
	}
	return answers
}

// identityDesk asks for the user's identity. It writes from a key made for the occasion and
// proves the identity inside, so that nobody but the node sees the identity key, and the
// answers do not mix with those of a trade.
func (c *Client) identityDesk(transport mostro.Transport) (*desk, error) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	key, err := mostro.NewSecret(b)
	if err != nil { // one in 2^127
		return nil, err
	}
	return c.openDesk(mostro.Party{Trade: key, Identity: c.identity}, transport), nil
}

// LastIndex is the highest trade index of the identity that the node has seen, 0 when it does
// not know the identity.
func (c *Client) LastIndex(ctx context.Context, transport mostro.Transport) (uint32, error) {
	d, err := c.identityDesk(transport)
	if err != nil {
		return 0, err
	}
	defer d.close()
	return d.lastIndex(ctx)
}

func (d *desk) lastIndex(ctx context.Context) (uint32, error) {
	answer, err := d.ask(ctx, mostro.Message{Wrapper: mostro.WrapRestore, Action: mostro.LastTradeIndex})
	var cantDo *CantDoError
	if errors.As(err, &cantDo) && (cantDo.Reason == mostro.NotFound || cantDo.Reason == mostro.InvalidTradeIndex) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if answer.TradeIndex == nil || *answer.TradeIndex < 0 || *answer.TradeIndex >= 1<<31 {
		return 0, fmt.Errorf("%s: the node's answer has no index", mostro.LastTradeIndex)
	}
	return uint32(*answer.TradeIndex), nil
}

// Restore asks for the live orders and disputes of the identity, and for its highest trade
// index. What the node waits for it asks for once more, at the trade keys. Trades in full
// privacy are not among them: the node does not know whose they are.
func (c *Client) Restore(ctx context.Context, transport mostro.Transport) (mostro.RestoreData, uint32, error) {
	var data mostro.RestoreData
	d, err := c.identityDesk(transport)
	if err != nil {
		return data, 0, err
	}
	defer d.close()
	first, err := d.ask(ctx, mostro.Message{Wrapper: mostro.WrapRestore, Action: mostro.RestoreSession})
	if err != nil {
		return data, 0, err
	}
	// A node splits a long answer. Its messages to one key come in order, so with the answer
	// to a later question the earlier one is complete.
	last, err := d.lastIndex(ctx)
	if err != nil {
		return data, 0, err
	}
	for _, m := range d.answers(mostro.Message{Action: mostro.RestoreSession, RequestID: first.RequestID}) {
		if m.Payload != nil && m.Payload.RestoreData != nil {
			data.Orders = append(data.Orders, m.Payload.RestoreData.Orders...)
			data.Disputes = append(data.Disputes, m.Payload.RestoreData.Disputes...)
		}
	}
	return data, last, nil
}

// OrdersByID asks the node for orders of the identity. Those that are not the user's, and those
// beyond what the node puts into one answer, are left out.
func (c *Client) OrdersByID(ctx context.Context, transport mostro.Transport, ids ...string) ([]mostro.SmallOrder, error) {
	d, err := c.identityDesk(transport)
	if err != nil {
		return nil, err
	}
	defer d.close()
	answer, err := d.ask(ctx, mostro.Message{Action: mostro.Orders, Payload: &mostro.Payload{IDs: ids}})
	if err != nil {
		return nil, err
	}
	if answer.Payload == nil {
		return nil, nil
	}
	return answer.Payload.Orders, nil
}

// Admin acts in disputes, as an administrator or a solver. Its methods return the node's
// answer; their errors are those of a request.
type Admin struct {
	client    *Client
	key       mostro.Secret
	transport mostro.Transport
}

// Admin acts with a key, or with the user's identity when the key is zero.
func (c *Client) Admin(key mostro.Secret, transport mostro.Transport) *Admin {
	if key.IsZero() {
		key = c.identity
	}
	return &Admin{c, key, transport}
}

// Pubkey is the public key that acts.
func (a *Admin) Pubkey() string { return a.key.Public() }

func (a *Admin) ask(ctx context.Context, m mostro.Message) (mostro.Message, error) {
	d := a.client.openDesk(mostro.Party{Trade: a.key, Identity: a.key}, a.transport)
	defer d.close()
	return d.ask(ctx, m)
}

// AddSolver lets a person take disputes and, unless readOnly, decide them.
func (a *Admin) AddSolver(ctx context.Context, npub string, readOnly bool) (mostro.Message, error) {
	level := ":read-write"
	if readOnly {
		level = ":read"
	}
	text := npub + level
	// The existing daemon wants an id, any.
	return a.ask(ctx, mostro.Message{
		Wrapper: mostro.WrapDispute, ID: uuid.NewString(), Action: mostro.AdminAddSolver, Payload: &mostro.Payload{TextMessage: &text},
	})
}

// TakeDispute takes a dispute, named by its own id, not the order's.
func (a *Admin) TakeDispute(ctx context.Context, disputeID string) (mostro.Message, error) {
	return a.ask(ctx, mostro.Message{Wrapper: mostro.WrapDispute, ID: disputeID, Action: mostro.AdminTakeDispute})
}

// Settle gives the escrow of a disputed order to the buyer, and each bond that slash names to
// the other side; nil slashes none.
func (a *Admin) Settle(ctx context.Context, orderID string, slash *mostro.BondResolution) (mostro.Message, error) {
	return a.ask(ctx, verdict(orderID, mostro.AdminSettle, slash))
}

// Cancel gives the escrow of a disputed order back to the seller, with bonds as in Settle.
func (a *Admin) Cancel(ctx context.Context, orderID string, slash *mostro.BondResolution) (mostro.Message, error) {
	return a.ask(ctx, verdict(orderID, mostro.AdminCancel, slash))
}

func verdict(orderID string, action mostro.Action, slash *mostro.BondResolution) mostro.Message {
	m := mostro.Message{ID: orderID, Action: action}
	if slash != nil {
		m.Payload = &mostro.Payload{BondResolution: slash}
	}
	return m
}
