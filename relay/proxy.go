package relay

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// believe puts the address of the client into req.RemoteAddr when the peer is a listed proxy,
// and removes what anybody could have written about the connection.
func (r *Relay) believe(req *http.Request) {
	if peer, ok := hostOf(req.RemoteAddr); ok && r.isProxy(peer) {
		if client, ok := r.forwarded(req.Header); ok {
			req.RemoteAddr = net.JoinHostPort(client.String(), "0")
		}
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
		req.Header.Del(name)
	}
}

// forwarded finds the client in the headers of a proxy: in X-Forwarded-For each hop adds its
// peer at the end, so the last address that is not a proxy's was seen by one that is trusted. A proxy that writes it
// can pass on X-Real-Ip as the client wrote that.
func (r *Relay) forwarded(header http.Header) (client netip.Addr, ok bool) {
	written := header.Values("X-Forwarded-For")
	if len(written) == 0 {
		return hop(header.Get("X-Real-Ip"))
	}
	hops := strings.Split(strings.Join(written, ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		address, read := hop(hops[i])
		if !read {
			break
		}
		if client, ok = address, true; !r.isProxy(client) {
			break
		}
	}
	return client, ok
}

// hop reads an address as proxies write them: with a port, or without.
func hop(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if address, ok := hostOf(text); ok {
		return address, true
	}
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return address.Unmap(), err == nil
}

func (r *Relay) isProxy(address netip.Addr) bool {
	for _, network := range r.cfg.TrustedProxies {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

// hostOf reads the address of host:port.
func hostOf(hostport string) (netip.Addr, bool) {
	address, err := netip.ParseAddrPort(hostport)
	return address.Addr().Unmap(), err == nil
}
