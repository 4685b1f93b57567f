package relay

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/fiatjaf/khatru"
)

// session is one connection. Its reader handles the client's messages one after another. A
// writer exists only while there is something to write, and takes all that waits at once; so
// an idle connection is one goroutine and a small buffer.
type session struct {
	relay  *Relay
	from   string // the subscriber at the other end
	conn   net.Conn
	ctx    context.Context // ends with the connection
	end    context.CancelFunc
	events intake
	keys   atomic.Pointer[keys] // that the client has proven to hold, nil = none

	// Only the reader touches these.
	subs  map[string]*subscription
	sets  map[string]*reconciling
	turn  time.Time       // when work on the present message began, zero outside of it
	hooks context.Context // for policies: khatru's accessors find the connection in it
	about *khatru.WebSocket

	leaving atomic.Bool

	mu      sync.Mutex // guards the following
	queue   []outgoing
	queued  int           // size of queue
	live    int           // the part of queued that are live events
	writing bool          // there is a writer
	until   time.Time     // the last write ends here, zero before the end is near
	failed  bool          // a write failed: nothing goes out any more
	room    sync.Cond     // the queue has been taken, or the session ends
	quiet   chan struct{} // closed when the writer has ended, made by whoever waits for it
}

// serve upgrades a request and starts its session.
func (r *Relay) serve(w http.ResponseWriter, req *http.Request) {
	s := &session{relay: r, subs: make(map[string]*subscription), sets: make(map[string]*reconciling)}
	s.room.L = &s.mu
	s.events.room.L = &s.events.mu
	s.ctx, s.end = context.WithCancel(context.Background())
	s.from = subscriberOf(req.RemoteAddr)
	if why, blocked := r.management.now().Addresses[s.from]; blocked {
		s.end()
		http.Error(w, "your address is blocked"+because(why), http.StatusForbidden)
		return
	}
	s.about = newConnection(req)
	s.hooks = within(s.ctx, s.about)
	if !r.enter(s) {
		s.end()
		http.Error(w, "this relay takes no more connections for now", http.StatusServiceUnavailable)
		return
	}
	upgrader := websocket.Upgrader{
		HandshakeTimeout: handshakeTime,
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
	r.done.Add(1)
	return true
}

func (r *Relay) leave(s *session) {
	r.mu.Lock()
	delete(r.sessions, s)
	r.mu.Unlock()
	r.crowd.remove(s)
	r.done.Done()
}

// run handles the connection until it ends.
func (s *session) run() {
	defer s.relay.leave(s)
	defer s.conn.Close()
	last, sending := farewell(s.read())
	s.relay.unsubscribe(s.subs)
	for _, set := range s.sets {
		set.close()
	}
	s.events.wait() // what was accepted is finished and answered
	s.stop()
	s.flush(last)
	if sending {
		// Closing while the client still sends would take back what it has been told.
		_ = s.conn.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, s.conn, lingerBytes)
	}
}

func (s *session) read() error {
	var began time.Time // of a message that comes in several frames
	k := &socket{
		conn: s.conn, in: bufio.NewReaderSize(s.conn, readBuffer), most: s.relay.cfg.Limits.MessageBytes,
		reply: func(op byte, payload []byte) {
			s.push(outgoing{op: op, body: payload}, s.relay.cfg.Limits.QueueBytes, false)
		},
		heard: func(within bool) error {
			until := time.Now().Add(silenceTime)
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
	}
	for {
		message, err := k.next()
		if err != nil {
			return err
		}
		s.begin()
		s.handle(message)
		s.pause()
		// Handling can take longer than silence may.
		if err := k.heard(false); err != nil {
			return err
		}
	}
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

// flush writes what is queued, and last after it, and returns when it is done or the time for
// it is over.
func (s *session) flush(last outgoing) {
	s.mu.Lock()
	if s.until.IsZero() {
		s.until = time.Now().Add(writeTime)
		s.append(last, false)
	}
	done := make(chan struct{})
	if s.writing {
		s.quiet = done
	} else {
		close(done)
	}
	s.mu.Unlock()
	<-done
}

// write sends what is queued until nothing is.
func (s *session) write() {
	buffer := s.relay.buffers.Get().(*[]byte)
	defer s.relay.buffers.Put(buffer)
	for {
		s.mu.Lock()
		frames, until := s.queue, s.until
		if len(frames) == 0 {
			s.writing = false
			if s.quiet != nil {
				close(s.quiet)
			}
			s.mu.Unlock()
			return
		}
		s.relay.backlog.Add(-int64(s.live))
		s.queue, s.queued, s.live = nil, 0, 0
		s.room.Broadcast()
		s.mu.Unlock()
		if err := s.writeAll(frames, until, (*buffer)[:0]); err != nil {
			s.fail()
		}
	}
}

// writeAll joins frames to writes of some size: the system call costs more than the copying.
func (s *session) writeAll(frames []outgoing, until time.Time, buffer []byte) error {
	for i := range frames {
		buffer = frames[i].append(buffer)
		if len(buffer) < writeBuffer && i < len(frames)-1 {
			continue
		}
		deadline := until
		if until.IsZero() {
			deadline = time.Now().Add(writeTime)
		}
		if err := s.conn.SetWriteDeadline(deadline); err != nil {
			return err
		}
		if _, err := s.conn.Write(buffer); err != nil {
			return err
		}
		buffer = buffer[:0]
	}
	return nil
}

// fail gives the connection up. The writer calls it.
func (s *session) fail() {
	s.mu.Lock()
	s.failed = true
	s.relay.backlog.Add(-int64(s.live))
	s.queue, s.queued, s.live = nil, 0, 0
	s.mu.Unlock()
	s.stop()
	_ = s.conn.Close() // ends the reader
}

// send queues a message, and waits while the queue is more than half full, so that the other
// half is left for live events. It reports whether the session goes on. Only the reader calls
// it.
func (s *session) send(message []byte) bool {
	_, ok := s.sendTimed(outgoing{op: opText, body: message})
	return ok
}

// begin waits for the session's turn, and pause ends it. The reader is in between while it works
// on a message, but not while it waits for the client or the disk.
func (s *session) begin() {
	s.relay.slots <- struct{}{}
	s.turn = time.Now()
}

func (s *session) pause() {
	if !s.turn.IsZero() {
		s.turn = time.Time{}
		<-s.relay.slots
	}
}

// yield lets others have their turns when this one has lasted long.
func (s *session) yield() {
	if !s.turn.IsZero() && time.Since(s.turn) > slice {
		s.pause()
		s.begin()
	}
}

// sendTimed is send for any frame, and says how long it waited.
func (s *session) sendTimed(o outgoing) (waited time.Duration, ok bool) {
	if s.push(o, s.relay.cfg.Limits.QueueBytes/2, false) {
		return 0, s.ctx.Err() == nil
	}
	began := time.Now()
	s.aside(func() { ok = s.sendPatiently(o) })
	return time.Since(began), ok
}

// aside runs what waits for the client or the disk, and lets others have their turns meanwhile.
func (s *session) aside(wait func()) {
	held := !s.turn.IsZero()
	s.pause()
	wait()
	if held {
		s.begin()
	}
}

// sendPatiently is send for whoever has no turn.
func (s *session) sendPatiently(o outgoing) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ctx.Err() == nil && s.until.IsZero() {
		if s.fits(&o, s.relay.cfg.Limits.QueueBytes/2) {
			s.append(o, false)
			return true
		}
		s.room.Wait()
	}
	return false
}

// fits reports whether o can wait in the queue; a single frame always can.
func (s *session) fits(o *outgoing, limit int) bool {
	return s.queued == 0 || s.queued+o.size() <= limit
}

// stop ends the session's work; frames that are queued still go out.
func (s *session) stop() {
	s.end()
	s.mu.Lock()
	s.room.Broadcast()
	s.mu.Unlock()
}

// sendLive queues an event without waiting. A client whose queue is full is cut off: it would
// miss events without knowing, and reconnecting shows it all.
func (s *session) sendLive(o outgoing) {
	if s.ctx.Err() == nil && !s.push(o, s.relay.cfg.Limits.QueueBytes, true) {
		s.relay.log.Info("cut off a client that does not read")
		s.dismiss("error: you read too slowly, connect again", "reading too slowly")
	}
}

func (s *session) push(o outgoing, limit int, live bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed || !s.until.IsZero() {
		return true // it goes nowhere
	}
	if !s.fits(&o, limit) {
		return false
	}
	s.append(o, live)
	return true
}

// append queues o, whatever the size of the queue; the caller holds mu.
func (s *session) append(o outgoing, live bool) {
	if s.failed {
		return
	}
	s.queue = append(s.queue, o)
	s.queued += o.size()
	if live {
		s.live += o.size()
		s.relay.backlog.Add(int64(o.size()))
	}
	if !s.writing {
		s.writing = true
		go s.write()
	}
}

// dismiss ends the session of a client that takes more than it may, and tells it so in case it
// reads on.
func (s *session) dismiss(notice, why string) {
	s.leaving.Store(true)
	s.mu.Lock()
	s.relay.backlog.Add(-int64(s.live))
	s.queue, s.queued, s.live = nil, 0, 0
	if s.conn != nil {
		s.append(outgoing{op: opText, body: noticeFrame(notice)}, false)
		s.append(closing(closePolicy, why), false)
		s.until = time.Now().Add(lingerTime)
		_ = s.conn.SetWriteDeadline(s.until)
	}
	s.mu.Unlock()
	s.stop()
	s.goodbye()
}

// cut ends the session without a word.
func (s *session) cut() {
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
	tick := time.NewTicker(pingEvery)
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
			}
		}
		r.mu.Unlock()
	}
}
