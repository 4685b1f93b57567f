package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lightningnetwork/lnd/lnrpc"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning/lnd"
	"mostro/escrow/lightning/lnd/wallet"
	"mostro/escrow/lightning/regtest"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

const (
	// Nothing that works takes near so long, on the busiest machine.
	labTime = 5 * time.Minute

	// Ports of nodes under test, below those of local networks and of outgoing connections: a
	// node that comes back must find its own free.
	labFirstPort = 11_000
	labPorts     = 9_000
)

// lab is a network of real nodes and a `mostro serve` on it, a process of its own that tests
// kill and start again at the same address. Its macaroon permits what package lnd lists and
// nothing else. Alice's node is the sellers', bob's the buyers'.
type lab struct {
	t        *testing.T
	network  *regtest.Network
	dir      string
	address  string // of the relay
	settings []string
	key      mostro.Secret
	admin    mostro.Secret // listed in the settings
	demo     *demo         // the wallets: three witnesses of every payment
	before   accounts

	process *process
	drained chan struct{} // closed when the process has ended

	mu  sync.Mutex
	log []string // of the process, since its start
	// everything is the log of all its processes.
	everything []string
	changed    chan struct{} // closed and replaced at every line
	trades     int           // begun
	flows      []flow        // of the trades that have ended
	// flying are payouts that stay in flight: what is of them in the escrow's channels.
	flying map[order.Hash]order.Msat
}

// startLab starts everything and returns when the escrow can trade. Settings are overrides,
// KEY=VALUE.
func startLab(t *testing.T, settings ...string) *lab {
	t.Helper()
	return labOn(t, regtest.ForTest(t), (*lab).start, settings...)
}

// labOn is startLab on a network, with a node that start runs.
func labOn(t *testing.T, network *regtest.Network, start func(*lab, context.Context) error, settings ...string) *lab {
	t.Helper()
	l := &lab{
		t: t, network: network, dir: filepath.Join(t.TempDir(), "node"), address: labAddress(t),
		settings: settings, changed: make(chan struct{}), flying: map[order.Hash]order.Msat{}, demo: &demo{screen: &screen{out: io.Discard}},
	}
	ctx := labContext(t)
	prices, err := startPriceServer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(prices.Close)
	if err := l.writeFiles(ctx, prices.URL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.demo.close)
	for name, place := range map[string]**trader{"alice": &l.demo.alice, "bob": &l.demo.bob} {
		*place = &trader{name: name, wallet: l.wallet(name)}
	}
	l.demo.escrow = l.wallet(escrowNode)
	if l.before, err = l.demo.books(ctx); err != nil {
		t.Fatal(err)
	}
	if err := start(l, ctx); err != nil {
		t.Fatal(err)
	}
	// Its terms, with its Lightning node in them, are the last that a node says of itself.
	err = waitUntil(ctx, "the node's terms", func() (bool, error) {
		terms, err := l.events(ctx, nostr.Filter{Kinds: []int{mostro.KindInfo}})
		return slices.ContainsFunc(terms, func(ev *nostr.Event) bool { return ev.Tags.Find("lnd_node_pubkey") != nil }), err
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// labContext bounds a test: one that hangs fails, and its log tells where.
func labContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), labTime)
	t.Cleanup(cancel)
	return ctx
}

func labAddress(t *testing.T) string {
	t.Helper()
	for {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(labFirstPort+rand.N(labPorts)))
		listener, err := net.Listen("tcp", address)
		if err == nil {
			listener.Close()
			return address
		}
		t.Logf("%s is taken: %v", address, err)
	}
}

// writeFiles makes the data directory as an operator would.
func (l *lab) writeFiles(ctx context.Context, prices string) error {
	if err := openDataDir(l.dir); err != nil {
		return err
	}
	for _, key := range []*mostro.Secret{&l.key, &l.admin} {
		var err error
		if *key, err = newKey(); err != nil {
			return err
		}
	}
	request := &lnrpc.BakeMacaroonRequest{RootKeyId: macaroonRootKey}
	for _, uri := range lnd.MacaroonURIs() {
		request.Permissions = append(request.Permissions, &lnrpc.MacaroonPermission{Entity: "uri", Action: uri})
	}
	baked, err := l.network.Client(escrowNode).BakeMacaroon(ctx, request)
	if err != nil {
		return fmt.Errorf("bake macaroon: %w", err)
	}
	macaroon, err := hex.DecodeString(baked.Macaroon)
	if err != nil {
		return err
	}
	node := l.network.Node(escrowNode)
	text := fmt.Sprintf(`[lightning]
lnd_grpc_host = %q
lnd_cert_file = %q
lnd_macaroon_file = "mostro.macaroon"
payment_attempts = 2
payment_retries_interval = 1
payout_grace_seconds = 1
[price.providers.yadio]
url = %q
[admin]
pubkeys = [%q]
`, node.GRPC, node.TLSCert, prices, l.admin.Public())
	return errors.Join(
		writeWhole(l.macaroon(), macaroon),
		writeWhole(filepath.Join(l.dir, envFile), []byte(nsecVariable+"="+l.key.Nsec()+"\n")),
		writeWhole(filepath.Join(l.dir, settingsFile), []byte(text)))
}

func (l *lab) macaroon() string { return filepath.Join(l.dir, "mostro.macaroon") }

// wallet is a node with the rights of its owner.
func (l *lab) wallet(name string) *wallet.Wallet {
	l.t.Helper()
	node := l.network.Node(name)
	w, err := wallet.Dial(lnd.Config{Host: node.GRPC, CertFile: node.TLSCert, MacaroonFile: node.Macaroon})
	if err != nil {
		l.t.Fatal(err)
	}
	return w
}

// start runs mostro serve and returns when it listens.
func (l *lab) start(ctx context.Context) error {
	args := []string{"serve", "--data-dir", l.dir, "--log-level", "debug", "--settings", "relay.listen=" + l.address}
	for _, setting := range l.settings {
		args = append(args, "--settings", setting)
	}
	p, drained := startProcess(l.t, args...), make(chan struct{})
	l.process, l.drained = p, drained
	l.mu.Lock()
	l.log = nil
	l.mu.Unlock()
	go func() {
		defer close(drained)
		for line := range p.lines {
			p.seen = append(p.seen, line)
			l.hear(line)
		}
		p.end()
	}()
	l.t.Cleanup(func() {
		p.cmd.Process.Kill() // fails only when it has ended
		<-drained
	})
	return l.waitLog(ctx, 0, "msg=serving")
}

// startHere runs the node in this process, as mostro dev does: as part of a closed network, in
// which Lightning addresses may lead to this machine. No setting of mostro serve does that.
func (l *lab) startHere(ctx context.Context) error { return l.startWith(ctx, func(*Settings) {}) }

// startWith is startHere with settings that no file may hold.
func (l *lab) startWith(ctx context.Context, change func(*Settings)) error {
	settings, err := readSettings(l.dir, l.settings)
	if err != nil {
		return err
	}
	change(&settings.Settings)
	listener, err := listen(l.address)
	if err != nil {
		return err
	}
	node := l.network.Node(escrowNode)
	n, err := openNode(ctx, nodeConfig{
		dir: l.dir, settings: &settings.Settings, key: l.key, listener: listener, closed: true,
		lightning: lnd.Config{Host: node.GRPC, CertFile: node.TLSCert, MacaroonFile: l.macaroon()},
		logger:    slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.drained = make(chan struct{})
	go func() {
		defer close(l.drained)
		if err := n.run(running); err != nil {
			l.t.Errorf("run node: %v", err)
		}
	}()
	l.t.Cleanup(func() {
		stop()
		<-l.drained
	})
	return nil
}

// Write takes the log of a node in this process.
func (l *lab) Write(line []byte) (int, error) {
	l.hear(strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}

func (l *lab) hear(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = append(l.log, line)
	l.everything = append(l.everything, line)
	close(l.changed)
	l.changed = make(chan struct{})
}

// kill ends the process by kill -9.
func (l *lab) kill() error {
	if err := l.process.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill mostro: %w", err)
	}
	<-l.drained
	return nil
}

// logged counts the lines of the log since the last start.
func (l *lab) logged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.log)
}

// waitLog waits until a line of the log contains text; of the lines after the first since.
func (l *lab) waitLog(ctx context.Context, since int, text string) error {
	for {
		l.mu.Lock()
		found, changed := slices.ContainsFunc(l.log[since:], func(line string) bool { return strings.Contains(line, text) }), l.changed
		l.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-changed:
		case <-l.drained:
			return fmt.Errorf("mostro has ended and never logged %q", text)
		case <-ctx.Done():
			return fmt.Errorf("wait for the log to say %q: %w", text, ctx.Err())
		}
	}
}

// settle compares what all trades together moved with the books of the three nodes: whatever
// was paid twice, or to nobody, is found there.
func (l *lab) settle(t *testing.T) {
	t.Helper()
	if t.Failed() {
		return // trades hang, and their HTLCs with them
	}
	after, err := l.demo.books(labContext(t), slices.Collect(maps.Keys(l.flying))...)
	if err != nil {
		t.Fatal(err)
	}
	escrow := after[escrowNode]
	for _, amount := range l.flying {
		escrow.Channels += amount // it is the escrow's until the buyer takes it
	}
	after[escrowNode] = escrow
	var table strings.Builder
	if err := settleAccounts(&table, l.flows, l.before, after); err != nil {
		t.Error(err)
	}
	t.Log(table.String())
	l.agrees(t)
	l.keepsSecrets(t)
}

// events asks the relay for public events of the node.
func (l *lab) events(ctx context.Context, f nostr.Filter) ([]*nostr.Event, error) {
	relay, err := nostr.RelayConnect(ctx, "ws://"+l.address)
	if err != nil {
		return nil, err
	}
	defer relay.Close()
	f.Authors = []string{l.key.Public()}
	return relay.QuerySync(ctx, f)
}

// readLog returns the log of the process since its last start.
func (l *lab) readLog() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.log, "\n")
}

// waitUntil looks again and again until the condition holds.
func waitUntil(ctx context.Context, what string, holds func() (bool, error)) error {
	for {
		ok, err := holds()
		if ok && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for %s: %w", what, ctx.Err()), err)
		case <-time.After(lookAgain):
		}
	}
}
