package escrow

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// Simulation plays random trades against this engine, with everything going wrong that one
// seed can think of: messages doubled, late and out of order, a process that dies at any
// point and starts with other settings, a price that moves, a Lightning node that is away,
// forgets, repeats itself and loses its answers. After each step the invariants of the money
// are checked; at the end the faults stop, every trade must reach an end, and every millisat
// must be where the ledger says. It runs below the envelope, in one goroutine, and the same
// seed always plays the same.
type Simulation struct {
	plan    SimPlan
	only    map[SimFault]bool // the faults of the plan, nil = all
	trace   io.Writer
	oddity  func(order.Order) error // of a test: an invariant of its own
	at      func(fault string) bool // of a test: decides in place of chance
	steady  bool
	machine *order.Machine
	table   []order.Row

	source *rand.PCG
	r      *rand.Rand
	step   uint64
	draws  uint64         // of seeds, in this step
	starts uint64         // of the process, in this step
	nth    map[string]int // faults of each name in this step
	played []SimStep
	hits   []SimFault

	db     *badger.DB
	e      *Engine
	net    *lightning.SimNetwork
	node   *lightning.SimNode
	people []*player
	dev    *player  // gets the development fee
	orders []string // in the order in which they were met
	known  map[string]bool
	faulty bool
	quiet  bool          // what the node is asked for now is not the engine's
	down   bool          // the node
	behind bool          // the node, the chain
	wall   time.Time     // of the network, for hooks that must not ask it
	terms  order.Terms   // of the process that runs
	priced order.Price   // what it was told last
	skew   time.Duration // of the engine's clock, which is set, against the network's

	watches   map[order.Hash]watch
	told      map[order.Hash]string
	silent    map[order.Hash]time.Time // streams that are dead, and since when
	missing   map[order.Hash]time.Time
	news      []func() error // what the node has said lately
	later     []func()       // lanes that wait to be tried again
	late      []lateMessage
	sent      int                      // messages, to know which were overtaken
	requests  []func()                 // calls that have not arrived at the node yet
	stored    map[string]bool          // events that the event store has
	stamps    map[string]int64         // newest created_at of each address
	public    map[string]string        // status of each order in the book
	holds     []order.Preimage         // hold invoices that buyers gave for payouts
	lies      map[order.Hash]time.Time // payments that the node calls failed and are not, and until when
	lied      map[order.Hash]bool      // that it has called so, ever
	sends     map[order.Hash]time.Time // payments that a late call may still try, and until when
	unindexed map[order.Hash]time.Duration
	hidden    map[order.Hash]bool                  // payments that the node does not find any more
	forgotten map[order.Hash]lightning.Payment     // that it has deleted, and what they were
	lost      map[order.Hash]lightning.HoldInvoice // hold invoices that it has deleted, and what became of them
	orphans   map[order.Hash]bool                  // hold invoices that were opened after their time

	deals     []*deal
	limits    map[order.Hash]order.Msat // the most that a payment was ever let cost
	byHold    map[order.Hash]*deal
	byPayment map[order.Hash]*deal
	ahead     bool           // the clock was set forward, once
	overdue   map[string]int // rounds of the clock after the last block of an escrow
	flow      []simFlow
	latched   bool // the circuit breaker, on disk
	epoch     uint64
	kept      *simCopy // the last
	restored  int      // times that a copy was put back

	rows   map[string]*order.Order // as last committed
	bonds  map[string]*order.Bond
	duties map[string]time.Duration // of usable, when an order came to where it is
	usable time.Duration            // in which this process ran and its node could be used
	breach error

	Stats SimulationStats
}

// SimulationConfig says what to play.
type SimulationConfig struct {
	Plan  SimPlan
	Trace io.Writer // what happens, line by line; nil = nowhere
	// oddity is an invariant of a test, looked at with each row of an order.
	oddity func(order.Order) error
	// steady is for tests: the settings and the price stay as they are, and no payment is lost before it was heard of.
	steady bool
}

type player struct {
	name     string
	identity string
	index    int64
	wallet   *lightning.SimNode
}

func simKey(text string) string {
	sum := sha256.Sum256([]byte(text))
	return fmt.Sprintf("%x", sum)
}

// Simulate plays one seed to its end and returns what broke, if anything did.
func Simulate(cfg SimulationConfig) (SimulationStats, error) {
	s := newSimulation(cfg)
	err := s.run()
	return s.Stats, err
}

func newSimulation(cfg SimulationConfig) *Simulation {
	if cfg.Plan.Trades == 0 {
		cfg.Plan.Trades = 6
	}
	s := &Simulation{
		plan: cfg.Plan, trace: cfg.Trace, oddity: cfg.oddity, steady: cfg.steady, machine: order.NewMachine(), table: order.Table(),
		source: rand.NewPCG(0, 0), nth: map[string]int{}, known: map[string]bool{}, faulty: true,
		missing: map[order.Hash]time.Time{}, stored: map[string]bool{}, stamps: map[string]int64{}, public: map[string]string{},
		lies: map[order.Hash]time.Time{}, lied: map[order.Hash]bool{}, sends: map[order.Hash]time.Time{}, unindexed: map[order.Hash]time.Duration{}, hidden: map[order.Hash]bool{},
		forgotten: map[order.Hash]lightning.Payment{}, lost: map[order.Hash]lightning.HoldInvoice{}, orphans: map[order.Hash]bool{},
		limits: map[order.Hash]order.Msat{}, byHold: map[order.Hash]*deal{}, byPayment: map[order.Hash]*deal{},
		rows: map[string]*order.Order{}, bonds: map[string]*order.Bond{}, duties: map[string]time.Duration{},
		Stats: newSimulationStats(),
	}
	s.r = rand.New(s.source)
	if s.plan.Steps != nil {
		s.only = map[SimFault]bool{}
		for _, f := range s.plan.Faults {
			s.only[f] = true
		}
	}
	s.net = lightning.NewSimNetwork(lightning.SimConfig{HoldExpiryDelta: simHoldExpiry(s.plan.Seed)})
	s.node = s.net.Node("mostro")
	for i := range 5 {
		name := fmt.Sprintf("p%d", i)
		s.people = append(s.people, &player{name: name, identity: simKey(name), wallet: s.net.Node(name)})
	}
	s.dev = &player{name: "dev", wallet: s.net.Node("dev")}
	s.node.SetFaults(lightning.Faults{Before: s.beforeCall, After: s.afterCall, Fate: s.fate, IndexDelay: s.indexDelay})
	s.wall = s.net.Now()
	return s
}

// simStore is a money store in memory that costs little to open: most seeds are small.
func simStore() (*badger.DB, error) {
	return badger.Open(storeOptions("", StoreKey{}).WithMemTableSize(3 << 20).WithValueThreshold(64 << 10).WithBlockCacheSize(0))
}

// run plays the plan. A panic is a breach like any other.
func (s *Simulation) run() (err error) {
	if s.db, err = simStore(); err != nil {
		return err
	}
	defer func() {
		_ = s.db.DropAll() // or Close would build a table of it
		_ = s.db.Close()
	}()
	defer func() {
		if p := recover(); p != nil {
			err = s.broken(fmt.Errorf("panic: %v", p))
		}
	}()
	s.begin(0)
	s.rerouteAll()
	if err := s.start(); err != nil {
		return err
	}
	return s.play()
}

// crash is what a simulated kill unwinds with.
type crash struct{}

func (s *Simulation) start() (err error) {
	for died := true; died; {
		func() {
			defer func() {
				switch p := recover(); p.(type) {
				case nil:
					died = false
				case crash:
					s.happened(crashInStart)
				default:
					panic(p)
				}
			}()
			err = s.startOnce()
		}()
	}
	return err
}

func (s *Simulation) startOnce() error {
	settings := s.settings()
	key, err := mostro.NewSecret(sha256.Sum256([]byte("simulated node")))
	if err != nil {
		return err
	}
	e := newEngine(Config{
		Key: key, EscrowSecret: NewEscrowSecret(sha256.Sum256([]byte("escrow"))), Node: simLateNode{s.node, s}, Clock: func() time.Time { return s.net.Now().Add(s.skew) }, Settings: settings,
		Instance: mostro.Instance{Pubkey: key.Public()}, Publish: s.publish, Logger: slog.New(simLog{s}),
		IsAddress: func(text string) bool { return strings.HasSuffix(text, "@sim") }, Resolve: s.resolve,
		Prices:  s.tellPrice,
		machine: s.machine,
	}, s.db)
	e.inline, e.newSeed, e.finish, e.around = true, s.seed, simFinish, s.commit
	e.work.after = func(_ time.Duration, again func()) { s.later = append(s.later, again) }
	s.e, s.later, s.news = e, nil, nil
	clear(s.missing)
	s.overdue = map[string]int{}
	s.watches, s.told, s.silent = map[order.Hash]watch{}, map[order.Hash]string{}, map[order.Hash]time.Time{}
	if err := e.compareEpoch(s.simEpoch(), s.epoch > 0); err != nil {
		return err
	}
	if err := e.load(); err != nil {
		return err
	}
	if err := e.resume(context.Background()); err != nil {
		return err
	}
	e.askNode(context.Background())
	return nil
}

// simFinish makes an event of a row without sealing it. Like a sealed one it has an id that
// follows from the row.
func simFinish(r *row) (ev nostr.Event, _ error) {
	if r.Tell != nil {
		ev.ID = string(r.Tell.Seed[:])
		return ev, nil
	}
	ev = *r.Event
	ev.ID = fmt.Sprint(ev.Kind, ev.Tags, ev.CreatedAt)
	return ev, nil
}

// seed is the randomness of an event.
func (s *Simulation) seed() [32]byte {
	s.draws++
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], s.plan.Seed)
	binary.BigEndian.PutUint64(b[8:], s.step)
	binary.BigEndian.PutUint64(b[16:], s.draws)
	return sha256.Sum256(b[:])
}

func (s *Simulation) say(format string, a ...any) {
	if s.trace != nil {
		fmt.Fprintf(s.trace, format+"\n", a...)
	}
}

// stepsPerTrade is how long the faulty part is at most: enough for most trades to end in it.
const stepsPerTrade = 100

// play runs the faulty part, then lets everything come to its end.
func (s *Simulation) play() error {
	made := 0
	one := func(step SimStep) error {
		s.Stats.Steps++
		s.played = append(s.played, step)
		do := s.act
		if step.New {
			made++
			do = s.makeOrder
		}
		if s.restores() && s.chance(100/copyEvery) {
			if err := s.copyStore(); err != nil {
				return err
			}
		}
		return first(s.survive(do), s.invariants())
	}
	for _, step := range s.plan.Steps {
		s.begin(step.N)
		s.chance(5) // as below
		if err := one(step); err != nil {
			return s.broken(err)
		}
	}
	for n := uint64(1); s.plan.Steps == nil && (made < s.plan.Trades || s.busy() > 0 && n < stepsPerTrade*uint64(s.plan.Trades)); n++ {
		s.begin(n)
		another := s.chance(5)
		if err := one(SimStep{n, made < s.plan.Trades && (another || s.open() < 3)}); err != nil {
			return s.broken(err)
		}
	}
	s.Stats.Trades = made
	s.begin(finishing)
	s.calm()
	for n := uint64(1); n < 400; n++ {
		s.begin(finishing + n)
		if err := first(s.survive(s.finishTrades), s.invariants()); err != nil {
			return s.broken(err)
		}
		if s.busy() == 0 && len(s.e.work.lanes) == 0 {
			break
		}
	}
	if err := first(s.survive(s.settleDown), s.breach); err != nil {
		return s.broken(err)
	}
	if len(s.orphans) > 0 || s.ahead { // nobody knows them, or took them for older than they are: their time runs out
		s.advance(25 * time.Hour)
	}
	if err := s.accounts(); err != nil {
		return s.broken(err)
	}
	return nil
}

// calm ends the faults: what was under way arrives, and what was hidden is found.
func (s *Simulation) calm() {
	s.say("the faults stop")
	s.faulty = false
	s.heal()
	s.rerouteAll()
	s.skew = min(s.skew, 0)
	clear(s.hidden)
	for _, f := range s.requests {
		f()
	}
	for _, m := range s.late {
		_ = s.survive(m.deliver)
	}
	s.requests, s.late = nil, nil
}

func (s *Simulation) broken(err error) error {
	s.say("BROKEN: %v", err)
	return fmt.Errorf("seed %d, step %d: %w", s.plan.Seed, s.step, err)
}

// survive runs something in which the process may die, and starts it again if it does.
func (s *Simulation) survive(f func() error) (err error) {
	defer func() {
		switch p := recover(); p.(type) {
		case nil:
		case crash:
			s.Stats.Crashes++
			s.say("  -- the process starts again")
			err = s.start()
		default:
			panic(p)
		}
	}()
	return f()
}

// open counts the orders that have not ended.
func (s *Simulation) open() int { live, _ := s.e.live.size(); return live }

// busy counts what has not come to its end: orders, and bonds whose winners are not paid.
func (s *Simulation) busy() int { return s.open() + len(s.e.live.bondIDs()) }

// someone is one of the people.
func (s *Simulation) someone() *player { return s.people[s.r.IntN(len(s.people))] }

// act does one random thing.
func (s *Simulation) act() error {
	ctx := context.Background()
	switch s.r.IntN(12) {
	case 0, 1, 2, 3:
		if bonds := s.e.live.bondIDs(); len(bonds) > 0 && s.chance(40) {
			return s.actOnBond(bonds[choose(s, bonds, itself)])
		}
		if len(s.orders) > 0 {
			// Young orders are where things happen.
			young := s.orders[max(0, len(s.orders)-5):]
			return s.actOn(s.load(young[choose(s, young, itself)]))
		}
	case 4, 5, 6:
		s.work(ctx)
	case 7, 8:
		return s.hear(ctx)
	case 9:
		return s.deliverLate()
	case 10:
		return s.world(ctx)
	case 11:
		s.retry()
		return s.ring(ctx)
	}
	return nil
}

// retry gives back the lanes that wait.
func (s *Simulation) retry() {
	again := s.later
	s.later = nil
	for _, f := range again {
		f()
	}
}

// work makes one call, or publishes what waits in one lane or in several, as the workers do.
func (s *Simulation) work(ctx context.Context) {
	calls, most := s.chance(60), 1
	if !calls && s.chance(70) {
		most = lanesAtOnce
	}
	s.e.work.mu.Lock()
	lanes := s.e.work.pick(calls, most)
	s.e.work.mu.Unlock()
	switch {
	case len(lanes) == 0:
	case calls:
		s.e.callLane(ctx, lanes[0])
	default:
		s.e.tellLanes(ctx, lanes)
	}
}

func (s *Simulation) ring(ctx context.Context) error {
	if err := s.e.lookAtClock(ctx); err != nil && !lost(err) {
		return err
	}
	for _, id := range s.e.live.dueBonds(s.e.now(), s.e.node.ready()) {
		if err := s.e.tickBond(ctx, id); err != nil && !lost(err) {
			return err
		}
	}
	for _, id := range s.e.live.due(s.e.now(), s.e.node.tip(), s.e.node.ready()) {
		if err := s.e.tick(ctx, id); err != nil && !lost(err) {
			return err
		}
	}
	return first(s.examine(ctx), s.clockLooked())
}

// lost tells that the node has not answered: what was due is due again.
func lost(err error) bool {
	return errors.Is(err, lightning.ErrSimDropped) || errors.Is(err, lightning.ErrSimUnavailable)
}

// simLog takes the engine's log: into the trace, and for a defect, which holds an order back.
type simLog struct{ s *Simulation }

func (l simLog) Enabled(_ context.Context, level slog.Level) bool {
	return l.s.trace != nil || level >= slog.LevelError
}

func (l simLog) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, ", %s %v", a.Key, a.Value); return true })
	l.s.say("  log: %s%s", r.Message, b.String())
	if strings.HasPrefix(r.Message, "an order is held back") {
		l.s.breach = first(l.s.breach, errors.New(r.Message+b.String()))
	}
	return nil
}

func (l simLog) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l simLog) WithGroup(string) slog.Handler      { return l }
