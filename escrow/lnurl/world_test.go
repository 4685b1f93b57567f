package lnurl

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"

	"github.com/btcsuite/btcd/btcutil/bech32"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// public is an address of nobody in particular that a stranger may be sent to.
const public = "93.184.216.34"

// world is a small internet: names with addresses, and one TLS server behind every address.
// Nothing leaves this machine.
type world struct {
	client *Client
	server *httptest.Server
	mux    *http.ServeMux

	mu      sync.Mutex
	names   map[string][]string // with the dot at the end; any other name is public
	asked   []string            // names that were looked up
	dialed  []string            // addresses that were connected to
	fetched []string            // host and request URI, as the server saw them
}

func newWorld(t *testing.T, cfg Config) *world {
	t.Helper()
	w := &world{mux: http.NewServeMux(), names: map[string][]string{}}
	w.server = httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.fetched = append(w.fetched, r.Host+r.RequestURI)
		w.mu.Unlock()
		w.mux.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.server.Close)
	cfg.RootCAs = x509.NewCertPool()
	cfg.RootCAs.AddCert(w.server.Certificate())
	cfg.Resolver = w
	var err error
	if w.client, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if cfg.Proxy == "" {
		w.client.dial = w.dial
	}
	return w
}

// LookupNetIP gives IPv4 addresses mapped into IPv6, as net.Resolver does.
func (w *world) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, host)
	addrs, ok := w.names[host]
	if !ok {
		addrs = []string{public}
	}
	var found []netip.Addr
	for _, text := range addrs {
		addr := netip.MustParseAddr(text)
		if addr.Is4() {
			addr = netip.AddrFrom16(addr.As16())
		}
		found = append(found, addr)
	}
	return found, ctx.Err()
}

func (w *world) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	w.dialed = append(w.dialed, addr)
	w.mu.Unlock()
	return (&net.Dialer{}).DialContext(ctx, network, w.server.Listener.Addr().String())
}

// seen returns what happened since the last call.
func (w *world) seen() (asked, dialed, fetched []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked, dialed, fetched = w.asked, w.dialed, w.fetched
	w.asked, w.dialed, w.fetched = nil, nil, nil
	return asked, dialed, fetched
}

// answer serves a fixed answer at a path of every host.
func (w *world) answer(path string, value any) {
	w.mux.HandleFunc(path, func(rw http.ResponseWriter, _ *http.Request) {
		switch value := value.(type) {
		case string:
			fmt.Fprint(rw, value)
		default:
			json.NewEncoder(rw).Encode(value)
		}
	})
}

// payee serves LNURL-pay for alice, with an invoice made for the amount that is asked for plus
// lie. The fields replace those of the first answer.
func (w *world) payee(t *testing.T, lie order.Msat, fields map[string]any) {
	params := map[string]any{
		"tag": "payRequest", "callback": "https://example.com/pay/alice?id=7", "metadata": `[["text/plain","alice"]]`,
		"minSendable": 1000, "maxSendable": 5_000_000_000,
	}
	for name, value := range fields {
		params[name] = value
	}
	w.answer("/.well-known/lnurlp/alice", params)
	w.mux.HandleFunc("/pay/alice", func(rw http.ResponseWriter, r *http.Request) {
		var amount order.Msat
		if _, err := fmt.Sscan(r.FormValue("amount"), &amount); err != nil || r.FormValue("id") != "7" {
			t.Errorf("the callback got %s", r.URL)
		}
		json.NewEncoder(rw).Encode(map[string]any{"pr": invoice(amount + lie), "routes": []any{}})
	})
}

func invoice(amount order.Msat) string {
	network := lightning.NewSimNetwork(lightning.SimConfig{})
	return network.Node("payee").AddInvoice(lightning.SimInvoiceRequest{Amount: amount})
}

// encode writes a URL as an LNURL (LUD-01).
func encode(t testing.TB, url string) string {
	t.Helper()
	data, err := bech32.ConvertBits([]byte(url), 8, 5, true)
	if err != nil {
		t.Fatal(err)
	}
	text, err := bech32.Encode("lnurl", data)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func parseWith(t *testing.T, c *Client, text string) Target {
	t.Helper()
	target, err := c.Parse(text)
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return target
}
