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
	bonded  bool            // time passes in small steps, since being there counts
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
		MessageDays: 30, OrderDays: 30, DisputeDays: 90, RatingDays: 90, DevFeeDays: 365, MaxOrders: 10, InfoInterval: 5 * time.Minute,
	}
}

func newWorld(t testing.TB) *world {
	w := &world{
		t: t, net: lightning.NewSimNetwork(lightning.SimConfig{}), price: 50_000,
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
	w.t.Cleanup(func() { e.db.Close() })
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
		if !ok {
			w.e.live.heard(each)
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
	for left := d; left > 0 && w.bonded; left -= heartbeat {
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
	return p.wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: amount, Expiry: life}), nil
}

// read prints an event as its receiver understands it.
func (w *world) read(ev nostr.Event) {
	if ok, err := ev.CheckSignature(); !ok || err != nil {
		w.t.Fatalf("kind %d has a bad signature: %v", ev.Kind, err)
	}
	tag := func(name string) string {
		if found := ev.Tags.Find(name); found != nil {
			return strings.Join(found[1:], "-")
		}
		return ""
	}
	switch ev.Kind {
	case mostro.KindOrder:
		fmt.Fprintf(&w.out, "book: %s is %s, %s sat for %s %s\n", w.name(tag("d")), tag("s"), tag("amt"), tag("fa"), tag("f"))
		return
	case mostro.KindRating:
		fmt.Fprintf(&w.out, "rating: %s has %s reviews, %s\n", w.who(tag("d")), tag("total_reviews"), tag("total_rating"))
		return
	case mostro.KindDevFee:
		fmt.Fprintf(&w.out, "development fee: %s sat of %s to %s\n", tag("amount"), w.name(tag("order-id")), tag("destination"))
		return
	case mostro.KindDispute:
		fmt.Fprintf(&w.out, "dispute: %s by the %s\n", tag("s"), tag("initiator"))
		return
	case mostro.KindMessage, mostro.KindGiftWrap:
	default:
		return
	}
	for _, p := range w.people {
		for _, key := range append(p.keys[:len(p.keys):len(p.keys)], p.identity) {
			if tag("p") != key.Public() {
				continue
			}
			m, err := mostro.OpenReply(&ev, key, w.cfg.Key.Public())
			if err != nil {
				w.t.Fatalf("%s cannot read kind %d: %v", p.name, ev.Kind, err)
			}
			w.hand(p, m)
			return
		}
	}
	if tag("p") == w.cfg.Key.Public() {
		m, err := mostro.OpenReply(&ev, w.cfg.Key, w.cfg.Key.Public())
		w.check(err)
		w.hand(w.person("operator"), m)
		return
	}
	w.t.Fatalf("a message to nobody: %v", ev.Tags)
}

// hand gives a message to a person.
func (w *world) hand(p *person, m mostro.Message) {
	fmt.Fprintf(&w.out, "%s <- %s", p.name, m.Action)
	if m.TradeIndex != nil && m.Action == mostro.LastTradeIndex {
		fmt.Fprintf(&w.out, " %d", *m.TradeIndex)
	}
	if m.RequestID != nil {
		fmt.Fprintf(&w.out, " (to request %d)", *m.RequestID)
	}
	if pl := m.Payload; pl != nil {
		switch {
		case pl.CantDo != nil:
			fmt.Fprintf(&w.out, " %s", *pl.CantDo)
		case pl.Order != nil:
			fmt.Fprintf(&w.out, " %s", small(pl.Order))
			w.name(pl.Order.ID)
		case pl.PaymentRequest != nil:
			p.invoice = pl.PaymentRequest.Invoice
			w.name(pl.PaymentRequest.Order.ID)
			inv, err := lightning.Decode(p.invoice)
			w.check(err)
			fmt.Fprintf(&w.out, " invoice over %d msat, %s", inv.Amount, small(pl.PaymentRequest.Order))
		case pl.BondPayoutRequest != nil:
			fmt.Fprintf(&w.out, " slashed %s", small(&pl.BondPayoutRequest.Order))
		case pl.Peer != nil && pl.Peer.Reputation != nil:
			r := pl.Peer.Reputation
			fmt.Fprintf(&w.out, " taker has %d reviews, %.4g, %d days", r.Reviews, r.Rating, r.OperatingDays)
		case pl.Peer != nil:
			fmt.Fprintf(&w.out, " peer %s", w.who(pl.Peer.Pubkey))
		case pl.PaymentFailed != nil:
			fmt.Fprintf(&w.out, " %d attempts, every %d s", pl.PaymentFailed.Attempts, pl.PaymentFailed.RetriesInterval)
		case pl.ReviewProof != nil:
			w.proof(*pl.ReviewProof)
		case pl.RatingUser != nil:
			fmt.Fprintf(&w.out, " %d", *pl.RatingUser)
		case pl.Dispute != nil && pl.Dispute.Info != nil:
			i := pl.Dispute.Info
			fmt.Fprintf(&w.out, " %s order, %d sat, was %s, opened by %s, buyer %s, seller %s", i.Kind, i.Amount, i.OrderPreviousStatus,
				w.who(i.InitiatorPubkey), w.who(i.BuyerPubkey), w.who(i.SellerPubkey))
			if i.InitiatorInfo != nil {
				fmt.Fprintf(&w.out, ", %d reviews", i.InitiatorInfo.Reviews)
			}
		case pl.Dispute != nil:
			w.dispute = pl.Dispute.ID
		case pl.Orders != nil:
			for _, so := range pl.Orders {
				fmt.Fprintf(&w.out, "; %s: %s", w.name(so.ID), small(&so))
			}
		case pl.RestoreData != nil:
			for _, o := range pl.RestoreData.Orders {
				fmt.Fprintf(&w.out, "; %s at trade %d is %s", w.name(o.OrderID), o.TradeIndex, o.Status)
			}
			for _, d := range pl.RestoreData.Disputes {
				fmt.Fprintf(&w.out, "; dispute of %s at trade %d is %s, by the %s", w.name(d.OrderID), d.TradeIndex, d.Status, d.Initiator)
			}
		case pl.TextMessage != nil:
			text := *pl.TextMessage
			if _, ok, _ := w.e.Order(m.ID); ok {
				w.name(m.ID)
			}
			for id, name := range w.names {
				text = strings.ReplaceAll(text, id, name)
			}
			if w.dispute != "" {
				text = strings.ReplaceAll(text, w.dispute, "DISPUTE")
			}
			fmt.Fprintf(&w.out, " %q", text)
		}
	}
	w.out.WriteString("\n")
}

func small(so *mostro.SmallOrder) string {
	fiat := fmt.Sprint(so.FiatAmount)
	if so.MinAmount != nil && so.MaxAmount != nil {
		fiat = fmt.Sprintf("%d to %d", *so.MinAmount, *so.MaxAmount)
	}
	s := fmt.Sprintf("%s %s, %d sat for %s %s", so.Status, so.Kind, so.Amount, fiat, so.FiatCode)
	if so.BuyerTradePubkey != "" || so.SellerTradePubkey != "" {
		s += ", with both keys"
	}
	if so.BuyerInvoice != "" {
		s += ", WITH THE BUYER'S INVOICE"
	}
	return s
}

// who names the owner of a key.
func (w *world) who(pubkey string) string {
	for _, p := range w.people {
		for _, key := range append(p.keys[:len(p.keys):len(p.keys)], p.identity) {
			if key.Public() == pubkey {
				return p.name
			}
		}
	}
	return pubkey
}

// name gives each order a letter, in the order in which the story meets them.
func (w *world) name(id string) string {
	if w.names[id] == "" {
		w.names[id] = "order " + string(rune('A'+len(w.names)))
	}
	return w.names[id]
}

// note prints what has become of the orders, and the alarms.
func (w *world) note() {
	for id := range w.names {
		o, ok, err := w.e.Order(id)
		w.check(err)
		if ok && o.Status != w.status[id] {
			if was := w.status[id]; was != "" {
				fmt.Fprintf(&w.out, "%s: %s -> %s\n", w.name(id), was, o.Status)
			}
			w.status[id] = o.Status
		}
	}
	for _, a := range w.alarms {
		for id, name := range w.names {
			a = strings.ReplaceAll(a, id, name)
		}
		fmt.Fprintf(&w.out, "alarm: %s\n", withoutHashes(a))
	}
	w.alarms = nil
}

// withoutHashes shortens hashes and the ids of bonds, which differ from run to run.
func withoutHashes(s string) string {
	words := strings.Fields(s)
	for i, word := range words {
		if core := strings.TrimRight(word, ",;:"); len(core) == 64 {
			words[i] = "HASH" + word[64:]
		}
		if len(word) == 36 && i > 0 && words[i-1] == "bond" {
			words[i] = "ID"
		}
	}
	return strings.Join(words, " ")
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
