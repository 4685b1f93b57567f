package mirror

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// cutter is a listener whose connections can be cut.
type cutter struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cutter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		c.conns = append(c.conns, conn)
		c.mu.Unlock()
	}
	return conn, err
}

func (c *cutter) all() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// listen serves, also again after stop.
func (p *plain) listen(t testing.TB, address string) {
	t.Helper()
	listener := p.listens(t, address)
	cut := &cutter{Listener: listener}
	handler := sockets(t, func() func(func(...any), string, []json.RawMessage) {
		mine := make(map[string]*plainSub)
		var by manner
		if p.manner != nil {
			by = p.manner()
		}
		return func(say func(...any), label string, parts []json.RawMessage) {
			if by == nil || !by(say, label, parts) {
				p.answer(mine, say, label, parts)
			}
		}
	})
	if p.about != "" {
		handler = saying(p.about, handler)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(cut)
	p.url = "ws://" + listener.Addr().String()
	p.cut = cut.all
	p.stop = func() {
		server.Close()
		cut.all()
	}
	t.Cleanup(func() { p.stop() })
}

// sockets serves WebSockets: each connection gets a function that answers its frames.
func sockets(t testing.TB, begin func() func(say func(parts ...any), label string, parts []json.RawMessage)) http.Handler {
	upgrader := websocket.Upgrader{}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Accept") == "application/nostr+json" {
			fmt.Fprint(w, `{"supported_nips":[1]}`)
			return
		}
		conn, err := upgrader.Upgrade(w, req, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		var writing sync.Mutex
		say := func(parts ...any) {
			out, err := json.Marshal(parts)
			if err != nil {
				t.Error(err)
			}
			writing.Lock()
			defer writing.Unlock()
			_ = conn.WriteMessage(websocket.TextMessage, out)
		}
		answer := begin()
		for {
			_, frame, err := conn.ReadMessage()
			if err != nil {
				return
			}
			var parts []json.RawMessage
			var label string
			if json.Unmarshal(frame, &parts) != nil || len(parts) < 2 || json.Unmarshal(parts[0], &label) != nil {
				return
			}
			answer(say, label, parts[1:])
		}
	})
}

// liar is a relay that answers by a script: each frame goes to answer, which may send anything.
func liar(t testing.TB, answer func(say func(parts ...any), label string, parts []json.RawMessage)) string {
	t.Helper()
	server := httptest.NewServer(sockets(t, func() func(func(...any), string, []json.RawMessage) { return answer }))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

// client is a client that sends and reads frames as they are.
type client struct {
	testing.TB
	*websocket.Conn
	unread *[][]json.RawMessage
}

func dialClient(t testing.TB, url string) client {
	t.Helper()
	return dialClientBy(t, Direct, url)
}

func dialClientBy(t testing.TB, dial Dial, url string) client {
	t.Helper()
	conn, _, err := (&websocket.Dialer{NetDialContext: dial}).Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return client{t, conn, new([][]json.RawMessage)}
}

func (c client) say(parts ...any) {
	c.Helper()
	if err := c.WriteJSON(parts); err != nil {
		c.Fatal(err)
	}
}

// hear waits for a frame with the label. Others stay unread.
func (c client) hear(label string) []json.RawMessage {
	c.Helper()
	is := func(parts []json.RawMessage) bool { return string(parts[0]) == `"`+label+`"` }
	if at := slices.IndexFunc(*c.unread, is); at >= 0 {
		parts := (*c.unread)[at]
		*c.unread = slices.Delete(*c.unread, at, at+1)
		return parts
	}
	for {
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			c.Fatal(err)
		}
		var parts []json.RawMessage
		if err := c.ReadJSON(&parts); err != nil {
			c.Fatalf("waiting for %s: %v", label, err)
		}
		if is(parts) {
			return parts
		}
		*c.unread = append(*c.unread, parts)
	}
}

// send publishes an event and returns the relay's answer.
func (c client) send(ev nostr.Event) (ok bool, reason string) {
	c.Helper()
	c.say("EVENT", ev)
	parts := c.hear("OK")
	if err := json.Unmarshal(parts[2], &ok); err != nil {
		c.Fatal(err)
	}
	if err := json.Unmarshal(parts[3], &reason); err != nil {
		c.Fatal(err)
	}
	return ok, reason
}
