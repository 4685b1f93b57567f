package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// Info is what the node says of itself (kind 38385). A number that the node leaves out is 0.
type Info struct {
	mostro.NodeInfo
	Name      string
	Transport mostro.Transport // that the node tells its clients to use
	At        int64            // unix seconds when it said so
}

// infoState keeps the latest terms of the node.
type infoState struct {
	mu      sync.Mutex
	latest  *Info
	asked   bool          // the relay has sent what it has
	changed chan struct{} // closed and replaced when either changes
}

// followInfo subscribes to the terms for the life of the client.
func (c *Client) followInfo() {
	c.info.changed = make(chan struct{})
	c.link.subscribe(&subscription{
		filters: nostr.Filters{{Kinds: []int{mostro.KindInfo}, Authors: []string{c.node}, Tags: nostr.TagMap{"d": {c.node}}, Limit: 1}},
		handle:  c.hearInfo,
	})
}

func (c *Client) hearInfo(events []*nostr.Event) {
	s := &c.info
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ev := range events {
		if c.verify(ev, mostro.KindInfo) != nil {
			continue
		}
		info, err := parseInfo(ev)
		if err != nil {
			c.cfg.Logger.Warn("cannot read the terms of the node", "error", err)
		} else if s.latest == nil || info.At >= s.latest.At {
			s.latest = &info
		}
	}
	s.asked = true
	close(s.changed)
	s.changed = make(chan struct{})
}

// Info returns the node's latest terms. ErrNoInfo when the relay has none.
func (c *Client) Info(ctx context.Context) (Info, error) {
	for {
		c.info.mu.Lock()
		latest, asked, changed := c.info.latest, c.info.asked, c.info.changed
		c.info.mu.Unlock()
		switch {
		case latest != nil:
			return *latest, nil
		case asked:
			return Info{}, fmt.Errorf("read the terms of node %s: %w", c.node, ErrNoInfo)
		}
		select {
		case <-changed:
		case <-c.link.done:
			return Info{}, ErrClosed
		case <-ctx.Done():
			return Info{}, fmt.Errorf("read the terms of node %s: %w", c.node, c.link.because(ctx.Err()))
		}
	}
}

// verify checks that an event is what the node has signed. go-nostr compares the signature
// with the content but not the id, and with libsecp256k1 writes beyond a longer signature.
func (c *Client) verify(ev *nostr.Event, kind int) error {
	if ev.Kind != kind || ev.PubKey != c.node || len(ev.Sig) != 128 || !ev.CheckID() {
		return errors.New("not an event of the node")
	}
	if ok, err := ev.CheckSignature(); err != nil || !ok {
		return errors.New("the signature is invalid")
	}
	return nil
}

// Book returns the orders that can be taken now, newest first.
func (c *Client) Book(ctx context.Context) ([]mostro.BookOrder, error) {
	orders, err := c.orders(ctx, nostr.Filter{Tags: nostr.TagMap{"s": {string(mostro.StatusPending)}}, Limit: bookAtOnce})
	if err != nil {
		return nil, fmt.Errorf("read the book: %w", err)
	}
	return orders, nil
}

// Order returns an order of the node, whatever its public status. ErrNotInBook.
func (c *Client) Order(ctx context.Context, id string) (mostro.BookOrder, error) {
	orders, err := c.orders(ctx, nostr.Filter{Tags: nostr.TagMap{"d": {id}}})
	if err == nil && len(orders) == 0 {
		err = ErrNotInBook
	}
	if err != nil {
		return mostro.BookOrder{}, fmt.Errorf("read order %s: %w", id, err)
	}
	return orders[0], nil
}

// orders asks once for orders of the node, newest first.
func (c *Client) orders(ctx context.Context, f nostr.Filter) (orders []mostro.BookOrder, err error) {
	f.Kinds, f.Authors = []int{mostro.KindOrder}, []string{c.node}
	err = c.stored(ctx, f, func(ev *nostr.Event) {
		if o, err := c.bookOrder(ev); err == nil {
			orders = append(orders, o)
		}
	})
	return orders, err
}

// stored asks once for public events, and hands over what the relay has, newest first.
func (c *Client) stored(ctx context.Context, f nostr.Filter, seen func(*nostr.Event)) error {
	type result struct {
		events []*nostr.Event
		err    error
	}
	first := make(chan result, 1)
	answer := func(r result) {
		select {
		case first <- r:
		default: // what comes after the stored events was not asked for
		}
	}
	sub := c.link.subscribe(&subscription{
		filters: nostr.Filters{f},
		handle:  func(events []*nostr.Event) { answer(result{events: events}) },
		failed:  func(err error) { answer(result{err: err}) },
	})
	defer c.link.unsubscribe(sub)
	select {
	case r := <-first:
		for _, ev := range slices.Backward(r.events) {
			seen(ev)
		}
		return r.err
	case <-c.link.done:
		return ErrClosed
	case <-ctx.Done():
		return c.link.because(ctx.Err())
	}
}

// Dispute is a dispute as everybody sees it (kind 38386).
type Dispute struct {
	ID        string `json:"id"`
	Status    string `json:"status"`
	Initiator string `json:"initiator"` // buyer or seller
	CreatedAt int64  `json:"created_at"`
}

// Disputes returns the disputes of the node that nobody has decided, oldest first.
func (c *Client) Disputes(ctx context.Context) (open []Dispute, err error) {
	f := nostr.Filter{Kinds: []int{mostro.KindDispute}, Authors: []string{c.node}, Tags: nostr.TagMap{"s": {"initiated", "in-progress"}}, Limit: bookAtOnce}
	err = c.stored(ctx, f, func(ev *nostr.Event) {
		tags := tagReader{tags: ev.Tags}
		d := Dispute{ID: tags.text("d"), Status: tags.text("s"), Initiator: tags.text("initiator"), CreatedAt: tags.number("created_at")}
		if c.verify(ev, mostro.KindDispute) == nil && d.ID != "" && tags.err == nil {
			open = append(open, d)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read the disputes: %w", err)
	}
	slices.SortStableFunc(open, func(a, b Dispute) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) })
	return open, nil
}

// WatchBook calls seen with every order that the relay has, and with each change of one,
// until ctx ends or the client is closed; it returns why. Like Config.Heard, seen must return
// soon.
func (c *Client) WatchBook(ctx context.Context, seen func(mostro.BookOrder)) error {
	latest := make(map[string]nostr.Timestamp) // by order; after a reconnect everything comes again
	failed := make(chan error, 1)
	sub := c.link.subscribe(&subscription{
		filters: nostr.Filters{{Kinds: []int{mostro.KindOrder}, Authors: []string{c.node}}},
		handle: func(events []*nostr.Event) {
			for _, ev := range events {
				o, err := c.bookOrder(ev)
				if err != nil || ev.CreatedAt <= latest[o.ID] || ctx.Err() != nil {
					continue
				}
				latest[o.ID] = ev.CreatedAt
				seen(o)
			}
		},
		failed: func(err error) { failed <- err },
	})
	defer c.link.unsubscribe(sub)
	select {
	case err := <-failed:
		return fmt.Errorf("watch the book: %w", err)
	case <-c.link.done:
		return fmt.Errorf("watch the book: %w", ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("watch the book: %w", ctx.Err())
	}
}

// bookOrder reads an order event of the node.
func (c *Client) bookOrder(ev *nostr.Event) (mostro.BookOrder, error) {
	if err := c.verify(ev, mostro.KindOrder); err != nil {
		return mostro.BookOrder{}, err
	}
	tags := tagReader{tags: ev.Tags}
	o := mostro.BookOrder{
		ID: tags.text("d"), Kind: mostro.OrderKind(tags.text("k")), Status: mostro.Status(tags.text("s")),
		Amount: tags.number("amt"), FiatCode: tags.text("f"), PaymentMethod: strings.Join(tags.all("pm"), ","),
		Premium: tags.number("premium"), ExpiresAt: tags.number("expires_at"), Expiration: tags.number("expiration"),
	}
	switch fiat := tags.all("fa"); len(fiat) {
	case 1:
		o.FiatAmount = tags.parse("fa", fiat[0])
	case 2:
		least, most := tags.parse("fa", fiat[0]), tags.parse("fa", fiat[1])
		o.MinAmount, o.MaxAmount = &least, &most
	}
	if o.ID == "" || !o.Kind.Known() || o.Status == "" {
		return o, errors.New("the order lacks its id, kind or status")
	}
	return o, tags.err
}

// parseInfo reads the terms of a node.
func parseInfo(ev *nostr.Event) (Info, error) {
	tags := tagReader{tags: ev.Tags}
	list := func(name string) []string {
		return strings.FieldsFunc(tags.text(name), func(c rune) bool { return c == ',' })
	}
	info := Info{
		NodeInfo: mostro.NodeInfo{
			MostroVersion: tags.text("mostro_version"), MostroCommitHash: tags.text("mostro_commit_hash"),
			MaxOrderAmount: tags.number("max_order_amount"), MinOrderAmount: tags.number("min_order_amount"),
			ExpirationHours: tags.number("expiration_hours"), ExpirationSeconds: tags.number("expiration_seconds"),
			FiatCurrencies: list("fiat_currencies_accepted"), MaxOrdersPerResponse: tags.number("max_orders_per_response"),
			Fee: tags.text("fee"), Pow: int(tags.number("pow")), PowFirstContact: int(tags.number("pow_first_contact")),
			HoldInvoiceExpirationWindow: tags.number("hold_invoice_expiration_window"),
			HoldInvoiceCLTVDelta:        tags.number("hold_invoice_cltv_delta"),
			InvoiceExpirationWindow:     tags.number("invoice_expiration_window"),
			LNDVersion:                  tags.text("lnd_version"), LNDPubkey: tags.text("lnd_node_pubkey"),
			LNDCommitHash: tags.text("lnd_commit_hash"), LNDAlias: tags.text("lnd_node_alias"),
			LNDChains: list("lnd_chains"), LNDNetworks: list("lnd_networks"), LNDURIs: list("lnd_uris"),
		},
		Transport: mostro.GiftWrap, // nodes that do not say so speak version 1
		At:        int64(ev.CreatedAt),
	}
	if tags.number("protocol_version") >= int64(mostro.NIP44) {
		info.Transport = mostro.NIP44
	}
	if y := tags.all("y"); len(y) > 1 {
		info.Name = y[1]
	}
	if tags.text("bond_enabled") == "true" {
		info.Bond = &mostro.BondTerms{
			AmountPct: tags.text("bond_amount_pct"), BaseAmount: tags.number("bond_base_amount_sats"), ApplyTo: tags.text("bond_apply_to"),
			SlashOnTimeout:    tags.text("bond_slash_on_waiting_timeout") == "true",
			SlashNodeSharePct: tags.text("bond_slash_node_share_pct"), PayoutClaimDays: tags.number("bond_payout_claim_window_days"),
		}
	}
	return info, tags.err
}

// tagReader reads the tags of an event. What is absent is empty, what is no number is err.
type tagReader struct {
	tags nostr.Tags
	err  error
}

// all returns the values of a tag.
func (r *tagReader) all(name string) []string {
	if tag := r.tags.Find(name); tag != nil {
		return tag[1:]
	}
	return nil
}

func (r *tagReader) text(name string) string {
	if values := r.all(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

func (r *tagReader) number(name string) int64 {
	if text := r.text(name); text != "" {
		return r.parse(name, text)
	}
	return 0
}

func (r *tagReader) parse(name, text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("tag %s: %q is not a whole number", name, text)
	}
	return n
}
