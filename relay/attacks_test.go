package relay

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	neturl "net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip44"
)

// attack runs until ctx ends. It may open connections at url and must not fail when the relay
// closes them.
type attack func(ctx context.Context, t *testing.T, url string)

// swarm runs n of the same attacker.
func swarm(n int, one func(ctx context.Context, url string)) attack {
	return swarmFrom(1, n, func(ctx context.Context, _ net.Dialer, url string) { one(ctx, url) })
}

// swarmFrom is swarm from several addresses.
func swarmFrom(addresses, n int, one func(ctx context.Context, from net.Dialer, url string)) attack {
	return func(ctx context.Context, _ *testing.T, url string) {
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() { one(ctx, attackerAt(i%addresses), url) })
		}
		all.Wait()
	}
}

// attackers' connections come from other addresses than his victims'.
func attackerAt(i int) net.Dialer {
	return net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i))}}
}

var fromAttacker = attackerAt(0)

// connect opens a connection of an attacker, which ends with ctx. He says that he is somebody
// else each time.
func connect(ctx context.Context, url string) *websocket.Conn {
	return connectFrom(ctx, fromAttacker, url)
}

func connectFrom(ctx context.Context, from net.Dialer, url string) *websocket.Conn {
	dialer := websocket.Dialer{NetDialContext: from.DialContext, EnableCompression: true}
	header := http.Header{"X-Forwarded-For": {fmt.Sprintf("203.0.%d.%d", rand.IntN(256), rand.IntN(256))}}
	conn, _, err := dialer.DialContext(ctx, url, header)
	if err != nil {
		return nil
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	return conn
}

// repeat sends frames again and again, and reads what comes back when it reads.
func repeat(n int, reads bool, next func(i int) string) attack { return repeatFrom(1, n, reads, next) }

func repeatFrom(addresses, n int, reads bool, next func(i int) string) attack {
	return swarmFrom(addresses, n, func(ctx context.Context, from net.Dialer, url string) {
		for ctx.Err() == nil {
			conn := connectFrom(ctx, from, url)
			if conn == nil {
				time.Sleep(time.Millisecond)
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
			for i := 0; ctx.Err() == nil; i++ {
				if conn.WriteMessage(websocket.TextMessage, []byte(next(i))) != nil {
					break
				}
				time.Sleep(time.Millisecond) // a thousand a second on each connection
			}
		}
	})
}

// requests sends HTTP requests, one after another on each of n connections.
func requests(n int, next func() *http.Request) attack {
	return swarm(n, func(ctx context.Context, url string) {
		client := http.Client{Transport: &http.Transport{DialContext: fromAttacker.DialContext}}
		defer client.CloseIdleConnections()
		for ctx.Err() == nil {
			req := next().WithContext(ctx)
			req.URL = &neturl.URL{Scheme: "http", Host: strings.TrimPrefix(url, "ws://"), Path: "/"}
			if res, err := client.Do(req); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// forgedLogins sends logins for the challenge of each connection, in which only the signature is wrong.
func forgedLogins(addresses, n int) attack {
	return swarmFrom(addresses, n, func(ctx context.Context, from net.Dialer, url string) {
		for ctx.Err() == nil {
			conn := connectFrom(ctx, from, url)
			if conn == nil {
				time.Sleep(time.Millisecond)
				continue
			}
			var greeting [2]string
			err := conn.ReadJSON(&greeting)
			for i := 0; err == nil && ctx.Err() == nil; i++ {
				ev := forged(nostr.Event{Kind: 22242, CreatedAt: nostr.Now(), PubKey: "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", Content: fmt.Sprint(i),
					Tags: nostr.Tags{{"relay", serviceURL}, {"challenge", greeting[1]}}})
				if err = conn.WriteMessage(websocket.TextMessage, []byte(`["AUTH",`+ev.String()+`]`)); err == nil {
					_, _, err = conn.ReadMessage()
				}
			}
		}
	})
}

// bytesOf sends raw bytes on sockets that speak TCP.
func bytesOf(n int, handshake bool, b []byte, pause time.Duration) attack {
	return swarm(n, func(ctx context.Context, url string) {
		for ctx.Err() == nil {
			conn, err := fromAttacker.Dial("tcp", strings.TrimPrefix(url, "ws://"))
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

// attacks are what an attacker can do to a relay of the node, by name.
func attacks(t *testing.T) []namedAttack {
	node := publicKey(t, nodeKey)
	stranger := nostr.GeneratePrivateKey()
	forgery := forged(nostr.Event{Kind: 1, CreatedAt: nostr.Now(), PubKey: publicKey(t, stranger)}).String()
	known := signed(t, stranger, nostr.Event{Kind: 1, Content: "known"}).String()
	wraps := make([]string, 200)
	for i := range wraps {
		secret := nostr.GeneratePrivateKey()
		shared, err := nip44.GenerateConversationKey(node, secret)
		if err != nil {
			t.Fatal(err)
		}
		content, err := nip44.Encrypt(strings.Repeat("x", 1000), shared)
		if err != nil {
			t.Fatal(err)
		}
		wraps[i] = `["EVENT",` + signed(t, secret, nostr.Event{Kind: 1059, Content: content, Tags: nostr.Tags{{"p", node}}}).String() + `]`
	}
	var notes []string
	for i := range 2000 {
		notes = append(notes, signed(t, stranger, nostr.Event{Kind: 1, Content: fmt.Sprint("note ", i)}).String())
	}
	var long []string // notes that each of the widest subscriptions is compared with, and none matches
	for i := range 20 {
		tags := nostr.Tags{{"x", "a"}}
		for n := range 950 {
			tags = append(tags, nostr.Tag{"t", fmt.Sprintf("%064x", 1000+n)})
		}
		long = append(long, signed(t, stranger, nostr.Event{Kind: 1, Content: fmt.Sprint("long note ", i), Tags: tags}).String())
	}
	var deletions, vanishing []string
	for i := range 100 {
		secret := nostr.GeneratePrivateKey()
		var tags nostr.Tags
		for n := range 500 {
			tags = append(tags, nostr.Tag{"e", fmt.Sprintf("%032x%032x", i, n)})
		}
		deletions = append(deletions, `["EVENT",`+signed(t, secret, nostr.Event{Kind: 5, Tags: tags}).String()+`]`)
		vanishing = append(vanishing, `["EVENT",`+signed(t, secret, nostr.Event{Kind: 62, Tags: nostr.Tags{{"relay", "ALL_RELAYS"}}}).String()+`]`)
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
	return []namedAttack{
		{"nobody", func(ctx context.Context, _ *testing.T, _ string) { <-ctx.Done() }},
		{"handshakes at a byte a second", bytesOf(3000, false, []byte("GET / HTTP/1.1\r\nX: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), time.Second)},
		{"bodies at a byte a second", bytesOf(200, false, []byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/nostr+json+rpc\r\nContent-Length: 60000\r\n\r\n{{{{{{{"), time.Second/10)},
		{"requests for the description", requests(8, func() *http.Request {
			return &http.Request{Method: http.MethodGet, Header: http.Header{"Accept": {"application/nostr+json"}}}
		})},
		{"calls to the management", requests(8, func() *http.Request {
			authorization := "Nostr " + base64.StdEncoding.EncodeToString([]byte(forgery))
			return &http.Request{Method: http.MethodPost, Body: io.NopCloser(strings.NewReader(strings.Repeat("x", 60_000))),
				Header: http.Header{"Content-Type": {"application/nostr+json+rpc"}, "Authorization": {authorization}}}
		})},
		{"all connections", swarm(400, func(ctx context.Context, url string) {
			for ctx.Err() == nil {
				if conn := connect(ctx, url); conn != nil {
					_, _, _ = conn.ReadMessage() // until it is dismissed
					conn.Close()
				}
				time.Sleep(10 * time.Millisecond)
			}
		})},
		{"compressed frames", bytesOf(4, true, clientFrame(final|0x40|opText, make([]byte, 1000)), 0)},
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
		{"forged signatures", repeat(20, true, func(int) string { return `["EVENT",` + forgery + `]` })},
		{"signed events", repeat(8, true, func(i int) string { return `["EVENT",` + notes[i%len(notes)] + `]` })},
		{"known events", repeat(4, true, func(int) string { return `["EVENT",` + known + `]` })},
		{"gift wraps to the node", repeat(8, true, func(i int) string { return wraps[i%len(wraps)] })},
		{"20,000 filters", repeat(4, true, func(int) string { return `["REQ","a"` + strings.Repeat(`,{}`, 20_000) + `]` })},
		{"wide filters", repeat(4, true, func(i int) string { return fmt.Sprintf(`["REQ","%d",%s,%s]`, i, wide, wide) })},
		{"subscriptions", repeat(4, true, func(i int) string { return fmt.Sprintf(`["REQ","%d",{"#t":["%d"]}]`, i, i) })},
		{"everything, on a hundred connections", repeat(100, true, func(i int) string { return fmt.Sprintf(`["REQ","%d",{}]`, i%40) })},
		{"everything", repeat(8, true, func(i int) string { return fmt.Sprintf(`["REQ","%d",{}]`, i%40) })},
		{"counting everything", repeat(8, true, func(int) string { return `["COUNT","a",{}]` })},
		{"searches", repeat(4, true, func(int) string { return `["REQ","a",{"search":"q w e r t z"}]` })},
		{"negentropy", repeat(4, true, func(i int) string { return fmt.Sprintf(`["NEG-OPEN","%d",{},"6100000200"]`, i) })},
		{"logins", repeat(4, true, func(int) string { return `["AUTH",` + forgery + `]` })},
		{"wide filters from 16 addresses", repeatFrom(16, 16, true, func(i int) string { return fmt.Sprintf(`["REQ","%d",%s,%s]`, i, wide, wide) })},
		{"everything from 16 addresses", repeatFrom(16, 32, true, func(i int) string { return fmt.Sprintf(`["REQ","%d",{}]`, i%40) })},
		{"counting 10 times everything from 16 addresses", repeatFrom(16, 32, true, func(int) string { return `["COUNT","a"` + strings.Repeat(`,{}`, 10) + `]` })},
		{"negentropy from 16 addresses", repeatFrom(16, 32, true, func(i int) string { return fmt.Sprintf(`["NEG-OPEN","%d",{},"6100000200"]`, i%4) })},
		{"searches from 16 addresses", repeatFrom(16, 16, true, func(int) string { return `["REQ","a",{"search":"q w e r t z"}]` })},
		{"logins whose signatures must be checked, from 16 addresses", forgedLogins(16, 32)},
		{"gift wraps to the node from 16 addresses", repeatFrom(16, 32, true, func(i int) string { return wraps[i%len(wraps)] })},
		{"deletions of what is not there", repeat(4, true, func(i int) string { return deletions[i%len(deletions)] })},
		{"requests to vanish", repeat(4, true, func(i int) string { return vanishing[i%len(vanishing)] })},
		{"long messages without end", swarm(300, func(ctx context.Context, url string) {
			long := clientFrame(final|opText, make([]byte, 120_000))
			for ctx.Err() == nil {
				if conn := connect(ctx, url); conn != nil {
					_, _ = conn.NetConn().Write(long[:len(long)-1])
					_, _ = io.Copy(io.Discard, conn.NetConn()) // until it is closed
					conn.Close()
				}
				time.Sleep(10 * time.Millisecond)
			}
		})},
		{"like subscriptions, and events for them", func(ctx context.Context, t *testing.T, url string) {
			var both sync.WaitGroup
			both.Go(func() {
				repeat(200, true, func(i int) string { return fmt.Sprintf(`["REQ","%d",{"kinds":[1]}]`, i%50) })(ctx, t, url)
			})
			both.Go(func() {
				repeat(2, true, func(i int) string { return `["EVENT",` + notes[i%len(notes)] + `]` })(ctx, t, url)
			})
			both.Wait()
		}},
		{"wide subscriptions, and long events for them", func(ctx context.Context, t *testing.T, url string) {
			var both sync.WaitGroup
			both.Go(func() {
				repeat(20, true, func(i int) string {
					return fmt.Sprintf(`["REQ","%d",{"kinds":[1],"#x":["a"],"#t":[%s]}]`, i%19, hexes)
				})(ctx, t, url)
			})
			both.Go(func() {
				repeat(2, true, func(i int) string { return `["EVENT",` + long[i%len(long)] + `]` })(ctx, t, url)
			})
			both.Wait()
		}},
		{"connections that come and go", swarm(50, func(ctx context.Context, url string) {
			for ctx.Err() == nil {
				if conn := connect(ctx, url); conn != nil {
					_ = conn.WriteMessage(websocket.TextMessage, []byte(`["REQ","a",{}]`))
					conn.Close()
				}
			}
		})},
		{"everything, from a new address each time", swarm(64, func(ctx context.Context, url string) {
			for ctx.Err() == nil {
				from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))}}
				if conn := connectFrom(ctx, from, url); conn != nil {
					if conn.WriteMessage(websocket.TextMessage, []byte(`["REQ","a",{}]`)) == nil {
						for read := ""; !strings.HasPrefix(read, `["EOSE"`); {
							_, text, err := conn.ReadMessage()
							if read = string(text); err != nil {
								break
							}
						}
					}
					conn.Close()
				}
			}
		})},
		{"nonsense", repeat(4, true, func(int) string { return strings.Repeat("[", 100_000) })},
	}
}

type namedAttack struct {
	name string
	attack
}

const attackVariable = "MOSTRO_TEST_ATTACK"

// TestAttacker is the attacker of TestC3Floods: a process of its own, so that the system and not
// the relay's runtime shares the processors out between them. It ends with its standard input.
func TestAttacker(t *testing.T) {
	name, url, ok := strings.Cut(os.Getenv(attackVariable), " -> ")
	if !ok {
		t.Skip("runs only as the child process of TestC3Floods")
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for _, a := range attacks(t) {
		if a.name == name {
			go func() {
				fmt.Println("attacking")
				_, _ = io.Copy(io.Discard, os.Stdin)
				stop()
			}()
			a.attack(ctx, t, url)
			return
		}
	}
	t.Errorf("there is no attack %q", name)
}
