package bench

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const (
	readBuffer  = 32 << 10  // bytes
	frameHead   = 48        // bytes of a payload that are looked at
	patience    = time.Hour // bounds a hang, not a speed
	opText      = 1
	opClose     = 8
	opPing      = 9
	opPong      = 10
	finalFrame  = 0x80
	maskedFrame = 0x80
)

var errClosed = errors.New("the relay said goodbye")

// client is a WebSocket client that does as little as possible.
type client struct {
	conn net.Conn
	r    *bufio.Reader
	head []byte // of the last message
}

// connect opens a connection to the relay at address.
func connect(address string) (*client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to relay: %w", err)
	}
	c := &client{conn: conn, r: bufio.NewReaderSize(conn, readBuffer)}
	if err := c.upgrade(address); err != nil {
		conn.Close()
		return nil, fmt.Errorf("upgrade connection: %w", err)
	}
	return c, nil
}

func (c *client) upgrade(address string) error {
	_, err := fmt.Fprintf(c.conn, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", address)
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		line, err := c.r.ReadString('\n')
		switch {
		case err != nil:
			return err
		case first && !strings.Contains(line, " 101 "):
			return fmt.Errorf("the relay answered %q", line)
		case line == "\r\n":
			return nil
		}
	}
}

// clientFrame encodes a text message to a relay.
func clientFrame(payload string) []byte { return appendFrame(nil, opText, payload) }

func appendFrame(b []byte, op byte, payload string) []byte {
	b = append(b, finalFrame|op)
	switch n := len(payload); {
	case n < 126:
		b = append(b, maskedFrame|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, maskedFrame|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, maskedFrame|127), uint64(n))
	}
	b = append(b, 0, 0, 0, 0) // a mask of zeros changes nothing
	return append(b, payload...)
}

func (c *client) send(frames ...[]byte) error {
	_, err := c.conn.Write(bytes.Join(frames, nil))
	return err
}

// next reads a message and returns the beginning of it, which is valid until the next call.
func (c *client) next() ([]byte, error) {
	for {
		op, final, size, err := c.header()
		if err != nil {
			return nil, err
		}
		switch op {
		case opText:
			head, err := c.r.Peek(min(size, frameHead))
			if err != nil {
				return nil, err
			}
			c.head = append(c.head[:0], head...)
			if _, err := c.r.Discard(size); err != nil {
				return nil, err
			}
			for !final { // khatru sends an event in two frames or more
				if _, final, size, err = c.header(); err != nil {
					return nil, err
				}
				if _, err := c.r.Discard(size); err != nil {
					return nil, err
				}
			}
			return c.head, nil
		case opPing:
			if err := c.pong(size); err != nil {
				return nil, err
			}
		case opClose:
			return nil, errClosed
		default:
			return nil, fmt.Errorf("frame of unknown type %d", op)
		}
	}
}

// pong answers a ping whose payload of size bytes comes next.
func (c *client) pong(size int) error {
	payload := make([]byte, size)
	if _, err := io.ReadFull(c.r, payload); err != nil {
		return err
	}
	return c.send(appendFrame(nil, opPong, string(payload)))
}

// header reads the head of a frame, whose size bytes follow.
func (c *client) header() (op byte, final bool, size int, err error) {
	b, err := c.r.Peek(2)
	if err != nil {
		return 0, false, 0, err
	}
	op, final, size = b[0]&0x0f, b[0]&finalFrame != 0, int(b[1])
	length := 2
	switch size {
	case 126:
		length = 4
	case 127:
		length = 10
	}
	if b, err = c.r.Peek(length); err != nil {
		return 0, false, 0, err
	}
	switch size {
	case 126:
		size = int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		size = int(binary.BigEndian.Uint64(b[2:]))
	}
	_, err = c.r.Discard(length)
	return op, final, size, err
}

// is reports whether a message has this label.
func is(head []byte, label string) bool { return bytes.HasPrefix(head, []byte(`["`+label+`"`)) }

// publish sends events, with at most window of them unanswered. All must be taken.
func (c *client) publish(events [][]byte, window int) error {
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	sent, answered := 0, 0
	var out []byte
	for answered < len(events) {
		out = out[:0]
		for ; sent < len(events) && sent-answered < window; sent++ {
			out = append(out, events[sent]...)
		}
		if len(out) > 0 {
			if _, err := c.conn.Write(out); err != nil {
				return err
			}
		}
		// Take all answers that are here already before the next write. What else is here, a ping, can wait.
		for waiting := true; waiting; waiting = c.r.Buffered() > 0 && answered < sent {
			if err := c.accepted(); err != nil {
				return fmt.Errorf("wait for the answer to event %d of %d: %w", answered+1, len(events), err)
			}
			answered++
		}
	}
	return nil
}

// okPrefix is the length of an OK message up to the answer: label and id.
const okPrefix = len(`["OK","`) + 64 + len(`",`)

// accepted reads up to the next OK, which must say true.
func (c *client) accepted() error {
	for {
		op, _, size, err := c.header()
		if err != nil {
			return err
		}
		if op == opPing {
			if err := c.pong(size); err != nil {
				return err
			}
			continue
		}
		if op == opClose {
			return errClosed
		}
		if op == opText && size < readBuffer {
			payload, err := c.r.Peek(size)
			if err != nil {
				return err
			}
			isOK, yes := is(payload, "OK"), size > okPrefix && payload[okPrefix] == 't'
			if isOK && !yes || is(payload, "NOTICE") {
				return fmt.Errorf("event was answered with %s", payload)
			}
			if _, err := c.r.Discard(size); err != nil || isOK {
				return err
			}
			continue
		}
		if _, err := c.r.Discard(size); err != nil {
			return err
		}
	}
}

// subscribe sends a REQ and waits for the end of the stored events; it returns their number.
func (c *client) subscribe(req []byte) (stored int, err error) {
	if err := c.send(req); err != nil {
		return 0, err
	}
	for {
		head, err := c.next()
		switch {
		case err != nil:
			return stored, err
		case is(head, "EVENT"):
			stored++
		case is(head, "EOSE"):
			return stored, nil
		case is(head, "AUTH"):
		default:
			return stored, fmt.Errorf("REQ was answered with %q", head)
		}
	}
}
