package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
	"mostro/policies"
	"mostro/relay"
)

// clientPatience bounds a hang, not a speed.
const clientPatience = 5 * time.Minute

// clientWorld is a node on Sim, for the commands of users.
type clientWorld struct {
	*testing.T
	ctx  context.Context // ends after clientPatience
	net  *lightning.SimNetwork
	node mostro.Secret
	url  string
	dir  string      // of all users
	gone atomic.Bool // the node hears nobody any more; its relay stays
}

// newClientWorld starts a node that asks for pow bits of work, on a Lightning node that may be
// another than it should be.
func newClientWorld(t *testing.T, pow int, hostile ...func(lightning.Node) lightning.Node) *clientWorld {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clientPatience)
	t.Cleanup(cancel)
	key, err := mostro.NewSecret(sha256.Sum256([]byte("node")))
	if err != nil {
		t.Fatal(err)
	}
	w := &clientWorld{T: t, ctx: ctx, node: key, dir: t.TempDir(), net: lightning.NewSimNetwork(lightning.SimConfig{Now: time.Now})}
	lightningNode := lightning.Node(w.net.Node("mostro"))
	for _, change := range hostile {
		lightningNode = change(lightningNode)
	}
	var engine *escrow.Engine
	relays, err := relay.Open(relay.Config{
		Pubkey: key.Public(),
		Receive: func(ctx context.Context, ev *nostr.Event) error {
			if w.gone.Load() {
				return errors.New("error: the node is gone")
			}
			return engine.Receive(ctx, ev)
		},
		Policies: []relay.Policy{
			relay.Policy(policies.PowToEscrow(key.Public(), func(string) bool { return false }, pow, pow)),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	settings, err := loadSettings("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &settings.Settings
	s.Mostro.Pow, s.Mostro.PowFirstContact = int64(pow), int64(pow)
	engine, err = escrow.Open(escrow.Config{
		Key: key, EscrowSecret: escrow.NewEscrowSecret(sha256.Sum256([]byte("escrow"))), Node: lightningNode,
		Instance: mostro.Instance{Pubkey: key.Public(), Name: "Test", RelayURLs: []string{"wss://relay.example"}},
		Prices: func(fiat string) (order.Price, bool) {
			return order.Price{PerBTC: 50_000 * 1_000_000, At: time.Now().Unix()}, fiat == "USD"
		},
		Publish:  func(ctx context.Context, events ...nostr.Event) error { return relays.Publish(ctx, events...) },
		Settings: s.engine(),
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- engine.Run(run) }()
	server := httptest.NewServer(relays.Handler())
	w.url = "ws" + strings.TrimPrefix(server.URL, "http")
	t.Cleanup(func() {
		server.Close()
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		closing, cancel := context.WithTimeout(context.Background(), clientPatience)
		defer cancel()
		if err := relays.Close(closing); err != nil {
			t.Error(err)
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	for ready := false; !ready; time.Sleep(time.Millisecond) {
		events, err := relays.Query(ctx, nostr.Filter{Kinds: []int{mostro.KindInfo}})
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range events {
			tag := ev.Tags.Find("lnd_node_pubkey")
			ready = ready || tag != nil && tag[1] != ""
		}
	}
	return w
}

// user is a person with a directory and a wallet.
type user struct {
	*clientWorld
	dir    string
	wallet *lightning.SimNode
	before order.Msat
}

func (w *clientWorld) user(name string) *user {
	w.Helper()
	u := &user{clientWorld: w, dir: filepath.Join(w.dir, name), wallet: w.net.Node(name)}
	u.before = u.wallet.Funds()
	u.ok("keys", "new")
	return u
}

// call runs a command as mostro client would, in this process.
func (u *user) call(stdin string, args ...string) (out, problem string, code int) {
	u.Helper()
	var stdout, stderr bytes.Buffer
	cmd := rootCommand()
	cmd.SetArgs(append([]string{"client", "--relay", u.url, "--dir", u.dir, "--timeout", clientPatience.String()}, args...))
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	ran, err := cmd.ExecuteContextC(u.ctx)
	if err != nil {
		printError(&stderr, ran, err)
	}
	return u.plain(stdout.String()), u.plain(stderr.String()), exitCode(err)
}

// plain takes the user's directory out of the commands that are shown to him. It must stand in
// each: who copies one without it acts with another person's keys.
func (u *user) plain(text string) string {
	u.Helper()
	text = strings.ReplaceAll(text, calledAs(), "mostro")
	full := "mostro client --dir " + u.dir
	if strings.Count(text, "mostro client") != strings.Count(text, full) {
		u.Errorf("a command does not name the directory:\n%s", text)
	}
	return strings.ReplaceAll(text, full, "mostro client")
}

// ok runs a command that must succeed and returns what it prints.
func (u *user) ok(args ...string) string {
	u.Helper()
	out, problem, code := u.call("", args...)
	if code != exitOK || problem != "" {
		u.Fatalf("%s: exit code %d\n%s%s", strings.Join(args, " "), code, out, problem)
	}
	return out
}

// refused runs a command that must end with a code, and say something.
func (u *user) refused(code int, says string, args ...string) {
	u.Helper()
	out, problem, got := u.call("", args...)
	if got != code || !strings.Contains(problem, says) {
		u.Errorf("%s: exit code %d, want %d and %q\n%s%s", strings.Join(args, " "), got, code, says, out, problem)
	}
}

// says runs a command that must succeed and print some text.
func (u *user) says(want string, args ...string) {
	u.Helper()
	if out := u.ok(args...); !strings.Contains(out, want) {
		u.Errorf("%s prints this, without %q:\n%s", strings.Join(args, " "), want, out)
	}
}

// message runs a command with --json and returns the last message that it prints.
func (u *user) message(args ...string) mostro.Message {
	u.Helper()
	lines := strings.Split(strings.TrimSpace(u.ok(append(args, "--json")...)), "\n")
	m, err := mostro.DecodeMessage([]byte(lines[len(lines)-1]))
	if err != nil {
		u.Fatalf("%s prints %q: %v", strings.Join(args, " "), lines, err)
	}
	return m
}

// until waits for a message of a trade.
func (u *user) until(ref string, action mostro.Action) mostro.Message {
	u.Helper()
	return u.message("messages", ref, "--until", string(action))
}

// pay pays the hold invoice of a message.
func (u *user) pay(m mostro.Message) {
	u.Helper()
	if m.Payload == nil || m.Payload.PaymentRequest == nil {
		u.Fatalf("%s has no invoice", m.Action)
	}
	if _, err := u.wallet.PayHold(m.Payload.PaymentRequest.Invoice); err != nil {
		u.Fatal(err)
	}
}

func (u *user) invoice(amount int64) string {
	return u.wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: order.Sat(amount).Msat(), Expiry: 24 * time.Hour})
}

// gain is what the wallet has more than at the beginning.
func (u *user) gain() order.Msat { return u.wallet.Funds() - u.before }

// trades are those of orders --all, by number.
func (u *user) trades() map[uint32]shownTrade {
	u.Helper()
	trades := make(map[uint32]shownTrade)
	for line := range strings.Lines(u.ok("orders", "--all", "--json")) {
		var t shownTrade
		if err := json.Unmarshal([]byte(line), &t); err != nil {
			u.Fatalf("%q: %v", line, err)
		}
		trades[t.Index] = t
	}
	return trades
}

// words reads a mnemonic as its owner would.
func (u *user) words() string {
	u.Helper()
	data, err := os.ReadFile(filepath.Join(u.dir, clientWordsFile))
	if err != nil {
		u.Fatal(err)
	}
	return string(data)
}
