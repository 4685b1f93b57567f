package relay

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// TestC3StrictEvents: what is not an event to the letter is refused, with the id when there is one.
func TestC3StrictEvents(t *testing.T) {
	_, url := start(t, Config{})
	w := dial(t, url)
	good := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1, Content: "hello", Tags: nostr.Tags{{"t", "x"}}})
	change := func(old, to string) string {
		if !strings.Contains(good.String(), old) {
			t.Fatal(old)
		}
		return strings.Replace(good.String(), old, to, 1)
	}
	named, unreadable := "OK "+good.ID+" false invalid: ", "NOTICE invalid: "
	for _, c := range []struct{ name, event, want string }{
		{"kind twice", change(`"kind":1`, `"kind":1,"kind":1`), named},
		{"two kinds", change(`"kind":1`, `"kind":5,"kind":1`), named},
		{"two ids", change(`"kind":1`, `"kind":1,"id":"`+good.ID+`"`), named},
		{"miscased", change(`"kind"`, `"Kind"`), named},
		{"escaped name", change(`"kind"`, `"\u006bind"`), named},
		{"kind in quotes", change(`"kind":1`, `"kind":"1"`), named},
		{"fraction", change(`"kind":1`, `"kind":1.0`), named},
		{"exponent", change(`"kind":1`, `"kind":1e0`), named},
		{"minus nothing", change(`"kind":1`, `"kind":-0`), named},
		{"minus", change(`"kind":1`, `"kind":-1`), named},
		{"large", change(`"kind":1`, `"kind":18446744073709551617`), named},
		{"true", change(`"kind":1`, `"kind":true`), named},
		{"no kind", change(`"kind":1,`, ``), named},
		{"no content", change(`"content":"hello",`, ``), named},
		{"no content but null", change(`"content":"hello"`, `"content":null`), named},
		{"no tags", change(`"tags":[["t","x"]],`, ``), named},
		{"no tags but null", change(`[["t","x"]]`, `null`), named},
		{"tags of one", change(`[["t","x"]]`, `["t","x"]`), named},
		{"a tag that is null", change(`[["t","x"]]`, `[null]`), named},
		{"an element that is null", change(`["t","x"]`, `["t",null]`), named},
		{"an element that is a number", change(`["t","x"]`, `["t",1]`), named},
		{"an array in a tag", change(`["t","x"]`, `["t",["x"]]`), named},
		{"one field more", change(`"kind":1`, `"kind":1,"x":{"a":[1]}`), named},
		{"id in capitals", change(good.ID, strings.ToUpper(good.ID)), "OK " + strings.ToUpper(good.ID) + " false invalid: "},
		{"id that is a number", change(`"`+good.ID+`"`, `5`), unreadable},
		{"array", "[]", unreadable},
		{"text", `"x"`, unreadable},
		{"nothing", `{}`, unreadable},
		{"as it is, with spaces", strings.NewReplacer(`:`, " :\n\t", `,`, " ,\r ").Replace(good.String()), "OK " + good.ID + " true "},
		{"again", change(`hello`, `hel\u006co`), "OK " + good.ID + " true duplicate: "},
	} {
		w.write(`["EVENT",` + c.event + `]`)
		if got := w.text(); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestServedText: an event is served as it was written, except for what its readers could see in
// different ways; either way it is one line, and verifies.
func TestServedText(t *testing.T) {
	ev := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1, Content: "a/\u00fc<\ufffd", Tags: nostr.Tags{{"t", "x"}}})
	plain := encodeEvent(&ev)
	for _, c := range []struct {
		name, content string
		spaced, kept  bool
	}{
		{name: "as others write it", content: "a\\/\u00fc<\ufffd", kept: true},
		{name: "escaped", content: "a/\\u00fc<\\ufffd"},
		{name: "half a pair", content: "a/\u00fc<\\ud800"},
		{name: "lines", content: "a/\u00fc<\ufffd", spaced: true},
	} {
		written := strings.Replace(string(plain), `"content":"a/`+"\u00fc<\ufffd"+`"`, `"content":"`+c.content+`"`, 1)
		if c.spaced {
			written = strings.Replace(written, `,"tags"`, ",\n\t\"tags\"", 1)
		}
		if written == string(plain) {
			t.Fatalf("%s: nothing was changed in %s", c.name, plain)
		}
		_, url := start(t, Config{})
		w := dial(t, url)
		w.write(`["REQ","live",{"kinds":[1]}]`)
		w.text() // EOSE
		w.write(`["EVENT",` + written + `]`)
		w.write(`["REQ","stored",{"kinds":[1]}]`)
		for served := 0; served < 2; {
			_, raw, err := w.ReadMessage()
			if err != nil {
				t.Fatal(err)
			}
			var frame []json.RawMessage
			if err := json.Unmarshal(raw, &frame); err != nil || string(frame[0]) != `"EVENT"` {
				continue
			}
			served++
			var got nostr.Event
			if err := json.Unmarshal(frame[2], &got); err != nil || got.Content != ev.Content || !got.CheckID() {
				t.Errorf("%s: %s does not verify: %v", c.name, frame[2], err)
			}
			if strings.ContainsAny(string(frame[2]), "\n\t") || (string(frame[2]) == written) != c.kept {
				t.Errorf("%s: written as %s\nserved as %s", c.name, written, frame[2])
			}
		}
	}
}

func TestC3StrictFilters(t *testing.T) {
	_, url := start(t, Config{})
	w := dial(t, url)
	hex := strings.Repeat("a", 64)
	for filter, want := range map[string]string{
		`{"kinds":[1],"kinds":[2]}`:            "CLOSED a invalid: ",
		`{"Kinds":[1]}`:                        "CLOSED a unsupported: ",
		`{"IDS":["` + hex + `"]}`:              "CLOSED a unsupported: ",
		`{"foo":1}`:                            "CLOSED a unsupported: ",
		`{"#":["x"]}`:                          "CLOSED a unsupported: ",
		`{"#ee":["x"]}`:                        "CLOSED a unsupported: ",
		`{"\u006binds":[1]}`:                   "CLOSED a unsupported: ",
		`{"kinds":["1"]}`:                      "CLOSED a invalid: ",
		`{"kinds":[1e0]}`:                      "CLOSED a invalid: ",
		`{"kinds":[1.0]}`:                      "CLOSED a invalid: ",
		`{"kinds":[-1]}`:                       "CLOSED a invalid: ",
		`{"kinds":[99999999999999999999]}`:     "CLOSED a invalid: ",
		`{"kinds":null}`:                       "CLOSED a invalid: ",
		`{"kinds":1}`:                          "CLOSED a invalid: ",
		`{"#e":"x"}`:                           "CLOSED a invalid: ",
		`{"#e":null}`:                          "CLOSED a invalid: ",
		`{"#e":[null]}`:                        "CLOSED a invalid: ",
		`{"#e":[["x"]]}`:                       "CLOSED a invalid: ",
		`{"since":"1"}`:                        "CLOSED a invalid: ",
		`{"since":-1}`:                         "CLOSED a invalid: ",
		`{"until":1.5}`:                        "CLOSED a invalid: ",
		`{"limit":null}`:                       "CLOSED a invalid: ",
		`{"limit":99999999999999999999}`:       "CLOSED a invalid: ",
		`{"search":5}`:                         "CLOSED a invalid: ",
		`{"ids":["` + hex[1:] + `"]}`:          "CLOSED a invalid: ",
		`{"ids":["` + hex + `0"]}`:             "CLOSED a invalid: ",
		`{"authors":["` + hex[1:] + `A"]}`:     "CLOSED a invalid: ",
		`{"ids":["` + hex[1:] + `\u0061"]}`:    "EOSE a",
		`{"kinds":[70000]}`:                    "EOSE a",
		`{"ids":[],"limit":1}`:                 "EOSE a",
		`{ "kinds" : [ 1 , 2 ] , "limit" : 0}`: "EOSE a",
		`{"#e":["}],{\"\\"],"limit":1}`:        "EOSE a",
		`[]`:                                   "CLOSED a invalid: ",
		`"x"`:                                  "CLOSED a invalid: ",
	} {
		w.write(`["REQ","a",` + filter + `]`)
		if got := w.text(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", filter, got, want)
		}
	}
}

// TestC3ServedBytes: thousands of events, whole and damaged: each is refused, or comes back as it
// was signed.
func TestC3ServedBytes(t *testing.T) {
	rounds := 5000
	if testing.Short() {
		rounds = 500
	}
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	_, url := start(t, Config{})
	w := dial(t, url)
	secret := nostr.GeneratePrivateKey()
	texts := []string{"", "x", "\x00", "\x01\x1f\x7f", "\"", `\`, `\\"`, `\u0041`, "</script>", "&<>", "\u2029", "é", "\ufffd", "𝄞", "\n\r\t\b\f", "日本", "a/b", "\ue000"}
	text := func() string {
		var b strings.Builder
		for range random.IntN(6) {
			b.WriteString(texts[random.IntN(len(texts))])
		}
		return b.String()
	}
	taken := 0
	for i := range rounds {
		ev := nostr.Event{Kind: 1, CreatedAt: nostr.Now(), Content: fmt.Sprint(i) + text(), Tags: nostr.Tags{}}
		for range random.IntN(4) {
			tag := nostr.Tag{"x" + text()}
			for range random.IntN(3) {
				tag = append(tag, text())
			}
			ev.Tags = append(ev.Tags, tag)
		}
		ev = signed(t, secret, ev)
		// Another encoder than the relay's, which escapes other characters.
		raw, err := json.Marshal(map[string]any{
			"id": ev.ID, "pubkey": ev.PubKey, "created_at": ev.CreatedAt, "kind": ev.Kind, "tags": ev.Tags, "content": ev.Content, "sig": ev.Sig,
		})
		if err != nil {
			t.Fatal(err)
		}
		damaged := i%2 == 1
		if damaged {
			raw[random.IntN(len(raw))] = "\"\\{}[],:019aAu \x01"[random.IntN(16)]
		}
		if !utf8.Valid(raw) {
			continue // ends the connection
		}
		w.write(`["EVENT",` + string(raw) + `]`)
		answer := w.next()
		ok := string(answer[0]) == `"OK"` && string(answer[2]) == "true"
		if !ok && !damaged {
			t.Fatalf("%s was answered with %s", raw, answer)
		}
		if !ok {
			continue
		}
		taken++
		found := w.query(`{"ids":["` + ev.ID + `"]}`) // verifies
		if len(found) != 1 {
			t.Fatalf("%s was taken and is not found", raw)
		}
		if diff := cmp.Diff(ev, found[0], cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "extra" }, cmp.Ignore())); diff != "" {
			t.Fatalf("%s comes back changed: %s", raw, diff)
		}
	}
	t.Logf("%d of %d events were taken", taken, rounds)
}

func FuzzStrict(f *testing.F) {
	f.Add([]byte(`{"id":"","kind":1,"tags":[["a"]]}`))
	f.Add([]byte(`{"#e":["\"\\"] ,"limit":0}`))
	f.Add([]byte(`{"a":{"b":["]"]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		raw = []byte(strings.TrimSpace(string(raw)))
		_, _ = checkEvent(raw)
		_ = checkFilter(raw)
		var want map[string]json.RawMessage
		if raw[0] != '{' || json.Unmarshal(raw, &want) != nil {
			return
		}
		got := make(map[string]json.RawMessage)
		if parts, ok := splitArray(append(append([]byte("["), raw...), ']')); !ok || len(parts) != 1 {
			return // too deep
		}
		if err := fields(raw, func(name, value []byte) error {
			var plain string
			if err := json.Unmarshal([]byte(`"`+string(name)+`"`), &plain); err != nil {
				t.Fatalf("%q: %v", name, err)
			}
			got[plain] = value
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestC3Depth: no message is taken in which more than four arrays and objects are in each other, which is as deep as an event
// is in its message.
func TestC3Depth(t *testing.T) {
	_, url := start(t, Config{})
	w := dial(t, url)
	good := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1, Tags: nostr.Tags{{"t", "x"}}})
	if ok, reason := w.publish(good); !ok { // ["EVENT",{"tags":[["t"]]}] is four
		t.Fatal(reason)
	}
	for depth := 1; depth < 200; depth = depth*3/2 + 1 {
		deep := strings.Repeat("[", depth) + strings.Repeat("]", depth)
		objects := strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
		for _, value := range []string{deep, objects} {
			for _, frame := range []string{
				`["EVENT",` + strings.Replace(good.String(), `"x"`, value, 1) + `]`,
				`["EVENT",` + strings.Replace(good.String(), `"content":""`, `"content":`+value, 1) + `]`,
				`["EVENT",` + strings.Replace(good.String(), `{`, `{"more":`+value+`,`, 1) + `]`,
				`["REQ","a",{"#t":[` + value + `]}]`, `["REQ","a",{"kinds":[` + value + `]}]`, `["REQ","a",{"more":` + value + `}]`, `["COUNT","a",{"#t":[` + value + `]}]`,
				`["NEG-OPEN","a",{"#t":[` + value + `]},"6100000200"]`, `["CLOSE",` + value + `]`, `["AUTH",` + value + `]`,
			} {
				w.write(frame)
				if got := w.text(); !strings.Contains(got, "invalid: ") && !strings.Contains(got, "unsupported: ") {
					t.Errorf("%.100s was answered with %s", frame, got)
				}
			}
		}
	}
}
