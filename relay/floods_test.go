package relay

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// attack runs until ctx ends. It may open connections at url and must not fail when the relay
// closes them.
type attack func(ctx context.Context, t *testing.T, url string)

// swarm runs n of the same attacker.
func swarm(n int, one func(ctx context.Context, url string)) attack {
	return func(ctx context.Context, _ *testing.T, url string) {
		var all sync.WaitGroup
		for range n {
			all.Go(func() { one(ctx, url) })
		}
		all.Wait()
	}
}

// connect opens a connection of an attacker, which ends with ctx.
func connect(ctx context.Context, url string) *websocket.Conn {
	conn, _, err := websocket.DefaultDialer.DialContext(ctx, url, nil)
	if err != nil {
		return nil
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	return conn
}

// repeat sends frames again and again, and reads what comes back when it reads.
func repeat(n int, reads bool, next func(i int) string) attack {
	return swarm(n, func(ctx context.Context, url string) {
		for ctx.Err() == nil {
			conn := connect(ctx, url)
			if conn == nil {
				continue
			}
			if reads {
				go func() {
					for {
						if _, _, err := conn.ReadMessage(); err != nil {
							return
						}
					}
				}()
			}
			for i := 0; ; i++ {
				if conn.WriteMessage(websocket.TextMessage, []byte(next(i))) != nil {
					break
				}
				time.Sleep(time.Millisecond) // a thousand a second on each connection
			}
		}
	})
}

// bytesOf sends raw bytes on sockets that speak TCP.
func bytesOf(n int, handshake bool, b []byte, pause time.Duration) attack {
	return swarm(n, func(ctx context.Context, url string) {
		for ctx.Err() == nil {
			// An attacker has another address than his victims.
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
			conn, err := dialer.Dial("tcp", strings.TrimPrefix(url, "ws://"))
			if err != nil {
				continue
			}
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			if handshake {
				fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			}
			for at := 0; err == nil; at++ {
				if pause == 0 {
					_, err = conn.Write(b)
					time.Sleep(time.Millisecond)
					continue
				}
				_, err = conn.Write(b[at%len(b) : at%len(b)+1])
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
			stop()
			conn.Close()
		}
	})
}

// innocent does what a client does, n times, and returns how long each took, sorted.
func innocent(t *testing.T, url string, n int) []time.Duration {
	t.Helper()
	secret := nostr.GeneratePrivateKey()
	events := make([]nostr.Event, n)
	for i := range events {
		events[i] = signed(t, secret, nostr.Event{Kind: 1, Content: fmt.Sprint(i)})
	}
	w := dial(t, url)
	reader := dial(t, url)
	reader.write(`["REQ","live",{"authors":["` + publicKey(t, secret) + `"],"limit":0}]`)
	reader.next()
	var took []time.Duration
	for i := range events {
		began := time.Now()
		if ok, reason := w.publish(events[i]); !ok {
			t.Fatal(reason)
		}
		if got := reader.event(reader.next()); got.ID != events[i].ID {
			t.Fatalf("live event %s", got.ID)
		}
		if found := w.query(`{"ids":["` + events[i].ID + `"]}`); len(found) != 1 {
			t.Fatal("a stored event was not found")
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took
}

// TestC3Floods: under each attack an innocent client is answered: what it publishes is stored,
// goes to its subscription and is found. How much slower it gets is told and not judged: attackers,
// client and relay share this machine's processors here.
func TestC3Floods(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	node := publicKey(t, nodeKey)
	stranger := nostr.GeneratePrivateKey()
	forgery := forged(nostr.Event{Kind: 1, CreatedAt: nostr.Now(), PubKey: publicKey(t, stranger)}).String()
	known := signed(t, stranger, nostr.Event{Kind: 1, Content: "known"}).String()
	wraps := make([]string, 200)
	for i := range wraps {
		wraps[i] = `["EVENT",` + signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1059, Content: fmt.Sprint(i), Tags: nostr.Tags{{"p", node}}}).String() + `]`
	}
	big := `["EVENT",` + signed(t, stranger, nostr.Event{Kind: 20_001, Content: strings.Repeat("x", 60_000)}).String() + `]`
	many := func(n int, value func(i int) string) string {
		var values []string
		for i := range n {
			values = append(values, value(i))
		}
		return strings.Join(values, ",")
	}
	hexes := many(500, func(i int) string { return fmt.Sprintf(`"%064x"`, i) })
	numbers := many(500, func(i int) string { return fmt.Sprint(i) })
	wide := `{"authors":[` + hexes + `],"kinds":[` + numbers + `]}`
	for _, c := range []struct {
		name   string
		attack attack
	}{
		{"nobody", func(ctx context.Context, _ *testing.T, _ string) { <-ctx.Done() }},
		{"handshakes at a byte a second", bytesOf(200, false, []byte("GET / HTTP/1.1\r\nX: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), time.Second)},
		{"connections without end", bytesOf(8, true, []byte{final | opClose, 0x80, 0, 0, 0, 0}, 0)},
		{"half-open sessions", bytesOf(200, true, []byte{opText, 0xFE, 0xFF, 0xFF}, time.Second)},
		{"announced gigabytes", bytesOf(4, true, []byte{final | opText, 0xFF, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4}, 0)},
		{"parts of one byte", bytesOf(4, true, slices.Concat(clientFrame(opText, []byte("x")), slices.Repeat(clientFrame(opContinue, []byte("x")), 2000)), 0)},
		{"pings", bytesOf(4, true, clientFrame(final|opPing, make([]byte, 125)), 0)},
		{"readers that do not read", func(ctx context.Context, t *testing.T, url string) {
			swarm(20, func(ctx context.Context, url string) {
				for ctx.Err() == nil {
					if conn := connect(ctx, url); conn != nil && conn.WriteMessage(websocket.TextMessage, []byte(`["REQ","a",{}]`)) == nil {
						select {
						case <-ctx.Done():
						case <-time.After(time.Second):
						}
					}
				}
			})(ctx, t, url)
		}},
		{"big events to readers that do not read", func(ctx context.Context, t *testing.T, url string) {
			var both sync.WaitGroup
			both.Go(func() { repeat(10, false, func(int) string { return `["REQ","a",{"kinds":[20001]}]` })(ctx, t, url) })
			both.Go(func() { repeat(2, true, func(int) string { return big })(ctx, t, url) })
			both.Wait()
		}},
		{"forged signatures", repeat(8, true, func(int) string { return `["EVENT",` + forgery + `]` })},
		{"known events", repeat(4, true, func(int) string { return `["EVENT",` + known + `]` })},
		{"gift wraps to the node", repeat(8, true, func(i int) string { return wraps[i%len(wraps)] })},
		{"20,000 filters", repeat(4, true, func(int) string { return `["REQ","a"` + strings.Repeat(`,{}`, 20_000) + `]` })},
		{"wide filters", repeat(4, true, func(i int) string { return fmt.Sprintf(`["REQ","%d",%s,%s]`, i, wide, wide) })},
		{"subscriptions", repeat(4, true, func(i int) string { return fmt.Sprintf(`["REQ","%d",{"#t":["%d"]}]`, i, i) })},
		{"everything", repeat(8, true, func(i int) string { return fmt.Sprintf(`["REQ","%d",{}]`, i%40) })},
		{"counting everything", repeat(8, true, func(int) string { return `["COUNT","a",{}]` })},
		{"searches", repeat(4, true, func(int) string { return `["REQ","a",{"search":"q w e r t z"}]` })},
		{"negentropy", repeat(4, true, func(i int) string { return fmt.Sprintf(`["NEG-OPEN","%d",{},"6100000200"]`, i) })},
		{"logins", repeat(4, true, func(int) string { return `["AUTH",` + forgery + `]` })},
		{"nonsense", repeat(4, true, func(int) string { return strings.Repeat("[", 100_000) })},
	} {
		t.Run(c.name, func(t *testing.T) {
			limits := DefaultLimits()
			limits.HalfOpen, limits.QueueBytes = 100, 1<<20
			r, url := serveWhole(t, Config{Dir: t.TempDir(), Limits: limits, Receive: func(context.Context, *nostr.Event) error {
				time.Sleep(time.Millisecond) // a decryption
				return nil
			}})
			for i := range 300 {
				ev := nostr.Event{Kind: 1, PubKey: publicKey(t, stranger), Content: fmt.Sprint(i, strings.Repeat(" word", 200)), Sig: strings.Repeat("0", 128), CreatedAt: nostr.Now()}
				ev.ID = ev.GetID()
				if err := r.Publish(t.Context(), ev); err != nil {
					t.Fatal(err)
				}
			}
			quiet := innocent(t, url, rounds)
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				c.attack(ctx, t, url)
			}()
			attacked := innocent(t, url, rounds)
			stop()
			<-ended
			p99 := func(d []time.Duration) time.Duration { return d[len(d)*99/100] }
			t.Logf("p99 %v, without the attack %v: %.1f times as long", p99(attacked).Round(100*time.Microsecond),
				p99(quiet).Round(100*time.Microsecond), float64(p99(attacked))/float64(p99(quiet)))
		})
	}
}
