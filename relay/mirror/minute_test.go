package mirror

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// The tests in this file run in a world whose clock stands still while anything is being done and
// jumps when everything waits, so hours pass in no time. Its network is made of pipes.

// cable leads to one relay.
type cable struct {
	accept chan net.Conn
	closed chan struct{}

	mu    sync.Mutex
	state cableState
	open  chan struct{} // closed when the state changes
	ends  []net.Conn
}

type cableState int

const (
	whole   cableState = iota
	silent             // nothing comes through, and nobody is told
	refused            // connections break, and new ones are refused
)

func newCable() *cable {
	return &cable{accept: make(chan net.Conn), closed: make(chan struct{}), open: make(chan struct{})}
}

func (c *cable) set(state cableState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == refused {
		for _, conn := range c.ends {
			conn.Close()
		}
		c.ends = nil
	}
	c.state = state
	close(c.open)
	c.open = make(chan struct{})
}

// through waits until the cable is whole. What could not be said for a while needs as long again to
// be said once more, as TCP doubles its pauses.
func (c *cable) through(done <-chan struct{}) bool {
	began := time.Now()
	c.mu.Lock()
	state, open := c.state, c.open
	c.mu.Unlock()
	if state == whole {
		return true
	}
	for state != whole {
		select {
		case <-open:
		case <-done:
			return false
		}
		c.mu.Lock()
		state, open = c.state, c.open
		c.mu.Unlock()
	}
	select {
	case <-time.After(time.Since(began)):
		return true
	case <-done:
		return false
	}
}

func (c *cable) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	c.mu.Lock()
	state := c.state
	c.mu.Unlock()
	if state == refused {
		return nil, errors.New("connection refused")
	}
	if !c.through(ctx.Done()) {
		return nil, ctx.Err()
	}
	here, mine := net.Pipe()
	theirs, there := net.Pipe()
	c.mu.Lock()
	c.ends = append(c.ends, mine, theirs)
	c.mu.Unlock()
	go c.carry(mine, theirs)
	go c.carry(theirs, mine)
	select {
	case c.accept <- there:
		return here, nil
	case <-c.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// carry brings what is written at one end to the other. Like a kernel it takes what it is given,
// whatever the cable does.
func (c *cable) carry(from, to net.Conn) {
	chunks, done := make(chan []byte, 1<<16), make(chan struct{})
	go func() {
		defer close(done)
		defer to.Close()
		for chunk := range chunks {
			ended := make(chan struct{})
			if !c.through(ended) {
				return
			}
			if _, err := to.Write(chunk); err != nil {
				return
			}
		}
	}()
	defer from.Close()
	defer close(chunks)
	for {
		buffer := make([]byte, 32<<10)
		n, err := from.Read(buffer)
		if n > 0 {
			select {
			case chunks <- buffer[:n]:
			case <-done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *cable) Accept() (net.Conn, error) {
	select {
	case conn := <-c.accept:
		return conn, nil
	case <-c.closed:
		return nil, net.ErrClosed
	}
}

func (c *cable) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80} }

func (c *cable) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return nil
}

func (c *cable) listen(testing.TB, string) net.Listener { return c }

// bubble runs a test in such a world. khatru leaves a goroutine behind for each relay that is ever
// opened, which looks once an hour for what has expired; that it waits at the end is no fault.
func bubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	defer func() {
		if fault := recover(); fault != nil && !strings.Contains(fmt.Sprint(fault), "main bubble goroutine has exited but blocked goroutines remain") {
			panic(fault)
		}
	}()
	synctest.Test(t, test)
}

// TestMinute: however long another relay was away, and however that showed, a minute after it is
// back it has the newest version of every order, and so has this relay of those that it follows.
func TestMinute(t *testing.T) {
	const most = time.Minute
	outages := []time.Duration{0, 3 * time.Second, 20 * time.Second, 40 * time.Second, 70 * time.Second, 80 * time.Second, 20 * time.Minute}
	for name, way := range map[string]struct {
		in   bool // copied from there, not published there
		full bool // the relay knows negentropy and describes itself
	}{"out-plain": {}, "out": {full: true}, "in-plain": {in: true}, "in": {in: true, full: true}} {
		for _, fault := range []cableState{silent, refused} {
			t.Run(fmt.Sprint(name, []string{"", "-silent", "-refused"}[fault]), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					c := newCable()
					there := newAway(t, c, way.full)
					a := newInstance(t, "a")
					a.listen, a.cfg.Dial = newCable().listen, c.dial
					whose := a.person
					if way.in {
						whose = newPerson(t)
						a.cfg.Follow = []Followed{{Pubkey: whose.public, Relays: []string{there.url}}}
					} else {
						a.cfg.Outside = []string{there.url}
					}
					there.followed.Store(&whose.public)
					a.start()
					publish, arrived := func(ev nostr.Event) { a.publish(ev) }, there.has
					if way.in {
						publish, arrived = there.add, a.has
					}
					first := whose.offer(t, "x", 0)
					publish(first)
					eventually(t, "the first version is there", func() bool { return arrived(first.ID) })
					for _, outage := range outages {
						for range 2 { // pauses are drawn
							time.Sleep(2 * time.Minute)
							c.set(fault)
							early := whose.offer(t, "early", 0)
							publish(early)
							time.Sleep(outage)
							late := whose.offer(t, "late", 0)
							publish(late)
							if fault == refused || outage > 2*silenceTime {
								// It is back at the worst moment: just after it was tried.
								eventually(t, "the relay is tried", func() bool {
									h := a.health(there.url)
									return h.State == Waiting && time.Since(h.Since) < 20*time.Millisecond
								})
							}
							c.set(whole)
							back := time.Now()
							for !arrived(early.ID) || !arrived(late.ID) {
								if time.Since(back) > most {
									t.Fatalf("%s after it was away for %s: %+v", time.Since(back), outage, a.mirror.Health())
								}
								time.Sleep(50 * time.Millisecond)
							}
							t.Logf("away for %s: equal after %s", outage, time.Since(back))
						}
					}
				})
			})
		}
	}
}

// TestLostOKs: what a relay has taken and never confirmed, and what it has confirmed and never kept,
// is found and mended within a minute after it is back; nothing waits for ever.
func TestLostOKs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCable()
		p := newPlainIn(t, 50, "", c.listen)
		const url = "ws://relay.test"
		a := newInstance(t, "a")
		a.listen, a.cfg.Dial, a.cfg.Outside = newCable().listen, c.dial, []string{url}
		a.start()
		trader := newPerson(t)
		if err := a.mirror.Heard(context.WithValue(t.Context(), originKey{}, url), trader.public); err != nil {
			t.Fatal(err)
		}
		within := func(what string, so func() bool) {
			t.Helper()
			began := time.Now()
			eventually(t, what, so)
			t.Logf("%s: after %s", what, time.Since(began))
			if took := time.Since(began); took > time.Minute {
				t.Errorf("%s: only after %s", what, took)
			}
		}
		var mu sync.Mutex
		heard := make(map[string]int)
		count := func(id string) int {
			mu.Lock()
			defer mu.Unlock()
			return heard[id]
		}
		// The OKs of the first two of each are lost.
		p.set(func(ev *nostr.Event) (lost, unanswered bool) {
			mu.Lock()
			defer mu.Unlock()
			heard[ev.ID]++
			return false, heard[ev.ID] <= 1
		})
		offer, reply := a.offer(t, "x", 0), a.message(t, trader.public, "an answer")
		a.publish(offer, reply)
		within("all is confirmed", func() bool { return a.health(url).Waiting == 0 && count(reply.ID) == 2 })
		if n := count(offer.ID); n > 2 {
			t.Errorf("an order that the relay has was sent %d times", n)
		}

		// OK without keeping.
		p.set(func(ev *nostr.Event) (lost, unanswered bool) { return ev.Kind == kindOrder, false })
		gone := a.offer(t, "y", 0)
		a.publish(gone)
		within("the relay has confirmed", func() bool { return a.health(url).Waiting == 0 })
		if p.has(gone.ID) {
			t.Fatal("the relay keeps what it should lose")
		}
		c.set(refused)
		p.set(nil)
		time.Sleep(10 * time.Minute)
		c.set(whole)
		within("what it lost is there again", func() bool { return p.has(gone.ID) })
		if h := a.health(url); h.Waiting != 0 || !p.has(offer.ID) || !p.has(reply.ID) {
			t.Errorf("health: %+v", h)
		}
	})
}

// TestC3NeverOK: a relay that takes events and never says OK is given no peace and no storm; what a Mostro followed
// there publishes comes all the while.
func TestC3NeverOK(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, b := newCable(), newPerson(t)
		p := newPlainIn(t, 500, "", c.listen)
		var sent atomic.Int64
		p.set(func(*nostr.Event) (lost, unanswered bool) { sent.Add(1); return false, true })
		a := newInstance(t, "a")
		a.listen, a.cfg.Dial, a.cfg.Outside = newCable().listen, c.dial, []string{hostileURL}
		a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{hostileURL}}}
		a.start()
		for i := range 10 {
			own, other := a.offer(t, fmt.Sprint(i), 0), b.offer(t, fmt.Sprint(i), 0)
			a.publish(own)
			p.publish(other)
			eventually(t, "the other's offer is here", func() bool { return a.has(other.ID) })
			eventually(t, "the own offer is there", func() bool { return p.has(own.ID) })
			time.Sleep(time.Minute)
		}
		h := a.health(hostileURL)
		t.Logf("%d events were sent for 10 over %d connections: %s", sent.Load(), h.Sessions, h.Error)
		if h.Published != 0 || sent.Load() > 30 || h.Sessions > 60 {
			t.Errorf("%d events were sent over %d connections, %d confirmed", sent.Load(), h.Sessions, h.Published)
		}
	})
}

// TestC3MailFlood: a stranger who floods a client's key at the relay of a Mostro does not hold up its
// book, and the Mostro's answers, which drown in it, come a while later.
func TestC3MailFlood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, b, reader, stranger := newCable(), newPerson(t), newPerson(t), newPerson(t)
		p := newPlainIn(t, 50, "", c.listen)
		a := newInstance(t, "a")
		a.listen, a.cfg.Dial = newCable().listen, c.dial
		a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{"ws://relay.test"}}}
		a.start()
		a.mirror.interest.add(mailbox{reader.public, ""}, claimant{from: near})
		first := b.message(t, reader.public, "first")
		p.add(first)
		eventually(t, "mail comes", func() bool { return a.has(first.ID) })
		for i := range letterBurst + 500 {
			p.add(stranger.sign(t, nostr.Event{Kind: 1059, Content: fmt.Sprint(i), Tags: nostr.Tags{{"p", reader.public}}}))
		}
		answer, offer := b.message(t, reader.public, "an answer"), b.offer(t, "x", 0)
		p.add(answer, offer)
		began := time.Now()
		eventually(t, "the book is up to date", func() bool { return a.has(offer.ID) })
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the book was held up for %s", took)
		}
		for !a.has(answer.ID) {
			if time.Since(began) > 2*checkEvery {
				t.Fatal("the answer never comes")
			}
			time.Sleep(time.Second)
		}
		t.Logf("the answer came after %s", time.Since(began))
	})
}

// away is another relay at the end of a cable.
type away struct {
	url      string
	add      func(nostr.Event)
	has      func(id string) bool
	followed atomic.Pointer[string]
}

func newAway(t *testing.T, c *cable, full bool) *away {
	w := &away{url: "ws://relay.test"}
	if !full {
		p := newPlainIn(t, 50, "", c.listen)
		w.add, w.has = p.publish, p.has
		return w
	}
	i := newInstance(t, "away")
	i.listen = c.listen
	i.change = func(cfg *relay.Config) {
		cfg.Followed = func(pubkey string) bool { who := w.followed.Load(); return who != nil && *who == pubkey }
	}
	i.start()
	w.add = func(ev nostr.Event) {
		if err := i.relay.Publish(context.Background(), ev); err != nil {
			t.Error(err)
		}
	}
	w.has = i.has
	return w
}
