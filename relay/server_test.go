package relay

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/google/go-cmp/cmp"
)

// serveWhole starts a relay with its own HTTP server in front.
func serveWhole(t testing.TB, cfg Config) (*Relay, string) {
	t.Helper()
	if cfg.Pubkey == "" {
		cfg.Pubkey = publicKey(t, nodeKey)
	}
	r, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := r.Server()
	ended := make(chan error)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := r.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		_ = server.Close()
		<-ended
	})
	return r, "ws://" + listener.Addr().String()
}

// TestC3SlowHandshakes: a crowd of connections that never send a whole request keeps nobody
// out, and the oldest of them go.
func TestC3SlowHandshakes(t *testing.T) {
	limits := DefaultLimits()
	limits.HalfOpen = 20
	_, url := serveWhole(t, Config{Limits: limits})
	address := url[len("ws://"):]
	first, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	w := dial(t, url) // a session does not count
	for range 100 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHo")); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("the oldest half-open connection is served")
	} else if fault, ok := err.(net.Error); ok && fault.Timeout() {
		t.Error("the oldest half-open connection is kept")
	}
	alive(t, url)
	w.write(`["REQ","a",{"limit":0}]`)
	if got := w.text(); got != "EOSE a" {
		t.Error(got)
	}
	// A connection that has sent its request makes room.
	for range 50 {
		if status, _ := get(t, "http"+url[2:]+"/healthz", nil); status != http.StatusOK {
			t.Fatal(status)
		}
	}
}

// dialFrom opens a session from another address of this machine.
func dialFrom(t testing.TB, url, address string) (wire, error) {
	t.Helper()
	dialer := websocket.Dialer{NetDialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext}
	conn, _, err := dialer.Dial(url, nil)
	if err != nil {
		return wire{}, err
	}
	t.Cleanup(func() { conn.Close() })
	return wire{t, conn}, nil
}

// TestC3ConnectionsOfOneAddress: who takes all connections loses them to those who have none.
func TestC3ConnectionsOfOneAddress(t *testing.T) {
	limits := DefaultLimits()
	limits.Connections = 10
	_, url := serveWhole(t, Config{Limits: limits})
	var greedy []wire
	for range limits.Connections {
		w, err := dialFrom(t, url, "127.0.0.2")
		if err != nil {
			t.Fatal(err)
		}
		w.write(`["REQ","a",{"limit":0}]`)
		if got := w.text(); got != "EOSE a" {
			t.Fatal(got)
		}
		greedy = append(greedy, w)
	}
	if _, err := dialFrom(t, url, "127.0.0.2"); err == nil {
		t.Error("an address that has all connections got one more")
	}
	var innocent []wire
	for range limits.Connections / 2 {
		w, err := dialFrom(t, url, "127.0.0.3")
		if err != nil {
			t.Fatal(err)
		}
		innocent = append(innocent, w)
	}
	// Half each: now everybody stays.
	if _, err := dialFrom(t, url, "127.0.0.3"); err == nil {
		t.Error("an address got more than its half")
	}
	for i, w := range greedy[:limits.Connections/2] {
		if got := w.text(); got != "NOTICE rate-limited: your address has too many connections" {
			t.Errorf("greedy %d: %s", i, got)
		}
		if err := w.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.ReadMessage(); !websocket.IsCloseError(err, websocket.ClosePolicyViolation) {
			t.Errorf("greedy %d: %v", i, err)
		}
	}
	for _, w := range append(innocent, greedy[limits.Connections/2:]...) {
		w.write(`["REQ","b",{"limit":0}]`)
		if got := w.text(); got != "EOSE b" {
			t.Error(got)
		}
	}
}

// TestC3SlowBodies: a request whose body does not come holds no place for long, and none that
// others need.
func TestC3SlowBodies(t *testing.T) {
	limits := DefaultLimits()
	limits.HalfOpen = 20
	_, url := serveWhole(t, Config{Limits: limits, ServiceURL: serviceURL})
	var first net.Conn
	for i := range 100 {
		conn, err := net.Dial("tcp", url[len("ws://"):])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if first == nil {
			first = conn
		}
		if _, err := fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/nostr+json+rpc\r\nContent-Length: 60000\r\n\r\n{"); err != nil && i < limits.HalfOpen {
			t.Fatal(err)
		}
	}
	if err := first.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, first); err != nil {
		if fault, ok := err.(net.Error); ok && fault.Timeout() {
			t.Error("the oldest unfinished request is kept")
		}
	}
	w, _ := greet(t, url)
	w.write(`["REQ","a",{"limit":0}]`)
	if got := w.text(); got != "EOSE a" {
		t.Error(got)
	}
}

func TestC3TrustedProxies(t *testing.T) {
	r := &Relay{cfg: Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}}}
	for _, c := range []struct {
		peer, forwarded, real, want string
	}{
		{"203.0.113.5:77", "198.51.100.1", "", "203.0.113.5:77"}, // anybody can send headers
		{"203.0.113.5:77", "", "198.51.100.1", "203.0.113.5:77"},
		{"10.1.2.3:77", "198.51.100.1", "", "198.51.100.1:0"},
		{"10.1.2.3:77", "1.1.1.1, 198.51.100.1", "", "198.51.100.1:0"}, // what the client wrote stands left
		{"10.1.2.3:77", "198.51.100.1, 10.9.9.9", "", "198.51.100.1:0"},
		{"10.1.2.3:77", "junk, 10.9.9.9", "", "10.9.9.9:0"},
		{"10.1.2.3:77", "198.51.100.1, junk", "", "10.1.2.3:77"},
		{"10.1.2.3:77", "", "198.51.100.1", "198.51.100.1:0"},
		{"10.1.2.3:77", "198.51.100.1, junk", "1.1.1.1", "10.1.2.3:77"}, // X-Real-Ip is what the client wrote
		{"10.1.2.3:77", "198.51.100.1:5678", "1.1.1.1", "198.51.100.1:0"},
		{"10.1.2.3:77", "1.1.1.1, [2001:db8::7]:443", "1.1.1.1", "[2001:db8::7]:0"},
		{"10.1.2.3:77", "[2001:db8::7]", "", "[2001:db8::7]:0"},
		{"10.1.2.3:77", "198.51.100.1:5678, 10.9.9.9:1", "", "198.51.100.1:0"},
		{"10.1.2.3:77", "", "", "10.1.2.3:77"},
		{"[::1]:77", "2001:db8::7", "", "[2001:db8::7]:0"},
		{"[::1]:77", "::ffff:198.51.100.1", "", "198.51.100.1:0"},
	} {
		req := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-Proto": {"https"}, "Accept": {"x"}}}
		if c.forwarded != "" {
			req.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if c.real != "" {
			req.Header.Set("X-Real-Ip", c.real)
		}
		r.believe(req)
		if req.RemoteAddr != c.want {
			t.Errorf("peer %s, forwarded %q, real %q: client %s, want %s", c.peer, c.forwarded, c.real, req.RemoteAddr, c.want)
		}
		if diff := cmp.Diff(http.Header{"Accept": {"x"}}, req.Header); diff != "" {
			t.Error(diff)
		}
	}
}
