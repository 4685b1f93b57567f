package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"
)

// loud is a log in which a panic that was caught fails the test.
type loud struct {
	slog.Handler
	t atomic.Pointer[testing.T] // of the input that is tried
}

func (l *loud) Enabled(context.Context, slog.Level) bool { return true }
func (l *loud) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "panic" {
			l.t.Load().Error(r.Message, a.Value)
		}
		return true
	})
	return nil
}

// FuzzSocket: whatever bytes a client sends, what is taken for a message is text and not too
// long, and the rest ends the connection.
func FuzzSocket(f *testing.F) {
	const most = 1 << 12
	f.Add(clientFrame(final|opText, []byte(`["REQ","a",{}]`)))
	f.Add(append(clientFrame(opText, []byte("[")), clientFrame(final|opContinue, []byte("]"))...))
	f.Add(append(clientFrame(final|opPing, []byte("hello")), clientFrame(final|opClose, []byte{3, 232})...))
	f.Add([]byte{final | opText, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4})
	f.Add([]byte{final | opText, 0xFE, 0x10, 0x01, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, sent []byte) {
		k := &socket{
			in: bufio.NewReader(bytes.NewReader(sent)), most: most,
			reply: func(op byte, payload []byte) {
				if op != opPong || len(payload) > 125 {
					t.Fatalf("control frame %d of %d bytes", op, len(payload))
				}
			},
			heard: func(bool) error { return nil }, room: func(int) bool { return true },
		}
		for range len(sent) + 1 {
			message, err := k.next()
			var close closeError
			switch {
			case err != nil && !errors.As(err, &close) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
				t.Fatal(err)
			case err != nil:
				return
			case !utf8.Valid(message) || len(message) > most:
				t.Fatalf("a message of %d bytes: %q", len(message), message)
			}
		}
		t.Fatal("more messages than bytes")
	})
}

// sink is the connection of a session that nobody reads from.
type sink struct {
	net.Conn
	mu   sync.Mutex
	sent bytes.Buffer
}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent.Write(b)
}
func (*sink) SetReadDeadline(time.Time) error  { return nil }
func (*sink) SetWriteDeadline(time.Time) error { return nil }
func (*sink) Close() error                     { return nil }

// answersTo lets a session of its own handle a message, and returns the texts that it sends.
func (r *Relay) answersTo(t *testing.T, message []byte) (texts [][]byte) {
	conn := &sink{}
	s := &session{relay: r, conn: conn, subs: make(map[string]*subscription), sets: make(map[string]*reconciling)}
	s.room.L, s.events.room.L = &s.mu, &s.events.mu
	s.ctx, s.end = context.WithCancel(t.Context())
	s.about = newConnection(httptest.NewRequest(http.MethodGet, "/", nil))
	s.hooks = within(s.ctx, s.about)
	s.handle(message)
	s.events.wait()
	r.unsubscribe(s.subs)
	for _, set := range s.sets {
		set.close()
	}
	s.stop()
	s.drain(closing(closeNormal, ""))
	for b := conn.sent.Bytes(); len(b) > 1; {
		op, length, head := b[0]&0xF, int(b[1]), 2
		switch length {
		case 126:
			length, head = int(binary.BigEndian.Uint16(b[2:])), 4
		case 127:
			length, head = int(binary.BigEndian.Uint64(b[2:])), 10
		}
		if op == opText {
			texts = append(texts, b[head:head+length])
		}
		b = b[head+length:]
	}
	return texts
}

// FuzzMessage: no message of a client makes the relay fall, and each gets an answer, a frame
// as NIP-01 has them; only who closes what is not open gets none.
func FuzzMessage(f *testing.F) {
	log := &loud{Handler: slog.DiscardHandler}
	r, _ := start(f, Config{Logger: slog.New(log), ServiceURL: serviceURL})
	note := signed(f, strings.Repeat("7", 64), nostr.Event{Kind: 1, Content: "hello", Tags: nostr.Tags{{"t", "a"}, {}, {"e"}}, CreatedAt: 1_700_000_000})
	for _, seed := range []string{
		`["EVENT",` + note.String() + `]`, `["EVENT",{"tags":[[]]}]`, `["EVENT",[]]`, `["EVENT",null]`, `["EVENT",{"created_at":1e99}]`,
		`["REQ","a",{"kinds":[1],"#t":["a"],"limit":0}]`, `["REQ","a"]`, `["REQ","",{}]`, `["REQ","a",{"since":2,"until":1},{"ids":[""]}]`, `["REQ","a",null]`,
		`["COUNT","a",{"kinds":[1]}]`, `["COUNT","a"]`, `["CLOSE","a"]`, `["AUTH",` + note.String() + `]`, `["AUTH","x"]`,
		`["NEG-OPEN","a",{"kinds":[1]},"6100000200"]`, `["NEG-OPEN","a",{},"61"]`, `["NEG-MSG","a","61"]`, `["NEG-CLOSE","a"]`,
		`[]`, `["EVENT"]`, `{}`, `null`, `["X","y"]`, `["REQ","a",{"#` + "\u0000" + `":["x"]}]`, `["REQ","a",{"search":"x language:en"}]`,
		`["REQ","a",{"kinds":[-1,99999999999999999999]}]`, `["REQ","a",` + strings.Repeat("[", 5000) + `]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message string) {
		log.t.Store(t)
		if len(message) > 100_000 || !utf8.ValidString(message) {
			return // the socket takes no more, and nothing else
		}
		texts := r.answersTo(t, []byte(message))
		for _, text := range texts {
			var parts []json.RawMessage
			var label string
			if err := json.Unmarshal(text, &parts); err != nil || len(parts) < 2 || json.Unmarshal(parts[0], &label) != nil {
				t.Fatalf("the answer is %q", text)
			}
			switch label {
			case "OK", "EOSE", "CLOSED", "NOTICE", "EVENT", "COUNT", "NEG-MSG", "NEG-ERR":
			default:
				t.Fatalf("the answer is %q", text)
			}
		}
		req, err := parseRequest([]byte(message))
		if len(texts) == 0 && (err != nil || req.label != "CLOSE" && req.label != "NEG-CLOSE") {
			t.Fatalf("no answer to %q", message)
		}
	})
}

// FuzzManagement: no body that an administrator signs makes the relay fall, nor bans the node
// or himself.
func FuzzManagement(f *testing.F) {
	admin := nostr.GeneratePrivateKey()
	r, _ := start(f, Config{ServiceURL: serviceURL, Admins: []string{publicKey(f, admin)}})
	for _, seed := range []string{
		`{"method":"supportedmethods","params":[]}`, `{"method":"banpubkey","params":["` + publicKey(f, admin) + `","spam"]}`, `{"method":"banpubkey"}`,
		`{"method":"banpubkey","params":[null,7]}`, `{"method":"banevent","params":["` + strings.Repeat("0", 64) + `"]}`, `{"method":"allowevent","params":{}}`,
		`{"method":"disallowkind","params":[1]}`, `{"method":"disallowkind","params":[-1]}`, `{"method":"allowkind","params":[1e99]}`, `{"method":"listdisallowedkinds"}`,
		`{"method":"blockip","params":["::ffff:1.2.3.4%eth0","x"]}`, `{"method":"blockip","params":["1.2.3.4/8"]}`, `{"method":"unblockip","params":["::1"]}`,
		`{"method":"changerelayname","params":["` + strings.Repeat("\u00e9", 500) + `"]}`, `{"method":"changerelayicon","params":["javascript:x"]}`,
		`[]`, `null`, `{"params":[[[]]]}`, `{"method":"listblockedips","params":[` + strings.Repeat("1,", 2000) + `1]}`, "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		ev := signed(t, admin, nostr.Event{Kind: kindHTTPAuth, Content: nostr.GeneratePrivateKey(), Tags: nostr.Tags{
			{"u", "https://relay.example.com/"}, {"method", "POST"}, {"payload", hex.EncodeToString(sum[:])},
		}})
		req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		req.Header.Set("Authorization", "Nostr "+base64.StdEncoding.EncodeToString([]byte(ev.String())))
		w := httptest.NewRecorder()
		clear(r.management.used) // which are bounded, and no administrator is as fast
		r.manage(w, req)
		var answer struct{ Error string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("the answer is %q", w.Body)
		}
		switch {
		case w.Code == http.StatusOK && answer.Error == "":
		case (w.Code == http.StatusBadRequest || w.Code == http.StatusRequestEntityTooLarge) && answer.Error != "":
		default:
			t.Fatalf("status %d, %q", w.Code, answer.Error)
		}
		rules := r.management.now()
		for _, key := range []string{publicKey(t, admin), r.cfg.Pubkey} {
			if _, banned := rules.Pubkeys[key]; banned {
				t.Fatalf("%s is banned", key)
			}
		}
	})
}

// FuzzAuthorization: no header of a stranger opens the management.
func FuzzAuthorization(f *testing.F) {
	admin := nostr.GeneratePrivateKey()
	r, _ := start(f, Config{ServiceURL: serviceURL, Admins: []string{publicKey(f, admin)}})
	for _, seed := range []string{`{}`, `{"kind":27235,"tags":[["u"],["method","POST"]]}`, `{"kind":27235,"tags":null}`, `[]`, `null`, `{"tags":[[]]}`} {
		f.Add("nostr ", seed, true)
		f.Add("Nostr ", seed, false)
	}
	f.Add("", "", false)
	f.Add("Basic ", "x:y", true)
	f.Fuzz(func(t *testing.T, scheme, event string, encode bool) {
		if encode {
			event = base64.StdEncoding.EncodeToString([]byte(event))
		}
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"))
		req.Header["Authorization"] = []string{scheme + event}
		w := httptest.NewRecorder()
		r.manage(w, req)
		if w.Code != http.StatusUnauthorized {
			t.Fatalf("status %d", w.Code)
		}
	})
}
