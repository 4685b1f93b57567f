package relay

import (
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// TestC3Messages: whatever a client writes, it gets one clear answer, and the next message is read.
func TestC3Messages(t *testing.T) {
	_, url := start(t, Config{ServiceURL: serviceURL})
	alice := nostr.GeneratePrivateKey()
	pub := publicKey(t, alice)
	good := signed(t, alice, nostr.Event{Kind: 1, Content: "good"})
	text := good.String()
	with := func(old, new string) string { return `["EVENT",` + strings.Replace(text, old, new, 1) + `]` }
	wrap := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1059, Tags: nostr.Tags{{"p", pub}}})
	w, challenge := greet(t, url)
	w.publish(good)
	w.publish(wrap)
	hex := strings.Repeat("ab", 32)
	for _, c := range []struct{ frame, want string }{
		// Text that is JSON in different clothes.
		{` [ "REQ" , "a" , { "limit" : 0 } ] `, "EOSE a"},
		{"\t[\"REQ\",\"a\",{\"limit\":0}]\r\n", "EOSE a"},
		{"\ufeff" + `["REQ","a",{"limit":0}]`, "NOTICE invalid: "},
		{`["REQ","a",{"limit":0}]["REQ","b",{"limit":0}]`, "NOTICE invalid: "},
		{`["REQ","a",{"limit":0},]`, "NOTICE invalid: "},
		{`["REQ","a",{"limit":0,}]`, "NOTICE invalid: "},
		{`['REQ','a',{}]`, "NOTICE invalid: "},
		{`["REQ","a",{limit:0}]`, "NOTICE invalid: "},
		{`["REQ","a",{"limit":NaN}]`, "NOTICE invalid: "},
		{`["REQ","a",{"limit":00}]`, "NOTICE invalid: "},
		{`["REQ","a",{"limit":+1}]`, "NOTICE invalid: "},
		{`["REQ","a",{"limit":0x10}]`, "NOTICE invalid: "},
		{`["REQ","a` + "\x01" + `",{}]`, "NOTICE invalid: "},
		{`["REQ","a` + "\x00" + `",{}]`, "NOTICE invalid: "},
		{`["REQ","a\ud800",{"limit":0}]`, ""},
		{`{"0":"REQ"}`, "NOTICE invalid: "},
		{`"REQ"`, "NOTICE invalid: "},
		{`[["REQ"],"a",{}]`, "NOTICE invalid: "},
		{`["req","a",{}]`, "NOTICE unsupported: "},
		{`["",""]`, "NOTICE unsupported: "},
		{`["OK","` + hex + `",true,""]`, "NOTICE unsupported: "},
		{`["NOTICE","hello"]`, "NOTICE unsupported: "},
		{`["REQ","a",` + strings.Repeat(`{"a":`, 5000) + `1` + strings.Repeat(`}`, 5000) + `]`, "NOTICE invalid: "},
		{`["REQ","a",{"#t":` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `}]`, "CLOSED a invalid: "},

		// Events.
		{with(`"kind":1`, `"kind":1e0`), "OK " + good.ID + " false invalid: "},
		{with(`"kind":1`, `"kind":1.0`), "OK " + good.ID + " false invalid: "},
		{with(`"kind":1`, `"kind":"1"`), "OK " + good.ID + " false invalid: "},
		{with(`"kind":1`, `"kind":true`), "OK " + good.ID + " false invalid: "},
		{with(`"kind":1`, `"kind":null`), "OK " + good.ID + " false invalid: "},
		{with(`"kind":1`, `"kind":99999999999999999999`), "OK " + good.ID + " false invalid: "},
		{with(`"kind":1`, `"kind":18446744073709551617`), "OK " + good.ID + " false invalid: "},
		{with(`"kind":1`, `"kind":1,"kind":1`), "OK " + good.ID + " false invalid: "},
		{with(`"kind":1`, `"kind":1,"Kind":5`), "OK " + good.ID + " false invalid: "},
		{with(`"kind":1`, `"k\u0069nd":1`), "OK " + good.ID + " false invalid: "},
		{with(`"tags":[]`, `"tags":null`), "OK " + good.ID + " false invalid: "},
		{with(`"tags":[]`, `"tags":{}`), "OK " + good.ID + " false invalid: "},
		{with(`"tags":[]`, `"tags":[["t",null]]`), "OK " + good.ID + " false invalid: "},
		{with(`"tags":[]`, `"tags":[["t",["x"]]]`), "OK " + good.ID + " false invalid: "},
		{with(`"tags":[]`, `"tags":"[]"`), "OK " + good.ID + " false invalid: "},
		{with(good.ID, strings.ToUpper(good.ID)), "OK " + strings.ToUpper(good.ID) + " false invalid: "},
		{with(good.ID, good.ID+"00"), "OK " + good.ID + "00 false invalid: "},
		{with(good.ID, ""), "OK  false invalid: "},
		{with(good.Sig, strings.ToUpper(good.Sig)), "OK " + good.ID + " "},
		{with(`"content":"good"`, `"content":"good","seen_on":[]`), "OK " + good.ID + " false invalid: "},
		{`["EVENT",` + text + `,` + text + `]`, "OK " + good.ID + " true duplicate: "},
		{`["EVENT","sub",` + text + `]`, "NOTICE invalid: "},
		{`["EVENT",[` + text + `]]`, "NOTICE invalid: "},
		{`["EVENT",` + signed(t, alice, nostr.Event{Kind: 22242}).String() + `]`, "OK "},

		// Filters.
		{`["REQ","a",[]]`, "CLOSED a invalid: "},
		{`["REQ","a","{}"]`, "CLOSED a invalid: "},
		{`["REQ","a",{},null]`, "CLOSED a invalid: "},
		{`["REQ","a",{"limit":null}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"since":-1}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"since":99999999999999999999999}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"until":9223372036854775807,"limit":0}]`, "EOSE a"},
		{`["REQ","a",{"until":9223372036854775808,"limit":0}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"limit":99999999999999999999}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"since":2,"until":1}]`, "EOSE a"},
		{`["REQ","a",{"since":9223372036854775807,"until":0}]`, "EOSE a"},
		{`["REQ","a",{"ids":[]}]`, "EOSE a"},
		{`["REQ","a",{"authors":[]}]`, "EOSE a"},
		{`["REQ","a",{"kinds":[]}]`, "EOSE a"},
		{`["REQ","a",{"#t":[]}]`, "EOSE a"},
		{`["REQ","a",{"kinds":[4294967297]}]`, "EOSE a"},
		{`["REQ","a",{"kinds":[66595]}]`, "EOSE a"},
		{`["REQ","a",{"kinds":["1"]}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"kinds":[null]}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"kinds":1}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"ids":"` + hex + `"}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"ids":["` + strings.ToUpper(hex) + `"]}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"authors":["` + hex[:62] + `"]}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"#e":[1]}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"#e":["not hex"]}]`, "EOSE a"},
		{`["REQ","a",{"#":["x"]}]`, "CLOSED a unsupported: "},
		{`["REQ","a",{"#tt":["x"]}]`, "CLOSED a unsupported: "},
		{`["REQ","a",{"#é":["x"]}]`, "CLOSED a unsupported: "},
		{`["REQ","a",{"#1":["x"]}]`, "CLOSED a unsupported: "},
		{`["REQ","a",{"Kinds":[1]}]`, "CLOSED a unsupported: "},
		{`["REQ","a",{"kinds":[1],"kinds":[1059]}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"#p":["x"],"#\u0070":["` + pub + `"]}]`, "CLOSED a "},
		{`["REQ","a",{"&p":["x"]}]`, "CLOSED a unsupported: "},
		{`["REQ","a",{"search":5}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"search":"` + strings.Repeat("x", 300) + `"}]`, "CLOSED a invalid: "},
		{`["REQ","a",{"#P":["` + pub + `"]}]`, "EOSE a"},
		{`["REQ","a",{"kinds":[1059],"#P":["` + pub + `"]}]`, "EOSE a"},
		{`["REQ","a",{"kinds":[1059],"#e":["` + pub + `"]}]`, "EOSE a"},
		{`["REQ","a",{"kinds":[1059],"search":"a"}]`, "EOSE a"},

		// Counts and sets of what is private.
		{`["COUNT","a",{"kinds":[1059],"#p":["` + pub + `"]}]`, `COUNT a {"count":0`},
		{`["COUNT","a",{"ids":["` + wrap.ID + `"]}]`, `COUNT a {"count":0`},
		{`["COUNT","a",{"authors":["` + wrap.PubKey + `"]}]`, `COUNT a {"count":0`},
		{`["COUNT","a",{"limit":0}]`, `COUNT a {"count":0`},
		{`["COUNT","a"]`, "CLOSED a invalid: "},
		{`["COUNT","",{}]`, "NOTICE invalid: "},
		{`["NEG-OPEN","a",{"ids":["` + wrap.ID + `"]},"6100000200"]`, "NEG-MSG a 6100000200"},
		{`["NEG-OPEN","a",{"kinds":[1059],"#p":["` + pub + `"]},"6100000200"]`, "NEG-MSG a 6100000200"},
		{`["NEG-OPEN","a",{},"61000002"]`, "NEG-ERR a invalid: "},
		{`["NEG-OPEN","a",{},"6100000g00"]`, "NEG-ERR a invalid: "},
		{`["NEG-OPEN","a",{},"610000020"]`, "NEG-ERR a invalid: "},
		{`["NEG-OPEN","a",{},null]`, "NEG-ERR a invalid: "},
		{`["NEG-OPEN","a",{"kinds":5},"6100000200"]`, "NEG-ERR a invalid: "},
		{`["NEG-CLOSE","never opened"]`, ""},
		{`["NEG-MSG","never opened","6100000200"]`, "NEG-ERR never opened closed: "},

		// Logins.
		{`["AUTH",` + text + `]`, "OK " + good.ID + " false invalid: "},
		{`["AUTH","` + challenge + `"]`, "NOTICE invalid: "},
		{`["AUTH",null]`, "NOTICE invalid: "},
		{`["CLOSE"]`, "NOTICE invalid: "},
		{`["CLOSE",5]`, "NOTICE invalid: "},
	} {
		w.write(c.frame)
		w.write(`["CLOSE","a"]`)
		w.write(`["REQ","mark",{"limit":0}]`)
		var got []string
		for {
			if answer := w.text(); answer != "EOSE mark" {
				got = append(got, answer)
				continue
			}
			break
		}
		switch {
		case c.want == "" && len(got) > 1, c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want)):
			t.Errorf("%.120s was answered with %q, want %q", c.frame, got, c.want)
		}
	}
	alive2(t, url)
}

// TestC3OnePacket: many messages in one packet are answered as if they came one by one.
func TestC3OnePacket(t *testing.T) {
	r, url := start(t, Config{})
	alice := nostr.GeneratePrivateKey()
	note := signed(t, alice, nostr.Event{Kind: 1})
	w := upgrade(t, url, "")
	var packet []byte
	for _, message := range []string{
		`["REQ","a",{"kinds":[1]}]`, `["CLOSE","a"]`, `["REQ","a",{"kinds":[1]}]`, `["REQ","a",{"kinds":[2]}]`,
		`["EVENT",` + note.String() + `]`, `["REQ","b",{"ids":["` + note.ID + `"]}]`, `["CLOSE","b"]`, `["CLOSE","a"]`,
	} {
		packet = append(packet, clientFrame(final|opText, []byte(message))...)
	}
	packet = append(packet, clientFrame(final|opClose, nil)...)
	if _, err := w.Write(packet); err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		op, payload := w.answer()
		if op == opClose {
			break
		}
		got = append(got, string(payload))
	}
	want := []string{`["EOSE","a"]`, `["EOSE","a"]`, `["EOSE","a"]`, `["OK","` + note.ID + `",true,""]`, `["EVENT","b",` + note.String() + `]`, `["EOSE","b"]`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for r.places.taken() != 0 {
		time.Sleep(time.Millisecond)
	}
}

// TestC3HalfClosed: one that has said all and only listens on gets its answers.
func TestC3HalfClosed(t *testing.T) {
	_, url := start(t, Config{})
	note := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1})
	w := upgrade(t, url, "")
	if _, err := w.Write(clientFrame(final|opText, []byte(`["EVENT",`+note.String()+`]`))); err != nil {
		t.Fatal(err)
	}
	if err := w.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if op, payload := w.answer(); op != opText || string(payload) != `["OK","`+note.ID+`",true,""]` {
		t.Errorf("%d %s", op, payload)
	}
	if op, payload := w.answer(); op != opClose || binary.BigEndian.Uint16(payload) != closeGoingAway {
		t.Errorf("%d %x", op, payload)
	}
}

// TestC3Requests: HTTP requests that are almost something.
func TestC3Requests(t *testing.T) {
	_, url := serveWhole(t, Config{ServiceURL: serviceURL, Admins: []string{publicKey(t, nodeKey)}})
	address := "http" + strings.TrimPrefix(url, "ws")
	for _, c := range []struct {
		method, path string
		header       http.Header
		body         string
		want         int
	}{
		{"GET", "/", http.Header{"Upgrade": {"websocket"}}, "", 400},
		{"GET", "/", http.Header{"Upgrade": {"websocket"}, "Connection": {"upgrade"}}, "", 400},
		{"POST", "/", http.Header{"Upgrade": {"websocket"}, "Connection": {"upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}, "", 405},
		{"GET", "/", http.Header{"Upgrade": {"websocket"}, "Connection": {"upgrade"}, "Sec-Websocket-Version": {"8"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}, "", 400},
		{"GET", "/", http.Header{"Upgrade": {"websocket"}, "Connection": {"upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"short"}}, "", 400},
		{"GET", "/any/path", http.Header{"Accept": {"application/nostr+json"}}, "", 200},
		{"HEAD", "/", http.Header{"Accept": {"application/nostr+json"}}, "", 200},
		{"GET", "/", http.Header{"Accept": {"application/nostr+json"}, "Content-Type": {managementType}}, "", 200},
		{"POST", "/", http.Header{"Content-Type": {managementType}}, "{}", 401},
		{"POST", "/", http.Header{"Content-Type": {managementType + "; charset=utf-8"}}, "{}", 401},
		{"POST", "/", http.Header{"Content-Type": {strings.ToUpper(managementType)}}, "{}", 401},
		{"POST", "/", http.Header{"Content-Type": {managementType}, "Authorization": {"Nostr"}}, "{}", 401},
		{"POST", "/", http.Header{"Content-Type": {managementType}, "Authorization": {"Nostr !"}}, "{}", 401},
		{"POST", "/", http.Header{"Content-Type": {managementType}, "Authorization": {"Nostr bnVsbA=="}}, "{}", 401},
		{"POST", "/", http.Header{"Content-Type": {managementType}, "Authorization": {"Nostr W10="}}, "{}", 401},
		{"POST", "/", http.Header{"Content-Type": {managementType}, "Authorization": {"Nostr e30="}}, "{}", 401},
		{"GET", "/", http.Header{"Content-Type": {managementType}}, "", 405},
		{"OPTIONS", "/", http.Header{"Origin": {"https://x"}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"authorization,content-type"}}, "", 204},
		{"GET", "/%00", nil, "", 404},
		{"GET", "/", http.Header{"X": {strings.Repeat("x", 2*DefaultLimits().HeaderBytes)}}, "", 431},
	} {
		req, err := http.NewRequest(c.method, address+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = c.header
		if req.Header == nil {
			req.Header = make(http.Header)
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Errorf("%s %s %v: %v", c.method, c.path, c.header, err)
			continue
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%s %s %v: %d %.100s, want %d", c.method, c.path, c.header, res.StatusCode, body, c.want)
		}
	}
	alive2(t, url)
}

func alive2(t *testing.T, url string) {
	t.Helper()
	w, _ := greet(t, url)
	if ok, reason := w.publish(signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1})); !ok {
		t.Error(reason)
	}
}

// TestC3Deletions: who deletes what, by id, by address, and by vanishing.
func TestC3Deletions(t *testing.T) {
	r, url := start(t, Config{ServiceURL: serviceURL})
	alice, mallory := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	pub := publicKey(t, alice)
	w, _ := greet(t, url)
	now := nostr.Now()
	note := signed(t, alice, nostr.Event{Kind: 1, CreatedAt: now - 10})
	article := signed(t, alice, nostr.Event{Kind: 30023, CreatedAt: now - 10, Tags: nostr.Tags{{"d", "x:y"}}})
	profile := signed(t, alice, nostr.Event{Kind: 0, CreatedAt: now - 10})
	order := signed(t, nodeKey, nostr.Event{Kind: 38383, CreatedAt: now - 10, Tags: nostr.Tags{{"d", "o"}}})
	unseen := signed(t, alice, nostr.Event{Kind: 1, CreatedAt: now - 9, Content: "unseen"})
	for _, ev := range []nostr.Event{note, article, profile} {
		if ok, reason := w.publish(ev); !ok {
			t.Fatal(reason)
		}
	}
	if err := r.Publish(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	node := publicKey(t, nodeKey)
	tags := nostr.Tags{
		{"e", note.ID}, {"e", article.ID}, {"e", profile.ID}, {"e", order.ID}, {"e", unseen.ID}, {"e"}, {"e", ""}, {"e", strings.ToUpper(note.ID)},
		{"a", "30023:" + pub + ":x:y"}, {"a", "0:" + pub + ":"}, {"a", "38383:" + node + ":o"}, {"a"}, {"a", ""}, {"a", ":::"},
		{"a", "030023:" + pub + ":x:y"}, {"a", "-1:" + pub + ":"}, {"a", "99999999999999999999:" + pub + ":"}, {"a", "1:" + pub + ":"},
	}
	count := func() int {
		return len(w.query(`{"ids":["` + note.ID + `","` + article.ID + `","` + profile.ID + `","` + order.ID + `","` + unseen.ID + `"]}`))
	}
	if ok, reason := w.publish(signed(t, mallory, nostr.Event{Kind: 5, CreatedAt: now + 5, Tags: tags})); !ok {
		t.Error(reason)
	}
	w.publish(signed(t, mallory, nostr.Event{Kind: 62, CreatedAt: now + 5, Tags: append(tags, nostr.Tag{"relay", "ALL_RELAYS"}, nostr.Tag{"p", pub})}))
	if ok, reason := w.publish(unseen); !ok {
		t.Error(reason)
	}
	if got := count(); got != 5 {
		t.Errorf("a stranger's deletion left %d of 5", got)
	}
	for _, relay := range []string{"wss://other.example.com", "", "all_relays", "ALL_RELAYS ", "relay.example.com"} {
		if ok, _ := w.publish(signed(t, alice, nostr.Event{Kind: 62, Tags: nostr.Tags{{"relay", relay}}})); ok {
			t.Errorf("a request to vanish from %q was taken", relay)
		}
	}
	if ok, _ := w.publish(signed(t, alice, nostr.Event{Kind: 62})); ok {
		t.Error("a request to vanish from nowhere was taken")
	}
	if got := count(); got != 5 {
		t.Errorf("%d of 5 are left", got)
	}
	w.publish(signed(t, alice, nostr.Event{Kind: 5, CreatedAt: now, Tags: tags}))
	if got := count(); got != 1 {
		t.Errorf("after the author's own deletion %d are left, want the order", got)
	}
	for _, ev := range []nostr.Event{note, article, profile, unseen} {
		if ok, reason := w.publish(ev); ok || !strings.HasPrefix(reason, "blocked: ") {
			t.Errorf("a deleted event comes back: %v %q", ok, reason)
		}
	}
	newer := signed(t, alice, nostr.Event{Kind: 30023, CreatedAt: now + 1, Tags: nostr.Tags{{"d", "x:y"}}})
	if ok, reason := w.publish(newer); !ok {
		t.Error(reason)
	}
}
