package relay

import (
	"cmp"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Frames wait in a session's queue. They are written, many with one system call, by whoever has
// just queued them: the reader at the end of a message, the worker of events after their answers;
// a few flushers do it for what others queue, live events and pings. All of them write only what
// the connection takes at once. What it does not take a goroutine of its own waits for, so that
// nobody else waits for a slow reader. And a thousand subscribers of one event are not a thousand
// goroutines that push everybody else off the processors.

// flush writes what is queued as far as that needs no waiting, and leaves the rest to a goroutine.
func (s *session) flush() {
	s.mu.Lock()
	if s.writing || len(s.queue) == 0 {
		s.mu.Unlock()
		return
	}
	s.writing = true
	if s.raw == nil || !s.until.IsZero() {
		s.mu.Unlock()
		go s.write(nil, nil)
		return
	}
	frames := s.takeQueue()
	s.mu.Unlock()

	out := s.relay.buffers.Get().(*outBuffer)
	rest, left, err := out.join(frames, func(b []byte) (int, error) { return out.writeNow(s.raw, b) })
	if err == nil && (len(rest) > 0 || len(left) > 0) {
		// The buffer is used again.
		go s.write(append([]byte(nil), rest...), left)
		s.relay.buffers.Put(out)
		return
	}
	s.relay.buffers.Put(out)
	if err != nil {
		s.fail()
	}
	s.mu.Lock()
	s.written(frames)
	again := len(s.queue) > 0
	s.mu.Unlock()
	if again {
		s.list()
	}
}

// write sends rest, then frames, then what is queued until nothing is. It waits for the client, but
// not longer than the time for a write; and live events that are taken from the queue together are to
// be read together in the time for them. Stored ones are waited for as long as the client reads.
func (s *session) write(rest []byte, frames []outgoing) {
	out := s.relay.buffers.Get().(*outBuffer)
	defer s.relay.buffers.Put(out)
	s.mu.Lock()
	until, batch := s.until, s.deadline()
	s.mu.Unlock()
	wait := func(b []byte) (int, error) {
		deadline := until
		switch {
		case !until.IsZero():
		case !batch.IsZero():
			deadline = batch
		default:
			deadline = time.Now().Add(writeTime)
		}
		if err := s.conn.SetWriteDeadline(deadline); err != nil {
			return 0, err
		}
		return s.conn.Write(b)
	}
	var err error
	if len(rest) > 0 {
		_, err = wait(rest)
	}
	for {
		if err == nil {
			_, _, err = out.join(frames, wait)
		}
		if err != nil {
			s.fail()
		}
		s.mu.Lock()
		if len(s.queue) == 0 {
			if s.until.IsZero() {
				// Else it would hold for what is written without waiting.
				_ = s.conn.SetWriteDeadline(time.Time{})
			}
			s.written(nil)
			s.mu.Unlock()
			return
		}
		frames, until, err = s.takeQueue(), s.until, nil
		batch = s.deadline()
		s.mu.Unlock()
	}
}

// deadline is until when what has just been taken from the queue must be read, zero when it is not
// live events only; the caller holds mu.
func (s *session) deadline() time.Time {
	if s.flying > 0 {
		return time.Time{}
	}
	return time.Now().Add(s.relay.cfg.Limits.QueueTime)
}

// takeQueue empties the queue for the one who writes; the caller holds mu.
func (s *session) takeQueue() []outgoing {
	s.countLive(-s.live)
	s.countHeld(-s.flying)
	frames := s.queue
	s.queue, s.spare = s.spare, nil
	s.queued, s.live, s.held, s.flying = 0, 0, 0, s.held
	s.room.Broadcast()
	return frames
}

// written notes that nobody writes any more, and keeps the short slice of frames that were
// written; the caller holds mu.
func (s *session) written(frames []outgoing) {
	s.writing = false
	s.countHeld(-s.flying)
	s.flying = 0
	if cap(frames) <= spareFrames {
		clear(frames)
		s.spare = frames[:0]
	}
	s.room.Broadcast()
}

// drain writes what is queued, and last after it, and returns when it is done or the time for it
// is over.
func (s *session) drain(last outgoing) {
	s.mu.Lock()
	if s.until.IsZero() {
		s.until = time.Now().Add(writeTime)
		s.append(last, false)
		_ = s.conn.SetWriteDeadline(s.until) // of the write that goes on
	}
	for s.writing {
		s.room.Wait()
	}
	s.writing = true
	s.mu.Unlock()
	s.write(nil, nil)
}

// fail gives the connection up. Whoever writes calls it.
func (s *session) fail() {
	s.mu.Lock()
	s.failed = true
	s.dropQueue()
	s.mu.Unlock()
	s.stop()
	_ = s.conn.Close() // ends the reader
}

// dropQueue forgets what is queued; the caller holds mu.
func (s *session) dropQueue() {
	s.countLive(-s.live)
	s.countHeld(-s.held)
	s.queue, s.queued, s.live, s.held = nil, 0, 0, 0
}

// send queues a message, and waits while the queue is more than half full, so that the other
// half is left for live events. It reports whether the session goes on. Only the reader calls it,
// and flushes before it waits for the client's next message.
func (s *session) send(message []byte) bool {
	_, ok := s.sendTimed(outgoing{op: opText, body: message})
	return ok
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

// sendPatiently is send for whoever has no turn.
func (s *session) sendPatiently(o outgoing) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ctx.Err() == nil && s.until.IsZero() {
		if s.fits(&o, s.relay.cfg.Limits.QueueBytes/2, false) {
			s.append(o, false)
			return true
		}
		if s.writing {
			s.room.Wait()
			continue
		}
		s.mu.Unlock()
		s.flush()
		s.mu.Lock()
	}
	return false
}

// fits reports whether o can wait in the queue; a single frame always can. When the queues of all together
// hold much, those of an address that has more than its part of that get little more of stored events, which wait until there
// is room, what is being written included: live ones, whose text all clients share, and pings do not wait, and nobody is to be
// cut off for what others hold.
func (s *session) fits(o *outgoing, limit int, live bool) bool {
	if !live && o.op == opText && s.relay.pressed(s.origin) {
		held := s.held + s.flying
		return held == 0 || held+o.size() <= min(limit, writeBuffer)
	}
	return s.queued == 0 || s.queued+o.size() <= limit
}

// pressed reports whether the queues of an address are to hold little: all together hold more than they may, and these more
// than their part, or all more than twice as much: addresses are many.
func (r *Relay) pressed(o *origin) bool {
	all, most := r.held.Load(), int64(r.cfg.Limits.AllQueuesBytes)
	return all > most && (o == nil || o.held.Load() > most/shareOfAll || all > 2*most)
}

// countHeld counts bytes of stored events that wait or are being written more, or less.
func (s *session) countHeld(bytes int) {
	if s.origin != nil {
		s.origin.held.Add(int64(bytes))
	}
	all, most := s.relay.held.Add(int64(bytes)), int64(s.relay.cfg.Limits.AllQueuesBytes)
	if bytes > 0 && all > 2*most && s.relay.relieving.CompareAndSwap(false, true) {
		go s.relay.relieve()
	}
}

// relieve cuts off clients that have asked for much and do not read, until queues hold no more than twice what they may: each
// may have a frame waiting, and there are thousands. Those go that hold most, of the address that holds most. Nobody is cut
// off for what peers and those who carry for many hold, who never are.
func (r *Relay) relieve() {
	defer r.relieving.Store(false)
	for {
		excess := r.held.Load() - 2*int64(r.cfg.Limits.AllQueuesBytes)
		if excess <= 0 || r.ctx.Err() != nil {
			return
		}
		type holder struct {
			s           *session
			bytes, from int64
		}
		var holders []holder
		r.mu.Lock()
		for s := range r.sessions {
			s.mu.Lock()
			bytes := int64(s.held + s.flying)
			switch {
			case bytes == 0:
			case !s.until.IsZero() || r.carries(s.from) || r.isPeer(s.keys.Load()):
				excess -= bytes // it is on its way out, or stays whatever others do
			default:
				holders = append(holders, holder{s, bytes, s.origin.held.Load()})
			}
			s.mu.Unlock()
		}
		r.mu.Unlock()
		slices.SortFunc(holders, func(a, b holder) int { return cmp.Or(cmp.Compare(b.from, a.from), cmp.Compare(b.bytes, a.bytes)) })
		gone := 0
		for i := 0; i < len(holders) && excess > 0; i++ {
			excess -= holders[i].bytes
			holders[i].s.dismiss("error: too much waits for clients to read, and most of it for your address: read faster, or ask for less", "reading too slowly")
			gone++
		}
		if gone > 0 {
			r.log.Warn("cut off clients that do not read what they asked for", "connections", gone)
		}
		select { // what is being written to them goes when their time is over
		case <-r.ctx.Done():
		case <-time.After(relieveEvery):
		}
	}
}

// sendLive queues an event without waiting. A client whose queue is full is cut off: it would
// miss events without knowing, and reconnecting shows it all.
func (s *session) sendLive(o outgoing) {
	if s.ctx.Err() != nil {
		return
	}
	if !s.push(o, s.relay.cfg.Limits.QueueBytes, true) {
		s.relay.log.Info("cut off a client that does not read")
		s.dismiss("error: you read too slowly, connect again", "reading too slowly")
		return
	}
	s.list()
}

// push queues o unless the queue is full. Answers that would fill a write of their own are written
// at once.
func (s *session) push(o outgoing, limit int, live bool) bool {
	s.mu.Lock()
	if s.failed || !s.until.IsZero() {
		s.mu.Unlock()
		return true // it goes nowhere
	}
	if !s.fits(&o, limit, live) {
		s.mu.Unlock()
		return false
	}
	s.append(o, live)
	full := !live && s.queued >= writeBuffer
	s.mu.Unlock()
	if full {
		s.flush()
	}
	return true
}

// countLive counts bytes of live events that wait more, or less.
func (s *session) countLive(bytes int) {
	s.relay.backlog.Add(int64(bytes))
	if s.origin != nil {
		s.origin.backlog.Add(int64(bytes))
	}
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
		s.countLive(o.size())
	} else {
		s.held += o.size()
		s.countHeld(o.size())
	}
}

// list leaves it to a flusher to write what is queued, unless someone writes already, who will see
// to it.
func (s *session) list() {
	s.mu.Lock()
	add := !s.writing && !s.listed
	s.listed = s.listed || add
	s.mu.Unlock()
	if add {
		s.relay.flushers.add(s)
	}
}

// dismiss ends the session of a client that takes more than it may, and tells it so in case it
// reads on.
func (s *session) dismiss(notice, why string) {
	s.leaving.Store(true)
	s.mu.Lock()
	s.dropQueue()
	idle := false
	if s.conn != nil {
		s.append(outgoing{op: opText, body: noticeFrame(notice)}, false)
		s.append(closing(closePolicy, why), false)
		s.until = time.Now().Add(lingerTime)
		_ = s.conn.SetWriteDeadline(s.until)
		idle = !s.writing
		s.writing = true
	}
	s.mu.Unlock()
	if idle {
		go s.write(nil, nil)
	}
	s.stop()
	s.goodbye()
}

// outBuffer joins frames to writes of some size: the system call costs more than the copying.
type outBuffer struct {
	b []byte

	// For writeNow, here so that a write allocates nothing.
	now  []byte
	n    int
	err  error
	call func(fd uintptr) bool
}

func newOutBuffer() any {
	o := &outBuffer{b: make([]byte, 0, writeBuffer+spareBytes)}
	o.call = func(fd uintptr) bool {
		o.n, o.err = writeNow(fd, o.now)
		return true // whatever came of it: nobody waits here
	}
	return o
}

// join writes frames as long as each write takes all; rest is what the last one left, and left
// are the frames after it. It forgets those that are in the buffer: a write can wait, and they would be in memory twice.
func (o *outBuffer) join(frames []outgoing, write func([]byte) (int, error)) (rest []byte, left []outgoing, err error) {
	b := o.b[:0]
	for i := range frames {
		b = frames[i].append(b)
		frames[i] = outgoing{}
		if len(b) < writeBuffer && i < len(frames)-1 {
			continue
		}
		n, err := write(b)
		if err != nil {
			return nil, nil, err
		}
		if n < len(b) {
			return b[n:], frames[i+1:], nil
		}
		b = b[:0]
	}
	return nil, nil, nil
}

// writeNow writes what the connection takes at once, perhaps nothing.
func (o *outBuffer) writeNow(raw syscall.RawConn, b []byte) (int, error) {
	o.now = b
	err := raw.Write(o.call)
	o.now = nil
	if err == nil {
		err = o.err
	}
	return o.n, err
}

// flushers write for sessions that others have queued something for.
type flushers struct {
	mu    sync.Mutex
	some  sync.Cond
	ready []*session
	ended bool
}

func (f *flushers) add(s *session) {
	f.mu.Lock()
	f.ready = append(f.ready, s)
	f.mu.Unlock()
	f.some.Signal()
}

// run flushes until the end.
func (f *flushers) run() {
	for {
		f.mu.Lock()
		for len(f.ready) == 0 && !f.ended {
			f.some.Wait()
		}
		if f.ended {
			f.mu.Unlock()
			return
		}
		n := min(len(f.ready), flushAtOnce)
		ready := f.ready[:n:n]
		f.ready = f.ready[n:]
		f.mu.Unlock()
		for _, s := range ready {
			s.mu.Lock()
			s.listed = false
			s.mu.Unlock()
			s.flush()
		}
	}
}

func (f *flushers) end() {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.some.Broadcast()
}
