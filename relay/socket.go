package relay

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
	"unicode/utf8"
)

// socket reads the frames of a client (RFC 6455) from a connection whose handshake is done. It
// is stricter than the libraries: text is UTF-8, fragments are counted, and memory grows only
// with what has really arrived, not with what a header announces.
type socket struct {
	conn  net.Conn
	in    *bufio.Reader
	most  int                             // bytes of one message
	parts int                             // fragments of one message
	heard func(within bool) error         // a whole frame has come; within a message or between two
	room  func(bytes int) bool            // whether a message that is not short may have so many bytes for now
	reply func(code byte, payload []byte) // answers a control frame

	controls int       // control frames since the time below
	since    time.Time // the count begins anew after controlWindow
}

// Frame types, RFC 6455 section 5.2.
const (
	opContinue = 0x0
	opText     = 0x1
	opBinary   = 0x2
	opClose    = 0x8
	opPing     = 0x9
	opPong     = 0xA
)

// Close codes, RFC 6455 section 7.4.1.
const (
	closeNormal      = 1000
	closeGoingAway   = 1001
	closeProtocol    = 1002
	closeUnsupported = 1003
	closeNotText     = 1007
	closePolicy      = 1008
	closeTooBig      = 1009
	closeTryLater    = 1013
)

// closeError ends a connection with a close code.
type closeError struct {
	code int
	text string
}

func (e closeError) Error() string { return fmt.Sprintf("close %d: %s", e.code, e.text) }

// next reads one message. The error is a closeError when the client is to be told why.
func (k *socket) next() ([]byte, error) {
	var message []byte
	for frames := 0; ; frames++ {
		head, err := k.head()
		if err != nil {
			return nil, err
		}
		switch {
		case head.op >= opClose:
			if err := k.control(head, frames > 0); err != nil {
				return nil, err
			}
			frames--
			continue
		case head.op == opBinary:
			return nil, closeError{closeUnsupported, "only text messages are taken"}
		case (head.op == opContinue) != (frames > 0) || head.op > opBinary:
			return nil, closeError{closeProtocol, "unexpected frame"}
		case frames >= k.parts:
			return nil, closeError{closePolicy, "too many fragments"}
		case head.length > uint64(k.most-len(message)):
			return nil, closeError{closeTooBig, fmt.Sprintf("a message has at most %d bytes", k.most)}
		}
		if message, err = k.payload(message, head); err != nil {
			return nil, err
		}
		if err := k.heard(!head.final); err != nil {
			return nil, err
		}
		if !head.final {
			continue
		}
		if !utf8.Valid(message) {
			return nil, closeError{closeNotText, "text is not UTF-8"}
		}
		return message, nil
	}
}

type frameHead struct {
	op     byte
	final  bool
	length uint64
	mask   [4]byte
}

func (k *socket) head() (frameHead, error) {
	var b [8]byte
	if _, err := io.ReadFull(k.in, b[:2]); err != nil {
		return frameHead{}, err
	}
	head := frameHead{op: b[0] & 0xF, final: b[0]&0x80 != 0, length: uint64(b[1] & 0x7F)}
	switch {
	case b[0]&0x70 != 0:
		return head, closeError{closeProtocol, "reserved bits are set: no extension was agreed on"}
	case b[1]&0x80 == 0:
		return head, closeError{closeProtocol, "a client's frames are masked"}
	case head.op >= opClose && (!head.final || head.length > 125):
		return head, closeError{closeProtocol, "control frames are whole and have at most 125 bytes"}
	}
	long := 0
	switch head.length {
	case 126:
		long = 2
	case 127:
		long = 8
	}
	if long > 0 {
		if _, err := io.ReadFull(k.in, b[8-long:]); err != nil {
			return head, err
		}
		clear(b[:8-long])
		head.length = binary.BigEndian.Uint64(b[:])
	}
	_, err := io.ReadFull(k.in, head.mask[:])
	return head, err
}

// payload appends the payload of a frame to message.
func (k *socket) payload(message []byte, head frameHead) ([]byte, error) {
	start, whole := len(message), len(message)+int(head.length)
	for len(message) < whole {
		// At first a little, which is enough for most, then as much again as there is.
		step := min(whole-len(message), max(len(message), firstBytes))
		if size := len(message) + step; size > shortMessage && !k.room(size) {
			return nil, closeError{closeTryLater, "too many long messages are on their way"}
		}
		at := len(message)
		message = append(message, make([]byte, step)...)
		if _, err := io.ReadFull(k.in, message[at:]); err != nil {
			return nil, err
		}
	}
	unmask(message[start:], head.mask)
	return message, nil
}

func unmask(b []byte, mask [4]byte) {
	once := binary.LittleEndian.Uint32(mask[:])
	twice := uint64(once)<<32 | uint64(once)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^twice)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= mask[i%4]
	}
}

func (k *socket) control(head frameHead, within bool) error {
	if now := time.Now(); now.Sub(k.since) > controlWindow {
		k.controls, k.since = 0, now
	}
	if k.controls++; k.controls > maxControls {
		return closeError{closePolicy, "too many control frames"}
	}
	payload, err := k.payload(nil, head)
	if err != nil {
		return err
	}
	switch head.op {
	case opPing:
		k.reply(opPong, payload)
	case opPong:
	case opClose:
		return closeError{closeNormal, ""}
	default:
		return closeError{closeProtocol, "unknown kind of frame"}
	}
	return k.heard(within)
}

// outgoing is a frame to a client. An event is one body for all clients, between the name of
// the subscription and a bracket.
type outgoing struct {
	op     byte
	prefix []byte // nil for all but events
	body   []byte
}

// size is what the frame counts for in a queue: what it keeps in memory, not only its bytes.
func (o *outgoing) size() int { return len(o.prefix) + len(o.body) + 64 }

// append encodes the frame.
func (o *outgoing) append(b []byte) []byte {
	length := len(o.prefix) + len(o.body)
	if o.prefix != nil {
		length++
	}
	b = append(b, 0x80|o.op)
	switch {
	case length <= 125:
		b = append(b, byte(length))
	case length <= 0xFFFF:
		b = append(b, 126)
		b = binary.BigEndian.AppendUint16(b, uint16(length))
	default:
		b = append(b, 127)
		b = binary.BigEndian.AppendUint64(b, uint64(length))
	}
	b = append(b, o.prefix...)
	b = append(b, o.body...)
	if o.prefix != nil {
		b = append(b, ']')
	}
	return b
}

// closing is the frame that says why a connection ends.
func closing(code int, text string) outgoing {
	body := binary.BigEndian.AppendUint16(nil, uint16(code))
	return outgoing{op: opClose, body: append(body, text[:min(len(text), 123)]...)}
}

// farewell is the close frame that fits the end of reading, and whether the client may still
// be sending.
func farewell(err error) (last outgoing, sending bool) {
	var reason closeError
	if errors.As(err, &reason) {
		return closing(reason.code, reason.text), reason.code == closeTooBig || reason.code == closeTryLater
	}
	return closing(closeGoingAway, ""), false
}
