package relay

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/fiatjaf/khatru"
)

// session is one connection. Its reader handles the client's messages one after another, and is
// all that an idle connection needs, with a small buffer. How frames go out says output.go.
type session struct {
	relay  *Relay
	from   string // the subscriber at the other end
	origin *origin

	compared comparisons
	conn     net.Conn
	raw      syscall.RawConn // of conn, nil = it cannot be written to without waiting
	ctx      context.Context // ends with the connection
	end      context.CancelFunc
	events   intake
	keys     atomic.Pointer[keys] // that the client has proven to hold, nil = none

	// Only the reader touches these.
	subs     map[string]*subscription
	sets     map[string]*reconciling
	turn     time.Time // when work on the present message began, zero outside of it
	refusals int
	worked   time.Duration   // since others had a moment
	long     int             // bytes of the present message that count as arriving
	hooks    context.Context // for policies: khatru's accessors find the connection in it
	about    *khatru.WebSocket
	input    *ahead

	leaving atomic.Bool

	mu      sync.Mutex // guards the following
	queue   []outgoing
	spare   []outgoing // to be the queue again, so that most frames need no new one
	queued  int        // size of queue
	live    int        // the part of queued that are live events, whose text all clients share
	held    int        // the rest
	flying  int        // bytes of the rest that are being written
	writing bool       // somebody writes
	listed  bool       // a flusher will look
	until   time.Time  // the last write ends here, zero before the end is near
	failed  bool       // a write failed: nothing goes out any more
	room    sync.Cond  // the queue has been taken, a write has ended, or the session ends
}

// serve upgrades a request and starts its session.
func (r *Relay) serve(w http.ResponseWriter, req *http.Request) {
	s := &session{relay: r, subs: make(map[string]*subscription), sets: make(map[string]*reconciling)}
	s.room.L = &s.mu
	s.events.room.L = &s.events.mu
	s.ctx, s.end = context.WithCancel(context.Background())
	s.from = subscriberOf(req.RemoteAddr)
	blocked := func() bool {
		why, blocked := r.management.now().Addresses[s.from]
		if blocked {
			s.end()
			http.Error(w, "your address is blocked"+because(why), http.StatusForbidden)
		}
		return blocked
	}
	if blocked() {
		return
	}
	s.about = newConnection(req)
	s.introduce()
	if !r.enter(s) {
		s.end()
		http.Error(w, "this relay takes no more connections for now", http.StatusServiceUnavailable)
		return
	}
	if blocked() { // since: who cuts its sessions off did not see this one
		r.leave(s)
		return
	}
	upgrader := websocket.Upgrader{
		HandshakeTimeout: r.cfg.Limits.HandshakeTime,
		// The upgrader makes sure that the client has sent nothing yet, so its buffers can be
		// left behind.
		ReadBufferSize: 1, WriteBufferSize: 1,
		EnableCompression: false, // a compressed kilobyte can be a hundred megabytes
		// Any web page may use a relay.
		CheckOrigin: func(*http.Request) bool { return true },
	}
	conn, err := upgrader.Upgrade(w, req, nil)
	if err != nil {
		s.end()
		r.leave(s)
		return // the upgrader has answered
	}
	s.mu.Lock()
	s.conn = conn.NetConn()
	if file, ok := s.conn.(syscall.Conn); ok {
		s.raw, _ = file.SyscallConn() // an error means that it is closed already
	}
	s.mu.Unlock()
	// The handler returns, and what the HTTP server kept for the request is free.
	go s.run()
}

// enter counts a session in, unless the relay is full or closing.
func (r *Relay) enter(s *session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return false
	}
	switch gone, full := r.crowd.admit(s, s.from); {
	case full && gone == s:
		return false
	case full:
		go gone.dismiss("rate-limited: your address has too many connections", "too many connections")
	}
	r.sessions[s] = struct{}{}
	r.join(s)
	r.done.Add(1)
	return true
}

func (r *Relay) leave(s *session) {
	r.mu.Lock()
	delete(r.sessions, s)
	r.part(s)
	r.mu.Unlock()
	r.crowd.remove(s)
	r.done.Done()
}

// run handles the connection until it ends.
func (s *session) run() {
	defer s.relay.leave(s)
	defer s.conn.Close()
	last, sending := farewell(s.read())
	s.arrive(0)
	for id := range s.subs {
		// One at a time, and in turn: many who leave at once would keep those who stay waiting.
		s.begin()
		s.drop(id)
		s.pause()
	}
	for _, set := range s.sets {
		set.close()
	}
	s.events.wait() // what was accepted is finished and answered
	s.events.asides.Wait()
	s.stop()
	s.drain(last)
	if sending {
		// Closing while the client still sends would take back what it has been told.
		_ = s.conn.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, s.conn, lingerBytes)
	}
}

func (s *session) read() error {
	var began time.Time // of a message that comes in several frames
	s.input = newAhead(s.conn, s.raw)
	k := &socket{
		conn: s.conn, in: s.input.in, most: s.relay.cfg.Limits.MessageBytes, parts: s.relay.cfg.Limits.Fragments,
		room: s.arrive,
		reply: func(op byte, payload []byte) {
			s.push(outgoing{op: op, body: payload}, s.relay.cfg.Limits.QueueBytes, false)
			s.flush()
		},
		heard: func(within bool) error {
			until := time.Now().Add(s.relay.cfg.Limits.Silence)
			switch {
			case !within:
				began = time.Time{}
			case began.IsZero():
				began = time.Now()
				fallthrough
			default:
				until = began.Add(messageTime)
			}
			return s.expect(until)
		},
	}
	if err := k.heard(false); err != nil {
		return err
	}
	if s.relay.cfg.ServiceURL != "" {
		s.send(frame("AUTH", s.about.Challenge))
		s.flush()
	}
	for {
		message, err := k.next()
		if err != nil {
			return err
		}
		s.begin()
		s.relay.messages.Add(1)
		s.handle(message)
		s.flush()
		s.pause()
		s.arrive(0)
		s.penance()
		// Handling can take longer than silence may.
		if err := k.heard(false); err != nil {
			return err
		}
	}
}

// arrive reports whether the present message may take so many bytes of what all clients' long
// messages may take together: thousands that are begun and not ended would be hundreds of megabytes.
func (s *session) arrive(bytes int) bool {
	switch more := bytes - s.long; {
	case more > 0 && !s.relay.arriving.take(s.from, more):
		return false
	case more < 0:
		s.relay.arriving.give(s.from, -more)
	}
	s.long = bytes
	return true
}

// expect gives the client until then for its next frame. After goodbye there is no next one.
func (s *session) expect(until time.Time) error {
	if err := s.conn.SetReadDeadline(until); err != nil {
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

// begin waits for the session's turn, and pause ends it. The reader is in between while it works
// on a message, but not while it waits for the client or the disk.
func (s *session) begin() {
	s.relay.slots.take(s.from)
	s.turn = time.Now()
}

func (s *session) pause() {
	if !s.turn.IsZero() {
		took := time.Since(s.turn)
		s.turn = time.Time{}
		if s.worked += took; s.worked >= slice {
			s.worked = 0
			s.relay.breathe()
		}
		s.relay.slots.give(s.from, took)
	}
}

// breathe is for who has a turn and has used up a slice. The runtime looks at the network when a processor has nothing else
// to do, or every 10 ms. While all places are taken it would be the latter, for each step of everybody else.
func (r *Relay) breathe() {
	if r.slots.taken() {
		time.Sleep(breath)
	}
}

// yield lets others have their turns when this one has lasted long, and says how long that took.
func (s *session) yield() (waited time.Duration) {
	if s.turn.IsZero() || time.Since(s.turn) <= slice {
		return 0
	}
	began := time.Now()
	s.pause()
	s.begin()
	return time.Since(began)
}

// aside runs what waits for the client or the disk, and lets others have their turns meanwhile.
func (s *session) aside(wait func()) {
	s.flush()
	held := !s.turn.IsZero()
	s.pause()
	wait()
	if held {
		s.begin()
	}
}

// stop ends the session's work; frames that are queued still go out.
func (s *session) stop() {
	s.end()
	s.mu.Lock()
	s.room.Broadcast()
	s.mu.Unlock()
}

// cut ends the session without a word.
func (s *session) cut() {
	s.leaving.Store(true) // in case it has no connection yet
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// ping asks all clients for a sign of life, until ctx ends. The answers keep a session alive,
// and proxies in between from closing it.
func (r *Relay) ping(ctx context.Context) {
	tick := time.NewTicker(r.cfg.Limits.pingEvery())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r.mu.Lock()
		for s := range r.sessions {
			s.mu.Lock()
			up := s.conn != nil
			s.mu.Unlock()
			if up {
				s.push(outgoing{op: opPing}, r.cfg.Limits.QueueBytes, false)
				s.list()
			}
		}
		r.mu.Unlock()
	}
}
