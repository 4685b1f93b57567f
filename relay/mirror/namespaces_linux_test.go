package mirror

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sys/unix"
)

// namespace is a network of its own: what is not led into it by a pair of interfaces does not exist
// there. It has no name and ends with this process, so nothing is left behind.
type namespace struct {
	t    testing.TB
	file *os.File
}

// newNamespace makes one, or skips the test where that is not allowed.
func newNamespace(t testing.TB) *namespace {
	t.Helper()
	type made struct {
		file *os.File
		err  error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- made{nil, err}
			return
		}
		file, err := os.Open("/proc/thread-self/ns/net")
		done <- made{file, err}
	}()
	m := <-done
	if m.err != nil {
		t.Skipf("network namespaces need root: %v", m.err)
	}
	t.Cleanup(func() { m.file.Close() })
	n := &namespace{t, m.file}
	n.ip("link set lo up")
	return n
}

// do calls f by a thread that is in the namespace; sockets that f makes stay there.
func (n *namespace) do(f func()) {
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err = unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err == nil {
			f()
		}
	}()
	<-done
	if err != nil {
		n.t.Error("enter namespace: ", err)
	}
}

// ip runs ip(8) there.
func (n *namespace) ip(args string) {
	n.t.Helper()
	var out []byte
	var err error
	n.do(func() { out, err = exec.Command("ip", strings.Fields(args)...).CombinedOutput() })
	if err != nil {
		n.t.Skipf("ip %s: %v: %s", args, err, out)
	}
}

func (n *namespace) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

func (n *namespace) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	n.do(func() { conn, err = Direct(ctx, network, address) })
	return conn, err
}

func (n *namespace) listen(t testing.TB, address string) (listener net.Listener) {
	t.Helper()
	n.do(func() { listener = listenAt(t, address) })
	return listener
}

// wires connects namespaces with a bridge, by a pair of interfaces each.
type wires struct {
	hub *namespace
	n   int
}

func newWires(t testing.TB) *wires {
	w := &wires{hub: newNamespace(t)}
	w.hub.ip("link add hub type bridge")
	w.hub.ip("link set hub up")
	return w
}

// join gives a new namespace an address on the wires.
func (w *wires) join(t testing.TB) (n *namespace, host string, plug func(in bool)) {
	w.n++
	n, host = newNamespace(t), fmt.Sprint("10.77.0.", w.n)
	wire := fmt.Sprint("wire", w.n)
	w.hub.ip(fmt.Sprintf("link add %s type veth peer name eth0 netns %s", wire, n.path()))
	w.hub.ip(fmt.Sprintf("link set %s master hub up", wire))
	n.ip("addr add " + host + "/24 dev eth0")
	n.ip("link set eth0 up")
	return n, host, func(in bool) {
		w.hub.ip(fmt.Sprintf("link set %s %s", wire, map[bool]string{true: "up", false: "down"}[in]))
	}
}

// TestNamespaces: three Mostros that follow each other and one relay of another make, each in a
// network of its own. Cables are pulled, so that connections do not break but fall silent, and put
// in again; nodes stop and start meanwhile, one clock is ahead and one behind. Afterwards all have
// the same books, byte for byte, and so has a client that asks with a plain REQ.
func TestNamespaces(t *testing.T) {
	if testing.Short() {
		t.Skip("silent connections take seconds")
	}
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 7))
	const port = ":7000"
	w := newWires(t)
	theirs, host, plugForeign := w.join(t)
	foreign := newPlainIn(t, 50, host+port, theirs.listen)
	person, _, _ := w.join(t)

	skew := []nostr.Timestamp{0, 35, -30} // seconds; orders from more than a minute ahead wait for their time
	nodes := make([]*instance, len(skew))
	plugs := make([]func(bool), len(skew))
	for i := range nodes {
		n, host, plug := w.join(t)
		nodes[i], plugs[i] = newInstance(t, fmt.Sprint("node ", i)), plug
		nodes[i].address, nodes[i].listen, nodes[i].cfg.Dial = host+port, n.listen, n.dial
		nodes[i].cfg.Now = func() time.Time { return time.Now().Add(time.Duration(skew[i]) * time.Second) }
		nodes[i].cfg.Outside = []string{foreign.url}
	}
	for i, n := range nodes {
		for j, other := range nodes {
			if i != j {
				n.cfg.Follow = append(n.cfg.Follow, Followed{Pubkey: other.public, Relays: []string{other.url()}})
			}
		}
		n.start()
	}

	last := make(map[string]nostr.Timestamp)
	trade := func(orders int, among ...int) {
		for range orders {
			i := among[random.IntN(len(among))]
			n, id := nodes[i], fmt.Sprint("order-", random.IntN(20))
			at := max(nostr.Now()+skew[i], last[n.public+id]+1)
			last[n.public+id] = at
			n.publish(n.offer(t, id, at))
		}
	}
	equal := func(when string) {
		t.Helper()
		began := time.Now()
		for _, of := range nodes {
			book := func() []byte { return of.book(of.public) }
			for _, n := range nodes {
				eventually(t, fmt.Sprintf("%s: %s has the book of %s", when, n.name, of.name), func() bool { return bytes.Equal(n.book(of.public), book()) })
				if got := askBy(t, person.dial, n.url(), of.public); !bytes.Equal(got, book()) {
					t.Errorf("%s: a plain REQ to %s finds another book of %s", when, n.name, of.name)
				}
			}
			eventually(t, when+": the foreign relay has the book of "+of.name, func() bool {
				return bytes.Equal(lines(foreign.all(nostr.Filter{Authors: []string{of.public}, Kinds: mostroKinds})), book())
			})
		}
		t.Logf("%s: equal after %s", when, time.Since(began).Round(time.Millisecond))
	}
	trade(60, 0, 1, 2)
	equal("at first")

	// One is alone for a while; live connections fall silent.
	plugs[0](false)
	trade(40, 0, 1, 2)
	late := nodes[0].offer(t, "late", last[nodes[0].public+"late"])
	nodes[0].publish(late)
	time.Sleep(2 * time.Second)
	if nodes[1].has(late.ID) || nodes[2].has(late.ID) || foreign.has(late.ID) {
		t.Fatal("the pulled cable carries")
	}
	plugs[0](true)
	equal("after one was alone")

	// Nobody reaches anybody; one stops and starts, one only starts when all is well again.
	for _, plug := range append(plugs, plugForeign) {
		plug(false)
	}
	trade(40, 0, 1, 2)
	nodes[1].stop()
	nodes[2].stop()
	nodes[1].start()
	trade(40, 0, 1)
	eventually(t, "a node notices", func() bool { return nodes[1].health(foreign.url).Error != "" })
	for _, plug := range append(plugs, plugForeign) {
		plug(true)
	}
	nodes[2].start()
	trade(20, 0, 1, 2)
	equal("after all were alone")

	// Cables with a loose contact.
	for range 12 {
		plugs[random.IntN(len(plugs))](random.IntN(2) == 0)
		trade(5, 0, 1, 2)
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
	}
	for _, plug := range plugs {
		plug(true)
	}
	equal("at last")
	for _, n := range nodes {
		for _, h := range n.mirror.Health() {
			if h.Bad > 0 || h.Rejected > 0 {
				t.Errorf("%s: %+v", n.name, h)
			}
		}
	}
}
