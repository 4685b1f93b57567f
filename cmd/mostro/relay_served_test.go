package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip11"
	"github.com/nbd-wtf/go-nostr/nip19"

	"mostro/escrow/lightning/lnd"
	"mostro/escrow/mostro"
)

// served is a node of mostro serve, in this process, beside a Lightning node that does not answer.
type served struct {
	testing.TB
	*node
	address string
	log     *bytes.Buffer // not to be read before the node has ended
	stop    func()        // ends the node and waits for it
}

const relayPatience = time.Minute // bounds a hang, not a speed

// serveWith starts a node with settings. It ends with the test, without an error.
func serveWith(t testing.TB, settings ...string) *served {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "node")
	if err := openDataDir(dir); err != nil {
		t.Fatal(err)
	}
	files := filepath.Join(dir, "lnd")
	if err := writeLNDFiles(files); err != nil {
		t.Fatal(err)
	}
	l, err := loadSettings("none", nil, append([]string{"relay.min_free_mib=0", "price.providers.yadio.enabled=false"}, settings...))
	if err != nil {
		t.Fatal(err)
	}
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &served{TB: t, address: listener.Addr().String(), log: new(bytes.Buffer)}
	s.node, err = openNode(t.Context(), nodeConfig{
		dir: dir, settings: &l.Settings, key: key, listener: listener, logger: slog.New(slog.NewTextHandler(s.log, nil)),
		lightning: lnd.Config{Host: "127.0.0.1:1", CertFile: filepath.Join(files, "tls.cert"), MacaroonFile: filepath.Join(files, "good.macaroon")},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the node ends with %v", err)
		}
	})
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Log(s.log.String())
		}
	})
	return s
}

// line is a client of the relay that reads and writes frames as they are.
type line struct {
	testing.TB
	*websocket.Conn
	challenge string
}

// dial opens a session; the headers are those of a proxy.
func (s *served) dial(header ...string) *line {
	s.Helper()
	w, err := s.tryDial("127.0.0.1", header...)
	if err != nil {
		s.Fatal(err)
	}
	return w
}

func (s *served) tryDial(from string, header ...string) (*line, error) {
	s.Helper()
	headers := make(http.Header)
	for i := 0; i+1 < len(header); i += 2 {
		headers.Set(header[i], header[i+1])
	}
	dialer := websocket.Dialer{NetDialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext}
	conn, _, err := dialer.Dial("ws://"+s.address, headers)
	if err != nil {
		return nil, err
	}
	s.Cleanup(func() { conn.Close() })
	w := &line{s.TB, conn, ""}
	if greeting := w.next(); greeting[0] != "AUTH" {
		s.Fatal(greeting)
	} else {
		w.challenge = greeting[1]
	}
	return w, nil
}

// next reads a frame: its strings, and the JSON of its other parts.
func (w *line) next() []string {
	w.Helper()
	if err := w.SetReadDeadline(time.Now().Add(relayPatience)); err != nil {
		w.Fatal(err)
	}
	_, message, err := w.ReadMessage()
	var fault *websocket.CloseError
	if errors.As(err, &fault) {
		return []string{"closed", fmt.Sprint(fault.Code)}
	}
	if err != nil {
		w.Fatal(err)
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(message, &parts); err != nil {
		w.Fatalf("frame %q: %v", message, err)
	}
	var words []string
	for _, part := range parts {
		var word string
		if json.Unmarshal(part, &word) != nil {
			word = string(part)
		}
		words = append(words, word)
	}
	return words
}

// ask sends a message and returns the answer in one line.
func (w *line) ask(message string) string {
	w.Helper()
	if err := w.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		return "closed"
	}
	return strings.Join(w.next(), " ")
}

// publish returns why an event was refused, "" when it was taken.
func (w *line) publish(ev nostr.Event) string {
	w.Helper()
	_, rest, _ := strings.Cut(w.ask(`["EVENT",`+ev.String()+`]`), ev.ID+" ")
	verdict, reason, _ := strings.Cut(rest, " ")
	if verdict == "true" && reason == "" {
		return ""
	}
	return reason
}

// stored counts what a REQ finds; a refusal is -1.
func (w *line) stored(filters string) (n int) {
	w.Helper()
	answer := w.ask(`["REQ","q",` + filters + `]`)
	for ; strings.HasPrefix(answer, "EVENT "); n++ {
		answer = strings.Join(w.next(), " ")
	}
	if !strings.HasPrefix(answer, "EOSE") {
		return -1
	}
	if err := w.WriteMessage(websocket.TextMessage, []byte(`["CLOSE","q"]`)); err != nil {
		w.Fatal(err)
	}
	return n
}

func (s *served) information() (doc nip11.RelayInformationDocument) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "http://"+s.address, nil)
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Accept", "application/nostr+json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
		s.Fatal(err)
	}
	return doc
}

func (s *served) sign(secret string, ev nostr.Event) nostr.Event {
	s.Helper()
	if ev.CreatedAt == 0 {
		ev.CreatedAt = nostr.Now()
	}
	if ev.Content == "" {
		ev.Content = nostr.GeneratePrivateKey()[:8] // so that no two are the same
	}
	if err := ev.Sign(secret); err != nil {
		s.Fatal(err)
	}
	return ev
}

func publicOf(t testing.TB, secret string) string {
	t.Helper()
	public, err := nostr.GetPublicKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// secretHex is the node's key, which a thief would have.
func (s *served) secretHex() string {
	s.Helper()
	_, secret, err := nip19.Decode(s.cfg.key.Nsec())
	if err != nil {
		s.Fatal(err)
	}
	return secret.(string)
}

// waitReadyWithoutLightning returns when the node has told its terms.
func (s *served) waitReadyWithoutLightning() error {
	deadline := time.Now().Add(relayPatience)
	for time.Now().Before(deadline) {
		found, err := s.relay.Query(s.Context(), nostr.Filter{Kinds: []int{mostro.KindInfo}, Limit: 1})
		if err != nil || len(found) == 1 {
			return err
		}
		time.Sleep(readyPoll)
	}
	return errors.New("no terms are stored")
}

// manage makes a call to the management (NIP-86) and returns the status.
func (s *served) manage(secret, body string) string {
	s.Helper()
	sum := sha256.Sum256([]byte(body))
	ev := s.sign(secret, nostr.Event{Kind: 27235, Tags: nostr.Tags{
		{"u", strings.Replace(s.url, "ws", "http", 1)}, {"method", "POST"}, {"payload", hex.EncodeToString(sum[:])},
	}})
	req, err := http.NewRequestWithContext(s.Context(), http.MethodPost, "http://"+s.address, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/nostr+json+rpc")
	req.Header.Set("Authorization", "Nostr "+base64.StdEncoding.EncodeToString([]byte(ev.String())))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	res.Body.Close()
	return fmt.Sprint(res.StatusCode)
}
