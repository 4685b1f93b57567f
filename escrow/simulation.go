package escrow

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
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
// point, a Lightning node that is away, forgets, repeats itself and loses its answers. After
// each step the invariants of the money are checked; at the end the faults stop, every trade
// must reach an end, and every millisat must be where the ledger says. It runs below the
// envelope, in one goroutine, and the same seed always plays the same.
type Simulation struct {
	cfg    SimulationConfig
	r      *rand.Rand
	db     *badger.DB
	e      *Engine
	net    *lightning.SimNetwork
	node   *lightning.SimNode
	people []*player
	dev    *player  // gets the development fee
	orders []string // in the order in which they were met
	known  map[string]bool
	faulty bool
	wall   time.Time // of the network, for hooks that must not ask it
	count  int       // of events and keys

	watches map[order.Hash]watch
	told    map[order.Hash]string
	missing map[order.Hash]time.Time
	later   []func()                 // lanes that wait to be tried again
	late    []func()                 // messages that are still under way
	stamps  map[string]int64         // newest created_at of each address
	public  map[string]string        // status of each order in the book
	holds   []order.Preimage         // hold invoices that buyers gave for payouts
	lies    map[order.Hash]time.Time // payments that the node calls failed and are not, and until when
	trace   []string

	Stats SimulationStats
}

// SimulationConfig says what to play.
type SimulationConfig struct {
	Seed   uint64
	Trades int       // orders made in all; 0 = 6
	Trace  io.Writer // what happens, line by line; nil = nowhere
}

// SimulationStats counts what was played.
type SimulationStats struct {
	Trades, Steps, Crashes, Payouts, DevFees int
	Ends                                     map[mostro.Status]int
	Bonds                                    map[order.BondState]int
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
func Simulate(cfg SimulationConfig) (stats SimulationStats, err error) {
	if cfg.Trades == 0 {
		cfg.Trades = 6
	}
	s := &Simulation{
		cfg: cfg, r: rand.New(rand.NewPCG(cfg.Seed, 1)), known: map[string]bool{}, faulty: true,
		watches: map[order.Hash]watch{}, told: map[order.Hash]string{}, missing: map[order.Hash]time.Time{},
		stamps: map[string]int64{}, public: map[string]string{}, lies: map[order.Hash]time.Time{},
		Stats: SimulationStats{Ends: map[mostro.Status]int{}, Bonds: map[order.BondState]int{}},
	}
	s.net = lightning.NewSimNetwork(lightning.SimConfig{})
	s.node = s.net.Node("mostro")
	for i := range 5 {
		name := fmt.Sprintf("p%d", i)
		s.people = append(s.people, &player{name: name, identity: simKey(name), wallet: s.net.Node(name)})
	}
	s.dev = &player{name: "dev", wallet: s.net.Node("dev")}
	if s.db, err = openStore("", StoreKey{}); err != nil {
		return s.Stats, err
	}
	defer s.db.Close()
	s.node.SetFaults(lightning.Faults{Before: s.lose, After: s.lose, Fate: s.fate, IndexDelay: s.indexDelay})
	s.advance(0)
	if err := s.start(); err != nil {
		return s.Stats, err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("seed %d: panic: %v", cfg.Seed, p)
		}
	}()
	return s.Stats, s.play()
}

// crash is what a simulated kill unwinds with.
type crash struct{}

func (s *Simulation) start() error {
	settings := Settings{
		Terms: order.Terms{FeePPM: 6000, RoutingFeePPM: 2000, WaitingSeconds: 900, PaymentAttempts: 3, PaymentRetrySeconds: 60, PayoutGraceSeconds: 300,
			DevFeePPM: 300_000, DevFeeAddress: "dev@sim", CLTVDelta: 288, HoldExpiryDelta: 12, Bond: simBonds(s.cfg.Seed)},
		Rules:      order.Rules{MinAmount: 100, MaxAmount: 1_000_000, PendingTime: 86400, MaxPending: 15 * 86400, InvoiceWindow: 600, MaxFinalCLTV: 144},
		PayoutCLTV: 1008, PayoutParts: 8, PayoutTimeout: time.Minute, MessageDays: 30, OrderDays: 30, DisputeDays: 90, RatingDays: 90,
		Admins: []string{simKey("admin")},
	}
	key, err := mostro.NewSecret(sha256.Sum256([]byte("simulated node")))
	if err != nil {
		return err
	}
	e := newEngine(Config{
		Key: key, EscrowSecret: NewEscrowSecret(sha256.Sum256([]byte("escrow"))), Node: s.node, Clock: s.net.Now, Settings: settings,
		Instance: mostro.Instance{Pubkey: key.Public()}, Publish: s.publish, Logger: s.logger(),
		IsAddress: func(text string) bool { return strings.HasSuffix(text, "@sim") }, Resolve: s.resolve,
		Prices: func(string) (order.Price, bool) { return order.Price{PerBTC: 50_000_000_000}, true },
	}, s.db)
	e.inline, e.newSeed, e.finish = true, s.seed, simFinish
	e.work.after = func(_ time.Duration, again func()) { s.later = append(s.later, again) }
	s.e, s.later, s.watches, s.told = e, nil, map[order.Hash]watch{}, map[order.Hash]string{}
	if err := e.load(); err != nil {
		return err
	}
	if err := e.resume(context.Background()); err != nil {
		return err
	}
	faulty := s.faulty
	s.faulty = false
	e.askNode(context.Background())
	s.faulty = faulty
	return nil
}

// logger writes the engine's log into the trace.
func (s *Simulation) logger() *slog.Logger {
	if s.cfg.Trace == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(s.cfg.Trace, nil))
}

// simFinish makes an event of a row without sealing it.
func simFinish(r *row) (nostr.Event, error) {
	ev := nostr.Event{ID: fmt.Sprintf("%s#%d", r.lane, r.seq)}
	if r.Event != nil {
		ev = *r.Event
	}
	return ev, nil
}

func (s *Simulation) seed() (b [32]byte) {
	s.count++
	return sha256.Sum256(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.cfg.Seed), uint64(s.count)))
}

func (s *Simulation) chance(percent int) bool { return s.r.IntN(100) < percent }

func (s *Simulation) say(format string, a ...any) {
	line := fmt.Sprintf(format, a...)
	s.trace = append(s.trace, line)
	if s.cfg.Trace != nil {
		fmt.Fprintln(s.cfg.Trace, line)
	}
}

// play runs the faulty part, then lets everything come to its end.
func (s *Simulation) play() error {
	made := 0
	for made < s.cfg.Trades || s.busy() > 0 && s.Stats.Steps < 150*s.cfg.Trades {
		s.Stats.Steps++
		if err := s.survive(func() error {
			if made < s.cfg.Trades && (s.open() < 3 || s.chance(5)) {
				made++
				return s.makeOrder()
			}
			return s.step()
		}); err != nil {
			return s.broken(err)
		}
		if err := s.invariants(); err != nil {
			return s.broken(err)
		}
	}
	s.Stats.Trades = made
	s.say("the faults stop")
	s.faulty = false
	s.node.Start()
	s.net.SetSynced(true)
	for _, f := range s.late {
		f()
	}
	s.late = nil
	for range 400 {
		if err := s.survive(s.finishTrades); err != nil {
			return s.broken(err)
		}
		if err := s.invariants(); err != nil {
			return s.broken(err)
		}
		if s.busy() == 0 && len(s.e.work.lanes) == 0 {
			break
		}
	}
	if err := s.survive(s.settleDown); err != nil {
		return s.broken(err)
	}
	if err := s.accounts(); err != nil {
		return s.broken(err)
	}
	return nil
}

func (s *Simulation) broken(err error) error {
	s.say("BROKEN: %v", err)
	return fmt.Errorf("seed %d, step %d: %w", s.cfg.Seed, s.Stats.Steps, err)
}

// survive runs something in which the process may die, and starts it again if it does.
func (s *Simulation) survive(f func() error) (err error) {
	defer func() {
		switch p := recover(); p.(type) {
		case nil:
		case crash:
			s.Stats.Crashes++
			err = s.start()
		default:
			panic(p)
		}
	}()
	return f()
}

// open counts the orders that have not ended.
func (s *Simulation) open() int { return len(s.e.live.ids()) }

// busy counts what has not come to its end: orders, and bonds whose winners are not paid.
func (s *Simulation) busy() int { return s.open() + len(s.e.live.bondIDs()) }

func (s *Simulation) load(id string) order.Order {
	o, _, err := s.e.Order(id)
	if err != nil {
		panic(err)
	}
	return o
}

// send delivers a message now or later, once or twice.
func (s *Simulation) send(p *player, trade string, action mostro.Action, id string, payload *mostro.Payload, index int64) error {
	s.count++
	m := mostro.Message{Wrapper: mostro.WrapOrder, Version: 2, ID: id, Action: action, Payload: payload}
	if index > 0 {
		m.TradeIndex = &index
	}
	name := fmt.Sprintf("m%d", s.count)
	deliver := func() error {
		ev := order.Event{ID: name, On: order.EventName(action), Order: id, At: s.e.now(), Seed: s.seed(), Sender: trade, Identity: p.identity, Transport: 2, Message: &m}
		err := s.e.act(context.Background(), mostro.Received{Message: m, Sender: trade, Identity: p.identity, Transport: mostro.NIP44}, ev)
		s.say("%s: %s %.4s -> %v", p.name, action, id, err)
		return err
	}
	if s.faulty && s.chance(10) {
		s.late = append(s.late, func() { _ = s.survive(deliver) })
		return nil
	}
	if s.faulty && s.chance(10) {
		s.late = append(s.late, func() { _ = s.survive(deliver) })
	}
	return deliver()
}

func (s *Simulation) someone() *player { return s.people[s.r.IntN(len(s.people))] }

// nextKey is a fresh trade key of a player.
func (s *Simulation) nextKey(p *player) (string, int64) {
	p.index++
	return simKey(fmt.Sprintf("%s/%d", p.name, p.index)), p.index
}

func (s *Simulation) makeOrder() error {
	p := s.someone()
	so := mostro.SmallOrder{Kind: mostro.Sell, FiatCode: "USD", FiatAmount: 50, PaymentMethod: "cash"}
	if s.chance(50) {
		so.Kind = mostro.Buy
	}
	switch s.r.IntN(3) {
	case 0:
		so.Amount = 10_000 + int64(s.r.IntN(100_000))
	case 1:
		so.Premium = int64(s.r.IntN(20)) - 10
	case 2:
		least, most := int64(20), int64(40+s.r.IntN(60))
		so.FiatAmount, so.MinAmount, so.MaxAmount = 0, &least, &most
	}
	trade, index := s.nextKey(p)
	return s.send(p, trade, mostro.NewOrder, "", &mostro.Payload{Order: &so}, index)
}

// step does one random thing.
func (s *Simulation) step() error {
	ctx := context.Background()
	switch s.r.IntN(12) {
	case 0, 1, 2, 3:
		if bonds := s.e.live.bondIDs(); len(bonds) > 0 && s.chance(40) {
			return s.actOnBond(bonds[s.r.IntN(len(bonds))])
		}
		if len(s.orders) > 0 {
			// Young orders are where things happen.
			from := max(0, len(s.orders)-5)
			return s.actOn(s.load(s.orders[from+s.r.IntN(len(s.orders)-from)]))
		}
	case 4, 5, 6:
		s.work(ctx)
	case 7, 8:
		return s.hear(ctx)
	case 9:
		if len(s.late) > 0 {
			i := s.r.IntN(len(s.late))
			f := s.late[i]
			s.late = slices.Delete(s.late, i, i+1)
			f()
		}
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

// work does one row of the outbox.
func (s *Simulation) work(ctx context.Context) {
	calls := s.chance(60)
	s.e.work.mu.Lock()
	lanes := s.e.work.pick(calls, 1)
	s.e.work.mu.Unlock()
	for _, l := range lanes {
		if calls {
			s.e.callLane(ctx, l)
		} else {
			s.e.tellLanes(ctx, []*laneRows{l})
		}
	}
}

// hear tells the engine what its streams would, sometimes again.
func (s *Simulation) hear(ctx context.Context) error {
	for _, each := range s.e.live.fetch() {
		if each.end {
			delete(s.watches, each.hash)
			continue
		}
		s.watches[each.hash] = each
		delete(s.told, each.hash)
	}
	if _, err := s.node.Info(ctx); err != nil {
		return nil
	}
	hashes := make([]order.Hash, 0, len(s.watches))
	for hash := range s.watches {
		hashes = append(hashes, hash)
	}
	slices.SortFunc(hashes, func(a, b order.Hash) int { return cmp.Compare(a.String(), b.String()) })
	for _, hash := range hashes {
		each := s.watches[hash]
		if each.payment {
			p, err := s.e.track(ctx, hash)
			if err == nil && (s.told[hash] != string(p.State) || s.chance(5)) {
				s.told[hash] = string(p.State)
				s.say("  payment %.4s is %s: %s", hash, p.State, p.Reason)
				if err := s.e.sawPayment(ctx, each, p); err != nil {
					return err
				}
			}
			continue
		}
		h, ok := s.node.HoldState(hash)
		if !ok {
			s.e.live.heard(each)
		} else if s.told[hash] != string(h.State) || s.chance(5) {
			s.told[hash] = string(h.State)
			if err := s.e.sawHold(ctx, each, h); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Simulation) ring(ctx context.Context) error {
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
	return nil
}

// lost tells that the node has not answered: what was due is due again.
func lost(err error) bool {
	return errors.Is(err, lightning.ErrSimDropped) || errors.Is(err, lightning.ErrSimUnavailable)
}
