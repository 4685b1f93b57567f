package relay

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
)

// Server is an HTTP server for the relay's address, with the limits that a handler cannot set:
// requests come whole within some seconds and headers are short, and only so many connections may
// be no sessions, so that a crowd of slow ones keeps nobody out.
func (r *Relay) Server() *http.Server {
	waiting := newCrowd[net.Conn](r.cfg.Limits.HalfOpen)
	return &http.Server{
		Handler:           r.Handler(),
		ReadHeaderTimeout: r.cfg.Limits.HeaderTime,
		ReadTimeout:       r.cfg.Limits.HandshakeTime,
		WriteTimeout:      answerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    max(r.cfg.Limits.HeaderBytes-headerSlack, 1),
		ErrorLog:          slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
		ConnState: func(conn net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				if oldest, full := waiting.add(conn, addressOf(conn)); full {
					_ = oldest.Close()
				}
			case http.StateHijacked, http.StateClosed:
				waiting.remove(conn)
			}
		},
	}
}

// addressOf is the subscriber at the other end of a connection.
func addressOf(conn net.Conn) string { return subscriberOf(conn.RemoteAddr().String()) }

// subscriberOf is the subscriber of host:port, "" when it cannot be read.
func subscriberOf(hostport string) string {
	address, ok := hostOf(hostport)
	if !ok {
		return ""
	}
	return subscriber(address)
}

// subscriber is who has an address: for IPv6 its /64, which one subscriber can fill at will.
func subscriber(address netip.Addr) string {
	if address.Is6() {
		prefix, _ := address.WithZone("").Prefix(64) // fails only for more bits than there are
		return prefix.String()
	}
	return address.String()
}
