package client_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow"
	"mostro/escrow/client"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
	"mostro/policies"
	"mostro/relay"
	"mostro/relay/mirror"
)

// patience is how long a test waits for something that must happen. It bounds a hang, not a
// speed.
const patience = 5 * time.Minute

// world is a whole node, relay and engine, with Sim as its Lightning network.
type world struct {
	testing.TB
	ctx   context.Context // ends after patience
	net   *lightning.SimNetwork
	relay *relay.Relay
	key   mostro.Secret
}

// worldConfig is what tests choose.
type worldConfig struct {
	dir string // of both stores; "" = in memory
	pow int    // bits that the node asks for
	// relayPow is what the relay asks for when that is something else.
	relayPow int
	closed   bool         // to new orders
	received func() error // called when the engine has taken a message, which it answers; may be nil
	outside  []string     // relays that the node publishes to
}

// newWorld starts a node. Tests with one are not parallel: eventstore counts the deletions of
// all its stores in one variable without a lock.
func newWorld(t testing.TB, cfg worldConfig) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	key := nodeKey(t)
	w := &world{TB: t, ctx: ctx, key: key, net: lightning.NewSimNetwork(lightning.SimConfig{Now: time.Now})}

	var engine *escrow.Engine
	relayCfg := relay.Config{
		Pubkey: key.Public(),
		Receive: func(ctx context.Context, ev *nostr.Event) error {
			err := engine.Receive(ctx, ev)
			if err == nil && cfg.received != nil {
				err = cfg.received()
			}
			return err
		},
	}
	if bits := max(cfg.pow, cfg.relayPow); bits > 0 {
		nobody := func(string) bool { return false }
		relayCfg.Policies = []relay.Policy{relay.Policy(policies.PowToEscrow(key.Public(), nobody, bits, bits))}
	}
	escrowSecret := sha256.Sum256([]byte("escrow"))
	engineCfg := escrow.Config{
		Key: key, EscrowSecret: escrow.NewEscrowSecret(escrowSecret), Node: w.net.Node("mostro"),
		Instance: mostro.Instance{Pubkey: key.Public(), Name: "Test", RelayURLs: []string{"wss://relay.example"}},
		Prices: func(fiat string) (order.Price, bool) {
			return order.Price{PerBTC: 50_000 * 1_000_000, At: time.Now().Unix()}, fiat == "USD"
		},
		Publish:  func(ctx context.Context, events ...nostr.Event) error { return w.relay.Publish(ctx, events...) },
		Settings: testSettings(cfg.pow),
		Logger:   guarded(t, key.Nsec(), hex.EncodeToString(escrowSecret[:])),
	}
	if cfg.closed {
		engineCfg.Settings.Guards.Mode = escrow.ModeMaintenance
	}
	stopMirror, m := func() {}, (*mirror.Mirror)(nil)
	if len(cfg.outside) > 0 {
		var err error
		if m, err = mirror.New(mirror.Config{Pubkey: key.Public(), Outside: cfg.outside}); err != nil {
			t.Fatal(err)
		}
		relayCfg.Federation.Stored = m.Stored
		engineCfg.Publish, engineCfg.Heard, engineCfg.SameWay = m.Publish, m.Heard, m.SameWay
	}
	if cfg.dir != "" {
		relayCfg.Dir, engineCfg.Dir = cfg.dir+"/relay", cfg.dir+"/escrow"
	}
	var err error
	if w.relay, err = relay.Open(relayCfg); err != nil {
		t.Fatal(err)
	}
	if engine, err = escrow.Open(engineCfg); err != nil {
		t.Fatal(err)
	}
	if m != nil {
		if err := m.Attach(w.relay); err != nil {
			t.Fatal(err)
		}
		stop := runMirror(m)
		stopMirror = func() {
			stop()
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	run, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- engine.Run(run) }()
	t.Cleanup(func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		stopMirror()
		closing, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.relay.Close(closing); err != nil {
			t.Error(err)
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	w.waitInfo()
	return w
}

// waitInfo waits until the node has published its terms, with its Lightning node in them.
func (w *world) waitInfo() {
	w.until("the node publishes its terms", func() bool {
		events, err := w.relay.Query(w.ctx, nostr.Filter{Kinds: []int{mostro.KindInfo}})
		if err != nil {
			w.Fatal(err)
		}
		for _, ev := range events {
			if tag := ev.Tags.Find("lnd_node_pubkey"); tag != nil && tag[1] != "" {
				return true
			}
		}
		return false
	})
}

// until waits for a condition that must come.
func (w *world) until(what string, condition func() bool) {
	w.Helper()
	for !condition() {
		if w.ctx.Err() != nil {
			w.Fatalf("it never happens: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func testSettings(pow int) escrow.Settings {
	return escrow.Settings{
		Terms: order.Terms{
			FeePPM: 6000, RoutingFeePPM: 2000, WaitingSeconds: 900, PaymentAttempts: 3, PaymentRetrySeconds: 60, PayoutGraceSeconds: 300,
			CLTVDelta: 288, HoldExpiryDelta: 12,
		},
		Rules: order.Rules{
			MinAmount: 100, MaxAmount: 1_000_000, FiatCodes: []string{"USD", "EUR"}, PendingTime: 86400,
			MaxPending: 15 * 86400, InvoiceWindow: 600, MaxFinalCLTV: 144,
		},
		PayoutCLTV: 1008, PayoutParts: 8, PayoutTimeout: time.Minute,
		MessageDays: 30, OrderDays: 30, DisputeDays: 90, InfoInterval: 5 * time.Minute,
		Info: mostro.NodeInfo{
			MinOrderAmount: 100, MaxOrderAmount: 1_000_000, FiatCurrencies: []string{"USD", "EUR"}, Fee: "0.006",
			Pow: pow, PowFirstContact: pow, HoldInvoiceCLTVDelta: 288,
		},
	}
}

// door is an address of the relay whose connections a test can break.
type door struct {
	net.Listener
	url string

	mu    sync.Mutex
	shut  bool
	trap  bool // the next frame to the client is lost together with the connection
	conns []net.Conn
}

func (w *world) door() *door {
	server := httptest.NewUnstartedServer(w.relay.Handler())
	d := &door{Listener: server.Listener, url: "ws://" + server.Listener.Addr().String()}
	server.Listener = d
	server.Start()
	w.Cleanup(func() {
		d.cut(true)
		server.Close()
	})
	return d
}

func (d *door) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		conn.Close()
	}
	d.conns = append(d.conns, conn)
	return &doorConn{conn, d}, nil
}

// cut breaks all connections; with shut no new one lives until open.
func (d *door) cut(shut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = shut
	for _, conn := range d.conns {
		conn.Close()
	}
	d.conns = nil
}

func (d *door) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = false
}

func (d *door) setTrap() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trap = true
}

// sprung tells whether the trap has caught a frame.
func (d *door) sprung() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.trap
}

type doorConn struct {
	net.Conn
	door *door
}

func (c *doorConn) Write(b []byte) (int, error) {
	c.door.mu.Lock()
	caught := c.door.trap
	c.door.trap = false
	c.door.mu.Unlock()
	if caught {
		c.Conn.Close()
	}
	return c.Conn.Write(b)
}

// person is a user with a client and a wallet.
type person struct {
	*client.Client
	w      *world
	wallet *lightning.SimNode
	words  string
	before order.Msat

	mu    sync.Mutex
	heard []mostro.Message
}

// person connects a user through a door; the words of a mnemonic are new each time.
func (w *world) person(name string, d *door) *person {
	w.Helper()
	words, err := mostro.NewMnemonic()
	if err != nil {
		w.Fatal(err)
	}
	p := &person{w: w, wallet: w.net.Node(name), words: words}
	p.before = p.wallet.Funds()
	p.Client = p.dial(d.url, 0)
	return p
}

func (p *person) dial(url string, lastIndex uint32) *client.Client {
	p.w.Helper()
	c, err := client.Dial(p.w.ctx, client.Config{
		RelayURL: url, Node: p.w.key.Public(), Keys: client.Keys{Mnemonic: p.words, LastIndex: lastIndex}, Heard: p.hear,
		Logger: guarded(p.w, p.words),
	})
	if err != nil {
		p.w.Fatal(err)
	}
	p.w.Cleanup(c.Close)
	return c
}

func (p *person) hear(_ *client.Trade, m mostro.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, m)
}

// actions are those of all messages so far, without reputations.
func (p *person) actions() (actions []mostro.Action) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.heard {
		if _, notice := client.ReputationOf(m); notice {
			continue
		}
		actions = append(actions, m.Action)
	}
	return actions
}

// gain is what the wallet has more than at the beginning.
func (p *person) gain() order.Msat { return p.wallet.Funds() - p.before }

func (p *person) invoice(amount order.Sat) string {
	return p.wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: amount.Msat(), Expiry: 2 * time.Hour})
}

// pay pays the hold invoice of a pay-invoice message.
func (p *person) pay(m mostro.Message) {
	p.w.Helper()
	if m.Payload == nil || m.Payload.PaymentRequest == nil {
		p.w.Fatalf("%s has no invoice", m.Action)
	}
	if _, err := p.wallet.PayHold(m.Payload.PaymentRequest.Invoice); err != nil {
		p.w.Fatal(err)
	}
}
