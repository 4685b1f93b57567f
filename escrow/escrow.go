// Package escrow runs the trades: it takes messages in, applies them to orders, and sees to
// it that what follows from them happens.
//
//	message, news of the node, clock --> one writer: Step, one synced transaction
//	       order + history + outbox rows + marks --> workers: tell, publish, call the node
//	                                                     answers come back as events
//
// Rules:
//   - A promise is on disk before the world hears of it. Receive returns nil only after the
//     transaction with everything that follows from the message is synced.
//   - One goroutine writes. It drains its queue into one transaction, so many answers share
//     one wait for the disk. Nothing slow happens inside: messages are stored as plaintext and
//     sealed by the workers, each a pure function of its row, so a retry is the same event.
//   - Everything may happen twice: messages carry their event id as a mark, rows of the table
//     fit only the state they speak of, calls to the node have a natural key.
//   - Starting is recovering: Open rebuilds the set of work from the rows, Run asks the node
//     about every hash that is not final, and due deadlines fire. There are no repair jobs.
//   - A commit that fails has an unknown outcome: Run returns, the process ends and starts. So that none
//     fails for want of space, Run returns before the disk is full.
//
// It knows nothing of relays and WebSockets: events come in through Receive and go out
// through the Publish function that it is given. What changes a status is in package order.
package escrow

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// Limits of the engine.
const (
	maxBatch        = 256  // operations in one transaction
	queueLength     = 1024 // operations that wait for the writer
	maxOpening      = 512  // messages that wait to be decrypted
	seenFor         = 7 * 24 * time.Hour
	maxAge          = 3 * 24 * time.Hour // of a message, so that what waited while we were down counts
	maxAgeOfOffers  = 10 * time.Minute   // of new-order and takes: nobody wants an old price
	maxAhead        = 10 * time.Minute
	callTimeout     = 10 * time.Second
	resolveTimeout  = 45 * time.Second // of an address, also through Tor
	publishTimeout  = 30 * time.Second
	lightningWorker = 64
	maxResolving    = 512 // payees' servers that are asked at once
)

// Config is what an Engine is made of.
type Config struct {
	Dir          string // money store; "" = in memory
	StoreKey     StoreKey
	Epoch        string // file outside Dir that tells an old copy of the store; "" = none
	Space        Space
	Key          mostro.Secret
	EscrowSecret EscrowSecret // preimages are derived from it; kept apart from Dir
	Node         lightning.Node
	// Prices returns the price of a bitcoin in a currency, and false when there is none or
	// it is stale. It must not block.
	Prices func(fiat string) (order.Price, bool)
	// IsAddress tells whether a text has the form of a Lightning address or an LNURL, and
	// Resolve asks the payee's server for an invoice over exactly the amount. nil: addresses
	// are refused like any text that is no invoice.
	IsAddress func(text string) bool
	Resolve   func(ctx context.Context, address string, amount order.Msat) (bolt11 string, err error)
	// Publish stores events durably and serves them. It is called again with the same
	// events until it returns nil.
	Publish func(ctx context.Context, events ...nostr.Event) error
	// Shown tells the events of this node's book that readers are shown as pending or in progress. nil = nothing is
	// known of them.
	Shown func(ctx context.Context, seen func(nostr.Event)) error
	// Turn waits until a message may be decrypted, with the context that Receive got, and done ends that: decrypting
	// costs more than anything else that a stranger can ask for. nil = at once.
	Turn func(ctx context.Context) (done func())
	// Stranger is asked, with the context that Receive got, about a proven message of a key without a trade: an error, with
	// a NIP-01 prefix, refuses it without a trace. nil = all are taken.
	Stranger func(ctx context.Context, message *nostr.Event) error
	// Heard is told the trade key of each proven message before it is acted on, and of each copy that comes later, with
	// the context that Receive got: whoever publishes the answer learns the way it should go. An error refuses
	// the message. nil = nobody is told.
	Heard func(ctx context.Context, key string) error
	// SameWay is told a key that is written to before it has ever spoken, and the key of the same person by which
	// Heard knows the way. It is told again until the transaction is on disk. nil = nobody is told.
	SameWay  func(key, as string) error
	Settings Settings
	Instance mostro.Instance
	Clock    func() time.Time // nil = time.Now
	Logger   *slog.Logger     // nil = slog.Default()

	machine *order.Machine // of simulations, which begin often; nil = made anew
}

// Settings of the engine, in plain values.
type Settings struct {
	Terms order.Terms
	Rules order.Rules

	HoldCap       int // live hold invoices, all channels together; 0 = what the channels carry
	Guards        Guards
	PayoutCLTV    uint32 // blocks that an HTLC of a payout may be locked
	PayoutParts   uint32
	PayoutTimeout time.Duration
	MessageDays   int // that replies are kept for an absent client (NIP-40)
	OrderDays     int // that an order stays public after its end
	DisputeDays   int
	RatingDays    int
	DevFeeDays    int      // that the record of a development fee stays public
	MaxOrders     int      // in one answer to the action orders
	Admins        []string // hex keys that may act in every dispute, beside the node's own
	InfoInterval  time.Duration
	Metadata      Metadata
	Info          mostro.NodeInfo // what the node says of itself in kind 38385; the LND tags are filled in
}

// Metadata is the node's kind 0.
type Metadata struct{ Name, About, Picture, Website, NIP05 string }

// Engine is the running escrow of one node.
type Engine struct {
	cfg     Config
	db      *badger.DB
	machine *order.Machine
	opener  *mostro.Opener
	sealer  *mostro.Sealer
	log     *slog.Logger

	ops    chan *op
	opened chan struct{} // slots for decryption
	// resolving are slots for questions to payees' servers.
	resolving chan struct{}
	work      *workSet
	live      *liveSet
	node      nodeView
	uptime    uptime
	news      chan struct{} // the node has changed, announce it
	seq       uint64        // of outbox rows; the writer's own
	claims    claims        // of the batch that is being written; the writer's own
	met       identity      // the Lightning node that answers; askNode's own
	guards    guardState
	orphans   orphanWatch
	space     *spaceGuard
	epoch     *epochFile
	run       uint64        // order.Facts.Run: the epoch with which this process began
	name      string        // of the store
	lastAlive int64         // when the store last lived before this process, unix seconds
	doubted   chan struct{} // guards.restored is set
	looked    int64         // the clock when it was last looked at; watchClock's own
	lookHung  time.Time     // when a look before blame last hung; watchClock's own
	fatal     chan error    // what ends Run

	// inline makes submit write by itself instead of handing over to the writer: for stories
	// and simulations, which run an engine step by step in one goroutine, without Run.
	inline bool
	// newSeed gives the randomness of an event, and finish makes the event of an outbox row;
	// both are replaced by simulations, which must replay and need no envelopes.
	newSeed func() [32]byte
	finish  func(*row) (nostr.Event, error)
	// around runs each commit, and knows what it writes; a simulation dies in it.
	around func(written []*badger.Entry, commit func() error) error

	stop    chan struct{}
	gone    chan struct{} // the writer has ended
	once    sync.Once
	running sync.WaitGroup
}

// ErrStopped answers what arrives while the engine stops.
var ErrStopped = errors.New("error: the node is stopping, send it again")

// Open opens the money store and rebuilds the set of work. Nothing happens before Run.
func Open(cfg Config) (*Engine, error) {
	if err := cfg.Space.Check(cfg.Dir, cmp.Or(cfg.Logger, slog.Default())); err != nil {
		return nil, err
	}
	db, err := openStore(cfg.Dir, cfg.StoreKey)
	if err != nil {
		return nil, err
	}
	e := newEngine(cfg, db)
	for _, step := range []func() error{e.checkSecret, e.checkKey, e.checkEpoch, e.nameStore, e.load} {
		if err := step(); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return e, nil
}

func newEngine(cfg Config, db *badger.DB) *Engine {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.machine == nil {
		cfg.machine = order.NewMachine()
	}
	e := &Engine{
		cfg: cfg, db: db, machine: cfg.machine, log: cfg.Logger,
		opener: mostro.NewOpener(cfg.Key), sealer: mostro.NewSealer(cfg.Key),
		ops: make(chan *op, queueLength), opened: make(chan struct{}, maxOpening), doubted: make(chan struct{}, 1), resolving: make(chan struct{}, maxResolving), news: make(chan struct{}, 1), run: 1,
		work: newWorkSet(), live: newLiveSet(), stop: make(chan struct{}), gone: make(chan struct{}),
		node: nodeView{asked: make(chan struct{})}, newSeed: newSeed, fatal: make(chan error, 1), epoch: &epochFile{},
		guards:  guardState{flows: map[int64]order.Msat{}, strays: map[order.Hash]Stray{}, told: map[string]bool{}},
		orphans: orphanWatch{pending: map[order.Hash]Orphan{}},
	}
	e.finish, e.around, e.space = e.seal, justCommit, newSpaceGuard(cfg.Dir, cfg.Space, e.log)
	return e
}

func justCommit(_ []*badger.Entry, commit func() error) error { return commit() }

// Run applies, tells, calls and watches until ctx ends or the money store fails; then it
// returns why. An engine runs once.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := func(f func(context.Context)) {
		e.running.Add(1)
		go func() {
			defer e.running.Done()
			f(ctx)
		}()
	}
	writerDone := make(chan error, 1)
	go func() { writerDone <- e.write() }()
	start(e.watchNode)
	start(e.watchHashes)
	start(e.watchClock)
	start(e.space.watch)
	start(e.examine)
	start(e.watchOrphans)
	start(e.announce)
	start(e.showBook)
	start(e.publishRatings)
	for range e.sealers() {
		start(e.tellWorker)
	}
	for range lightningWorker {
		start(e.callWorker)
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-e.fatal:
	case failed := <-writerDone:
		writerDone <- failed
	}
	// Workers first, so that what they still apply is written; then the writer.
	cancel()
	e.work.close()
	e.running.Wait()
	e.halt()
	return errors.Join(err, <-writerDone)
}

// halt stops the writer after what is queued.
func (e *Engine) halt() { e.once.Do(func() { close(e.stop) }) }

// Close closes the money store. Call it after Run has returned.
func (e *Engine) Close() error {
	e.halt()
	if err := errors.Join(e.db.Close(), e.epoch.close()); err != nil {
		return fmt.Errorf("close money store: %w", err)
	}
	return nil
}

// now is the time in unix seconds.
func (e *Engine) now() int64 { return e.cfg.Clock().Unix() }

// newSeed is 32 random bytes for one event.
func newSeed() (seed [32]byte) {
	rand.Read(seed[:]) // never fails: crypto/rand ends the process instead
	return seed
}
