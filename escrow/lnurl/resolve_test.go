package lnurl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

func TestResolve(t *testing.T) {
	tests := []struct {
		target, comment string
		fields          map[string]any
		asked           string // query of the callback
	}{
		{"alice@example.com", "", nil, "id=7&amount=12345678"},
		{"lightning:Alice@Example.COM", "no comments taken", nil, "id=7&amount=12345678"},
		{"lnurlp://example.com/.well-known/lnurlp/alice", "fünf & more", map[string]any{"commentAllowed": 6}, "id=7&amount=12345678&comment=f%C3%BCnf+%26"},
		{strings.ToUpper(encode(t, "https://example.com/.well-known/lnurlp/alice")), "short", map[string]any{"commentAllowed": 600}, "id=7&amount=12345678&comment=short"},
		{"alice@example.com", "", map[string]any{"minSendable": 12345678, "maxSendable": 12345678}, "id=7&amount=12345678"},
	}
	for _, test := range tests {
		w := newWorld(t, Config{})
		w.payee(t, 0, test.fields)
		got, err := w.client.Resolve(t.Context(), parseWith(t, w.client, test.target), 12_345_678, test.comment)
		if err != nil {
			t.Errorf("%s: %v", test.target, err)
			continue
		}
		decoded, err := lightning.Decode(got)
		if err != nil || decoded.Amount != 12_345_678 || decoded.Text != got {
			t.Errorf("%s: invoice %+v, %v", test.target, decoded, err)
		}
		asked, dialed, fetched := w.seen()
		want := []string{"example.com/.well-known/lnurlp/alice", "example.com/pay/alice?" + test.asked}
		if diff := cmp.Diff(want, fetched); diff != "" {
			t.Errorf("%s fetched: %s", test.target, diff)
		}
		// Once per request, absolute, and the connection goes to what was found.
		if diff := cmp.Diff([]string{"example.com.", "example.com."}, asked); diff != "" {
			t.Errorf("%s looked up: %s", test.target, diff)
		}
		if diff := cmp.Diff([]string{public + ":443", public + ":443"}, dialed); diff != "" {
			t.Errorf("%s dialed: %s", test.target, diff)
		}
	}
}

// TestRefusedByPayee is about first answers that end the matter.
func TestRefusedByPayee(t *testing.T) {
	for name, fields := range map[string]map[string]any{
		"withdraw":     {"tag": "withdrawRequest"},
		"login":        {"tag": "login"},
		"channel":      {"tag": "channelRequest"},
		"no tag":       {"tag": ""},
		"error":        {"status": "ERROR", "reason": "no such user"},
		"too little":   {"minSendable": 12_345_679},
		"too much":     {"maxSendable": 12_345_677},
		"no range":     {"minSendable": 2, "maxSendable": 1},
		"zero":         {"minSendable": 0},
		"negative":     {"minSendable": -5},
		"beyond int64": {"maxSendable": 1e30},
		"many digits":  {"maxSendable": json.RawMessage(strings.Repeat("1", 65_000))},
		"text amount":  {"maxSendable": "5000000000"},
		"long reason":  {"status": "ERROR", "reason": strings.Repeat("é\x00\n", 20_000)},
	} {
		w := newWorld(t, Config{})
		w.payee(t, 0, fields)
		_, err := w.client.Resolve(t.Context(), parseWith(t, w.client, "alice@example.com"), 12_345_678, "")
		if !errors.Is(err, ErrRefusedByPayee) || errors.Is(err, ErrUnsafe) {
			t.Errorf("%s: %v", name, err)
		} else if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\x00\n") {
			t.Errorf("%s: the error carries %d bytes of the server's text", name, len(err.Error()))
		}
		if _, _, fetched := w.seen(); len(fetched) != 1 {
			t.Errorf("%s: fetched %v", name, fetched)
		}
	}
}

func TestLyingInvoices(t *testing.T) {
	right := invoice(12_345_678)
	blinded := lightning.NewSimNetwork(lightning.SimConfig{}).Node("payee").AddInvoice(lightning.SimInvoiceRequest{Amount: 12_345_678, Blinded: true})
	for name, answer := range map[string]any{
		"1 msat more":  map[string]any{"pr": invoice(12_345_679)},
		"1 msat less":  map[string]any{"pr": invoice(12_345_677)},
		"1000 times":   map[string]any{"pr": invoice(12_345_678_000)},
		"any amount":   map[string]any{"pr": invoice(0)},
		"blinded path": map[string]any{"pr": blinded},
		"none":         map[string]any{"routes": []any{}},
		"null":         map[string]any{"pr": nil},
		"empty":        map[string]any{"pr": ""},
		"number":       map[string]any{"pr": 5},
		"garbage":      map[string]any{"pr": "lnbc1garbage"},
		"cut":          map[string]any{"pr": right[:len(right)-7]},
		"two":          map[string]any{"pr": right + " " + right},
		"an address":   map[string]any{"pr": "alice@example.com"},
		"error":        map[string]any{"status": "ERROR", "reason": "amount"},
		"error and pr": map[string]any{"status": "ERROR", "pr": right},
		"no JSON":      "<html>",
		"array":        "[]",
		"two objects":  `{"pr":"` + right + `"}{}`,
		"nothing":      "",
	} {
		w := newWorld(t, Config{})
		w.answer("/.well-known/lnurlp/alice", map[string]any{"tag": "payRequest", "callback": "https://pay.example.com/cb", "minSendable": 1, "maxSendable": 1e12})
		w.answer("/cb", answer)
		got, err := w.client.Resolve(t.Context(), parseWith(t, w.client, "alice@example.com"), 12_345_678, "")
		if !errors.Is(err, ErrRefusedByPayee) || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if _, _, fetched := w.seen(); len(fetched) != 2 {
			t.Errorf("%s: fetched %v", name, fetched)
		}
	}
}

func TestStatuses(t *testing.T) {
	for status, refused := range map[int]bool{
		201: true, 204: true, 301: true, 302: true, 303: true, 307: true, 308: true, 400: true, 401: true, 404: true, 410: true,
		408: false, 425: false, 429: false, 500: false, 502: false, 503: false,
	} {
		w := newWorld(t, Config{})
		w.payee(t, 0, map[string]any{"callback": "https://example.com/elsewhere"})
		w.mux.HandleFunc("/elsewhere", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Location", "https://example.com/pay/alice?id=7&amount=5000")
			rw.WriteHeader(status)
		})
		_, err := w.client.Resolve(t.Context(), parseWith(t, w.client, "alice@example.com"), 5000, "")
		if err == nil || errors.Is(err, ErrRefusedByPayee) != refused || errors.Is(err, ErrUnsafe) {
			t.Errorf("status %d: %v", status, err)
		}
		if _, _, fetched := w.seen(); len(fetched) != 2 {
			t.Errorf("status %d: fetched %v; a redirect was followed", status, fetched)
		}
	}
}

// TestBoundsTheAnswer pads an answer that is in order otherwise.
func TestBoundsTheAnswer(t *testing.T) {
	padded := func(size int) string {
		head := `{"tag":"payRequest","callback":"https://example.com/pay/alice?id=7","minSendable":1,"maxSendable":9000,"pad":"`
		return head + strings.Repeat("x", size-len(head)-2) + `"}`
	}
	for name, test := range map[string]struct {
		first http.HandlerFunc
		want  string // of the error
	}{
		"largest":   {func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, padded(maxBody)) }, ""},
		"too large": {func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, padded(maxBody+1)) }, "larger than"},
		"endless": {func(rw http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := io.WriteString(rw, padded(maxBody)); err != nil {
					return
				}
			}
		}, "larger than"},
		"large header": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("X-Pad", strings.Repeat("x", 2*maxHeader))
			io.WriteString(rw, padded(1000))
		}, "header"},
		"asked for compression": {func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "" {
				rw.WriteHeader(http.StatusTeapot) // an answer would grow after it was measured
			}
			io.WriteString(rw, padded(1000))
		}, ""},
	} {
		w := newWorld(t, Config{Timeout: time.Hour})
		w.payee(t, 0, nil)
		w.mux.HandleFunc("/.well-known/lnurlp/bob", test.first)
		_, err := w.client.Resolve(t.Context(), parseWith(t, w.client, "bob@example.com"), 5000, "")
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestSlowServers would never end if a server that keeps dripping, or one that takes the
// connection and says nothing, could hold the client.
func TestSlowServers(t *testing.T) {
	stop := make(chan struct{})
	for name, handler := range map[string]http.HandlerFunc{
		"drip": func(rw http.ResponseWriter, r *http.Request) {
			for {
				select {
				case <-stop:
					return
				case <-r.Context().Done():
					return
				case <-time.After(5 * time.Millisecond):
					io.WriteString(rw, " ")
					rw.(http.Flusher).Flush()
				}
			}
		},
		"silence": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-stop:
			case <-r.Context().Done():
			}
		},
	} {
		w := newWorld(t, Config{Timeout: 300 * time.Millisecond})
		w.mux.HandleFunc("/.well-known/lnurlp/alice", handler)
		_, err := w.client.Resolve(t.Context(), parseWith(t, w.client, "alice@example.com"), 5000, "")
		if err == nil || errors.Is(err, ErrRefusedByPayee) || errors.Is(err, ErrUnsafe) {
			t.Errorf("%s: %v, want a temporary error", name, err)
		}
	}
	close(stop)
}

// TestSlowBeginnings: names and connections that never come about: both end by themselves.
func TestSlowBeginnings(t *testing.T) {
	w := newWorld(t, Config{ConnectTimeout: 50 * time.Millisecond, Timeout: time.Hour})
	w.names["example.com."] = []string{public, "2606:2800:220:1::1", "8.8.8.8"}
	var dialed []string
	w.client.dial = func(ctx context.Context, _, addr string) (net.Conn, error) {
		dialed = append(dialed, addr)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, err := w.client.Resolve(t.Context(), parseWith(t, w.client, "alice@example.com"), 5000, "")
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrRefusedByPayee) {
		t.Errorf("dead server: %v", err)
	}
	if diff := cmp.Diff([]string{public + ":443", "[2606:2800:220:1::1]:443", "8.8.8.8:443"}, dialed); diff != "" {
		t.Errorf("every address gets its try: %s", diff)
	}

	w = newWorld(t, Config{DNSTimeout: 50 * time.Millisecond, Timeout: time.Hour})
	w.client.cfg.Resolver = resolverFunc(func(ctx context.Context, _ string) ([]netip.Addr, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	_, err = w.client.Resolve(t.Context(), parseWith(t, w.client, "alice@example.com"), 5000, "")
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrRefusedByPayee) {
		t.Errorf("dead resolver: %v", err)
	}
}

func TestUnknownNames(t *testing.T) {
	w := newWorld(t, Config{})
	w.client.cfg.Resolver = resolverFunc(func(_ context.Context, host string) ([]netip.Addr, error) {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	})
	if _, err := w.client.Resolve(t.Context(), parseWith(t, w.client, "a@example.com"), 1, ""); !errors.Is(err, ErrRefusedByPayee) {
		t.Errorf("no such host: %v", err)
	}
	w.client.cfg.Resolver = resolverFunc(func(_ context.Context, host string) ([]netip.Addr, error) {
		return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	})
	if _, err := w.client.Resolve(t.Context(), parseWith(t, w.client, "a@example.com"), 1, ""); err == nil || errors.Is(err, ErrRefusedByPayee) {
		t.Errorf("name server fails: %v", err)
	}
	w.client.cfg.Resolver = resolverFunc(func(context.Context, string) ([]netip.Addr, error) { return nil, nil })
	if _, err := w.client.Resolve(t.Context(), parseWith(t, w.client, "a@example.com"), 1, ""); !errors.Is(err, ErrRefusedByPayee) {
		t.Errorf("no address: %v", err)
	}
	w.client.cfg.Resolver = resolverFunc(func(context.Context, string) ([]netip.Addr, error) {
		return make([]netip.Addr, maxAddresses+1), nil
	})
	if _, err := w.client.Resolve(t.Context(), parseWith(t, w.client, "a@example.com"), 1, ""); !errors.Is(err, ErrRefusedByPayee) {
		t.Errorf("too many addresses: %v", err)
	}
}

func TestResolveWithoutAmount(t *testing.T) {
	w := newWorld(t, Config{})
	w.payee(t, 0, nil)
	target := parseWith(t, w.client, "alice@example.com")
	for _, amount := range []order.Msat{0, -1} {
		if got, err := w.client.Resolve(t.Context(), target, amount, ""); err == nil {
			t.Errorf("amount %d: %s", amount, got)
		}
	}
	if _, err := w.client.Resolve(t.Context(), Target{}, 1000, ""); !errors.Is(err, ErrUnsafe) {
		t.Errorf("no target: %v", err)
	}
	if asked, dialed, _ := w.seen(); len(asked)+len(dialed) != 0 {
		t.Errorf("asked %v, dialed %v", asked, dialed)
	}
}

// TestErrorsKeepSecrets: what a server put into its callback stays out of the log.
func TestErrorsKeepSecrets(t *testing.T) {
	w := newWorld(t, Config{})
	w.payee(t, 0, map[string]any{"callback": "https://example.com/cb?secret=hunter2"})
	w.mux.HandleFunc("/cb", func(rw http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
	_, err := w.client.Resolve(t.Context(), parseWith(t, w.client, "alice@example.com"), 5000, "")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

type resolverFunc func(ctx context.Context, host string) ([]netip.Addr, error)

func (f resolverFunc) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	return f(ctx, host)
}

// TestAllowPrivate is the closed development network: a payee on this machine, without TLS.
func TestAllowPrivate(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, Config{})
	w.payee(t, 0, map[string]any{"callback": fmt.Sprintf("http://%s/pay/alice?id=7", listener.Addr())})
	server := &http.Server{Handler: w.mux}
	go server.Serve(listener)
	defer server.Close()

	address := "alice@" + listener.Addr().String()
	open, err := New(Config{AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	if !open.IsAddress(address) || w.client.IsAddress(address) || IsAddress(address) {
		t.Errorf("%s must be an address for the open client only", address)
	}
	target := parseWith(t, open, address)
	if _, err := open.Resolve(t.Context(), target, 5000, ""); err != nil {
		t.Error(err)
	}
	// A target that an open client made is none for a guarded one.
	guarded, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := guarded.Resolve(t.Context(), target, 5000, ""); !errors.Is(err, ErrUnsafe) {
		t.Errorf("guarded client: %v", err)
	}
}
