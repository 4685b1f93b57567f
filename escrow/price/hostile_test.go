package price

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const goodAnswer = `{"BTC":{"USD":100}}`

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// TestHostileServers are asked together with two good sources, which must not suffer.
func TestHostileServers(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	var elsewhere atomic.Int32
	other := serve(t, func(w http.ResponseWriter, _ *http.Request) { elsewhere.Add(1); io.WriteString(w, goodAnswer) })
	tests := map[string]string{
		"dead":  "http://" + dead.Addr().String(),
		"lying": serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"BTC":{"USD":1000000}}`) }),
		"dripping": serve(t, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				io.WriteString(w, " ")
				w.(http.Flusher).Flush()
				time.Sleep(5 * time.Millisecond)
			}
		}),
		"silent": serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
		"endless": serve(t, func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := io.WriteString(w, strings.Repeat(" ", 1<<16)); err != nil {
					return
				}
			}
		}),
		"redirecting": serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other+"/exrates/BTC", http.StatusFound)
		}),
		"redirecting in a circle": serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusMovedPermanently)
		}),
		"leaving in the middle": serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, goodAnswer)
		}),
		"talking something else": serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
				io.WriteString(conn, "220 smtp.example.com\r\n")
				conn.Close()
			}
		}),
	}
	good := newProvider(t, `"USD":100`)
	for name, url := range tests {
		b := newBench(t, Config{}, good.source(), good.source(), Yadio(Provider{URL: url}))
		b.cfg.Timeout = 300 * time.Millisecond
		if name == "endless" || name == "redirecting in a circle" {
			b.cfg.Timeout = time.Hour // something else ends it
		}
		answered, _ := b.next(t)
		if want := map[bool]int{true: 3, false: 2}[name == "lying"]; answered != want {
			t.Errorf("%s: %d answers", name, answered)
		}
		b.want(t, "USD", 100, 0)

		// Alone, it gives nothing, or what it says.
		b = newBench(t, Config{}, Yadio(Provider{URL: url}))
		b.cfg.Timeout = 300 * time.Millisecond
		b.next(t)
		if _, ok := b.Price("USD"); ok != (name == "lying") {
			t.Errorf("%s: a price is %v", name, ok)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d requests went to the target of a redirect", n)
	}
}

// TestRedirectWithinHost: moving a path is a provider's right.
func TestRedirectWithinHost(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/exrates/BTC" {
			http.Redirect(w, r, "/v2/btc", http.StatusMovedPermanently)
			return
		}
		io.WriteString(w, goodAnswer)
	})
	b := newBench(t, Config{}, Yadio(Provider{URL: base}))
	b.next(t)
	b.want(t, "USD", 100, 0)
}

func TestFallbacks(t *testing.T) {
	broken, good, unused := newProvider(t, ``), newProvider(t, `"USD":100`), newProvider(t, `"USD":7`)
	nonsense := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"BTC":{}}`) })
	silent := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	b := newBench(t, Config{}, Yadio(Provider{URL: silent, Fallbacks: []string{broken.URL, nonsense, "http://[bad", good.URL, unused.URL}}))
	b.cfg.Timeout = 300 * time.Millisecond
	if answered, _ := b.next(t); answered != 1 || unused.count() != 0 {
		t.Errorf("%d answers; the last fallback was asked %d times", answered, unused.count())
	}
	b.want(t, "USD", 100, 0)
}

// TestErrorsNameTheSource, and do not give away its key.
func TestErrorsNameTheSource(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) })
	b := newBench(t, Config{})
	_, err := b.ask(t.Context(), ElToque(Provider{URL: base, Key: "hunter2"}))
	if err == nil || !strings.Contains(err.Error(), "eltoque") || !strings.Contains(err.Error(), "429") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

// TestProxy: names go to the SOCKS proxy as they are; hosts of the inner network do not.
func TestProxy(t *testing.T) {
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, goodAnswer) })
	asked := make(chan string, 10)
	go func() {
		for {
			conn, err := proxy.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				head := make([]byte, 256)
				io.ReadFull(conn, head[:2])
				io.ReadFull(conn, head[:head[1]])
				conn.Write([]byte{5, 0})
				io.ReadFull(conn, head[:5]) // a name: 5 1 0 3 length
				name := make([]byte, int(head[4])+2)
				io.ReadFull(conn, name)
				asked <- string(name[:head[4]]) + " " + string('0'+rune(head[3]))
				if port := binary.BigEndian.Uint16(name[head[4]:]); port != 80 {
					return
				}
				onward, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
				if err != nil {
					return
				}
				defer onward.Close()
				conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
				go io.Copy(onward, conn)
				io.Copy(conn, onward)
			}()
		}
	}()
	through := &url.URL{Scheme: "socks5", Host: proxy.Addr().String()}
	b := newBench(t, Config{Proxy: through}, Yadio(Provider{URL: "http://prices.example.com"}))
	b.next(t)
	b.want(t, "USD", 100, 0)
	if got := <-asked; got != "prices.example.com 3" {
		t.Errorf("the proxy was asked for %q", got)
	}
	b = newBench(t, Config{Proxy: through}, Yadio(Provider{URL: server}))
	b.next(t)
	b.want(t, "USD", 100, 0)
	if len(asked) != 0 {
		t.Errorf("the proxy was asked for %s", <-asked)
	}
}
