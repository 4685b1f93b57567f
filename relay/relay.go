// Package relay is a Nostr relay: it takes events from clients over WebSocket, keeps them, and
// serves them to subscriptions, stored and live. Messages to the escrow that lives in the same
// process pass through it without being kept.
//
// Rules that it keeps:
//
//   - No frame ends the process. Every message of a client is shape-checked before anything
//     looks into it, and handled under recover.
//   - Frames of one client are handled in order: answers come in the order of events, and what
//     came before a REQ is stored before it is answered. One reader per connection; a client
//     that sends faster than it is served waits.
//   - Nobody waits for a slow reader. Frames to a client go into a queue bounded in bytes;
//     stored events fill it as fast as the client reads, and a client that lets live events
//     pile up is told so and cut off.
//   - OK true means synced to disk, or taken over by the escrow. OK false carries a reason with
//     a prefix of NIP-01.
//   - Between stored and live nothing is lost and nothing is sent twice: a subscription is live
//     before its stored query, and the query leaves out what was committed since.
//   - An event is encoded once, and finds the subscriptions that want it without asking all.
//   - Clients get their turns: as many messages are worked on at once as there are processors,
//     a client has one of them, and a long answer gives it back now and then. The next one goes to the
//     address that has worked least of late, so that many connections, and many addresses that are busy, keep
//     nobody waiting who asks for little. Who takes most of anything that is short (connections, queues,
//     subscriptions) gives way first, and who sends what is refused waits for it.
//   - Work that nobody waits for any more ends.
//   - Signatures are checked last, as many at once as there are processors; what
//     is known already is not checked again. Decrypting takes turns too.
//   - What is served verifies: the fields of an event come back as they were signed.
//   - Limits are enforced and advertised from one value.
//   - Messages and gift wraps (kinds 4, 14, 1059, 21059) go out by one rule on every path (reads.go).
//     Authentication (NIP-42) adds rights; in the strict mode it is demanded.
//   - Forwarding headers (X-Forwarded-For and its kin) are believed from listed proxies only,
//     and the relay's own address comes from the settings only.
//
// khatru holds the policies (its RejectEvent and RejectFilter hooks, whose accessors for
// connection, key and subscription work), the relay's description (NIP-11) and the HTTP routes.
// The connections are not its: khatru verifies before any hook runs, which one over-long key
// crashes when go-nostr is built with libsecp256k1, and it walks its listeners while others
// change them. Nor is its management (NIP-86), nor its negentropy (NIP-77), both of which trust
// what they are sent. Behind stands the event store of package store.
//
// The package knows nothing of orders, money or the escrow's messages beyond their kinds.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/time/rate"

	"mostro/policies"
	events "mostro/relay/store"
)

// Policy decides whether an event from a client is refused, and why, in the form of NIP-01. It
// runs before the signature is verified.
type Policy func(ctx context.Context, ev *nostr.Event) (reject bool, msg string)

// ReadPolicy decides whether a filter of a client is refused, and why, in the form of NIP-01.
type ReadPolicy func(ctx context.Context, f nostr.Filter) (reject bool, msg string)

// Config says what a relay is.
type Config struct {
	Dir string // folder of the event store; "" keeps events in memory

	Name, Description, Contact, Icon string // for the relay's description (NIP-11)

	Pubkey     string // the node's public key in hex; "" for a relay without a node
	ServiceURL string // wss:// address under which clients reach this relay
	Version    string

	// Carriers are the networks of other Mostros and of replicas, which bring the messages of many people: their addresses
	// wait for nothing that was refused, repeat as much as they want, and count a small part of what is done for them.
	Carriers []netip.Prefix

	// TrustedProxies are the networks whose X-Forwarded-For and X-Real-Ip are believed.
	TrustedProxies []netip.Prefix
	// Admins are the public keys, in hex, that may manage the relay over HTTP (NIP-86).
	Admins []string

	Limits   Limits   // the zero value stands for DefaultLimits
	Policies []Policy // asked in order, after the relay's own

	// Contents are the most bytes of content that events of some kinds have, below what Limits allow for all.
	Contents map[int]int

	// Kinds are taken and no others; nil takes all that are meant for relays. Administrators
	// change it while the relay runs.
	Kinds []int
	// Deny are the public keys, in hex, whose events are refused. With OnlyAllowed only those of
	// Allow, of administrators and of followed Mostros are taken, and messages of everybody.
	Deny, Allow []string
	OnlyAllowed bool

	// Verified are asked for events whose signature is good: rules that take a key at its word.
	Verified []Policy

	// Retention removes old events; the node's own stay, and messages of Running keys, which
	// are those of trades that have not ended (nil means none).
	Retention []Retention
	Running   func(pubkey string) bool

	// PrivateReads says who reads messages and gift wraps.
	PrivateReads PrivateReads
	// Followed reports whether a key is that of a Mostro that this node follows; nil means none.
	Followed func(pubkey string) bool
	// Formerly reports the same of Mostros that this node has ever followed: their messages that are still here go
	// to whoever they are for, as before. nil means none.
	Formerly func(pubkey string) bool
	// ReadPolicies are asked for each filter of a REQ or COUNT.
	ReadPolicies []ReadPolicy

	// Receive takes a message to the node: kind 14 or 1059 whose only p tag is Pubkey, with a
	// valid signature. nil means that the message is safe and the client gets OK true; the
	// text of an error goes to the client with OK false and starts with a prefix of NIP-01.
	// It can be called for many clients at once, and again for the same event. Its context
	// does not end when the client goes away, and is what Turn needs to know whose message it is.
	Receive func(ctx context.Context, ev *nostr.Event) error

	Federation Federation

	// Space says how much of the disk the event store leaves free.
	Space events.Space
	// IndexBytes is how much memory the index of the event store may take, 0 = 256 MiB. Beyond it
	// old events of kinds that traders do not ask for are looked up on disk.
	IndexBytes int
	// Progress is told how far a long start is: what it does, and how many of how many events
	// are done (0 of them = not known).
	Progress func(doing string, done, total int)

	Logger *slog.Logger
}

// ration is a policy for what comes from somewhere else than a client's address.
type ration func(from string, ev *nostr.Event) (reject bool, msg string)

// Relay serves clients until Close.
type Relay struct {
	cfg    Config
	log    *slog.Logger
	node   key
	ctx    context.Context // ends with Close
	khatru *khatru.Relay

	deny, allow map[string]bool
	kinds       map[int]bool // nil = all
	alarms      *rate.Limiter
	store       *store

	management *management
	began      int64     // second of the start, by the clock
	up         time.Time // the same, by what no clock changes
	clock      *wallClock
	live       *live
	backlog    atomic.Int64 // bytes of live events that wait in queues
	held       atomic.Int64 // bytes of stored events that wait in queues or are being written
	relieving  atomic.Bool  // somebody sees to it that they are not too many
	messages   atomic.Int64 // of clients that were handled, and events of other relays
	agreed     atomic.Int64 // second by the clock at which somebody else's event was last of about that time
	reads      atomic.Int32 // PrivateReads
	slots      *turns       // for clients whose message is being worked on, or decrypted
	vain       vainLook     // of the sweeper
	turned     atomic.Int64 // nanoseconds of such turns since one of them let the runtime breathe
	verifiers  *turns       // for signatures that are being checked
	repeated   Policy       // a rate for events that are stored already
	expired    Policy       // for events whose time is over, stored or not
	room       Policy       // for events that are to be stored, when all else is well
	rations    Policy       // of messages, by address, while there are very many
	delivered  ration       // the same, of messages that other relays bring
	negItems   *shares      // items of all negentropy sessions
	arriving   *shares      // bytes of long messages
	opened     *shares      // subscriptions
	places     *shares      // their values, and places in the live index
	buffers    sync.Pool    // *outBuffer
	flushers   flushers

	mu       sync.Mutex // guards the following
	sessions map[*session]struct{}
	origins  map[string]*origin
	parts    int64     // bytes of live events that wait, of each origin no more than its part
	looked   time.Time // when that was
	crowd    *crowd[*session]
	closing  bool
	done     sync.WaitGroup // sessions and the sweeper
	stop     context.CancelFunc
}

// Open opens the event store and makes a relay ready to serve.
func Open(cfg Config) (*Relay, error) { return open(cfg, time.Now) }

func open(cfg Config, now func() time.Time) (*Relay, error) {
	if cfg.Limits == (Limits{}) {
		cfg.Limits = DefaultLimits()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Relay{
		cfg: cfg, log: cfg.Logger, khatru: khatru.NewRelay(),
		live:      newLive(),
		slots:     newTurns(max(runtime.GOMAXPROCS(0), 2)),
		verifiers: newTurns(runtime.GOMAXPROCS(0)),
		negItems:  newShares(cfg.Limits.AllNegItems), arriving: newShares(cfg.Limits.AllMessagesBytes),
		opened: newShares(cfg.Limits.AllSubscriptions), places: newShares(maxPlacesOfAll),
		buffers:  sync.Pool{New: newOutBuffer},
		sessions: make(map[*session]struct{}), origins: make(map[string]*origin), crowd: newCrowd[*session](cfg.Limits.Connections),
	}
	var err error
	if cfg.Dir != "" {
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the relay's folder: %w", err)
		}
	}
	r.began, r.up = now().Unix(), time.Now()
	if r.management, err = openManagement(cfg.Dir); err != nil {
		return nil, err
	}
	r.SetPrivateReads(cfg.PrivateReads)
	r.slots.carries, r.verifiers.carries = r.carries, r.carries
	r.repeated = policies.ExceptFrom(cfg.Carriers,
		policies.RateByIP(cfg.Limits.DuplicatesPerSecond, cfg.Limits.DuplicatesBurst, policies.DefaultRateAddresses))
	r.expired = policies.NotExpired(now)
	room := policies.Room(r.full, r.storedOf, cfg.Limits.EventsPerKey, r.trusted)
	r.rations = policies.ExceptFrom(cfg.Carriers,
		policies.Rations(r.flooded, messagesPerDay, messagesBurst, policies.DefaultRateAddresses, messageKinds...))
	r.delivered = policies.RationsOf[string](r.flooded, messagesPerDay, messagesBurst, policies.DefaultRateAddresses, messageKinds...)
	r.room = func(ctx context.Context, ev *nostr.Event) (reject bool, msg string) {
		if reject, msg = room(ctx, ev); reject || r.trusted(ev.PubKey) {
			return reject, msg
		}
		return r.rations(ctx, ev)
	}
	own := []Policy{
		policies.Shape(cfg.Limits.shape()),
		policies.Tags(cfg.Limits.IndexedTags, events.AlwaysInMemory()...),
		policies.Sizes(cfg.Contents),
		policies.Authors(r.denied, r.listed),
		policies.Kinds(r.takes),
		policies.Banned(r.management.banned),
		policies.NotForRelays(),
		r.expired,
		policies.TimeWindow(cfg.Limits.Past, cfg.Limits.Future, now),
		policies.TimeWindow(cfg.Limits.WrapPast, cfg.Limits.Future, now, nostr.KindGiftWrap),
		policies.TimeWindow(cfg.Limits.Past, cfg.Limits.OrderFuture, now, tradeKinds...),
		policies.NotOutlived(cfg.Retention, now),
		policies.Pow(func(*nostr.Event) int { return cfg.Limits.MinPow }),
	}
	if cfg.Receive != nil && cfg.Pubkey == "" {
		return nil, errors.New("a relay with an escrow needs the node's public key")
	}
	if cfg.Pubkey != "" {
		node, err := parseKey(cfg.Pubkey)
		if err != nil {
			return nil, fmt.Errorf("read the node's public key: %w", err)
		}
		r.node = node
		own = append(own, policies.OwnKey(cfg.Pubkey))
	}
	r.deny, r.allow, r.kinds = setOf(cfg.Deny), setOf(cfg.Allow), setOf(cfg.Kinds)
	r.alarms = rate.NewLimiter(rate.Every(alarmEvery), 1)
	for _, policy := range append(own, cfg.Policies...) {
		r.khatru.RejectEvent = append(r.khatru.RejectEvent, policy)
	}
	for _, policy := range cfg.ReadPolicies {
		r.khatru.RejectFilter = append(r.khatru.RejectFilter, policy)
	}
	r.khatru.Log = log.New(io.Discard, "", 0) // it would write past the logger of the settings, what clients have it write
	r.describe()
	r.routes()

	r.store, err = openStore(events.Options{
		Dir: cfg.Dir, Log: r.log, Now: now, Space: cfg.Space, IndexBytes: cfg.IndexBytes, Progress: cfg.Progress,
		MaxTombstones: cfg.Limits.Deletions, TombstonesStay: cfg.Limits.WrapPast + day, // wraps are dated back
		Protected: r.undeletable, Vanishes: r.vanishes,
		Committed: func(c events.Commit) { r.fanOut(c.Event, c.Raw) },
	})
	if err != nil {
		return nil, err
	}
	if err := r.forgetBanned(context.Background()); err != nil {
		r.store.Close()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	r.ctx, r.stop = ctx, stop
	r.clock = r.openClock()
	r.done.Go(func() { r.sweep(ctx, r.clock) })
	r.done.Go(func() { r.ping(ctx) })
	r.done.Go(func() { r.giveBack(ctx) })
	r.flushers.some.L = &r.flushers.mu
	for range max(runtime.GOMAXPROCS(0)/2, 1) {
		go r.flushers.run()
	}
	return r, nil
}

// Publish stores events of the node, together, and sends them to subscriptions in their order. They
// are on disk when Publish returns nil. It can be repeated: an event that is stored already, or that
// a newer version, a deletion or its expiration has overtaken, is success. After an error any of them
// may or may not be published.
func (r *Relay) Publish(ctx context.Context, evs ...nostr.Event) error {
	shape := policies.Shape(widest())
	own := make([]events.Item, len(evs))
	for i := range evs {
		ev := &evs[i]
		if reject, msg := shape(ctx, ev); reject {
			return fmt.Errorf("publish event %q: %s", ev.ID, msg)
		}
		if !ev.CheckID() {
			return fmt.Errorf("publish event %s: the id does not fit the event", ev.ID)
		}
		own[i] = events.Item{Event: ev, Own: true}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("publish events: %w", err)
	}
	for i, out := range r.keep(ctx, own...) {
		if out.Err != nil {
			return fmt.Errorf("publish event %s: %w", own[i].Event.ID, out.Err)
		}
	}
	return nil
}

// Has reports whether the event with this id is stored.
func (r *Relay) Has(_ context.Context, id string) (bool, error) {
	k, err := parseKey(id)
	if err != nil {
		return false, fmt.Errorf("look up event: %w", err)
	}
	return r.store.has(k), nil
}

// Query answers f from the store, newest first, with the limits that clients have but private
// events included. Expired events are left out.
func (r *Relay) Query(ctx context.Context, f nostr.Filter) ([]nostr.Event, error) {
	compiled, err := compile(f, r.cfg.Limits)
	if err != nil {
		return nil, fmt.Errorf("query events: %w", err)
	}
	var found []nostr.Event
	err = r.store.answer(ctx, &compiled,
		func(*record) bool { return true }, nil,
		func(_ *record, raw []byte) bool {
			ev, err := decode(raw)
			if err != nil {
				r.log.Error("answer query", "error", err)
				return true
			}
			found = append(found, *ev)
			return ctx.Err() == nil
		})
	if err = errors.Join(err, ctx.Err()); err != nil {
		return nil, fmt.Errorf("query events: %w", err)
	}
	return found, nil
}

// Handle registers a route beside the relay's own. Patterns are those of http.ServeMux; it
// panics when one is taken. Routes are registered before serving.
func (r *Relay) Handle(pattern string, handler http.Handler) {
	r.khatru.Router().Handle(pattern, handler)
}

// Close says goodbye to all clients, lets what they sent be finished, and closes the store.
// When ctx ends first, clients are cut off where they are. New connections are refused from the
// start of Close.
func (r *Relay) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closing = true
	for s := range r.sessions {
		s.goodbye()
	}
	r.mu.Unlock()
	r.stop()

	drained := make(chan struct{})
	go func() {
		r.done.Wait()
		close(drained)
	}()
	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		err = fmt.Errorf("close relay: wait for clients: %w", ctx.Err())
		r.mu.Lock()
		for s := range r.sessions {
			s.cut()
		}
		r.mu.Unlock()
	}
	r.flushers.end()
	r.store.Close()
	return err
}
