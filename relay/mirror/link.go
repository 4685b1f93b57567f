package mirror

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
	"mostro/relay/reconcile"
)

// link is one connection to a relay. One goroutine reads: it calls what waits for a frame, and
// waits for whoever does not take it, so that a relay is read no faster than its events are worked
// on. Another writes.
type link struct {
	url  string
	node string // whose relay it says that it is (NIP-11), hex; "" = nobody's
	conn *websocket.Conn
	sign func(*nostr.Event) error // proves who this is (NIP-42); nil = nobody

	out    chan []byte
	unsent chan struct{} // closed when the writer has ended
	ended  chan struct{} // closed when the reader has ended
	cause  error         // why, then

	loggedIn chan struct{} // closed when the relay has taken the answer to who this is
	asked    int           // how often it has asked; of the reader

	shownAll atomic.Bool  // the relay has said that it shows everything
	plain    atomic.Bool  // the relay is known not to know negentropy
	silent   atomic.Int32 // how often it has said nothing to a word of negentropy
	broken   atomic.Bool  // the connection ended at such a word
	awaits   atomic.Int32 // words of negentropy that are awaited
	largest  atomic.Int64 // bytes that it takes in one frame; 0 = it does not say
	answers  atomic.Int64 // OKs, also false ones
	lastOK   atomic.Int64 // unix nanoseconds
	notices  atomic.Int64 // complaints
	in, sent atomic.Int64 // bytes

	mu     sync.Mutex // guards the following
	serial int
	subs   map[string]*sub
	oks    map[string][]chan error // by event id
	logins map[string]struct{}     // ids of the answers to challenges
	denied string                  // why the relay has not taken one of them
	notice string                  // the last one

	removed func(ids []reconcile.ID) // of a replica: the primary has taken events away; it is called by the reader
}

// sub is a question to the relay. Its functions are called by the reader, one after another.
type sub struct {
	id    string
	event func(*nostr.Event) // may wait
	end   func(error)        // the stored events are through (nil), or the relay ends it
	neg   func(message []byte, err error)

	question []any // as it was last asked; guarded by the link
	proven   bool  // it has been asked again as somebody whom the relay knows; the same
	stands   bool  // the stored events are through; of the reader
}

// RefusedError is a relay's OK false.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// ClosedError is a relay's word that it ends a subscription.
type ClosedError struct {
	Reason string
	Stood  bool // it had answered with what was stored; else it refuses the question
}

func (e *ClosedError) Error() string { return "the relay ends a subscription: " + e.Reason }

var (
	errLinkEnded    = errors.New("error: the connection to the relay is lost")
	errNoAnswer     = errors.New("the relay does not answer")
	errNoNegentropy = errors.New("the relay does not know negentropy")
	errNoise        = errors.New("the relay sends what is not Nostr")
	errTooLarge     = errors.New("the relay sends more at once than is taken")
)

// connect makes a link, which ends with ctx. as is the agent that it calls itself.
func (d Dial) connect(ctx context.Context, url, as string, sign func(*nostr.Event) error) (*link, error) {
	conn, err := d.webSocket(ctx, url, as)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	l := &link{
		url: url, conn: conn, sign: sign,
		out: make(chan []byte, queueFrames), unsent: make(chan struct{}), ended: make(chan struct{}),
		loggedIn: make(chan struct{}), logins: make(map[string]struct{}),
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
	l.conn.SetReadLimit(maxNegFrame)
	l.conn.SetPongHandler(heard)
	for {
		if err := heard(""); err != nil {
			return err
		}
		frame, err := l.readFrame()
		if err != nil {
			return err
		}
		l.in.Add(int64(len(frame)))
		if err := safely(func() error { return l.handle(frame) }); err != nil {
			return err
		}
	}
}

// readFrame reads one frame, which may be large only while a word of negentropy is awaited: how large those are, the relay
// chooses.
func (l *link) readFrame() ([]byte, error) {
	_, r, err := l.conn.NextReader()
	if err != nil {
		return nil, err
	}
	var frame bytes.Buffer
	if _, err := frame.ReadFrom(io.LimitReader(r, maxFrame+1)); err != nil || frame.Len() <= maxFrame {
		return frame.Bytes(), err
	}
	if l.awaits.Load() == 0 {
		return nil, errTooLarge
	}
	_, err = frame.ReadFrom(r)
	return frame.Bytes(), err
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
	return l.sendFrame(frame)
}

func (l *link) sendFrame(frame []byte) error {
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
			s.stands = true
			s.end(nil)
		}
	case "CLOSED":
		reason := words(parts[2:])
		if l.askProven(id, reason) {
			return nil
		}
		if s := l.drop(id); s != nil && s.end != nil {
			s.end(&ClosedError{reason, s.stands})
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
	case relay.Removed:
		l.tookAway(parts[1:])
	case "AUTH":
		return l.prove(id)
	}
	return nil
}

// whenRemoved says who is told of events that were taken away.
func (l *link) whenRemoved(removed func([]reconcile.ID)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removed = removed
}

func (l *link) tookAway(parts []json.RawMessage) {
	l.mu.Lock()
	removed := l.removed
	l.mu.Unlock()
	if removed == nil {
		return // nobody else is listened to
	}
	var ids []reconcile.ID
	for i := range parts {
		if id := words(parts[i:]); len(id) == 2*len(reconcile.ID{}) {
			ids = append(ids, idOf(id))
		}
	}
	removed(ids)
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
	l.notices.Add(1)
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
	l.mu.Lock()
	s.question = parts
	l.mu.Unlock()
	return l.send(parts...)
}

func (l *link) unsubscribe(s *sub) error {
	if l.drop(s.id) == nil {
		return nil
	}
	return l.send("CLOSE", s.id)
}

// fetch gets the stored events that match, in the relay's order, and hands them to take, which
// may wait. take is not called any more once fetch has returned. A relay that answers no more
// questions for now is asked again in a while.
func (l *link) fetch(ctx context.Context, f nostr.Filter, take func(*nostr.Event)) error {
	wait := firstSlow
	for try := 1; ; try++ {
		got := false
		err := l.fetchOnce(ctx, f, func(ev *nostr.Event) {
			got = true
			take(ev)
		})
		var closed *ClosedError
		if !errors.As(err, &closed) || !strings.HasPrefix(closed.Reason, "rate-limited") || got || try == maxSlow {
			return err
		}
		select {
		case <-time.After(wait):
		case <-l.ended:
			return errLinkEnded
		case <-ctx.Done():
			return ctx.Err()
		}
		wait = min(2*wait, mostSlow)
	}
}

func (l *link) fetchOnce(ctx context.Context, f nostr.Filter, take func(*nostr.Event)) error {
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
			return errors.Join(l.noAnswer(), l.unsubscribe(s))
		case <-ctx.Done():
			return errors.Join(ctx.Err(), l.unsubscribe(s))
		case <-time.After(answerTime):
			return errors.Join(l.noAnswer(), l.unsubscribe(s))
		}
	}
}

func (l *link) noAnswer() error { return l.complaint(errNoAnswer) }

// complaint is err with the relay's last complaint, which may tell why.
func (l *link) complaint(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.notice == "" {
		return err
	}
	return fmt.Errorf("%w; its last notice: %.200s", err, l.notice)
}
