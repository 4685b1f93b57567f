package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"

	"github.com/fasthttp/websocket"
	"golang.org/x/net/proxy"
)

// Dial makes a connection to host:port. It is the only way by which this package reaches another
// machine.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// agent is what a mirror calls itself to relays. One relay knows by it that whoever asks is
// another's mirror, and not a client.
const agent = "mostro-mirror"

// replicaAgent is what a replica calls itself to its primary, whose mirror it is not: it speaks for clients.
const replicaAgent = "mostro-replica"

var errOnion = errors.New("an onion service is reached through a proxy only")

// Direct connects without a proxy, and not at all to onion services: asking for their names would
// tell others about them.
func Direct(ctx context.Context, network, address string) (net.Conn, error) {
	if host, _, err := net.SplitHostPort(address); err == nil && isOnion(host) {
		return nil, errOnion
	}
	dialer := new(net.Dialer)
	if isOutward(ctx) {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			if at, err := netip.ParseAddrPort(address); err != nil || !isOuterAddr(at.Addr()) {
				return errInner
			}
			return nil
		}
	}
	return dialer.DialContext(ctx, network, address)
}

// outwardKey marks the context of a connection to where somebody else says that a relay is.
type outwardKey struct{}

var errInner = errors.New("the address lies in the own network, and only whom it belongs to has named it: name the relay of the followed key to use it")

// outward is for connections that must not lead into the operator's own network, whatever a name turns out to be.
func outward(ctx context.Context) context.Context { return context.WithValue(ctx, outwardKey{}, true) }

func isOutward(ctx context.Context) bool { return ctx.Value(outwardKey{}) != nil }

// Through connects through a SOCKS5 proxy: socks5h://[user:password@]host:port, which resolves
// names too, or socks5://, which gets addresses, and names of onion services only. Hosts of the
// operator's own network are reached without it, as far as their names show.
func Through(through *url.URL) (Dial, error) {
	var auth *proxy.Auth
	if through.User != nil {
		password, _ := through.User.Password()
		auth = &proxy.Auth{User: through.User.Username(), Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", through.Host, auth, &net.Dialer{})
	if err != nil {
		return nil, fmt.Errorf("use proxy %s: %w", through.Host, err)
	}
	named := through.Scheme == "socks5h"
	dial := dialer.(proxy.ContextDialer).DialContext // both types that it can be have it
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		switch {
		case err != nil:
			return nil, err
		case isInner(host):
			return Direct(ctx, network, address)
		case named || isOnion(host):
			return dial(ctx, network, address)
		}
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		for _, addr := range found {
			var conn net.Conn
			if isOutward(ctx) && !isOuterAddr(addr) {
				err = errInner
				continue
			}
			if conn, err = dial(ctx, network, net.JoinHostPort(addr.Unmap().String(), port)); err == nil {
				return conn, nil
			}
		}
		return nil, cmp.Or(err, errors.New("the name has no address"))
	}, nil
}

func isOnion(host string) bool {
	return strings.HasSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), ".onion")
}

// Address is how an address of a relay is written here: one relay is one address, however others write it.
func Address(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	u.Host = strings.TrimSuffix(strings.ToLower(u.Host), map[string]string{"wss": ":443", "ws": ":80"}[u.Scheme])
	u.Fragment, u.RawFragment, u.ForceQuery = "", "", false // which is never sent
	return strings.TrimSuffix(u.String(), "/")
}

// isInner tells whether a host is in the operator's own network, as far as its name shows.
func isInner(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && isInnerAddr(addr)
}

func isInnerAddr(addr netip.Addr) bool {
	addr = addr.Unmap()
	return addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() || addr.IsUnspecified()
}

// isOuterAddr tells whether an address may be dialled because somebody else has named it. What is neither in the
// operator's own network nor a host of the public internet can lead to what only his machine or his provider's may reach.
func isOuterAddr(addr netip.Addr) bool {
	addr = addr.Unmap()
	if isInnerAddr(addr) || !addr.Is4() && !netip.MustParsePrefix("2000::/3").Contains(addr) { // all that hosts have of IPv6
		return false
	}
	for _, prefix := range []string{
		"0.0.0.0/8", "224.0.0.0/3", // this network, multicast, reserved
		"100.64.0.0/10", "168.63.129.16/32", "192.0.0.0/24", // carrier-grade NAT and what clouds tell their machines, also about keys
		"2001::/32", "2002::/16", // Teredo and 6to4 hold an IPv4 address
	} {
		if netip.MustParsePrefix(prefix).Contains(addr) {
			return false
		}
	}
	return true
}

// webSocket connects to a relay under the name of an agent.
func (d Dial) webSocket(ctx context.Context, address, as string) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	dialer := websocket.Dialer{NetDialContext: d, ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10}
	conn, answer, err := dialer.DialContext(ctx, address, http.Header{"User-Agent": {as}})
	if err != nil && answer != nil {
		err = fmt.Errorf("%w (HTTP status %s)", err, answer.Status)
	}
	return conn, err
}

// client asks over HTTP, once for each connection. A redirect is an answer: a relay must not lead
// this process to where it has no business.
func (d Dial) client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DialContext: d, DisableKeepAlives: true, TLSHandshakeTimeout: aboutTime, MaxResponseHeaderBytes: maxHeader},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

const maxHeader = 64 << 10 // bytes, of an answer over HTTP
