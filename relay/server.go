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
// without a whole request. When there are more, the one that has dawdled longest is closed, so
// that a crowd of slow ones keeps nobody out.
func (r *Relay) Server() *http.Server {
	g := &gate{most: r.cfg.Limits.HalfOpen, at: make(map[net.Conn]*list.Element)}
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

// gate knows the connections that have not sent a whole request, the oldest first.
type gate struct {
	most int

	mu    sync.Mutex
	order list.List
	at    map[net.Conn]*list.Element
}

func (g *gate) add(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at[conn] == nil {
		g.at[conn] = g.order.PushBack(conn)
	}
	for g.order.Len() > g.most {
		oldest := g.order.Front().Value.(net.Conn)
		g.order.Remove(g.at[oldest])
		delete(g.at, oldest)
		_ = oldest.Close()
	}
}

func (g *gate) remove(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.at[conn]; e != nil {
		g.order.Remove(e)
		delete(g.at, conn)
	}
}
