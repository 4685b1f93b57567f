package relay

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// patience is how long a test waits for something that must happen. It bounds a hang, not a
// speed.
const patience = 60 * time.Second

// nodeKey is the node's secret key in tests, and node its public key.
const nodeKey = "0000000000000000000000000000000000000000000000000000000000000001"

func publicKey(t testing.TB, secret string) string {
	t.Helper()
	public, err := nostr.GetPublicKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// signed makes an event of secret.
func signed(t testing.TB, secret string, ev nostr.Event) nostr.Event {
	t.Helper()
	if ev.CreatedAt == 0 {
		ev.CreatedAt = nostr.Now()
	}
	if err := ev.Sign(secret); err != nil {
		t.Fatal(err)
	}
	return ev
}

// start opens a relay with a server in front, both closed when the test ends.
func start(t testing.TB, cfg Config) (*Relay, string) {
	t.Helper()
	if cfg.Pubkey == "" {
		cfg.Pubkey = publicKey(t, nodeKey)
	}
	return startAt(t, cfg, time.Now)
}

func startAt(t testing.TB, cfg Config, now func() time.Time) (*Relay, string) {
	t.Helper()
	r, err := open(cfg, now)
	if err != nil {
		t.Fatal(err)
	}
	return r, serveRelay(t, r)
}

// serveRelay puts a server in front of a relay; both are closed when the test ends.
func serveRelay(t testing.TB, r *Relay) string {
	t.Helper()
	server := httptest.NewServer(r.Handler())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

// wire is a client that sends and reads frames as they are.
type wire struct {
	testing.TB
	*websocket.Conn
}

func dial(t testing.TB, url string) wire {
	t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return wire{t, conn}
}

func (w wire) write(frame string) {
	w.Helper()
	if err := w.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		w.Fatal(err)
	}
}

func (w wire) next() []json.RawMessage {
	w.Helper()
	if err := w.SetReadDeadline(time.Now().Add(patience)); err != nil {
		w.Fatal(err)
	}
	_, message, err := w.ReadMessage()
	if err != nil {
		w.Fatal(err)
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(message, &parts); err != nil {
		w.Fatalf("frame %q: %v", message, err)
	}
	return parts
}

// text reads a frame made of strings and booleans, joined by spaces.
func (w wire) text() string {
	w.Helper()
	var words []string
	for _, part := range w.next() {
		words = append(words, strings.Trim(string(part), `"`))
	}
	return strings.Join(words, " ")
}

// publish sends an event and returns the answer.
func (w wire) publish(ev nostr.Event) (ok bool, reason string) {
	w.Helper()
	w.write(`["EVENT",` + ev.String() + `]`)
	parts := w.next()
	if len(parts) != 4 || string(parts[0]) != `"OK"` || string(parts[1]) != `"`+ev.ID+`"` {
		w.Fatalf("event %s was answered with %s", ev.ID, parts)
	}
	if err := json.Unmarshal(parts[3], &reason); err != nil {
		w.Fatal(err)
	}
	return string(parts[2]) == "true", reason
}

// query asks for stored events and returns them when all have come.
func (w wire) query(filters string) []nostr.Event {
	w.Helper()
	w.write(`["REQ","query",` + filters + `]`)
	defer w.write(`["CLOSE","query"]`)
	return w.stored()
}

// stored reads events up to the end of the stored ones.
func (w wire) stored() []nostr.Event {
	w.Helper()
	var events []nostr.Event
	for {
		parts := w.next()
		switch string(parts[0]) {
		case `"EOSE"`:
			return events
		case `"EVENT"`:
			events = append(events, w.event(parts))
		default:
			w.Fatalf("query was answered with %s", parts)
		}
	}
}

// event reads an event from a frame, which must verify.
func (w wire) event(parts []json.RawMessage) nostr.Event {
	w.Helper()
	var ev nostr.Event
	if len(parts) != 3 || string(parts[0]) != `"EVENT"` {
		w.Fatalf("wanted an event, got %s", parts)
	}
	if err := ev.UnmarshalJSON(parts[2]); err != nil {
		w.Fatal(err)
	}
	if ok, err := ev.CheckSignature(); !ok || !ev.CheckID() {
		w.Fatalf("served event %s does not verify: %v", ev.ID, err)
	}
	return ev
}

func TestPublishAndRead(t *testing.T) {
	r, url := start(t, Config{})
	alice := nostr.GeneratePrivateKey()
	reader := dial(t, url)
	reader.write(`["REQ","live",{"kinds":[1]}]`)
	if got := reader.text(); got != "EOSE live" {
		t.Fatal(got)
	}
	note := signed(t, alice, nostr.Event{Kind: 1, Content: "hello <&> \u2028 \x00 \"quoted\"", Tags: nostr.Tags{{"t", "a"}, {"x"}}})
	if ok, reason := dial(t, url).publish(note); !ok {
		t.Fatal(reason)
	}
	if got := reader.event(reader.next()); got.ID != note.ID {
		t.Errorf("live event %s, want %s", got.ID, note.ID)
	}
	order := signed(t, nodeKey, nostr.Event{Kind: 38383, Tags: nostr.Tags{{"d", "order"}}})
	if err := r.Publish(t.Context(), order, order); err != nil {
		t.Fatal(err)
	}
	found := dial(t, url).query(`{"kinds":[38383,1]}`)
	if len(found) != 2 {
		t.Errorf("found %d stored events, want 2", len(found))
	}
}
