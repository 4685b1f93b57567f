// Package mirror connects a relay with others, so that many Mostros make one book:
//
//   - in: the public events of followed Mostros, and the offers of other platforms, are copied from
//     the relays where they publish;
//   - carried: messages of clients here to a followed Mostro go to its relays, and what it answers
//     to their keys comes back, so that a client connected only to this relay trades with it; so do
//     the conversations of such clients with the other side of their trades;
//   - out: the node's own public events go to outside relays, and so do its answers to keys whose
//     proven messages came over one; messages to the node are received from there;
//   - reviews: what people say of followed Mostros and of this one is copied from wherever they said
//     it.
//
// Rules that it keeps:
//
//   - One connection to a relay, whatever it is for. It is made again with growing waits and jitter;
//     a relay that lies waits long.
//   - Nothing is missed. A subscription is live before what is stored is compared: by negentropy
//     where the relay knows it, else page by page back in time. That happens again at each
//     connection and now and then, so there is no list of what still has to be sent or fetched:
//     the comparison finds it. Only answers to traders, which a relay may not show, wait in an
//     outbox on disk until the relay has said OK.
//   - Nothing is believed. Every event is verified; only those that were asked for are taken; the
//     node's own never; what is newest by created_at stays, which the store decides. Rate, size and
//     number of a followed Mostro's events are bounded, and a relay is read no faster than that.
//   - Each message crosses once. What is on its way or has arrived is not sent again, so that two
//     relays that carry for each other make no loop; a message that failed is answered so.
//   - A client's OK for a carried message is the answer of the Mostro's own relay. There is no
//     queue: what has not arrived is refused, and the client knows.
//   - Nothing is decrypted.
//
// Whose messages come back: keys that write to a followed Mostro, and keys that clients here ask
// mail for. They become known to the relays of the Mostros concerned, as they would if the client
// were connected there.
//
// The package knows the relay of this process and nothing of the escrow: what it needs of it are
// functions in Config.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/time/rate"

	"mostro/relay"
	"mostro/relay/reconcile"
)

// Followed is somebody whose public events are copied.
type Followed struct {
	Pubkey string   // hex
	Relays []string // where it publishes; none: found by its relay list on the relays that are known
	// Platform names a marketplace that is no Mostro but publishes its offers the same way
	// (NIP-69): only they are copied, and no messages are carried. "" is a Mostro.
	Platform string
}

// Config says what a Mirror copies.
type Config struct {
	Dir    string // of its state; "" keeps it in memory
	Pubkey string // of this node, hex

	Follow  []Followed
	Outside []string // relays that get the node's own events, ws:// or wss://
	Own     string   // address of this relay: it is no peer of itself, whoever lists it

	// Sign signs as this node, to authenticate to relays that ask (NIP-42); nil = it does not.
	Sign func(*nostr.Event) error

	// Review reports whether a review (kind 31986) carries the proof of the Mostro that it is about. nil:
	// none does.
	Review func(*nostr.Event) bool

	// Replica reports whether a key is that of a replica of this relay, whose clients are clients here. nil: there
	// are none.
	Replica func(pubkey string) bool

	// Party reports whether a key has a part in a trade of the node, so that the way to it is not forgotten. nil: none has.
	Party func(pubkey string) bool

	// Strict is for a relay that shows messages to their parties only: a conversation goes elsewhere only
	// when its author, who has authenticated, asks for it.
	Strict bool

	// Reads is the name of the relay's mode of private reads, for its replicas.
	Reads string

	MaxEvents, MaxBytes int // kept of one followed key; 0 = DefaultMaxEvents, DefaultMaxBytes
	MaxOffers           int // pending ones kept of one followed key, the newest; 0 = any number
	Shown               int // offers that one answer shows: as long as all fit in more than MaxOffers are kept of a key; 0 = never

	Policy

	Dial   Dial             // nil = Direct
	Logger *slog.Logger     // nil = silent
	Now    func() time.Time // nil = time.Now
}

// What is kept of one followed key, when the configuration does not say.
const (
	DefaultMaxEvents = 200_000
	DefaultMaxBytes  = 256 << 20
)

// Mirror connects one relay with others. Its functions for the relay's configuration can be used
// at once; nothing happens before Run.
type Mirror struct {
	cfg   Config
	log   *slog.Logger
	state *state
	relay *relay.Relay
	book  *book
	here  string // address of this relay, as those of others are written
	*audience

	marks   *marks
	routes  *routes
	talkers *lru.Cache[string, *rate.Limiter] // by key of a conversation
	crossed *lru.Cache[name, bool]            // messages of conversations that came from other relays; true = from one that says it is one
	lied    *lru.Cache[string, lied]          // by address of a relay that has misbehaved

	crowd    chan struct{} // a followed key has more pending offers than are kept
	thinning sync.Mutex    // held by who takes some of them away

	mu       sync.Mutex // guards the following
	followed map[string]*followed
	own      int               // the node's own pending offers, about
	formerly map[string]former // Mostros that are or were ever followed
	peers    map[string]*peer
	changed  chan struct{} // the set of followed has changed
	moved    chan struct{} // a followed key has said where it publishes
}

// followed is what is known of a followed key.
type followed struct {
	Followed
	found   []string // where it publishes, when Followed does not say
	listed  []string // where it says that it does (kind 10002), as far as that may be used
	noneFit bool     // it has said so last, and nothing of that may be used
	moves   *rate.Limiter

	// left is zero while it is followed, else until when messages are still carried.
	left time.Time

	events, bytes int       // stored, about
	counted       time.Time // when they were
	news          int64     // created_at of its last kind 38385

	offers int                    // pending, about
	coming map[string]struct{}    // ids of more of them that are about to be stored, or just have been
	floor  int64                  // created_at up to which no more of them are taken, in unix seconds
	older  map[reconcile.ID]int64 // created_at of those that were not kept
	told   time.Time              // when the operator was told of them
}

// New opens the mirror's state.
func New(cfg Config) (*Mirror, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Party == nil {
		cfg.Party = func(string) bool { return false }
	}
	if cfg.Dial == nil {
		cfg.Dial = Direct
	}
	if cfg.MaxEvents == 0 {
		cfg.MaxEvents = DefaultMaxEvents
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	st, err := openState(cfg.Dir, cfg.Logger)
	if err != nil {
		return nil, err
	}
	m := &Mirror{
		cfg: cfg, log: cfg.Logger, here: Address(cfg.Own), state: st, marks: newMarks(),
		followed: make(map[string]*followed), formerly: make(map[string]former), peers: make(map[string]*peer),
		changed: make(chan struct{}, 1), moved: make(chan struct{}, 1), crowd: make(chan struct{}, 1),
	}
	m.book = &book{
		node: cfg.Pubkey, now: cfg.Now, log: cfg.Logger, ends: make(map[reconcile.ID]int64),
		listing: m.listing, policy: func() Policy { return cfg.Policy }, news: m.news,
	}
	m.audience = newAudience(cfg.Pubkey, func() bool { return cfg.Strict })
	m.isMostro, m.isFollowed = m.mostro, func(pubkey string) bool { return m.Followed(pubkey) || m.Formerly(pubkey) }
	m.wanted = func() bool { return len(cfg.Outside) > 0 || m.carriesAny() }
	if cfg.Replica != nil {
		m.isReplica = cfg.Replica
	}
	m.talkers, _ = lru.New[string, *rate.Limiter](maxClients) // fails only for a size below 1, as the next
	m.crossed, _ = lru.New[name, bool](marksKept)
	m.lied, _ = lru.New[string, lied](maxLiars)
	err = m.loadFormerly()
	for _, f := range cfg.Follow {
		if err == nil {
			err = m.Follow(f)
		}
	}
	if err == nil {
		err = m.loadAgreed()
	}
	if err == nil {
		err = m.leaveOthers()
	}
	if err == nil {
		m.interest, err = openInterest(st, tableKey, cfg.Now)
	}
	if err == nil {
		m.talks, err = openInterest(st, tableTalk, cfg.Now)
	}
	if err == nil {
		m.routes, err = openRoutes(st, &m.cfg)
	}
	if err != nil {
		return nil, errors.Join(err, st.close())
	}
	return m, nil
}

// Attach names the relay; it comes before everything but Followed and what New did. What is hidden is known after it.
func (m *Mirror) Attach(r *relay.Relay) error {
	m.relay, m.book.relay = r, r
	return m.book.load(context.Background())
}

// Close closes the mirror's state, after Run has returned and the relay takes nothing more.
func (m *Mirror) Close() error { return m.state.close() }

// Follow adds somebody, or says anew where it publishes.
func (m *Mirror) Follow(f Followed) error {
	switch {
	case !nostr.IsValidPublicKey(f.Pubkey):
		return fmt.Errorf("follow %.80q: not a public key in hex", f.Pubkey)
	case f.Pubkey == m.cfg.Pubkey:
		return errors.New("follow: this is the node's own key")
	}
	note := func() error { return m.remember(f.Pubkey, former{Relays: f.Relays}) }
	if f.Platform != "" {
		note = func() error { return m.notePlatform(f.Pubkey) }
	}
	if err := note(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.followed[f.Pubkey]; old != nil {
		old.Followed, old.left = f, time.Time{}
	} else {
		m.followed[f.Pubkey] = &followed{Followed: f, moves: rate.NewLimiter(rate.Every(moveEvery), moveBurst)}
	}
	m.change()
	return nil
}

func (m *Mirror) change() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Followed reports whether a key is followed, Mostro or platform: who may publish orders here.
func (m *Mirror) Followed(pubkey string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.followed[pubkey].now()
}

// mostro reports whether a key is that of a Mostro to which messages are carried, since it is followed or was not long ago.
func (m *Mirror) mostro(pubkey string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.followed[pubkey]
	return f != nil && f.Platform == ""
}

// carriesAny reports whether there is anybody from whom messages could come.
func (m *Mirror) carriesAny() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.followed {
		if f.Platform == "" {
			return true
		}
	}
	return false
}

// Run keeps the connections until ctx ends.
func (m *Mirror) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { m.tend(ctx) })
	running.Go(func() { m.thinOut(ctx) })
	running.Go(func() { m.seek(ctx) })
	running.Go(func() { m.interest.keep(ctx, m.log, m.past) })
	running.Go(func() { m.talks.keep(ctx, m.log, m.past) })
	for {
		m.arrange(ctx, &running)
		select {
		case <-ctx.Done():
			return
		case <-m.changed:
		}
	}
}

// arrange starts connections that are wanted and ends those that are not.
func (m *Mirror) arrange(ctx context.Context, running *sync.WaitGroup) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := make(map[string]duties)
	for _, pubkey := range slices.Sorted(maps.Keys(m.followed)) {
		for _, url := range m.followed[pubkey].relays() {
			d := wanted[url]
			switch f := m.followed[pubkey]; {
			case !f.now():
				d.left = append(d.left, pubkey)
			case f.Platform == "":
				d.mostros = append(d.mostros, pubkey)
			default:
				d.platforms = append(d.platforms, pubkey)
			}
			wanted[url] = d
		}
	}
	for _, url := range m.cfg.Outside {
		d := wanted[url]
		d.outside = true
		wanted[url] = d
	}
	delete(wanted, m.here)
	for url, p := range m.peers {
		if !p.duties.equal(wanted[url]) {
			p.stop()
			delete(m.peers, url)
		}
	}
	for url, d := range wanted {
		if m.peers[url] == nil {
			p := newPeer(m, url, d)
			var peerCtx context.Context
			peerCtx, p.stop = context.WithCancel(ctx)
			m.peers[url] = p
			running.Go(func() { p.run(peerCtx) })
		}
	}
}

// duties are what a connection is for.
type duties struct {
	mostros, platforms []string // followed keys that publish there, sorted
	left               []string // Mostros that are followed no more and whose messages are still carried, sorted
	outside            bool     // the node publishes there
}

// carried are the Mostros whose messages are carried.
func (d duties) carried() []string { return slices.Concat(d.mostros, d.left) }

func (d duties) equal(other duties) bool {
	return slices.Equal(d.mostros, other.mostros) && slices.Equal(d.platforms, other.platforms) &&
		slices.Equal(d.left, other.left) && d.outside == other.outside
}

// list is the current peers, by address.
func (m *Mirror) list() []*peer {
	m.mu.Lock()
	defer m.mu.Unlock()
	peers := make([]*peer, 0, len(m.peers))
	for _, url := range slices.Sorted(maps.Keys(m.peers)) {
		peers = append(peers, m.peers[url])
	}
	return peers
}

// Stored is told what the relay has just stored (relay.Federation.Stored).
func (m *Mirror) Stored(ev *nostr.Event) {
	m.book.stored(ev)
	m.offered(ev)
	switch {
	case ev.PubKey == m.cfg.Pubkey:
		if isPublic(ev.Kind) {
			for _, p := range m.list() {
				p.offer(ev)
			}
		}
	case ev.Kind == kindInfo:
		m.mu.Lock()
		if f := m.followed[ev.PubKey]; f != nil {
			f.news = max(f.news, int64(ev.CreatedAt))
		}
		m.mu.Unlock()
	case ev.Kind == kindRelayList:
		if m.Followed(ev.PubKey) {
			select {
			case m.moved <- struct{}{}:
			default:
			}
		}
	case ev.Kind == kindMessage:
		m.passOn(ev)
	}
}

func isPublic(kind int) bool { return slices.Contains(mostroKinds, kind) }
