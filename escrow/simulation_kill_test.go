package escrow

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// What the child process of TestKill and BenchmarkKill gets: its folder, and how many orders it
// has to make; without a number it takes up what is there.
const (
	envKillDir    = "MOSTRO_KILL_DIR"
	envKillOrders = "MOSTRO_KILL_ORDERS"
)

// TestKill kills a process with live orders and starts it again. Every live hash is asked about,
// and every row that is due is done.
func TestKill(t *testing.T) { killAndReconcile(t, 50) }

// BenchmarkKill says how long it takes from the start of the process, after a kill -9 with 1,000
// live orders, until every live hash was asked about and every due row is done.
//
//	go test ./escrow -run '^$' -bench Kill -benchtime 1x
func BenchmarkKill(b *testing.B) {
	for range b.N {
		b.ReportMetric(killAndReconcile(b, 1000).Seconds(), "s/reconciled")
	}
}

func killAndReconcile(t testing.TB, orders int) time.Duration {
	dir, err := os.MkdirTemp("", "kill") // short: it is the address of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &nodeServer{net: lightning.NewSimNetwork(lightning.SimConfig{Now: time.Now}), asked: map[order.Hash]bool{}}
	s.node = s.net.Node("mostro")
	socket, err := net.Listen("unix", filepath.Join(dir, "node"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go s.serve(socket)

	child := startKilled(t, dir, orders)
	child.waitFor("filled")
	s.node.Stop() // what is released now waits for the node
	child.say("release")
	child.waitFor("loaded")
	if err := child.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.cmd.Wait()
	s.node.Start()
	s.mu.Lock()
	clear(s.asked)
	s.mu.Unlock()

	began := time.Now()
	child = startKilled(t, dir, 0)
	line := child.waitFor("reconciled")
	took := time.Since(began)
	child.say("end")
	if err := child.cmd.Wait(); err != nil {
		t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Logf("%s; %.2fs from the start of the process; the node was asked about %d hashes", line, took.Seconds(), len(s.asked))
	if len(child.hashes) < orders*3/5 {
		t.Errorf("only %d live hashes", len(child.hashes))
	}
	for _, hash := range child.hashes {
		if !s.asked[hash] {
			t.Errorf("nobody has asked about %s", hash)
		}
	}
	if total, minted := s.net.Total(); total != minted {
		t.Errorf("the network holds %d of %d msat", total, minted)
	}
	return took
}

// killed is the child process.
type killed struct {
	t      testing.TB
	cmd    *exec.Cmd
	in     *os.File
	out    *bufio.Scanner
	hashes []order.Hash // live when it began
}

func startKilled(t testing.TB, dir string, orders int) *killed {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcess$", "-test.count=1", "-test.timeout=20m")
	cmd.Env = append(os.Environ(), envKillDir+"="+dir, envKillOrders+"="+strconv.Itoa(orders))
	cmd.Stderr = os.Stderr
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = read
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	read.Close()
	t.Cleanup(func() {
		write.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &killed{t: t, cmd: cmd, in: write, out: bufio.NewScanner(out)}
}

func (k *killed) say(line string) {
	if _, err := fmt.Fprintln(k.in, line); err != nil {
		k.t.Fatal(err)
	}
}

func (k *killed) waitFor(word string) string {
	k.t.Helper()
	for k.out.Scan() {
		line := k.out.Text()
		if text, ok := strings.CutPrefix(line, "hash "); ok {
			h, err := order.ParseHash(text)
			if err != nil {
				k.t.Fatal(err)
			}
			k.hashes = append(k.hashes, h)
		}
		if strings.HasPrefix(line, word) {
			return line
		}
	}
	k.t.Fatalf("the child has ended before %q", word)
	return ""
}

// TestKilledProcess is the process that is killed.
func TestKilledProcess(t *testing.T) {
	dir := os.Getenv(envKillDir)
	if dir == "" {
		t.Skip("this is the child process of TestKill and BenchmarkKill")
	}
	began := time.Now()
	orders, err := strconv.Atoi(os.Getenv(envKillOrders))
	if err != nil {
		t.Fatal(err)
	}
	node := &remoteNode{socket: filepath.Join(dir, "node"), asked: map[order.Hash]bool{}}
	key := secretFor("mostro")
	settings := testSettings()
	settings.Rules.MaxFinalCLTV = 144
	e, err := Open(Config{
		Dir: filepath.Join(dir, "money"), Epoch: filepath.Join(dir, "escrow.epoch"), Key: key, EscrowSecret: NewEscrowSecret(sha256.Sum256([]byte("escrow"))), Node: node, Settings: settings,
		Instance: mostro.Instance{Pubkey: key.Public()}, Logger: slog.New(slog.DiscardHandler),
		Prices:  func(string) (order.Price, bool) { return order.Price{PerBTC: 50_000_000_000}, true },
		Publish: func(context.Context, ...nostr.Event) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	opened, rows := time.Since(began), 0
	for _, l := range e.work.lanes {
		rows += len(l.rows)
	}
	live := e.live.hashes()
	for _, hash := range live {
		fmt.Println("hash", hash)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	stdin := bufio.NewScanner(os.Stdin)
	if orders > 0 {
		f := &filler{e, node, settings}
		f.each(t, orders, f.fill)
		fmt.Println("filled")
		stdin.Scan()
		f.each(t, orders, f.release)
		fmt.Println("loaded")
	} else {
		for !e.work.empty() || !node.knows(live) {
			time.Sleep(5 * time.Millisecond)
		}
		orders, _ := e.live.size()
		fmt.Printf("reconciled: opened in %.2fs, %d live hashes, %d rows were due, all done after %.2fs; %d orders are live still, the others have ended by it\n",
			opened.Seconds(), len(live), rows, time.Since(began).Seconds(), orders)
	}
	stdin.Scan() // a word, or the end of the parent
	cancel()
	if err := errors.Join(<-ended, e.Close()); err != nil {
		t.Error(err)
	}
}

func (n *remoteNode) knows(hashes []order.Hash) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !slices.ContainsFunc(hashes, func(h order.Hash) bool { return !n.asked[h] })
}

func (s *workSet) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lanes) == 0
}

// hashes are those that the node has to be asked about.
func (l *liveSet) hashes() (hashes []order.Hash) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(l.orders)) {
		for _, h := range []order.Hash{l.orders[id].hold, l.orders[id].payment} {
			if !h.IsZero() {
				hashes = append(hashes, h)
			}
		}
	}
	return hashes
}

// filler makes live orders, a fifth of each kind: in the book, waiting for the payment, active,
// fiat-sent and then released, and with a payout in flight.
type filler struct {
	e        *Engine
	node     *remoteNode
	settings Settings
}

// each does something for each order, many at a time.
func (f *filler) each(t *testing.T, orders int, do func(int) error) {
	numbers := make(chan int)
	var workers sync.WaitGroup
	for range 64 {
		workers.Go(func() {
			for i := range numbers {
				if err := do(i); err != nil {
					t.Errorf("order %d: %v", i, err)
				}
			}
		})
	}
	for i := range orders {
		numbers <- i
	}
	close(numbers)
	workers.Wait()
}

func (f *filler) key(who string, i int) string { return secretFor(fmt.Sprint(who, i)).Public() }

func (f *filler) send(i int, who string, action mostro.Action, id string, payload *mostro.Payload) error {
	key := f.key(who, i)
	m := mostro.Message{Wrapper: mostro.WrapOrder, Version: 2, ID: id, Action: action, Payload: payload}
	ev := order.Event{ID: fmt.Sprint(action, i), On: order.EventName(action), Order: id, At: f.e.now(), Seed: sha256.Sum256([]byte(fmt.Sprint(action, i))),
		Sender: key, Identity: key, Transport: 2, Message: &m}
	return f.e.act(context.Background(), mostro.Received{Message: m, Sender: key, Identity: key, Transport: mostro.NIP44}, ev)
}

// id is what the engine names the order: it follows from the event.
func (f *filler) id(i int) string {
	seed := sha256.Sum256([]byte(fmt.Sprint(mostro.NewOrder, i)))
	b := sha256.Sum256(append([]byte("order"), seed[:]...))
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func (f *filler) until(i int, status mostro.Status, ready func(order.Order) bool) (o order.Order, err error) {
	for {
		o, _, err = f.e.Order(f.id(i))
		if err != nil || o.Status == status && (ready == nil || ready(o)) {
			return o, err
		}
		if order.Ended(o.Status) {
			return o, fmt.Errorf("it has ended %s and is not %s", o.Status, status)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (f *filler) fill(i int) error {
	ctx := context.Background()
	offer := &mostro.SmallOrder{Kind: mostro.Sell, FiatCode: "USD", FiatAmount: 50, Amount: 100_000, PaymentMethod: "cash"}
	if err := f.send(i, "maker", mostro.NewOrder, "", &mostro.Payload{Order: offer}); err != nil || i%5 == 0 {
		return err
	}
	kind := "wallet invoice"
	if i%5 == 4 {
		kind = "wallet hold invoice"
	}
	gets := order.Sat(100_000) - order.FeeSide(100_000, f.settings.Terms.FeePPM)
	invoice, err := f.node.call(ctx, nodeCall{Method: kind, Amount: gets.Msat()}, nil)
	if err != nil {
		return err
	}
	if err := f.send(i, "taker", mostro.TakeSell, f.id(i), &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: invoice.Text}}); err != nil {
		return err
	}
	o, err := f.until(i, mostro.StatusWaitingPayment, func(o order.Order) bool { return o.Escrow.Invoice != "" })
	if err != nil || i%5 == 1 {
		return err
	}
	if _, err := f.node.call(ctx, nodeCall{Method: "wallet pays", Payee: o.Escrow.Invoice}, nil); err != nil {
		return err
	}
	if _, err := f.until(i, mostro.StatusActive, nil); err != nil || i%5 == 2 {
		return err
	}
	if err := f.send(i, "taker", mostro.FiatSent, f.id(i), nil); err != nil || i%5 == 3 {
		return err
	}
	if err := f.send(i, "maker", mostro.Release, f.id(i), nil); err != nil {
		return err
	}
	_, err = f.until(i, mostro.StatusSettledHoldInvoice, func(o order.Order) bool { return o.Payout.State == order.PayoutFlying })
	return err
}

// release releases what is fiat-sent.
func (f *filler) release(i int) error {
	if i%5 != 3 {
		return nil
	}
	return f.send(i, "maker", mostro.Release, f.id(i), nil)
}
