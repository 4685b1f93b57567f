// Package client is a Mostro client: what a wallet or a script needs to trade on a node, over
// the WebSocket of a relay and nothing else.
//
// Dial connects, Book and Info read what the node says in public, NewOrder and Take begin a
// Trade, and a Trade carries the requests of its two sides and the messages that come back.
// Restore and Used find the trades of words that were used before, a Chat goes to the other
// side past the node, and Admin decides disputes.
//
// The rules it keeps:
//
//   - Every trade has a key of its own, derived from the user's words by its index (NIP-06).
//     The identity key is index 0; in full privacy it is not used at all. Nobody but the
//     node sees it: what is not about a trade is asked from a key made for the occasion.
//   - What a request means is said once. A request is one event; when the connection breaks
//     before the relay has answered, the same event is sent again, and the relay and the node
//     know it by its id. Nothing is ever sealed a second time.
//   - The key is subscribed before the request goes out, so no answer can be missed, and all
//     of the keys are subscribed again after each reconnect. What comes twice counts once.
//   - Events are verified: a message is by the node or it is nobody's, and a relay cannot
//     invent an order or terms. A message that does not open is not for us and is left alone:
//     anybody may write to a trade key.
//   - A context bounds every wait. When it ends after the relay has taken the request, the
//     request stands, and the error says so.
//
// The connection is this package's own. The one of go-nostr reports an event as sent when the
// connection breaks before the answer, does not reconnect, and does not compare an event's id
// with its content.
//
// It must not know the engine, the store, or how the node reaches its decisions.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// Limits of a client.
const (
	dialTime    = 10 * time.Second // TCP, TLS and the WebSocket handshake together
	writeTime   = 10 * time.Second // one frame to the relay
	pingEvery   = 30 * time.Second
	silenceTime = 75 * time.Second       // nothing heard, not even a pong: the relay is gone
	firstRetry  = 100 * time.Millisecond // before the first attempt to connect again
	mostRetry   = 10 * time.Second       // between attempts
	steadyTime  = time.Minute            // a connection that held so long starts again at firstRetry
	maxFrame    = 4 << 20                // bytes, from the relay
	keysInInbox = 50                     // trade keys of one subscription; each new one reads the others' mail again
	bookAtOnce  = 5000                   // orders that Book asks for
)

// Config says where a client connects and whose it is.
type Config struct {
	RelayURL string // ws:// or wss://
	Node     string // public key of the node, hex or npub
	Keys     Keys
	// Heard is called for every message to a trade, once and in order, before a request or
	// a Wait returns it. It runs in the goroutine that reads the connection: it must return
	// soon and call nothing of the client that waits. May be nil.
	Heard  func(*Trade, mostro.Message)
	Logger *slog.Logger // of connections lost and found; nil = none
}

// Keys are a user's keys.
type Keys struct {
	Mnemonic string // BIP-39 words; mostro.NewMnemonic makes new ones
	// LastIndex is the highest index of a trade key used so far, 0 for new words. The node
	// takes a trade of an identity only with a higher index than all before. A caller that
	// ends and begins again keeps Trade.Index.
	LastIndex uint32
}

// String hides the words: they are all that the user has.
func (k Keys) String() string { return fmt.Sprintf("keys(last index %d)", k.LastIndex) }

// GoString is String, for %#v.
func (k Keys) GoString() string { return k.String() }

// LogValue is String, for slog.
func (k Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Client is a user's connection to a node. Its methods may be called from many goroutines.
type Client struct {
	cfg      Config
	node     string // hex
	identity mostro.Secret
	link     *link
	stop     context.CancelFunc
	stopped  chan struct{} // closed when the connection's goroutine has ended

	// opening is held from the choice of a trade index to the relay's answer, so that
	// indices reach the node in rising order.
	opening chan struct{}

	mu      sync.Mutex
	index   uint32
	trades  map[string]*Trade // by trade key
	inboxes []*inbox

	info infoState
}

// Dial connects to the relay. An error means that the configuration is wrong or that the
// relay cannot be reached now; later, a lost connection is repaired without an end.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	if u, err := url.Parse(cfg.RelayURL); err != nil || u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss" {
		return nil, fmt.Errorf("relay address %q: want ws://host:port or wss://host", cfg.RelayURL)
	}
	node, err := mostro.ParsePubkey(cfg.Node)
	if err != nil {
		return nil, fmt.Errorf("key of the node: %w", err)
	}
	identity, err := mostro.DeriveKey(cfg.Keys.Mnemonic, 0)
	if err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	link := newLink(cfg.RelayURL, cfg.Logger)
	conn, err := link.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", cfg.RelayURL, err)
	}
	life, stop := context.WithCancel(context.Background())
	c := &Client{
		cfg: cfg, node: node, identity: identity, link: link, stop: stop, stopped: make(chan struct{}),
		opening: make(chan struct{}, 1), index: cfg.Keys.LastIndex, trades: make(map[string]*Trade),
	}
	c.followInfo()
	go func() {
		defer close(c.stopped)
		link.run(life, conn)
	}()
	return c, nil
}

// Close ends the connection. What waits ends with ErrClosed.
func (c *Client) Close() {
	c.stop()
	<-c.stopped
}

// open makes the trade of the next index. The caller holds c.opening.
func (c *Client) open(orderID string, mode Mode) (*Trade, error) {
	c.mu.Lock()
	index := c.index + 1
	c.mu.Unlock()
	t, err := c.addTrade(orderID, index, mode)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.index = index
	c.mu.Unlock()
	return t, nil
}

// addTrade derives the key of a trade and subscribes to it.
func (c *Client) addTrade(orderID string, index uint32, mode Mode) (*Trade, error) {
	if index == 0 {
		return nil, errors.New("trade index 0 is the identity key; trades begin at 1")
	}
	key, err := mostro.DeriveKey(c.cfg.Keys.Mnemonic, index)
	if err != nil {
		return nil, err
	}
	party := mostro.Party{Trade: key, Identity: c.identity}
	if mode.FullPrivacy {
		party.Identity = key
	}
	t := &Trade{
		client: c, index: index, party: party, mode: mode, id: orderID,
		seen: make(map[string]bool), changed: make(chan struct{}),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trades[key.Public()] != nil {
		return nil, fmt.Errorf("trade index %d is open already", index)
	}
	c.trades[key.Public()] = t
	c.subscribe(key.Public())
	return t, nil
}

// inbox is a subscription to the replies to some trade keys.
type inbox struct {
	keys []string
	sub  *subscription
}

// subscribe asks for the replies to one more trade key. c.mu is held.
func (c *Client) subscribe(key string) {
	at := slices.IndexFunc(c.inboxes, func(in *inbox) bool { return len(in.keys) < keysInInbox })
	if at < 0 {
		at = len(c.inboxes)
		c.inboxes = append(c.inboxes, &inbox{})
	}
	in := c.inboxes[at]
	in.keys = append(in.keys, key)
	// Under a new id: the stored messages of a subscription that is only replaced could not
	// be told from live ones.
	old := in.sub
	keys := slices.Clone(in.keys)
	in.sub = c.link.subscribe(&subscription{filters: c.mail(keys), handle: func(events []*nostr.Event) {
		c.deliver(events)
		c.caughtUp(keys)
	}})
	c.link.unsubscribe(old)
}

// mail asks for what the node writes to keys.
func (c *Client) mail(keys []string) nostr.Filters {
	return nostr.Filters{
		{Kinds: []int{mostro.KindMessage}, Authors: []string{c.node}, Tags: nostr.TagMap{"p": keys}},
		{Kinds: []int{mostro.KindGiftWrap}, Tags: nostr.TagMap{"p": keys}},
	}
}

// unsubscribe forgets a trade key. Its subscription ends with the last of its keys; until then
// it stays as it is. c.mu is held.
func (c *Client) unsubscribe(key string) {
	for _, in := range c.inboxes {
		in.keys = slices.DeleteFunc(in.keys, func(k string) bool { return k == key })
		if len(in.keys) == 0 {
			c.link.unsubscribe(in.sub)
		}
	}
	c.inboxes = slices.DeleteFunc(c.inboxes, func(in *inbox) bool { return len(in.keys) == 0 })
}

// deliver hands replies to their trades.
func (c *Client) deliver(events []*nostr.Event) {
	byTrade := make(map[*Trade][]*nostr.Event)
	c.mu.Lock()
	for _, ev := range events {
		if to := ev.Tags.Find("p"); to != nil && c.trades[to[1]] != nil {
			byTrade[c.trades[to[1]]] = append(byTrade[c.trades[to[1]]], ev)
		}
	}
	c.mu.Unlock()
	for t, events := range byTrade {
		t.receive(events)
	}
}

// caughtUp tells the trades of keys that they have what the relay keeps.
func (c *Client) caughtUp(keys []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		if t := c.trades[key]; t != nil {
			t.catchUp()
		}
	}
}
