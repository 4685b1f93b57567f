package relay

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var splitSeeds = []string{
	`["EVENT",{"id":"00","tags":[["p","x"],[]],"created_at":1,"content":"\u00e9\n\"\\ \ud83d","kind":-0.5e+10}]`,
	` [ "REQ" , "s", {} ,null,true,false , 0, -1, 1E-2, [] ] `, `[]`, `[ ]`, ``, `[`, `{}`, `"x"`, `[1,]`, `[,1]`, `[1 2]`, `[1]x`, `["a]`,
	`["\x"]`, `["\u12g4"]`, `["\u12"]`, `[01]`, `[1.]`, `[.5]`, `[+1]`, `[-]`, `[1e]`, `[tru]`, `[nulll]`, `[{"a"}]`, `[{"a":}]`, `[{"a":1,}]`, `[{1:2}]`,
	`[{"a":1 "b":2}]`, "[\"a\tb\"]", "[\"1234567\x00\"]", `["12345678"]`, `["1234567\""]`, `["1234567\\"]`, "[\"\x7f\u2028é\"]", "\ufeff[]",
	`["` + strings.Repeat("x", 100) + `"` + "\x1f]",
}

// FuzzSplitArray: messages are taken apart as encoding/json does it, which reads them too slowly.
func FuzzSplitArray(f *testing.F) {
	for _, text := range splitSeeds {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || strings.Count(text, "[")+strings.Count(text, "{") > maxDepth {
			return
		}
		var want []json.RawMessage
		err := json.Unmarshal([]byte(text), &want)
		isArray := err == nil && strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "[") // null is not
		got, ok := splitArray([]byte(text))
		if ok != isArray {
			t.Fatalf("%q: %v, encoding/json says %v", text, ok, err)
		}
		if !ok {
			return
		}
		if diff := cmp.Diff(texts(want), texts(got)); diff != "" {
			t.Errorf("%q:\n%s", text, diff)
		}
	})
}

func texts(parts []json.RawMessage) []string {
	all := []string{}
	for _, part := range parts {
		all = append(all, string(part))
	}
	return all
}

// TestSplitArrayDepth: nesting costs stack, so it is bounded.
func TestSplitArrayDepth(t *testing.T) {
	nested := func(depth int) []byte { return []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth)) }
	if _, ok := splitArray(nested(maxDepth)); !ok {
		t.Errorf("an array of depth %d is refused", maxDepth)
	}
	if _, ok := splitArray(nested(maxDepth + 2)); ok {
		t.Errorf("an array of depth %d is taken", maxDepth+2)
	}
}
