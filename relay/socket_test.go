package relay

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// raw is a connection on which a test writes frames byte by byte.
type raw struct {
	testing.TB
	net.Conn
	in *bufio.Reader
}

// upgrade does the handshake of a WebSocket.
func upgrade(t testing.TB, url string, header string) raw {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "ws://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", header)
	w := raw{t, conn, bufio.NewReader(conn)}
	response, err := http.ReadResponse(w.in, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %v %v", response, err)
	}
	if got := response.Header.Get("Sec-WebSocket-Extensions"); got != "" {
		t.Errorf("the relay agreed on %q", got)
	}
	return w
}

// frame encodes a frame of a client. first holds the bits and the type.
func clientFrame(first byte, payload []byte) []byte {
	mask := [4]byte{1, 2, 3, 4}
	b := []byte{first}
	switch length := len(payload); {
	case length <= 125:
		b = append(b, 0x80|byte(length))
	case length <= 0xFFFF:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(length))
	}
	b = append(b, mask[:]...)
	at := len(b)
	b = append(b, payload...)
	for i := range b[at:] {
		b[at+i] ^= mask[i%4]
	}
	return b
}

// answer reads a frame of the relay.
func (w raw) answer() (op byte, payload []byte) {
	w.Helper()
	var head [2]byte
	if _, err := io.ReadFull(w.in, head[:]); err != nil {
		w.Fatal(err)
	}
	length := int(head[1])
	if length == 126 {
		var long [2]byte
		if _, err := io.ReadFull(w.in, long[:]); err != nil {
			w.Fatal(err)
		}
		length = int(binary.BigEndian.Uint16(long[:]))
	}
	payload = make([]byte, length)
	if _, err := io.ReadFull(w.in, payload); err != nil {
		w.Fatal(err)
	}
	return head[0] & 0xF, payload
}

const final = 0x80

func TestC3Frames(t *testing.T) {
	_, url := start(t, Config{})
	text := func(s string) []byte { return []byte(s) }
	join := func(frames ...[]byte) []byte { return bytes.Join(frames, nil) }
	req := `["REQ","a",{"limit":0}]`
	for _, c := range []struct {
		name string
		send []byte
		want string // a close code, or a message
	}{
		{"whole", clientFrame(final|opText, text(req)), `["EOSE","a"]`},
		{"in parts", join(clientFrame(opText, text(req[:5])), clientFrame(opContinue, text(req[5:9])), clientFrame(final|opContinue, text(req[9:]))), `["EOSE","a"]`},
		{"in parts with a ping between", join(clientFrame(opText, text(req[:5])), clientFrame(final|opPong, nil), clientFrame(final|opContinue, text(req[5:]))), `["EOSE","a"]`},
		{"empty parts", join(clientFrame(opText, nil), clientFrame(opContinue, nil), clientFrame(final|opContinue, text(req))), `["EOSE","a"]`},
		{"ping", clientFrame(final|opPing, text("hello")), "pong hello"},
		{"close", clientFrame(final|opClose, []byte{3, 232}), "1000"},
		{"close without a code", clientFrame(final|opClose, nil), "1000"},
		{"binary", clientFrame(final|opBinary, text(req)), "1003"},
		{"not UTF-8", clientFrame(final|opText, []byte{'[', 0xFF}), "1007"},
		{"half a character", clientFrame(final|opText, []byte{0xE2, 0x82}), "1007"},
		{"unmasked", append([]byte{final | opText, byte(len(req))}, req...), "1002"},
		{"compressed", clientFrame(final|0x40|opText, text(req)), "1002"},
		{"reserved bit 2", clientFrame(final|0x20|opText, text(req)), "1002"},
		{"reserved bit 3", clientFrame(final|0x10|opText, text(req)), "1002"},
		{"unknown type", clientFrame(final|3, text(req)), "1002"},
		{"unknown control", clientFrame(final|0xB, nil), "1002"},
		{"part of nothing", clientFrame(final|opContinue, text(req)), "1002"},
		{"text within text", join(clientFrame(opText, text(req[:5])), clientFrame(final|opText, text(req))), "1002"},
		{"long ping", clientFrame(final|opPing, make([]byte, 126)), "1002"},
		{"ping in parts", clientFrame(opPing, nil), "1002"},
		{"a gigabyte", []byte{final | opText, 0xFF, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4}, "1009"},
		{"2^63 bytes", []byte{final | opText, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, "1009"},
		{"2^64-1 bytes", []byte{final | opText, 0xFF, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4}, "1009"},
		{"too long in parts", join(clientFrame(opText, make([]byte, 100_000)), clientFrame(final|opContinue, make([]byte, 40_000))), "1009"},
		{"a thousand parts", append(clientFrame(opText, nil), bytes.Repeat(clientFrame(opContinue, text("x")), DefaultLimits().Fragments)...), "1008"},
		{"empty parts without end", append(clientFrame(opText, nil), bytes.Repeat(clientFrame(opContinue, nil), DefaultLimits().Fragments)...), "1008"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := upgrade(t, url, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n")
			if _, err := w.Write(c.send); err != nil {
				t.Fatal(err)
			}
			var got string
			switch op, payload := w.answer(); op {
			case opText:
				got = string(payload)
			case opPong:
				got = "pong " + string(payload)
			case opClose:
				got = fmt.Sprint(binary.BigEndian.Uint16(payload))
				if _, err := io.Copy(io.Discard, w.in); err != nil {
					t.Errorf("after the close frame: %v", err)
				}
			}
			if got != c.want {
				t.Errorf("answer %q, want %q", got, c.want)
			}
		})
	}
	alive(t, url)
}

// TestC3RandomBytes: whatever bytes come, the relay lives on and the socket's reader keeps its
// bounds.
func TestC3RandomBytes(t *testing.T) {
	_, url := start(t, Config{})
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for range 100 {
		w := upgrade(t, url, "")
		b := make([]byte, 1+random.IntN(2000))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		if random.IntN(2) == 0 {
			b = clientFrame(final|opText, b)
		}
		// The relay may have closed already.
		_, _ = w.Write(b)
		w.Close()
	}
	alive(t, url)
}

// TestC3Announced: a message that is only announced takes no memory.
func TestC3Announced(t *testing.T) {
	k := &socket{
		in:   bufio.NewReader(bytes.NewReader(append([]byte{final | opText, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4}, "few"...))),
		most: 1 << 20, heard: func(bool) error { return nil }, room: func(int) bool { return true },
	}
	if got := testing.AllocsPerRun(1, func() {
		if _, err := k.next(); err == nil {
			t.Error("a message that did not come was read")
		}
	}); got > 20 {
		t.Errorf("%v allocations", got)
	}
	message, err := k.payload(nil, frameHead{length: 64 << 10})
	if err == nil || cap(message) > 8<<10 {
		t.Errorf("%d bytes were made for nothing, %v", cap(message), err)
	}
}
