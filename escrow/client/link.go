package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// link is a connection to a relay that is made again whenever it is lost, with all
// subscriptions and with the events that the relay has not answered.
type link struct {
	url string
	log *slog.Logger

	done chan struct{} // closed when run has ended

	mu      sync.Mutex
	wire    *wire // nil while there is no connection
	trouble error // why there is none, or the relay's last complaint
	serial  int
	subs    map[string]*subscription
	sent    []*sending // in the order in which they were sent
}

// subscription is a standing question. The goroutine that reads the connection owns what is
// not set by its maker.
type subscription struct {
	filters nostr.Filters
	// handle gets the stored events together, oldest first and also when there are none,
	// and then each live one. After a reconnect it begins anew.
	handle func([]*nostr.Event)
	// failed is called when the relay ends the subscription. nil: the connection is made
	// again, for without this subscription it is useless.
	failed func(error)

	id     string
	live   bool
	stored []*nostr.Event
}

// sending is an event on its way.
type sending struct {
	id     string
	frame  []byte
	answer chan error // buffered
}

func newLink(url string, log *slog.Logger) *link {
	return &link{url: url, log: log, done: make(chan struct{}), subs: make(map[string]*subscription)}
}

func (l *link) dial(ctx context.Context) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	dialer := websocket.Dialer{ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10}
	conn, answer, err := dialer.DialContext(ctx, l.url, nil)
	if err != nil && answer != nil {
		return nil, fmt.Errorf("%w (HTTP status %s)", err, answer.Status)
	}
	return conn, err
}

// run uses a connection, and a new one each time it is lost, until ctx ends.
func (l *link) run(ctx context.Context, conn *websocket.Conn) {
	defer close(l.done)
	wait := firstRetry
	for ctx.Err() == nil {
		var err error
		if conn == nil {
			conn, err = l.dial(ctx)
		}
		if err == nil {
			began := time.Now()
			err = l.session(ctx, conn)
			conn = nil
			if time.Since(began) > steadyTime {
				wait = firstRetry
			}
			l.log.Info("the connection to the relay is lost", "relay", l.url, "error", err)
		}
		l.complain(err)
		// Half of it at random, so that a relay that comes back is not asked by all at once.
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait/2)):
		}
		wait = min(2*wait, mostRetry)
	}
}

func (l *link) complain(err error) {
	l.mu.Lock()
	l.trouble = err
	l.mu.Unlock()
}

// because returns err, with what is wrong with the connection when something is.
func (l *link) because(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trouble == nil {
		return err
	}
	return fmt.Errorf("%w (relay: %w)", err, l.trouble)
}

// session uses one connection to its end.
func (l *link) session(ctx context.Context, conn *websocket.Conn) error {
	w := &wire{conn: conn, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	cut := context.AfterFunc(ctx, func() { conn.Close() })
	defer cut()
	var writer sync.WaitGroup
	writer.Go(w.write)
	l.begin(w)
	err := w.read(l.handle)

	l.mu.Lock()
	l.wire = nil
	l.mu.Unlock()
	close(w.ended)
	conn.Close()
	writer.Wait()
	return err
}

// begin says everything on a new connection that the relay has to know.
func (l *link) begin(w *wire) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wire, l.trouble = w, nil
	for _, sub := range l.subs {
		sub.live, sub.stored = false, nil
		w.send(sub.request())
	}
	for _, s := range l.sent {
		w.send(s.frame)
	}
}

// subscribe registers a question and asks it, now or when there is a connection.
func (l *link) subscribe(sub *subscription) *subscription {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serial++
	sub.id = strconv.Itoa(l.serial)
	l.subs[sub.id] = sub
	if l.wire != nil {
		l.wire.send(sub.request())
	}
	return sub
}

// unsubscribe ends a subscription; nil and one that has ended are fine.
func (l *link) unsubscribe(sub *subscription) {
	if sub == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.subs[sub.id] == nil {
		return
	}
	delete(l.subs, sub.id)
	if l.wire != nil {
		l.wire.send([]byte(`["CLOSE","` + sub.id + `"]`))
	}
}

// publish sends an event, again after each reconnect, until the relay has answered. When ctx
// ends first, the relay may or may not have it.
func (l *link) publish(ctx context.Context, ev nostr.Event) error {
	s := &sending{id: ev.ID, frame: []byte(`["EVENT",` + ev.String() + `]`), answer: make(chan error, 1)}
	l.mu.Lock()
	l.sent = append(l.sent, s)
	if l.wire != nil {
		l.wire.send(s.frame)
	}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.sent = slices.DeleteFunc(l.sent, func(other *sending) bool { return other == s })
		l.mu.Unlock()
	}()
	select {
	case err := <-s.answer:
		return err
	case <-l.done:
		return ErrClosed
	case <-ctx.Done():
		select {
		case err := <-s.answer: // both at once: what is known counts
			return err
		default:
			return l.because(ctx.Err())
		}
	}
}

// handle takes a frame of the relay. An error ends the connection.
func (l *link) handle(frame []byte) error {
	var parts []json.RawMessage
	var label, id string
	if err := json.Unmarshal(frame, &parts); err != nil || len(parts) < 2 {
		return errors.New("the relay sends what is not Nostr")
	}
	if json.Unmarshal(parts[0], &label) != nil || json.Unmarshal(parts[1], &id) != nil {
		return nil // of another protocol, such as an answer to COUNT
	}
	switch {
	case label == "EVENT" && len(parts) == 3:
		var ev nostr.Event
		if err := ev.UnmarshalJSON(parts[2]); err == nil {
			l.event(id, &ev)
		}
	case label == "EOSE":
		l.endOfStored(id)
	case label == "OK" && len(parts) == 4:
		l.answered(id, string(parts[2]) == "true", parts[3])
	case label == "CLOSED":
		return l.closed(id, parts[2:])
	case label == "NOTICE":
		l.log.Info("the relay says", "relay", l.url, "notice", id)
		l.complain(errors.New(id))
	}
	return nil
}

func (l *link) sub(id string) *subscription {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.subs[id]
}

func (l *link) event(id string, ev *nostr.Event) {
	switch sub := l.sub(id); {
	case sub == nil: // ended in the meantime
	case sub.live:
		sub.handle([]*nostr.Event{ev})
	default:
		sub.stored = append(sub.stored, ev)
	}
}

// endOfStored hands over the stored events, which come newest first.
func (l *link) endOfStored(id string) {
	sub := l.sub(id)
	if sub == nil || sub.live {
		return
	}
	events := sub.stored
	sub.live, sub.stored = true, nil
	slices.SortStableFunc(events, func(a, b *nostr.Event) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) })
	sub.handle(events)
}

func (l *link) answered(id string, ok bool, words json.RawMessage) {
	var text string
	_ = json.Unmarshal(words, &text) // words of another form are no words
	var err error
	if !ok && !strings.HasPrefix(text, "duplicate:") {
		err = &RefusedError{text}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sent {
		if s.id == id {
			select {
			case s.answer <- err:
			default: // answered before: it was sent twice
			}
		}
	}
}

func (l *link) closed(id string, words []json.RawMessage) error {
	sub := l.sub(id)
	if sub == nil {
		return nil
	}
	text := "without a reason"
	if len(words) > 0 {
		_ = json.Unmarshal(words[0], &text)
	}
	err := fmt.Errorf("the relay ends a subscription: %s", text)
	if sub.failed == nil {
		return err
	}
	l.mu.Lock()
	delete(l.subs, id)
	l.mu.Unlock()
	sub.failed(err)
	return nil
}

func (s *subscription) request() []byte {
	frame := `["REQ","` + s.id + `"`
	for _, f := range s.filters {
		frame += "," + f.String()
	}
	return []byte(frame + "]")
}

// wire is one WebSocket connection. Frames to the relay wait in a queue, so that whoever
// sends never waits for the network; what fills the queue is bounded by open requests.
type wire struct {
	conn  *websocket.Conn
	wake  chan struct{}
	ended chan struct{} // closed when the reader has ended

	mu    sync.Mutex
	queue [][]byte
}

func (w *wire) send(frame []byte) {
	w.mu.Lock()
	w.queue = append(w.queue, frame)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// write empties the queue until the reader ends, or ends the reader when it cannot.
func (w *wire) write() {
	defer w.conn.Close()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-w.ended:
			return
		case <-ping.C:
			if w.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTime)) != nil {
				return
			}
		case <-w.wake:
			if w.flush() != nil {
				return
			}
		}
	}
}

func (w *wire) flush() error {
	w.mu.Lock()
	frames := w.queue
	w.queue = nil
	w.mu.Unlock()
	for _, frame := range frames {
		if err := w.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
			return err
		}
		if err := w.conn.WriteMessage(websocket.TextMessage, frame); err != nil {
			return err
		}
	}
	return nil
}

// read hands frames over until the connection ends, and returns why.
func (w *wire) read(handle func([]byte) error) error {
	heard := func(string) error { return w.conn.SetReadDeadline(time.Now().Add(silenceTime)) }
	w.conn.SetReadLimit(maxFrame)
	w.conn.SetPongHandler(heard)
	for {
		if err := heard(""); err != nil {
			return err
		}
		_, frame, err := w.conn.ReadMessage()
		if err != nil {
			return err
		}
		if err := handle(frame); err != nil {
			return err
		}
	}
}
