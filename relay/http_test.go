package relay

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/fasthttp/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr/nip11"
)

func get(t *testing.T, url string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestInformation(t *testing.T) {
	cfg := Config{
		Name: "node", Description: "a relay with <escrow>", Contact: "mailto:x@example.com", Icon: "https://example.com/i.png",
		ServiceURL: "wss://relay.example.com", Version: "v1.2.3",
	}
	cfg.Pubkey = publicKey(t, nodeKey)
	_, url := start(t, cfg)
	url = "http" + strings.TrimPrefix(url, "ws")
	for _, accept := range []string{
		"application/nostr+json", "Application/Nostr+JSON", "text/html, application/nostr+json;q=0.9", "application/nostr+json; charset=utf-8",
	} {
		status, body := get(t, url, http.Header{"Accept": {accept}})
		var got nip11.RelayInformationDocument
		if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK {
			t.Fatalf("accept %q: status %d, %v", accept, status, err)
		}
		want := nip11.RelayInformationDocument{
			Name: cfg.Name, Description: cfg.Description, Contact: cfg.Contact, Icon: cfg.Icon, PubKey: cfg.Pubkey,
			Software: "mostro", Version: "v1.2.3",
			SupportedNIPs: []any{1.0, 2.0, 4.0, 9.0, 11.0, 13.0, 17.0, 22.0, 28.0, 40.0, 42.0, 45.0, 50.0, 56.0, 59.0, 62.0, 65.0, 69.0, 70.0, 77.0},
			// The tests of the limits use these figures.
			Limitation: &nip11.RelayLimitationDocument{
				MaxMessageLength: 131_072, MaxSubscriptions: 50, MaxLimit: 5000, DefaultLimit: 500, MaxSubidLength: 64,
				MaxEventTags: 2000, MaxContentLength: 65_535, CreatedAtLowerLimit: 315_360_000, CreatedAtUpperLimit: 900,
			},
			Retention: []*nip11.RelayRetentionDocument{{Count: 2_000_000}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("accept %q:\n%s", accept, diff)
		}
	}
}

func TestRoutes(t *testing.T) {
	r, url := start(t, Config{})
	r.Handle("GET /orders/{id}", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.WriteString(w, req.PathValue("id")+" "+req.Header.Get("X-Forwarded-For"))
	}))
	url = "http" + strings.TrimPrefix(url, "ws")
	for _, c := range []struct {
		path   string
		header http.Header
		status int
		body   string
	}{
		{"/healthz", nil, http.StatusOK, "ok\n"},
		{"/orders/7", http.Header{"X-Forwarded-For": {"203.0.113.7"}}, http.StatusOK, "7 "},
		{"/nothing", nil, http.StatusNotFound, "404 page not found\n"},
		{"/", http.Header{"Content-Type": {"application/nostr+json+rpc"}}, http.StatusMethodNotAllowed, `{"result":null,"error":"invalid: the method is POST"}` + "\n"},
	} {
		if status, body := get(t, url+c.path, c.header); status != c.status || body != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.path, status, body, c.status, c.body)
		}
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, _ := get(t, url+"/healthz", nil); status != http.StatusServiceUnavailable {
		t.Errorf("health while closed: %d", status)
	}
	if _, response, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http"), nil); err == nil || response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a closed relay answers a connection with %v", err)
	}
}

// TestUpgradeSpellings: clients write the headers in their own way, and use any path.
func TestUpgradeSpellings(t *testing.T) {
	_, url := start(t, Config{})
	for _, c := range []struct{ path, upgrade, connection string }{
		{"/", "websocket", "Upgrade"}, {"/", "WebSocket", "keep-alive, Upgrade"}, {"/nostr", "WEBSOCKET", "upgrade"},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "ws://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: %s\r\nConnection: %s\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", c.path, c.upgrade, c.connection)
		status, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.Contains(status, " 101 ") {
			t.Errorf("%+v: %q %v", c, status, err)
		}
	}
}

// TestC3HalfHandshakes: what is no handshake of a WebSocket is refused here, and has nobody write about it.
func TestC3HalfHandshakes(t *testing.T) {
	r, url := start(t, Config{ServiceURL: serviceURL})
	url = "http" + strings.TrimPrefix(url, "ws")
	if r.khatru.Log.Writer() != io.Discard {
		t.Error("khatru writes past our logger")
	}
	var written strings.Builder
	r.khatru.Log.SetOutput(&written)
	for _, header := range []http.Header{{}, {"Accept": {"application/nostr+json"}}, {"Content-Type": {"application/nostr+json+rpc"}}, {"Accept": {"text/html"}, "Sec-Websocket-Version": {"13"}}} {
		header.Set("Upgrade", "websocket")
		if status, body := get(t, url, header); status != http.StatusBadRequest || written.Len() > 0 {
			t.Errorf("%v: status %d, %s; written %s", header, status, body, written.String())
		}
	}
}
