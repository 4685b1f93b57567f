package lnurl

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// socks is a SOCKS5 proxy (RFC 1928) that brings connections for port 443 to one server and all
// others to another, and notes what it was asked for.
type socks struct {
	listener     net.Listener
	tls, plain   string
	user         string // and password; "" = no authentication
	mu           sync.Mutex
	destinations []string
}

func (s *socks) serve(t *testing.T) {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			if err := s.handle(conn); err != nil && !errors.Is(err, io.EOF) {
				t.Logf("proxy: %v", err)
			}
		}()
	}
}

func (s *socks) handle(conn net.Conn) error {
	read := func(n int) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(conn, b); err != nil {
			return make([]byte, n)
		}
		return b
	}
	read(int(read(2)[1])) // methods
	if s.user == "" {
		conn.Write([]byte{5, 0})
	} else {
		conn.Write([]byte{5, 2})
		user := read(int(read(2)[1]))
		password := read(int(read(1)[0]))
		if string(user)+":"+string(password) != s.user {
			conn.Write([]byte{1, 1})
			return errors.New("wrong password")
		}
		conn.Write([]byte{1, 0})
	}
	var host string
	switch kind := read(4)[3]; kind {
	case 1:
		host = netip.AddrFrom4([4]byte(read(4))).String()
	case 3:
		host = "name " + string(read(int(read(1)[0])))
	case 4:
		host = netip.AddrFrom16([16]byte(read(16))).String()
	default:
		return fmt.Errorf("address type %d", kind)
	}
	port := binary.BigEndian.Uint16(read(2))
	s.mu.Lock()
	s.destinations = append(s.destinations, fmt.Sprintf("%s port %d", host, port))
	s.mu.Unlock()
	to := s.plain
	if port == 443 {
		to = s.tls
	}
	onward, err := net.Dial("tcp", to)
	if err != nil {
		return err
	}
	defer onward.Close()
	conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	go io.Copy(onward, conn)
	_, err = io.Copy(conn, onward)
	return err
}

// newProxied makes a world that is reached through a proxy, and a plain server for onion names.
func newProxied(t *testing.T, scheme, user string) (*world, *socks) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	if user != "" {
		scheme += user + "@"
	}
	w := newWorld(t, Config{Proxy: scheme + listener.Addr().String()})
	plain := httptest.NewServer(w.mux)
	t.Cleanup(plain.Close)
	s := &socks{listener: listener, tls: w.server.Listener.Addr().String(), plain: plain.Listener.Addr().String(), user: user}
	go s.serve(t)
	return w, s
}

func TestProxy(t *testing.T) {
	tests := []struct {
		scheme, user, target, callback string
		asked, destinations            []string
	}{
		{"socks5h://", "", "alice@example.com", "https://example.com/pay/alice?id=7",
			nil, []string{"name example.com port 443", "name example.com port 443"}},
		{"socks5h://", "me:secret", "alice@example.com", "https://example.com/pay/alice?id=7",
			nil, []string{"name example.com port 443", "name example.com port 443"}},
		{"socks5h://", "", "alice@" + onion, "http://" + onion + "/pay/alice?id=7",
			nil, []string{"name " + onion + " port 80", "name " + onion + " port 80"}},
		{"socks5://", "", "alice@example.com", "https://example.com/pay/alice?id=7",
			[]string{"example.com.", "example.com."}, []string{public + " port 443", public + " port 443"}},
		{"socks5://", "", "alice@example.com", "http://" + onion + "/pay/alice?id=7",
			[]string{"example.com."}, []string{public + " port 443", "name " + onion + " port 80"}},
	}
	for _, test := range tests {
		w, s := newProxied(t, test.scheme, test.user)
		w.payee(t, 0, map[string]any{"callback": test.callback})
		if _, err := w.client.Resolve(t.Context(), parseWith(t, w.client, test.target), 5000, ""); err != nil {
			t.Errorf("%s %s: %v", test.scheme, test.target, err)
		}
		asked, _, _ := w.seen()
		if diff := cmp.Diff(test.asked, asked); diff != "" {
			t.Errorf("%s %s looked up: %s", test.scheme, test.target, diff)
		}
		if diff := cmp.Diff(test.destinations, s.destinations); diff != "" {
			t.Errorf("%s %s went to: %s", test.scheme, test.target, diff)
		}
	}
}

func TestProxyRefusals(t *testing.T) {
	// Resolved here: a private address does not even reach the proxy.
	w, s := newProxied(t, "socks5://", "")
	w.names["example.com."] = []string{"10.0.0.1"}
	if _, err := w.client.Resolve(t.Context(), parseWith(t, w.client, "alice@example.com"), 5000, ""); !errors.Is(err, ErrUnsafe) {
		t.Errorf("private address: %v", err)
	}
	// An onion name only works by its own URL rules, with a proxy, too.
	for _, hostile := range []string{"http://" + onion + ":8080/", "http://example.com/", "https://127.0.0.1/", "http://onion/"} {
		if _, err := w.client.Parse(encode(t, hostile)); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s: %v", hostile, err)
		}
	}
	if len(s.destinations) != 0 {
		t.Errorf("went to %v", s.destinations)
	}
	// A dead proxy is no fault of the payee, and nobody is asked without it.
	s.listener.Close()
	w.names["example.com."] = []string{public}
	_, err := w.client.Resolve(t.Context(), parseWith(t, w.client, "alice@example.com"), 5000, "")
	if err == nil || errors.Is(err, ErrUnsafe) || errors.Is(err, ErrRefusedByPayee) {
		t.Errorf("dead proxy: %v", err)
	}
	if _, _, fetched := w.seen(); len(fetched) != 0 {
		t.Errorf("fetched %v without the proxy", fetched)
	}
}

func TestProxyURLs(t *testing.T) {
	for url, good := range map[string]bool{
		"socks5://127.0.0.1:9050": true, "socks5h://tor:9050/": true, "socks5h://a:b@127.0.0.1:9050": true,
		"http://127.0.0.1:8080": false, "127.0.0.1:9050": false, "socks5://127.0.0.1": false, "socks5://:9050": false, "socks4://127.0.0.1:9050": false,
		"socks5://127.0.0.1:9050/path": false, "socks5://a:hunter2@%": false,
	} {
		_, err := New(Config{Proxy: url})
		if (err == nil) != good {
			t.Errorf("New with proxy %s: %v", url, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v shows the password", err)
		}
	}
}

// TestNoProxyFromEnvironment looks at the field: net/http reads the environment once per
// process, so no test can set it.
func TestNoProxyFromEnvironment(t *testing.T) {
	w := newWorld(t, Config{})
	if w.client.http.Transport.(*http.Transport).Proxy != nil {
		t.Error("the transport may choose a proxy by itself")
	}
}

// TestForeignCertificate: the name in the certificate is the name that was asked for.
func TestForeignCertificate(t *testing.T) {
	w := newWorld(t, Config{})
	w.payee(t, 0, nil)
	_, err := w.client.Resolve(t.Context(), parseWith(t, w.client, "alice@other.com"), 5000, "")
	if wrong := (x509.HostnameError{}); !errors.As(err, &wrong) {
		t.Errorf("%v, want a complaint about the certificate", err)
	}
	if _, err = w.client.Resolve(canceled(), parseWith(t, w.client, "alice@example.com"), 5000, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want canceled", err)
	}
	if _, _, fetched := w.seen(); len(fetched) != 0 {
		t.Errorf("fetched %v", fetched)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
