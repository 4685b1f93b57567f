package relay

import (
	"container/list"
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// Server is an HTTP server for the relay's address, with the limits that a handler cannot set:
// headers come whole within some seconds and are short, and only so many connections may be
// without a whole request, so that a crowd of slow ones keeps nobody out.
func (r *Relay) Server() *http.Server {
	g := &gate{
		most: r.cfg.Limits.HalfOpen,
		at:   make(map[net.Conn]*list.Element), lines: make(map[string]*list.List),
	}
	handler := r.Handler()
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if conn, ok := req.Context().Value(g).(net.Conn); ok {
				g.remove(conn)
			}
			handler.ServeHTTP(w, req)
		}),
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, g, conn)
		},
		ConnState: func(conn net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew, http.StateIdle:
				g.add(conn)
			case http.StateHijacked, http.StateClosed:
				g.remove(conn)
			}
		},
	}
}

// gate knows the connections that have not sent a whole request. When there are too many, the
// oldest of the address that has most of them goes: an attacker pushes out himself first.
type gate struct {
	most int

	mu    sync.Mutex
	at    map[net.Conn]*list.Element
	lines map[string]*list.List // connections by address, the oldest first
}

func (g *gate) add(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at[conn] != nil {
		return
	}
	from := addressOf(conn)
	if g.lines[from] == nil {
		g.lines[from] = list.New()
	}
	g.at[conn] = g.lines[from].PushBack(conn)
	if len(g.at) > g.most {
		var longest *list.List
		for _, line := range g.lines {
			if longest == nil || line.Len() > longest.Len() {
				longest = line
			}
		}
		oldest := longest.Front().Value.(net.Conn)
		g.drop(oldest)
		_ = oldest.Close()
	}
}

func (g *gate) remove(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drop(conn)
}

// drop forgets conn; the caller holds mu.
func (g *gate) drop(conn net.Conn) {
	e := g.at[conn]
	if e == nil {
		return
	}
	delete(g.at, conn)
	from := addressOf(conn)
	if g.lines[from].Remove(e); g.lines[from].Len() == 0 {
		delete(g.lines, from)
	}
}

// addressOf is the address of a peer, for IPv6 its /64, which one subscriber can fill at will.
func addressOf(conn net.Conn) string {
	address, ok := hostOf(conn.RemoteAddr().String())
	if !ok {
		return ""
	}
	if address.Is6() {
		prefix, _ := address.WithZone("").Prefix(64) // fails only for more bits than there are
		return prefix.String()
	}
	return address.String()
}
