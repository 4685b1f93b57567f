package escrow

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// world is an engine with everything around it that a trade needs, run step by step in one
// goroutine: the simulated network, people with keys, a clock and a price under the test's
// hand, and a record of all that the engine says.
type world struct {
	t       testing.TB
	e       *Engine
	cfg     Config
	net     *lightning.SimNetwork
	node    *lightning.SimNode
	price   int64 // of a bitcoin in USD, 0 = none
	people  map[string]*person
	watches map[order.Hash]watch
	told    map[order.Hash]string    // last state that the engine heard of a hash
	missing map[order.Hash]time.Time // since when the node does not know a payment
	later   []func()                 // lanes that wait to be tried again
	events  []nostr.Event            // everything published, each id once
	ids     map[string]bool
	status  map[string]mostro.Status // of each order, as last seen
	names   map[string]string        // order id -> "order A"
	out     strings.Builder          // transcript of the present command
	alarms  []string
	logged  strings.Builder // the engine's log
	server  string          // what is wrong with the payees' server
	deaf    bool            // the event store is away
	lied    []order.Hash    // payments that the node has called failed
	amnesia bool            // the node does not know its hold invoices
	unheard bool            // the streams of the node are silent
	dispute string          // id of the last dispute that anybody was told of
}

// person is a user with a wallet.
type person struct {
	name     string
	identity mostro.Secret
	trade    mostro.Secret // of the present trade
	keys     []mostro.Secret
	index    int64
	private  bool // full privacy
	version  mostro.Transport
	wallet   *lightning.SimNode
	last     *nostr.Event
	holds    []order.Preimage // of hold invoices that he gave for payouts
	invoice  string           // the hold invoice he was last asked to pay
	given    string           // the last invoice that he gave
}

func secretFor(text string) mostro.Secret {
	s, err := mostro.NewSecret(sha256.Sum256([]byte(text)))
	if err != nil {
		panic(err)
	}
	return s
}

// testSettings are the template's defaults in plain values.
func testSettings() Settings {
	return Settings{
		Terms: order.Terms{
			FeePPM: 6000, RoutingFeePPM: 2000, WaitingSeconds: 900, PaymentAttempts: 3, PaymentRetrySeconds: 60, PayoutGraceSeconds: 300,
			CLTVDelta: 288, HoldExpiryDelta: 12,
		},
		Rules: order.Rules{
			MinAmount: 100, MaxAmount: 1_000_000, FiatCodes: []string{"USD", "EUR"}, PendingTime: 86400,
			MaxPending: 15 * 86400, InvoiceWindow: 3600, MaxFinalCLTV: 144,
		},
		PayoutCLTV: 1008, PayoutParts: 8, PayoutTimeout: time.Minute,
		MessageDays: 30, OrderDays: 30, DisputeDays: 90, RatingDays: 90, DevFeeDays: 365, MaxOrders: 100, InfoInterval: 5 * time.Minute,
	}
}

func newWorld(t testing.TB) *world { return newWorldOn(t, lightning.SimConfig{}) }

// newWorldOn is a world on a Lightning network of another configuration.
func newWorldOn(t testing.TB, config lightning.SimConfig) *world {
	w := &world{
		t: t, net: lightning.NewSimNetwork(config), price: 50_000,
		people: map[string]*person{}, watches: map[order.Hash]watch{}, told: map[order.Hash]string{},
		missing: map[order.Hash]time.Time{}, ids: map[string]bool{}, status: map[string]mostro.Status{}, names: map[string]string{},
	}
	w.node = w.net.Node("mostro")
	key := secretFor("mostro")
	w.cfg = Config{
		Key: key, EscrowSecret: NewEscrowSecret(sha256.Sum256([]byte("escrow"))), Node: w.node, Clock: w.net.Now,
		Settings: testSettings(), Instance: mostro.Instance{Pubkey: key.Public(), Name: "Test", RelayURLs: []string{"wss://relay.example"}},
		Prices: func(fiat string) (order.Price, bool) {
			return order.Price{PerBTC: w.price * 1_000_000, At: w.net.Now().Unix()}, w.price > 0 && fiat == "USD"
		},
		Publish: w.publish, IsAddress: func(s string) bool { return strings.HasSuffix(s, "@ln.example") }, Resolve: w.resolve,
		Logger: slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	w.open()
	t.Cleanup(w.keepsSecrets)
	return w
}

// Write takes the engine's log: alarms are part of the story.
func (w *world) Write(line []byte) (int, error) {
	w.logged.Write(line)
	if i := strings.Index(string(line), `"alarm: `); i >= 0 {
		text := string(line)[i+len(`"alarm: `):]
		w.alarms = append(w.alarms, text[:strings.IndexByte(text, '"')])
	}
	return len(line), nil
}

func (w *world) open() {
	e, err := Open(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	e.inline = true
	e.work.after = func(_ time.Duration, again func()) { w.later = append(w.later, again) }
	w.e = e
	e.askNode(context.Background())
	w.examine(true)
	w.t.Cleanup(func() { e.db.Close() })
}

// examine reads the node's payments, as Run does, for a store that is only doubtful or for any.
func (w *world) examine(doubtful bool) {
	if r := w.e.guards.restored; r != nil && w.e.node.ready() && (r.Doubt || !doubtful) {
		w.check(w.e.findStrays(context.Background(), *r))
	}
}

// crash abandons the engine on its open store, as a kill does, and begins anew.
func (w *world) crash() {
	db := w.e.db
	w.later, w.watches, w.told = nil, map[order.Hash]watch{}, map[order.Hash]string{}
	e := newEngine(w.cfg, db)
	e.inline = true
	e.work.after = func(_ time.Duration, again func()) { w.later = append(w.later, again) }
	if err := e.load(); err != nil {
		w.t.Fatal(err)
	}
	w.e = e
	w.check(e.resume(context.Background()))
	e.askNode(context.Background())
}

// settle lets everything happen that can happen now.
func (w *world) settle() {
	ctx := context.Background()
	for range 1000 {
		busy := false
		for _, calls := range []bool{false, true} {
			w.e.work.mu.Lock()
			lanes := w.e.work.pick(calls, 1)
			w.e.work.mu.Unlock()
			for _, l := range lanes {
				busy = true
				if calls {
					w.e.callLane(ctx, l)
				} else {
					w.e.tellLanes(ctx, []*laneRows{l})
				}
			}
			if busy {
				break
			}
		}
		busy = busy || w.hear(ctx) || w.ring(ctx)
		w.note()
		if !busy {
			return
		}
	}
	w.t.Fatal("the engine does not come to rest")
}

// hear tells the engine what its streams would.
func (w *world) hear(ctx context.Context) (busy bool) {
	for _, each := range w.e.live.fetch() {
		if each.end {
			delete(w.watches, each.hash)
			continue
		}
		w.watches[each.hash] = each
		delete(w.told, each.hash)
	}
	if _, err := w.node.Info(ctx); err != nil || w.unheard {
		return false
	}
	for hash, each := range w.watches {
		if each.payment {
			p, err := w.e.track(ctx, hash)
			if errors.Is(err, lightning.ErrNotFound) {
				since := w.missing[hash]
				w.check(w.e.missedPayment(ctx, each, &since))
				w.missing[hash] = since
			}
			if err == nil && w.told[hash] != string(p.State) {
				w.told[hash], busy = string(p.State), true
				w.check(w.e.sawPayment(ctx, each, p))
			}
			continue
		}
		h, ok := w.node.HoldState(hash)
		if !ok || w.amnesia {
			since := w.missing[hash]
			w.check(w.e.missedHold(ctx, each, &since))
			w.missing[hash] = since
			delete(w.told, hash)
		} else if w.told[hash] != string(h.State) {
			w.told[hash], busy = string(h.State), true
			w.check(w.e.sawHold(ctx, each, h))
		}
	}
	return busy
}

// ring lets the clock have its word.
func (w *world) ring(ctx context.Context) bool {
	bonds := w.e.live.dueBonds(w.e.now(), w.e.node.ready())
	for _, id := range bonds {
		w.check(w.e.tickBond(ctx, id))
	}
	ids := w.e.live.due(w.e.now(), w.e.node.tip(), w.e.node.ready())
	for _, id := range ids {
		w.check(w.e.tick(ctx, id))
	}
	return w.e.drain(ctx) || len(ids)+len(bonds) > 0
}

func (w *world) check(err error) {
	if err != nil {
		w.t.Helper()
		w.t.Fatal(err)
	}
}

// advance moves the clock, and with it everything that waits.
func (w *world) advance(d time.Duration) {
	for left := d; left > 0; left -= heartbeat {
		step := min(left, heartbeat)
		w.net.Advance(step)
		w.e.uptime.tick(w.e.now(), w.e.node.ready())
		d -= step
	}
	w.net.Advance(d)
	w.check(w.e.flushRatings(context.Background()))
	w.check(w.e.beat(context.Background()))
	w.retry()
}

func (w *world) retry() {
	w.e.askNode(context.Background())
	w.examine(true)
	if w.e.node.ready() {
		_ = w.e.findOrphans(context.Background()) // the node may refuse to be asked
	}
	again := w.later
	w.later = nil
	for _, f := range again {
		f()
	}
	w.settle()
}

func (w *world) mine(blocks uint32) {
	w.net.Mine(blocks)
	w.e.askNode(context.Background())
	w.settle()
}

// publish is the event store: it takes each event once and lets its receivers read it.
func (w *world) publish(_ context.Context, events ...nostr.Event) error {
	if w.deaf {
		return errors.New("the event store is away")
	}
	for _, ev := range events {
		if w.ids[ev.ID] {
			continue
		}
		w.ids[ev.ID] = true
		w.events = append(w.events, ev)
		w.read(ev)
	}
	return nil
}

// resolve is the payees' server: it makes an invoice at the wallet that the address names.
func (w *world) resolve(_ context.Context, address string, amount order.Msat) (string, error) {
	if w.server == "down" {
		return "", errors.New("the server does not answer")
	}
	if w.server == "lies" {
		amount += 1
	}
	if w.server == "vague" { // it leaves the amount open
		amount = 0
	}
	p := w.person(strings.TrimSuffix(address, "@ln.example"))
	if p.name == "held" {
		bolt11, preimage := p.wallet.AddHoldInvoice(amount)
		p.holds = append(p.holds, preimage)
		return bolt11, nil
	}
	life := 10 * time.Minute // as many servers give, and less than an invoice typed by hand must have
	if w.server == "stale" {
		life = 30 * time.Second
	}
	return p.wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: amount, Expiry: life, Blinded: w.server == "blinds"}), nil
}

// person returns a user, who is born when first named.
func (w *world) person(name string) *person {
	if p := w.people[name]; p != nil {
		return p
	}
	p := &person{name: name, identity: secretFor(name), wallet: w.net.Node(name), version: mostro.NIP44}
	w.people[name] = p
	return p
}

// nextKey gives a person the key of a new trade.
func (p *person) nextKey() {
	p.index++
	p.trade = secretFor(fmt.Sprintf("%s trade %d", p.name, p.index))
	p.keys = append(p.keys, p.trade)
}

// send seals a message as a client does and hands it to the engine.
func (w *world) send(p *person, m mostro.Message) error {
	if p.trade.IsZero() {
		p.nextKey()
	}
	if m.Wrapper == "" {
		m.Wrapper = mostro.WrapOrder
	}
	m.Version = p.version.Version()
	from := mostro.Party{Trade: p.trade, Identity: p.identity}
	if p.private {
		from.Identity = p.trade
	}
	ev, err := mostro.SealRequest(m, p.version, from, w.cfg.Key.Public(), w.net.Now().Unix(), 0)
	w.check(err)
	p.last = &ev
	return w.deliver(&ev)
}

func (w *world) deliver(ev *nostr.Event) error {
	err := w.e.Receive(context.Background(), ev)
	if err != nil {
		fmt.Fprintf(&w.out, "OK false: %v\n", err)
	}
	w.settle()
	return err
}
