package mirror

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// gate is a way to a relay that can be shut: connections break, and new ones come to nothing.
type gate struct {
	url string
	to  string

	mu    sync.Mutex
	shut  bool
	conns map[net.Conn]struct{}
}

func newGate(t testing.TB, to string) *gate {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	g := &gate{url: "ws://" + listener.Addr().String(), to: to, conns: make(map[net.Conn]struct{})}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go g.pass(conn)
		}
	}()
	return g
}

func (g *gate) pass(conn net.Conn) {
	defer conn.Close()
	out, err := net.Dial("tcp", g.to)
	if err != nil {
		return
	}
	defer out.Close()
	g.mu.Lock()
	if g.shut {
		g.mu.Unlock()
		return
	}
	g.conns[conn] = struct{}{}
	g.mu.Unlock()
	go func() {
		_, _ = io.Copy(out, conn)
		out.Close()
	}()
	_, _ = io.Copy(conn, out)
	g.mu.Lock()
	delete(g.conns, conn)
	g.mu.Unlock()
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	if shut {
		for conn := range g.conns {
			conn.Close()
		}
	}
}

// TestHealing: three Mostros that follow each other and one relay of another make, which all three
// publish to. Ways between them break and heal, nodes stop and start, clocks differ by some
// seconds, orders come and go all the while. When all ways are open again, all have the same
// books, byte for byte, and so has who asks with a plain REQ.
func TestHealing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("MIRROR_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("replay with MIRROR_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 3))
	steps := 150
	if testing.Short() {
		steps = 40
	}

	foreign := newPlain(t, 50, freeAddress(t))
	var nodes []*instance
	var gates []*gate
	for i := range 3 {
		nodes = append(nodes, newInstance(t, fmt.Sprint("node ", i)))
	}
	skew := []nostr.Timestamp{0, -15, 10} // seconds
	for i, n := range nodes {
		for j, other := range nodes {
			if i != j {
				g := newGate(t, other.address)
				gates = append(gates, g)
				n.cfg.Follow = append(n.cfg.Follow, Followed{Pubkey: other.public, Relays: []string{g.url}})
			}
		}
		g := newGate(t, foreign.url[len("ws://"):])
		gates = append(gates, g)
		n.cfg.Outside = []string{g.url}
		n.cfg.Now = func() time.Time { return time.Now().Add(time.Duration(skew[i]) * time.Second) }
		n.start()
	}
	up := []bool{true, true, true}
	last := make(map[string]nostr.Timestamp)
	for range steps {
		i := random.IntN(3)
		switch n := nodes[i]; {
		case random.IntN(4) == 0:
			gates[random.IntN(len(gates))].set(random.IntN(3) > 0)
		case random.IntN(10) == 0:
			if up[i] {
				n.stop()
			} else {
				n.start()
			}
			up[i] = !up[i]
		case up[i]:
			for range 1 + random.IntN(5) {
				// Each version is later than the last, as the escrow sees to.
				id := fmt.Sprint("order-", random.IntN(25))
				at := max(nostr.Now()+skew[i], last[n.public+id]+1)
				last[n.public+id] = at
				n.publish(n.offer(t, id, at))
			}
		}
		time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond)
	}
	for i, n := range nodes {
		if !up[i] {
			n.start()
		}
	}
	for _, g := range gates {
		g.set(false)
	}
	for _, of := range nodes {
		book := func() []byte { return of.book(of.public) }
		for _, n := range nodes {
			eventually(t, fmt.Sprintf("%s has the book of %s", n.name, of.name), func() bool { return bytes.Equal(n.book(of.public), book()) })
			if got := ask(t, n.url(), of.public); !bytes.Equal(got, book()) {
				t.Errorf("a plain REQ to %s finds another book of %s", n.name, of.name)
			}
		}
		eventually(t, "the foreign relay has the book of "+of.name, func() bool {
			return bytes.Equal(lines(foreign.all(nostr.Filter{Authors: []string{of.public}, Kinds: mostroKinds})), book())
		})
	}
	for _, n := range nodes {
		for _, h := range n.mirror.Health() {
			if h.Bad > 0 || h.Rejected > 0 {
				t.Errorf("%s: %+v", n.name, h)
			}
		}
	}
}

// ask gets a book with a plain REQ.
func ask(t testing.TB, url, author string) []byte {
	t.Helper()
	return askBy(t, Direct, url, author)
}

func askBy(t testing.TB, dial Dial, url, author string) []byte {
	t.Helper()
	c := dialClientBy(t, dial, url)
	c.say("REQ", "book", nostr.Filter{Authors: []string{author}, Kinds: mostroKinds, Limit: 5000})
	c.hear("EOSE")
	var evs []nostr.Event
	for _, parts := range *c.unread {
		if string(parts[0]) == `"EVENT"` {
			var ev nostr.Event
			if err := json.Unmarshal(parts[2], &ev); err != nil {
				t.Fatal(err)
			}
			evs = append(evs, ev)
		}
	}
	return lines(evs)
}
