package relay

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"syscall"
	"time"
)

// ahead is what a client sends, for its reader, who can also look at what is to come: while it works on a
// request nobody else would see that the client has taken it back, or has left.
type ahead struct {
	conn   net.Conn
	raw    syscall.RawConn // nil = it cannot be read without waiting
	in     *bufio.Reader   // reads from this
	next   []byte          // read from conn and not yet by in
	pinged time.Time       // to find out whether the client is still there
}

func newAhead(conn net.Conn, raw syscall.RawConn) *ahead {
	a := &ahead{conn: conn, raw: raw}
	a.in = bufio.NewReaderSize(a, readBuffer)
	return a
}

// Read gives what was read ahead first.
func (a *ahead) Read(b []byte) (int, error) {
	if len(a.next) == 0 {
		return a.conn.Read(b)
	}
	n := copy(b, a.next)
	if a.next = a.next[n:]; len(a.next) == 0 {
		a.next = nil
	}
	return n, nil
}

// fill reads what has come, as far as there is room for it. more says that there may be more; the error is
// io.EOF when the client sends nothing more, which it may do and read on.
func (a *ahead) fill() (more bool, err error) {
	buf := make([]byte, maxAhead-min(len(a.next), maxAhead))
	if len(buf) == 0 {
		return true, nil
	}
	n := 0
	fault := a.raw.Read(func(fd uintptr) bool {
		n, err = readNow(fd, buf)
		return true // whatever came of it: nobody waits here
	})
	if fault != nil {
		return false, nil // the session is about to end
	}
	a.next = slices.Concat(a.next, buf[:max(n, 0)])
	return n == len(buf), err
}

// withdraws reports whether among the messages to come one ends a request of this id: a close of the whole
// connection, or a message with the label.
func (a *ahead) withdraws(label, id string) bool {
	seen, _ := a.in.Peek(a.in.Buffered()) // never more than there is
	rest := slices.Concat(seen, a.next)
	for len(rest) >= 2 {
		op, length, at := rest[0]&0xF, uint64(rest[1]&0x7F), 2
		switch {
		case length == 126 && len(rest) >= 4:
			length, at = uint64(binary.BigEndian.Uint16(rest[2:])), 4
		case length == 127 && len(rest) >= 10:
			length, at = binary.BigEndian.Uint64(rest[2:]), 10
		case length >= 126:
			return false
		}
		if op == opClose {
			return true
		}
		if uint64(len(rest)) < uint64(at)+4 || uint64(len(rest)-at-4) < length {
			return false
		}
		payload := slices.Clone(rest[at+4:][:length])
		unmask(payload, [4]byte(rest[at:]))
		if op == opText && ends(payload, label, id) {
			return true
		}
		rest = rest[at+4+int(length):]
	}
	return false
}

func ends(message []byte, label, id string) bool {
	req, err := parseRequest(message)
	if err != nil || req.label != label {
		return false
	}
	var of string
	return json.Unmarshal(req.parts[0], &of) == nil && of == id
}

// errWithdrawn is why a request has no answer.
var errWithdrawn = errors.New("the client has taken its request back")

// withdrawn reports whether the client has taken back the request that it made under an id, by a message with
// the label or by leaving. One that sends nothing more may read on: whether it does says a ping, the answer to which
// ends the connection of one that has left.
func (s *session) withdrawn(label, id string) bool {
	a := s.input
	if a == nil || a.raw == nil {
		return false
	}
	more, err := a.fill()
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return true
	case a.withdraws(label, id):
		return true
	case err == nil && !more, err == nil && time.Since(a.pinged) < probeEvery:
		return false
	}
	a.pinged = time.Now()
	s.push(outgoing{op: opPing}, s.relay.cfg.Limits.QueueBytes, false)
	s.flush()
	return s.ctx.Err() != nil
}
