package store

import (
	"bytes"
	"strings"
	"testing"
)

// TestParseKey: each character is either a digit with its value or refused, wherever it stands.
func TestParseKey(t *testing.T) {
	const digits = "0123456789abcdef"
	for c := range 256 {
		for at := range 64 {
			text := []byte(strings.Repeat("5", 64))
			text[at] = byte(c)
			want := Key(bytes.Repeat([]byte{0x55}, 32))
			value := strings.IndexByte(digits, byte(c))
			if at%2 == 0 {
				want[at/2] = byte(value)<<4 | 5
			} else {
				want[at/2] = 0x50 | byte(value)
			}
			if got, err := ParseKey(string(text)); (err == nil) != (value >= 0) || err == nil && got != want {
				t.Fatalf("character %q at %d: %s, %v", rune(c), at, got, err)
			}
		}
	}
	for _, n := range []int{0, 63, 65} {
		if _, err := ParseKey(strings.Repeat("5", n)); err == nil {
			t.Errorf("%d digits are taken", n)
		}
	}
}
