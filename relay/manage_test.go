package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fasthttp/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// manage sends a signed call and returns what came back. change spoils the authorization.
func manage(t testing.TB, url, secret, body string, change func(*nostr.Event)) (status int, result any, fault string) {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	ev := nostr.Event{Kind: 27235, CreatedAt: nostr.Now(), Content: nostr.GeneratePrivateKey(), Tags: nostr.Tags{
		{"u", "https://relay.example.com/"}, {"method", "POST"}, {"payload", hex.EncodeToString(sum[:])},
	}}
	if change != nil {
		change(&ev)
	}
	ev = signed(t, secret, ev)
	return send(t, url, body, "Nostr "+base64.StdEncoding.EncodeToString([]byte(ev.String())))
}

func send(t testing.TB, url, body, authorization string) (status int, result any, fault string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http"+strings.TrimPrefix(url, "ws"), bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/nostr+json+rpc")
	req.Header.Set("X-Forwarded-Host", "evil.example")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Result any
		Error  string
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return response.StatusCode, answer.Result, answer.Error
}

func TestManagementAuthorization(t *testing.T) {
	admin := nostr.GeneratePrivateKey()
	r, url := start(t, Config{ServiceURL: serviceURL, Admins: []string{publicKey(t, admin)}})
	const body = `{"method":"listbannedpubkeys","params":[]}`
	tag := func(i int, tag ...string) func(*nostr.Event) { return func(ev *nostr.Event) { ev.Tags[i] = tag } }
	for _, c := range []struct {
		name, secret string
		change       func(*nostr.Event)
		status       int
		want         string
	}{
		{"good", admin, nil, http.StatusOK, ""},
		{"not an administrator", nodeKey, nil, http.StatusForbidden, "restricted: "},
		{"the relay's own address", admin, tag(0, "u", serviceURL), http.StatusOK, ""},
		{"without encryption", admin, tag(0, "u", "http://relay.example.com"), http.StatusUnauthorized, "invalid: the u tag"},
		{"another address", admin, tag(0, "u", "https://evil.example/"), http.StatusUnauthorized, "invalid: the u tag"},
		{"no address", admin, func(ev *nostr.Event) { ev.Tags = ev.Tags[1:] }, http.StatusUnauthorized, "invalid: the u tag"},
		{"address without value", admin, tag(0, "u"), http.StatusUnauthorized, "invalid: the u tag"},
		{"another method", admin, tag(1, "method", "GET"), http.StatusUnauthorized, "invalid: the method"},
		{"another body", admin, tag(2, "payload", strings.Repeat("0", 64)), http.StatusUnauthorized, "invalid: the payload"},
		{"no payload", admin, func(ev *nostr.Event) { ev.Tags = ev.Tags[:2] }, http.StatusUnauthorized, "invalid: the payload"},
		{"old", admin, func(ev *nostr.Event) { ev.CreatedAt -= 40 }, http.StatusUnauthorized, "invalid: the authorization is more"},
		{"from the future", admin, func(ev *nostr.Event) { ev.CreatedAt += 40 }, http.StatusUnauthorized, "invalid: the authorization is more"},
		{"another kind", admin, func(ev *nostr.Event) { ev.Kind = 22242 }, http.StatusUnauthorized, "invalid: the authorization is not kind"},
		{"empty tag", admin, func(ev *nostr.Event) { ev.Tags = append(ev.Tags, nostr.Tag{}) }, http.StatusUnauthorized, "invalid: "},
	} {
		if status, _, fault := manage(t, url, c.secret, body, c.change); status != c.status || !strings.HasPrefix(fault, c.want) {
			t.Errorf("%s: %d %q", c.name, status, fault)
		}
	}
	if got := len(r.management.used); got != 2 {
		t.Errorf("%d authorizations are remembered, want the 2 good ones of the administrator", got)
	}
	for _, authorization := range []string{"", "Nostr", "Nostr !", "Bearer abc", "Nostr " + base64.StdEncoding.EncodeToString([]byte(`{}`)), "Nostr " + base64.StdEncoding.EncodeToString([]byte(`[`))} {
		if status, _, fault := send(t, url, body, authorization); status != http.StatusUnauthorized || fault == "" {
			t.Errorf("authorization %q: %d %q", authorization, status, fault)
		}
	}
	if status, _, _ := send(t, url, strings.Repeat(" ", 100_000), ""); status != http.StatusRequestEntityTooLarge {
		t.Errorf("a long body: %d", status)
	}
	again := func(ev *nostr.Event) { ev.Content, ev.CreatedAt = "same", nostr.Now() }
	manage(t, url, admin, body, again)
	if status, _, fault := manage(t, url, admin, body, again); status != http.StatusOK && !strings.HasPrefix(fault, "duplicate: ") {
		t.Errorf("a repeated authorization: %d %q", status, fault)
	}
	if status, _, fault := manage(t, url, admin, `{"method":"`, nil); status != http.StatusBadRequest {
		t.Errorf("half a call: %d %q", status, fault)
	}
}

func TestManagement(t *testing.T) {
	admin, alice, bob := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	dir := t.TempDir()
	cfg := Config{Dir: dir, Name: "first", ServiceURL: serviceURL, Admins: []string{publicKey(t, admin)}, Pubkey: publicKey(t, nodeKey)}
	cfg.Receive = func(context.Context, *nostr.Event) error { return nil }
	r, url := start(t, cfg)
	call := func(method string, params string) any {
		t.Helper()
		status, result, fault := manage(t, url, admin, `{"method":"`+method+`","params":`+params+`}`, nil)
		if status != http.StatusOK {
			return fault
		}
		return result
	}
	note := signed(t, alice, nostr.Event{Kind: 1})
	video := signed(t, bob, nostr.Event{Kind: 21})
	publish := func(ev nostr.Event, want string) {
		t.Helper()
		w, _ := greet(t, url)
		defer w.Close()
		if _, reason := w.publish(ev); !strings.HasPrefix(reason, want) || (reason == "") != (want == "") {
			t.Errorf("kind %d: %q, want %q", ev.Kind, reason, want)
		}
	}
	publish(note, "")
	for _, c := range []struct{ method, params string }{
		{"banpubkey", `["` + publicKey(t, bob) + `","spam"]`},
		{"banevent", `["` + note.ID + `"]`},
		{"disallowkind", `[21]`},
		{"disallowkind", `[22]`},
		{"allowkind", `[22]`},
		{"blockip", `["192.0.2.7","rude"]`},
		{"blockip", `["2001:db8::7"]`},
		{"blockip", `["2001:db8:1::7"]`},
		{"unblockip", `["2001:db8:1::/64"]`},
		{"changerelayname", `["second"]`},
	} {
		if got := call(c.method, c.params); got != true {
			t.Errorf("%s: %v", c.method, got)
		}
	}
	for _, c := range []struct{ method, params, want string }{
		{"banpubkey", `["` + publicKey(t, nodeKey) + `"]`, "restricted: "},
		{"banpubkey", `["` + publicKey(t, admin) + `"]`, "restricted: "},
		{"banpubkey", `[]`, "invalid: "}, {"banpubkey", `[5]`, "invalid: "}, {"banpubkey", `["AB"]`, "invalid: "},
		{"banevent", `["x"]`, "invalid: "}, {"blockip", `["x"]`, "invalid: "}, {"disallowkind", `["1"]`, "invalid: "},
		{"grantadmin", `[]`, "unsupported: "}, {"disallowkind", `[14]`, "restricted: "}, {"disallowkind", `[1059]`, "restricted: "},
	} {
		if got := call(c.method, c.params); !strings.HasPrefix(fmt.Sprint(got), c.want) {
			t.Errorf("%s %s: %v", c.method, c.params, got)
		}
	}
	check := func() {
		t.Helper()
		publish(note, "blocked: this event is banned")
		publish(video, "blocked: events of this key are not taken here: spam")
		publish(signed(t, alice, nostr.Event{Kind: 21}), "blocked: this relay does not take kind 21")
		if kept, err := r.Has(t.Context(), note.ID); kept || err != nil {
			t.Errorf("a banned event is still there: %v", err)
		}
		want := []any{map[string]any{"pubkey": publicKey(t, bob), "reason": "spam"}}
		if diff := cmp.Diff(any(want), call("listbannedpubkeys", "[]")); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(any([]any{map[string]any{"ip": "192.0.2.7", "reason": "rude"}, map[string]any{"ip": "2001:db8::/64", "reason": ""}}), call("listblockedips", "[]")); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(any([]any{21.0}), call("listdisallowedkinds", "[]")); diff != "" {
			t.Error(diff)
		}
		_, body := get(t, "http"+strings.TrimPrefix(url, "ws"), http.Header{"Accept": {"application/nostr+json"}})
		if !strings.Contains(body, `"name":"second"`) || !strings.Contains(body, ",86]") {
			t.Error(body)
		}
	}
	check()
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, url = start(t, cfg)
	check()
	call("allowpubkey", `["`+publicKey(t, alice)+`"]`)
	call("banpubkey", `["`+publicKey(t, alice)+`"]`) // takes it off the other list (NIP-86)
	if _, yes := r.management.now().Allowed[publicKey(t, alice)]; yes {
		t.Error("a banned key is allowed")
	}
	call("unbanpubkey", `["`+publicKey(t, alice)+`"]`)
	call("unbanpubkey", `["`+publicKey(t, bob)+`"]`)
	call("allowkind", `[21]`)
	call("allowevent", `["`+note.ID+`"]`)
	publish(video, "")
	publish(note, "")
	// An administrator who blocks his own address has to ask from another.
	w, _ := greet(t, url)
	if got := call("blockip", `["127.0.0.1"]`); got != true {
		t.Error(got)
	}
	if _, _, err := w.ReadMessage(); err == nil {
		t.Error("a session of a blocked address goes on")
	}
	if _, response, err := websocket.DefaultDialer.Dial(url, nil); err == nil || response.StatusCode != http.StatusForbidden {
		t.Errorf("a blocked address: %v", err)
	}
	if got := call("unblockip", `["127.0.0.1"]`); got != true {
		t.Error(got)
	}
	greet(t, url)
}
