package relay

import (
	"encoding/binary"
	"encoding/json"
)

// splitArray splits a JSON array into its elements, which alias it. It reports false for anything
// but exactly one valid array (RFC 8259): those who read the elements afterwards are not all as
// strict. Each event passes here, so it goes over the text once and copies nothing.
func splitArray(text []byte) (parts []json.RawMessage, ok bool) {
	s := scanner{b: text}
	s.space()
	if !s.take('[') {
		return nil, false
	}
	if s.space(); s.take(']') {
		s.space()
		return nil, s.at == len(text)
	}
	for {
		s.space()
		from := s.at
		if !s.value(1) {
			return nil, false
		}
		parts = append(parts, text[from:s.at:s.at])
		s.space()
		if s.take(',') {
			continue
		}
		if !s.take(']') {
			return nil, false
		}
		s.space()
		return parts, s.at == len(text)
	}
}

// scanner goes over JSON text, which is known to be UTF-8. Its methods report whether what they
// name comes next, and if so go behind it.
type scanner struct {
	b  []byte
	at int
}

func (s *scanner) take(c byte) bool {
	if s.at < len(s.b) && s.b[s.at] == c {
		s.at++
		return true
	}
	return false
}

func (s *scanner) space() {
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) value(depth int) bool {
	if s.at == len(s.b) || depth > maxDepth {
		return false
	}
	switch s.b[s.at] {
	case '"':
		return s.text()
	case '{':
		return s.list('}', func() bool {
			if !s.text() {
				return false
			}
			if s.space(); !s.take(':') {
				return false
			}
			s.space()
			return s.value(depth + 1)
		})
	case '[':
		return s.list(']', func() bool { return s.value(depth + 1) })
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	}
	return s.number()
}

// list goes over elements between brackets, of which the first comes next.
func (s *scanner) list(end byte, element func() bool) bool {
	s.at++
	if s.space(); s.take(end) {
		return true
	}
	for {
		if s.space(); !element() {
			return false
		}
		if s.space(); s.take(end) {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

func (s *scanner) word(w string) bool {
	if len(s.b)-s.at < len(w) || string(s.b[s.at:s.at+len(w)]) != w {
		return false
	}
	s.at += len(w)
	return true
}

func (s *scanner) text() bool {
	if !s.take('"') {
		return false
	}
	for {
		for s.at+8 <= len(s.b) && plain(binary.LittleEndian.Uint64(s.b[s.at:])) {
			s.at += 8
		}
		if s.at == len(s.b) {
			return false
		}
		c := s.b[s.at]
		s.at++
		switch {
		case c == '"':
			return true
		case c < ' ':
			return false
		case c == '\\' && !s.escape():
			return false
		}
	}
}

// plain reports whether none of eight bytes ends, escapes or spoils a string: no quote, no
// backslash, nothing below a space.
func plain(w uint64) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	zero := func(x uint64) uint64 { return (x - ones) &^ x } // the top bit of a byte that is 0
	return (zero(w^'"'*ones)|zero(w^'\\'*ones)|(w-' '*ones)&^w)&tops == 0
}

func (s *scanner) escape() bool {
	if s.at == len(s.b) {
		return false
	}
	c := s.b[s.at]
	s.at++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			if s.at == len(s.b) || !isHexDigit(s.b[s.at]) {
				return false
			}
			s.at++
		}
		return true
	}
	return false
}

func isHexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *scanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	from := s.at
	for s.at < len(s.b) && s.b[s.at] >= '0' && s.b[s.at] <= '9' {
		s.at++
	}
	return s.at > from
}
