// Package lnurl turns a Lightning address (LUD-16) or an LNURL-pay link (LUD-01, LUD-06,
// LUD-17) into a BOLT11 invoice for an exact amount.
//
// Whoever gives the address chooses which server this process talks to, and that server
// chooses a second one (the callback). Neither is trusted, so the rules are these:
//
//   - Where to: https on port 443, and http on port 80 for .onion names only. Host names
//     only, no address literals in any notation. Every address that a name resolves to must
//     be public; a name with one private address among public ones is refused as a whole.
//     What was checked is what is dialed: the name is resolved once, the connection goes to
//     the checked address, and the socket is checked again just before it connects.
//   - How much: no redirects, no cookies, no kept connections, no proxies from the
//     environment, 64 kB of answer, and short times for the name, the connection and the whole.
//   - What comes back: the invoice must be for the amount that was asked, to the millisat.
//
// With a proxy, everything goes through it. A socks5h proxy also resolves the names, so that
// nothing about a payee leaks to the name servers of this host; then only the proxy can
// refuse private addresses, as Tor does by itself. With socks5, names are resolved
// and checked here.
//
// The package does not know what the payment is for. Network, expiry, final CLTV delta and
// everything else of an invoice but its amount are the caller's to check, with the same rules
// as for an invoice that a person sent.
package lnurl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/proxy"
)

// Limits of what is exchanged with a stranger's server.
const (
	maxBody      = 64 << 10 // bytes of an answer
	maxHeader    = 16 << 10 // bytes of an answer's headers
	maxAddresses = 16       // of one name; the first few are dialed
	maxDials     = 4        // addresses tried for one request

	dnsTimeout     = 2 * time.Second // for all addresses of a name
	connectTimeout = 2 * time.Second // for all addresses that are tried
	requestTimeout = 4 * time.Second // from the name to the last byte of the body
	// Building a circuit through Tor takes this long on a bad day.
	proxyConnectTimeout = 15 * time.Second
	proxyRequestTimeout = 20 * time.Second
)

// Errors of Parse and Resolve. An error of Resolve that is neither is temporary: a name server,
// a network or a server that did not answer in time, or that says so itself.
var (
	// ErrUnsafe means that this target is never fetched: it is not well-formed, or it leads
	// to a place that strangers have no business to send this process to.
	ErrUnsafe = errors.New("unsafe payment address")
	// ErrRefusedByPayee means that the payee's server answered, and that asking again soon is of
	// no use: it does not know the address, does not take this amount, or does not keep to
	// the protocol.
	ErrRefusedByPayee = errors.New("refused by the payee's server")
)

// Resolver finds the addresses of a name; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config is what a Client needs. The zero value is a client for the open internet.
type Config struct {
	// Proxy is the SOCKS5 proxy for all connections: socks5://[user:password@]host:port
	// resolves names here and checks them, socks5h:// leaves that to the proxy and is meant
	// for Tor. Empty: direct connections, and .onion names are refused.
	Proxy    string
	Resolver Resolver // nil: the system's
	// DNSTimeout, ConnectTimeout and Timeout (of one request; Resolve makes two) default to
	// 2, 2 and 4 s, with a proxy to 2, 15 and 20 s.
	DNSTimeout, ConnectTimeout, Timeout time.Duration
	// RootCAs replaces the system's certificate authorities.
	RootCAs *x509.CertPool
	// AllowPrivate lifts the rules of where to: private addresses, literals, any port, and
	// plain http for an address of this machine. For closed development networks only.
	AllowPrivate bool
}

// Client fetches invoices from payees' servers. It may be used by many goroutines at once.
type Client struct {
	cfg       Config
	http      *http.Client
	dial      func(ctx context.Context, network, addr string) (net.Conn, error) // to the proxy if there is one
	remoteDNS bool
}

// New makes a Client. It fails when the proxy is not a SOCKS5 URL.
func New(cfg Config) (*Client, error) {
	setDefault := func(d *time.Duration, direct, proxied time.Duration) {
		if *d <= 0 {
			*d = direct
			if cfg.Proxy != "" {
				*d = proxied
			}
		}
	}
	setDefault(&cfg.DNSTimeout, dnsTimeout, dnsTimeout)
	setDefault(&cfg.ConnectTimeout, connectTimeout, proxyConnectTimeout)
	setDefault(&cfg.Timeout, requestTimeout, proxyRequestTimeout)
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	c := &Client{cfg: cfg}
	c.dial = (&net.Dialer{Control: c.control}).DialContext
	if cfg.Proxy != "" {
		if err := c.useProxy(); err != nil {
			return nil, fmt.Errorf("use proxy: %w", err)
		}
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext:            c.dialGuarded,
			TLSClientConfig:        &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    cfg.Timeout,
			MaxResponseHeaderBytes: maxHeader,
			DisableKeepAlives:      true, // nothing of one payee is left for another
			DisableCompression:     true, // the bound on the body is then one on memory, too
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// useProxy sends all connections through the proxy. The operator chose its address, so that
// may be private.
func (c *Client) useProxy() error {
	u, err := url.Parse(c.cfg.Proxy)
	if err != nil {
		return errors.New("the proxy's URL is malformed") // the text may hold a password
	}
	if u.Scheme != "socks5" && u.Scheme != "socks5h" || u.Hostname() == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
		return errors.New("the proxy's URL is not of the form socks5://host:port or socks5h://host:port")
	}
	var auth *proxy.Auth
	if u.User != nil {
		password, _ := u.User.Password()
		auth = &proxy.Auth{User: u.User.Username(), Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", u.Host, auth, &net.Dialer{})
	if err != nil {
		return err
	}
	c.dial, c.remoteDNS = dialer.(proxy.ContextDialer).DialContext, u.Scheme == "socks5h"
	return nil
}

// dialGuarded connects to host:port, of which the host was checked for its form. It is the
// only way by which this client opens a connection.
func (c *Client) dialGuarded(ctx context.Context, network, hostport string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrUnsafe, err)
	}
	targets := []string{hostport}
	if !(c.cfg.Proxy != "" && (c.remoteDNS || isOnion(host))) {
		addrs, err := c.lookup(ctx, host)
		if err != nil {
			return nil, err
		}
		targets = targets[:0]
		for _, addr := range addrs[:min(len(addrs), maxDials)] {
			targets = append(targets, net.JoinHostPort(addr.String(), port))
		}
	}
	var failures []error
	end := time.Now().Add(c.cfg.ConnectTimeout)
	for i, target := range targets {
		// Those that are left share the time that is left: one dead address is no dead server.
		ctx, cancel := context.WithTimeout(ctx, time.Until(end)/time.Duration(len(targets)-i))
		conn, err := c.dial(ctx, network, target)
		cancel()
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

// lookup resolves a name once and returns its addresses if every one of them may be dialed.
func (c *Client) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		if !c.cfg.AllowPrivate {
			return nil, fmt.Errorf("%w: %s is an address, not a name", ErrUnsafe, host)
		}
		return []netip.Addr{addr.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DNSTimeout)
	defer cancel()
	// The dot keeps the resolver from trying the search domains of the operator's network.
	addrs, err := c.cfg.Resolver.LookupNetIP(ctx, "ip", host+".")
	if dns := (*net.DNSError)(nil); errors.As(err, &dns) && dns.IsNotFound {
		return nil, fmt.Errorf("%w: there is no server %s", ErrRefusedByPayee, host)
	}
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", host, err)
	}
	if len(addrs) == 0 || len(addrs) > maxAddresses {
		return nil, fmt.Errorf("%w: %s has %d addresses", ErrRefusedByPayee, host, len(addrs))
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap() // net.Resolver gives IPv4 addresses as ::ffff:a.b.c.d
		if !c.cfg.AllowPrivate && !isPublic(addrs[i]) {
			return nil, fmt.Errorf("%w: %s leads to %s, which is not a public address", ErrUnsafe, host, addrs[i])
		}
	}
	return addrs, nil
}

// control looks at the address of a socket that is about to connect. lookup has checked it
// already; this is for the day when something between the two changes.
func (c *Client) control(_, address string, _ syscall.RawConn) error {
	if c.cfg.AllowPrivate {
		return nil
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrUnsafe, err)
	}
	if !isPublic(to.Addr()) || to.Port() != 443 {
		return fmt.Errorf("%w: connection to %s", ErrUnsafe, to)
	}
	return nil
}

// get fetches the body of a URL that passed the guard.
func (c *Client) get(ctx context.Context, u *url.URL) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrUnsafe, err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "mostro")
	res, err := c.http.Do(req)
	if err != nil {
		// The query of a callback may identify the payee; its host is enough for a log.
		if failure := (*url.Error)(nil); errors.As(err, &failure) {
			err = failure.Err
		}
		return nil, fmt.Errorf("get from %s: %w", u.Host, err)
	}
	defer res.Body.Close()
	if err := checkStatus(res.StatusCode); err != nil {
		return nil, fmt.Errorf("get from %s: %w", u.Host, err)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err == nil {
		// A server that notices that this side hangs up may end its answer in good order.
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("get from %s: %w", u.Host, err)
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("get from %s: %w: the answer is larger than %d bytes", u.Host, ErrRefusedByPayee, maxBody)
	}
	return body, nil
}

// checkStatus tells what an HTTP status other than 200 means.
func checkStatus(status int) error {
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		return fmt.Errorf("status %d", status)
	case status >= 300 && status < 400:
		return fmt.Errorf("%w: status %d; redirects are not followed", ErrRefusedByPayee, status)
	}
	return fmt.Errorf("%w: status %d", ErrRefusedByPayee, status)
}
