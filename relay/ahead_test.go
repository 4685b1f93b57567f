package relay

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
)

// TestC3Withdrawn: a request that is being worked on ends when its client takes it back or leaves, whatever
// else it has sent meanwhile; and one that has said all, and reads on, gets its answer.
func TestC3Withdrawn(t *testing.T) {
	const orders = 6000
	var (
		looked atomic.Int64           // orders that were looked at
		begun  func()                 // called when some were
		done   atomic.Pointer[func()] // waits until the client has done something
	)
	limits := DefaultLimits()
	limits.QueryTime = time.Hour
	r, url := serveWhole(t, Config{Limits: limits, Federation: Federation{Hidden: func(int, string, reconcile.ID) bool {
		n := looked.Add(1)
		if n == 100 { // fewer than the store looks at in one step
			begun()
			(*done.Load())()
		}
		if n%4 == 0 {
			time.Sleep(time.Millisecond) // so that several looks for a message are made
		}
		return true
	}}})
	author := publicKey(t, nostr.GeneratePrivateKey())
	var evs []nostr.Event
	for i := range orders {
		ev := nostr.Event{Kind: kindOrder, PubKey: author, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"d", fmt.Sprint(i)}}, Sig: strings.Repeat("0", 128)}
		ev.ID = ev.GetID()
		evs = append(evs, ev)
	}
	if err := r.Publish(t.Context(), evs...); err != nil {
		t.Fatal(err)
	}
	send := func(w *websocket.Conn, messages ...string) {
		for _, message := range messages {
			if err := w.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
				t.Fatal(err)
			}
		}
	}
	gone := func(t *testing.T) {
		t.Helper()
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			r.mu.Lock()
			n := len(r.sessions)
			r.mu.Unlock()
			if n == 0 {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d sessions are left", n)
			}
		}
	}
	const (
		count = `["COUNT","a",{"kinds":[38383]}]`
		other = `["REQ","b",{"limit":0}]`
	)
	noise := strings.Split(strings.Repeat(`["CLOSE","`+strings.Repeat("x", 60)+`"] `, 100), " ")[:100] // more than is read ahead
	for _, c := range []struct {
		name, request string
		then          func(w *websocket.Conn)
		answer        string // the next one, "" = the session ends
		whole         bool   // the request is worked on to its end
	}{
		{"COUNT", count, func(w *websocket.Conn) { send(w, `["CLOSE","c"]`, other, `["CLOSE","a"]`) }, "EOSE b", false},
		{"REQ", `["REQ","a",{"kinds":[38383]}]`, func(w *websocket.Conn) { send(w, `["CLOSE","a"]`, other) }, "EOSE b", false},
		{"NEG-OPEN", `["NEG-OPEN","a",{"kinds":[38383]},"6100000200"]`, func(w *websocket.Conn) { send(w, `["NEG-CLOSE","a"]`, other) }, "EOSE b", false},
		{"of another", count, func(w *websocket.Conn) { send(w, `["CLOSE","b"]`, `["NEG-CLOSE","a"]`) }, `COUNT a {"count":0}`, true},
		{"goodbye", count, func(w *websocket.Conn) {
			_ = w.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(patience))
		}, "", false},
		{"gone", count, func(w *websocket.Conn) { w.Close() }, "", false},
		{"gone after much else", count, func(w *websocket.Conn) { send(w, noise...); w.Close() }, "", false},
		{"reset", count, func(w *websocket.Conn) { _ = w.NetConn().(*net.TCPConn).SetLinger(0); w.Close() }, "", false},
		{"reads on", count, func(w *websocket.Conn) { _ = w.NetConn().(*net.TCPConn).CloseWrite() }, `COUNT a {"count":0}`, true},
		{"reads on after much else", count, func(w *websocket.Conn) { send(w, noise...); _ = w.NetConn().(*net.TCPConn).CloseWrite() }, `COUNT a {"count":0}`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			looked.Store(0)
			at, may := make(chan struct{}), make(chan struct{})
			begun = sync.OnceFunc(func() { close(at) })
			wait := func() { <-may }
			done.Store(&wait)
			w := dial(t, url)
			w.write(c.request)
			select {
			case <-at:
			case <-time.After(patience):
				t.Fatal("the request is not worked on")
			}
			c.then(w.Conn)
			close(may)
			if c.answer == "" {
				gone(t)
			} else if got := w.text(); got != c.answer {
				t.Errorf("answer %s, want %s", got, c.answer)
			}
			if n := looked.Load(); (n == orders) != c.whole {
				t.Errorf("%d of %d orders were looked at", n, orders)
			}
			w.Close()
			gone(t)
		})
	}
}
