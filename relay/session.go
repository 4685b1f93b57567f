package relay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/fiatjaf/khatru"
)

// session is one connection. Its reader handles the client's messages one after another; its
// writer empties the queue.
type session struct {
	relay *Relay
	conn  *websocket.Conn
	ctx   context.Context // ends with the connection
	end   context.CancelFunc
	subs  map[string]*subscription // only the reader touches it

	leaving atomic.Bool
	written chan struct{} // closed when the writer has ended

	mu     sync.Mutex // guards conn until it is set, and the queue
	queue  [][]byte
	queued int           // bytes in queue
	wake   chan struct{} // there is something to write
	space  chan struct{} // the queue has been taken
}

// serve upgrades a request and handles the connection until it ends.
func (r *Relay) serve(w http.ResponseWriter, req *http.Request) {
	s := &session{
		relay:   r,
		subs:    make(map[string]*subscription),
		wake:    make(chan struct{}, 1),
		space:   make(chan struct{}, 1),
		written: make(chan struct{}),
	}
	// Policies ask khatru's accessors for the connection; the key is khatru's own, the
	// untyped constant 0.
	//lint:ignore SA1029 khatru looks it up under this key
	ctx := context.WithValue(context.Background(), 0, &khatru.WebSocket{Request: req})
	s.ctx, s.end = context.WithCancel(ctx)
	defer s.end()

	if !r.enter(s) {
		http.Error(w, "this relay takes no more connections for now", http.StatusServiceUnavailable)
		return
	}
	defer r.leave(s)
	upgrader := websocket.Upgrader{
		HandshakeTimeout: handshakeTime,
		ReadBufferSize:   1 << 10,
		WriteBufferSize:  4 << 10,
		// Any web page may use a relay.
		CheckOrigin: func(*http.Request) bool { return true },
	}
	conn, err := upgrader.Upgrade(w, req, nil)
	if err != nil {
		return // the upgrader has answered
	}
	s.start(conn)
	s.read()
	s.end()
	r.unsubscribe(s.subs)
	<-s.written
}

// enter counts a session in, unless the relay is full or closing.
func (r *Relay) enter(s *session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing || len(r.sessions) >= r.cfg.Limits.Connections {
		return false
	}
	r.sessions[s] = struct{}{}
	r.done.Add(1)
	return true
}

func (r *Relay) leave(s *session) {
	r.mu.Lock()
	delete(r.sessions, s)
	r.mu.Unlock()
	r.done.Done()
}

// start begins writing, and reading when read is called.
func (s *session) start(conn *websocket.Conn) {
	s.mu.Lock()
	s.conn = conn
	s.mu.Unlock()
	conn.SetReadLimit(int64(s.relay.cfg.Limits.MessageBytes))
	conn.SetPongHandler(func(string) error { return s.heard() })
	go s.write()
}

// heard gives the client time for its next message. After goodbye there is no next one.
func (s *session) heard() error {
	if err := s.conn.SetReadDeadline(time.Now().Add(silenceTime)); err != nil {
		return err
	}
	if s.leaving.Load() {
		return s.conn.SetReadDeadline(time.Now())
	}
	return nil
}

// goodbye lets the reader finish what it has and then end the session.
func (s *session) goodbye() {
	s.leaving.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.SetReadDeadline(time.Now())
	}
}

func (s *session) read() {
	for s.heard() == nil {
		kind, message, err := s.conn.ReadMessage()
		if errors.Is(err, websocket.ErrReadLimit) {
			// The client has been told (close code 1009). Closing while it still sends would
			// take that back, so what it sends is read away for a while.
			_ = s.conn.SetReadDeadline(time.Now().Add(lingerTime))
			_, _ = io.CopyN(io.Discard, s.conn.NetConn(), lingerBytes)
		}
		if err != nil {
			return
		}
		if kind != websocket.TextMessage {
			s.send(noticeFrame("invalid: only text messages are taken"))
			continue
		}
		s.handle(message)
	}
}

// write sends what is queued until the session ends or the client stops reading.
func (s *session) write() {
	defer close(s.written)
	defer s.conn.Close() // ends the reader
	defer s.end()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-s.ctx.Done():
			last := time.Now().Add(writeTime)
			if s.flush(last) == nil {
				_ = s.conn.WriteControl(websocket.CloseMessage,
					websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), last)
			}
			return
		case <-ping.C:
			if s.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTime)) != nil {
				return
			}
		case <-s.wake:
			if s.flush(time.Time{}) != nil {
				return
			}
		}
	}
}

// flush writes what is queued, all of it before the deadline, or when that is zero each frame
// in writeTime.
func (s *session) flush(deadline time.Time) error {
	s.mu.Lock()
	frames := s.queue
	s.queue, s.queued = nil, 0
	s.mu.Unlock()
	signal(s.space)
	for _, frame := range frames {
		until := deadline
		if until.IsZero() {
			until = time.Now().Add(writeTime)
		}
		if err := s.conn.SetWriteDeadline(until); err != nil {
			return err
		}
		if err := s.conn.WriteMessage(websocket.TextMessage, frame); err != nil {
			return err
		}
	}
	return nil
}

// send queues a frame, and waits while the queue is more than half full, so that the other
// half is left for live events. Only the reader calls it. It reports whether the session goes
// on.
func (s *session) send(frame []byte) bool {
	for !s.push(frame, s.relay.cfg.Limits.QueueBytes/2) {
		select {
		case <-s.ctx.Done():
			return false
		case <-s.space:
		}
	}
	return s.ctx.Err() == nil
}

// sendLive queues a frame without waiting. A client whose queue is full is cut off: it would
// miss events without knowing, and reconnecting shows it all.
func (s *session) sendLive(frame []byte) {
	if s.ctx.Err() == nil && !s.push(frame, s.relay.cfg.Limits.QueueBytes) {
		s.relay.log.Info("cut off a client that does not read")
		s.cut()
	}
}

func (s *session) push(frame []byte, limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queued > 0 && s.queued+len(frame) > limit {
		return false
	}
	s.queue = append(s.queue, frame)
	s.queued += len(frame)
	signal(s.wake)
	return true
}

// cut ends the session without a word.
func (s *session) cut() {
	s.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
