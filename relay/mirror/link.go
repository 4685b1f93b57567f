package mirror

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// link is one connection to a relay. One goroutine reads: it calls what waits for a frame, and
// waits for whoever does not take it, so that a relay is read no faster than its events are worked
// on. Another writes.
type link struct {
	url  string
	conn *websocket.Conn
	sign func(*nostr.Event) error // proves who this is (NIP-42); nil = nobody

	out    chan []byte
	unsent chan struct{} // closed when the writer has ended
	ended  chan struct{} // closed when the reader has ended
	cause  error         // why, then

	challenged chan struct{} // closed when the relay has asked who this is
	loggedIn   chan struct{} // closed when it has taken the answer
	asked      int           // how often it has asked; of the reader

	plain    bool         // the relay is known not to know negentropy
	in, sent atomic.Int64 // bytes

	mu     sync.Mutex // guards the following
	serial int
	subs   map[string]*sub
	oks    map[string][]chan error // by event id
	login  string                  // id of the answer to the challenge
	notice string                  // the last one
}

// sub is a question to the relay. Its functions are called by the reader, one after another.
type sub struct {
	id    string
	event func(*nostr.Event) // may wait
	end   func(error)        // the stored events are through (nil), or the relay ends it
	neg   func(message []byte, err error)
}

// RefusedError is a relay's OK false.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// ClosedError is a relay's word that it ends a subscription.
type ClosedError struct{ Reason string }

func (e *ClosedError) Error() string { return "the relay ends a subscription: " + e.Reason }

var (
	errLinkEnded    = errors.New("error: the connection to the relay is lost")
	errNoAnswer     = errors.New("the relay does not answer")
	errNoNegentropy = errors.New("the relay does not know negentropy")
	errNoise        = errors.New("the relay sends what is not Nostr")
)

// connect makes a link, which ends with ctx.
func (d Dial) connect(ctx context.Context, url string, sign func(*nostr.Event) error) (*link, error) {
	conn, err := d.webSocket(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	l := &link{
		url: url, conn: conn, sign: sign,
		out: make(chan []byte, queueFrames), unsent: make(chan struct{}), ended: make(chan struct{}),
		challenged: make(chan struct{}), loggedIn: make(chan struct{}),
		subs: make(map[string]*sub), oks: make(map[string][]chan error),
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	go l.write()
	go l.read()
	return l, nil
}

// close ends the connection; what waits for it gets errLinkEnded.
func (l *link) close() { l.conn.Close() }

func (l *link) read() {
	l.cause = l.readAll()
	close(l.ended)
	l.conn.Close()
	l.mu.Lock()
	subs := l.subs
	l.subs = nil
	l.mu.Unlock()
	for _, s := range subs {
		switch {
		case s.neg != nil:
			s.neg(nil, errLinkEnded)
		case s.end != nil:
			s.end(errLinkEnded)
		}
	}
}

func (l *link) readAll() error {
	heard := func(string) error { return l.conn.SetReadDeadline(time.Now().Add(silenceTime)) }
	l.conn.SetReadLimit(maxFrame)
	l.conn.SetPongHandler(heard)
	for {
		if err := heard(""); err != nil {
			return err
		}
		_, frame, err := l.conn.ReadMessage()
		if err != nil {
			return err
		}
		l.in.Add(int64(len(frame)))
		if err := l.handle(frame); err != nil {
			return err
		}
	}
}

// write sends frames until the reader ends, and ends it when it cannot.
func (l *link) write() {
	defer l.conn.Close()
	defer close(l.unsent)
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-l.ended:
			return
		case <-ping.C:
			if l.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTime)) != nil {
				return
			}
		case frame := <-l.out:
			if l.conn.SetWriteDeadline(time.Now().Add(writeTime)) != nil || l.conn.WriteMessage(websocket.TextMessage, frame) != nil {
				return
			}
			l.sent.Add(int64(len(frame)))
		}
	}
}

// send queues a frame, and waits while the relay does not read.
func (l *link) send(parts ...any) error {
	frame, err := json.Marshal(parts)
	if err != nil {
		return fmt.Errorf("encode message to relay: %w", err)
	}
	select {
	case l.out <- frame:
		return nil
	case <-l.unsent:
		return errLinkEnded
	}
}

// handle takes one frame of the relay. An error ends the connection.
func (l *link) handle(frame []byte) error {
	var parts []json.RawMessage
	var label, id string
	if err := json.Unmarshal(frame, &parts); err != nil || len(parts) < 2 {
		return errNoise
	}
	if json.Unmarshal(parts[0], &label) != nil || json.Unmarshal(parts[1], &id) != nil {
		return nil // another protocol's
	}
	switch label {
	case "EVENT":
		if s := l.sub(id); s != nil && s.event != nil && len(parts) == 3 {
			ev := new(nostr.Event)
			if ev.UnmarshalJSON(parts[2]) == nil {
				s.event(ev)
			}
		}
	case "EOSE":
		if s := l.sub(id); s != nil && s.end != nil {
			s.end(nil)
		}
	case "CLOSED":
		if s := l.drop(id); s != nil && s.end != nil {
			s.end(&ClosedError{words(parts[2:])})
		}
	case "OK":
		if len(parts) >= 3 {
			l.answered(id, string(parts[2]) == "true", words(parts[3:]))
		}
	case "NEG-MSG":
		if s := l.sub(id); s != nil && s.neg != nil {
			message, err := hex.DecodeString(words(parts[2:]))
			s.neg(message, err)
		}
	case "NEG-ERR":
		if s := l.drop(id); s != nil && s.neg != nil {
			s.neg(nil, &RefusedError{words(parts[2:])})
		}
	case "NOTICE":
		l.noticed(id)
	case "AUTH":
		return l.prove(id)
	}
	return nil
}

func words(parts []json.RawMessage) (text string) {
	if len(parts) > 0 {
		_ = json.Unmarshal(parts[0], &text) // words of another form are no words
	}
	return text
}

// noticed takes a complaint. A relay that does not know negentropy may say so in this way only.
func (l *link) noticed(text string) {
	l.mu.Lock()
	l.notice = text
	var negs []*sub
	if strings.Contains(strings.ToUpper(text), "NEG") {
		for id, s := range l.subs {
			if s.neg != nil {
				negs = append(negs, s)
				delete(l.subs, id)
			}
		}
	}
	l.mu.Unlock()
	for _, s := range negs {
		s.neg(nil, errNoNegentropy)
	}
}

// prove answers the relay's question who this is (NIP-42).
func (l *link) prove(challenge string) error {
	defer func() {
		select {
		case <-l.challenged:
		default:
			close(l.challenged)
		}
	}()
	if l.asked++; l.sign == nil || l.asked > maxChallenges {
		return nil
	}
	ev := nostr.Event{
		Kind: nostr.KindClientAuthentication, CreatedAt: nostr.Now(),
		Tags: nostr.Tags{{"relay", l.url}, {"challenge", challenge}},
	}
	if err := l.sign(&ev); err != nil {
		return fmt.Errorf("sign for relay: %w", err)
	}
	l.mu.Lock()
	l.login = ev.ID
	l.mu.Unlock()
	return l.send("AUTH", ev)
}

// awaitLogin waits until the relay knows who this is.
func (l *link) awaitLogin(ctx context.Context) error {
	select {
	case <-l.loggedIn:
		return nil
	case <-l.ended:
		return errLinkEnded
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(loginTime):
		return errors.New("the relay does not let this node authenticate (NIP-42)")
	}
}

func (l *link) answered(id string, ok bool, text string) {
	var err error
	if !ok && !strings.HasPrefix(text, "duplicate:") {
		err = &RefusedError{text}
	}
	l.mu.Lock()
	waiting := l.oks[id]
	delete(l.oks, id)
	login := id == l.login && ok
	l.mu.Unlock()
	if login {
		select {
		case <-l.loggedIn:
		default:
			close(l.loggedIn)
		}
	}
	for _, answer := range waiting {
		answer <- err // buffered
	}
}

// publish sends an event and waits for the relay's OK. A *RefusedError is its OK false.
func (l *link) publish(ctx context.Context, ev *nostr.Event) error {
	return l.publishAll(ctx, ev)[0]
}

// publishAll sends events in their order and waits for the relay's OKs.
func (l *link) publishAll(ctx context.Context, evs ...*nostr.Event) []error {
	errs := make([]error, len(evs))
	answers := make([]chan error, len(evs))
	l.mu.Lock()
	for i, ev := range evs {
		answers[i] = make(chan error, 1)
		l.oks[ev.ID] = append(l.oks[ev.ID], answers[i])
	}
	l.mu.Unlock()
	for i, ev := range evs {
		errs[i] = l.send("EVENT", ev)
	}
	for i, ev := range evs {
		if errs[i] == nil {
			select {
			case errs[i] = <-answers[i]:
			case <-l.ended:
				errs[i] = errLinkEnded
			case <-ctx.Done():
				errs[i] = ctx.Err()
			}
		}
		l.mu.Lock()
		l.oks[ev.ID] = slices.DeleteFunc(l.oks[ev.ID], func(other chan error) bool { return other == answers[i] })
		if len(l.oks[ev.ID]) == 0 {
			delete(l.oks, ev.ID)
		}
		l.mu.Unlock()
	}
	return errs
}

func (l *link) sub(id string) *sub {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.subs[id]
}

func (l *link) drop(id string) *sub {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.subs[id]
	delete(l.subs, id)
	return s
}

// add registers a question, which the caller then sends.
func (l *link) add(s *sub) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.subs == nil {
		return errLinkEnded
	}
	l.serial++
	s.id = strconv.Itoa(l.serial)
	l.subs[s.id] = s
	return nil
}

// subscribe asks for events until unsubscribe.
func (l *link) subscribe(s *sub, filters ...nostr.Filter) error {
	if err := l.add(s); err != nil {
		return err
	}
	return l.ask(s, filters...)
}

// ask sends the question of s, or another one in its place.
func (l *link) ask(s *sub, filters ...nostr.Filter) error {
	parts := []any{"REQ", s.id}
	for _, f := range filters {
		parts = append(parts, f)
	}
	return l.send(parts...)
}

func (l *link) unsubscribe(s *sub) error {
	if l.drop(s.id) == nil {
		return nil
	}
	return l.send("CLOSE", s.id)
}

// fetch gets the stored events that match, in the relay's order, and hands them to take, which
// may wait. take is not called any more once fetch has returned.
func (l *link) fetch(ctx context.Context, f nostr.Filter, take func(*nostr.Event)) error {
	done := make(chan error, 1)
	heard := make(chan struct{}, 1)
	var taking sync.Mutex
	over := false
	finish := func() {
		taking.Lock()
		over = true
		taking.Unlock()
	}
	s := &sub{
		event: func(ev *nostr.Event) {
			select {
			case heard <- struct{}{}:
			default:
			}
			taking.Lock()
			defer taking.Unlock()
			if !over {
				take(ev)
			}
		},
		end: func(err error) {
			finish() // what comes now is live
			select {
			case done <- err:
			default:
			}
		},
	}
	if err := l.subscribe(s, f); err != nil {
		return err
	}
	defer finish()
	long := time.After(pageTime) // a relay that says a little now and then has not answered either
	for {
		select {
		case err := <-done:
			return errors.Join(err, l.unsubscribe(s))
		case <-heard:
		case <-long:
			return errNoAnswer
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(answerTime):
			return errNoAnswer
		}
	}
}
