package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip11"
	"github.com/nbd-wtf/go-nostr/nip13"

	"mostro/policies"
)

func information(t *testing.T, url string) (doc nip11.RelayInformationDocument) {
	t.Helper()
	_, body := get(t, "http"+strings.TrimPrefix(url, "ws"), http.Header{"Accept": {"application/nostr+json"}})
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestKindsOfAProfile: what is not of the profile is refused, administrators change it, and the
// relay says in NIP-11 only what it does.
func TestKindsOfAProfile(t *testing.T) {
	kinds, err := policies.Profile("market")
	if err != nil {
		t.Fatal(err)
	}
	admin, alice := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	_, url := start(t, Config{Kinds: kinds, ServiceURL: serviceURL, Admins: []string{publicKey(t, admin)}})
	publish := func(kind int, want string) {
		t.Helper()
		w, _ := greet(t, url)
		defer w.Close()
		_, reason := w.publish(signed(t, alice, nostr.Event{Kind: kind, Content: nostr.GeneratePrivateKey(), Tags: nostr.Tags{{"d", "x"}}}))
		if !strings.HasPrefix(reason, want) || (want == "") != (reason == "") {
			t.Errorf("kind %d: %q, want %q", kind, reason, want)
		}
	}
	nips := func(want ...any) {
		t.Helper()
		doc := information(t, url)
		if diff := cmp.Diff(want, doc.SupportedNIPs); diff != "" {
			t.Error(diff)
		}
		if !doc.Limitation.RestrictedWrites {
			t.Error("a relay that takes some kinds only does not say so")
		}
	}
	call := func(method, params string) any {
		t.Helper()
		status, result, fault := manage(t, url, admin, `{"method":"`+method+`","params":`+params+`}`, nil)
		if status != http.StatusOK {
			t.Fatal(method, fault)
		}
		return result
	}
	publish(1, "blocked: this relay does not take kind 1")
	publish(38383, "")
	nips(1.0, 9.0, 11.0, 13.0, 17.0, 22.0, 40.0, 42.0, 45.0, 50.0, 56.0, 59.0, 62.0, 65.0, 69.0, 70.0, 77.0, 86.0)
	call("allowkind", "[1]")
	call("allowkind", "[4]")
	call("disallowkind", "[38383]")
	call("disallowkind", "[1984]")
	publish(1, "")
	publish(38383, "blocked: this relay does not take kind 38383")
	nips(1.0, 4.0, 9.0, 11.0, 13.0, 17.0, 22.0, 40.0, 42.0, 45.0, 50.0, 59.0, 62.0, 65.0, 70.0, 77.0, 86.0)
	want := []any{}
	for _, kind := range []int{0, 1, 4, 5, 14, 62, 1059, 1985, 8383, 10002, 10050, 30078, 31986, 38000, 38384, 38385, 38386} {
		want = append(want, float64(kind))
	}
	if diff := cmp.Diff(any(want), call("listallowedkinds", "[]")); diff != "" {
		t.Error(diff)
	}
	call("disallowkind", "[1]")
	publish(1, "blocked: ")
}

// TestOnlyAllowed: where only listed keys publish, messages of everybody still come in.
func TestOnlyAllowed(t *testing.T) {
	admin, listed, followed, other, banned := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	_, url := start(t, Config{
		ServiceURL: serviceURL, Admins: []string{publicKey(t, admin)}, OnlyAllowed: true,
		Allow: []string{publicKey(t, listed), publicKey(t, banned)}, Deny: []string{publicKey(t, banned)},
		Followed: func(pubkey string) bool { return pubkey == publicKey(t, followed) },
	})
	w, _ := greet(t, url)
	publish := func(secret string, kind int, want string) {
		t.Helper()
		ev := signed(t, secret, nostr.Event{Kind: kind, Content: nostr.GeneratePrivateKey(), Tags: nostr.Tags{{"p", publicKey(t, listed)}}})
		if _, reason := w.publish(ev); !strings.HasPrefix(reason, want) || (want == "") != (reason == "") {
			t.Errorf("%q, want %q", reason, want)
		}
	}
	for _, secret := range []string{admin, listed, followed} {
		publish(secret, 1, "")
	}
	publish(other, 1, "restricted: ")
	publish(other, 14, "")
	publish(other, 1059, "")
	publish(banned, 1, "blocked: ")
	publish(banned, 14, "blocked: ")
	if doc := information(t, url); !doc.Limitation.RestrictedWrites {
		t.Error("restricted writes are not advertised")
	}
	call := func(method, params string) any {
		t.Helper()
		_, result, fault := manage(t, url, admin, `{"method":"`+method+`","params":`+params+`}`, nil)
		if fault != "" {
			t.Fatal(fault)
		}
		return result
	}
	call("allowpubkey", `["`+publicKey(t, other)+`","friend"]`)
	publish(other, 1, "")
	if got := fmt.Sprint(call("listallowedpubkeys", "[]")); !strings.Contains(got, publicKey(t, other)+" reason:friend") || !strings.Contains(got, publicKey(t, listed)) {
		t.Error(got)
	}
	if got := fmt.Sprint(call("listbannedpubkeys", "[]")); !strings.Contains(got, publicKey(t, banned)) {
		t.Error(got)
	}
	call("unallowpubkey", `["`+publicKey(t, other)+`"]`)
	publish(other, 1, "restricted: ")
	call("banpubkey", `["`+publicKey(t, other)+`"]`)
	publish(other, 14, "blocked: ")
	call("allowpubkey", `["`+publicKey(t, other)+`"]`)
	publish(other, 1, "")
}

// TestC3FutureAndPast: bounds of time that hold for some kinds only, and work for all.
func TestC3FutureAndPast(t *testing.T) {
	limits := DefaultLimits()
	limits.MinPow = 4
	_, url := start(t, Config{Limits: limits})
	w := dial(t, url)
	publish := func(bits, kind int, age time.Duration, want string) {
		t.Helper()
		alice := nostr.GeneratePrivateKey()
		ev := nostr.Event{PubKey: publicKey(t, alice), Kind: kind, CreatedAt: nostr.Now() - nostr.Timestamp(age/time.Second), Tags: nostr.Tags{{"d", "x"}}}
		if bits > 0 {
			nonce, err := nip13.DoWork(t.Context(), ev, bits)
			if err != nil {
				t.Fatal(err)
			}
			ev.Tags = append(ev.Tags, nonce)
		}
		if _, reason := w.publish(signed(t, alice, ev)); !strings.HasPrefix(reason, want) || (want == "") != (reason == "") {
			t.Errorf("kind %d, %v old, %d bits: %q, want %q", kind, age, bits, reason, want)
		}
	}
	publish(0, 1, 0, "pow: 4 bits needed, 0 found")
	publish(4, 1, 0, "")
	publish(4, 1, 100*day, "")
	publish(4, 1059, 70*time.Hour, "")
	publish(4, 1059, 73*time.Hour, "invalid: created_at is too old")
	publish(4, 1, -10*time.Minute, "")
	publish(4, 1, -20*time.Minute, "invalid: created_at is in the future")
	publish(4, 38383, -5*time.Second, "")
	publish(4, 38383, -10*time.Minute, "invalid: created_at is in the future, at most 60 seconds")
	publish(4, 38386, -10*time.Minute, "invalid: created_at is in the future, at most 60 seconds")
	if doc := information(t, url); doc.Limitation.MinPowDifficulty != 4 {
		t.Errorf("advertised %+v", doc.Limitation)
	}
}

// TestC3StoreLimits: a key has its share of the store, and a full store gives up what is oldest,
// but nothing of the node, of those it follows, and no message that may belong to a trade.
func TestC3StoreLimits(t *testing.T) {
	limits := DefaultLimits()
	limits.Events, limits.EventsPerKey = 40, 5
	alice, followed := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	r, err := Open(Config{Limits: limits, Pubkey: publicKey(t, nodeKey), Followed: func(pubkey string) bool { return pubkey == publicKey(t, followed) }})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	age := nostr.Timestamp(100 * 86400)
	store := func(secret string, kind int, tags ...nostr.Tag) (nostr.Event, string) {
		t.Helper()
		age--
		ev := signed(t, secret, nostr.Event{Kind: kind, CreatedAt: nostr.Now() - age, Tags: tags})
		_, reason := r.ingest(t.Context(), &ev)
		return ev, reason
	}
	for i := range 5 {
		if _, reason := store(alice, 1); reason != "" {
			t.Fatal(i, reason)
		}
	}
	if _, reason := store(alice, 1); !strings.HasPrefix(reason, "rate-limited: 5 events of this key") {
		t.Errorf("one event more than a key may have: %q", reason)
	}
	for _, kind := range []int{5, 20_001, 62} {
		if _, reason := store(alice, kind, nostr.Tag{"relay", "ALL_RELAYS"}, nostr.Tag{"e", strings.Repeat("ab", 32)}); reason != "" {
			t.Errorf("kind %d of a key that has its share: %q", kind, reason)
		}
	}
	var stays []string
	for range 10 {
		ev, reason := store(followed, 1)
		if reason != "" {
			t.Fatal(reason)
		}
		own := signed(t, nodeKey, nostr.Event{Kind: 1, CreatedAt: nostr.Now() - age})
		if err := r.Publish(t.Context(), own); err != nil {
			t.Fatal(err)
		}
		stays = append(stays, ev.ID, own.ID)
	}
	var last string
	for i := 0; last == "" && i < 100; i++ {
		_, last = store(nostr.GeneratePrivateKey(), 1)
	}
	if !strings.HasPrefix(last, "error: this relay is full") || r.store.Len() != 42 {
		t.Errorf("%d events, %q", r.store.Len(), last)
	}
	if _, reason := store(followed, 1); reason != "" {
		t.Errorf("a followed Mostro: %s", reason)
	}
	oldest, err := r.Query(t.Context(), nostr.Filter{Kinds: []int{1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.makeRoom(t.Context(), r.store.opts.Now()); err != nil {
		t.Fatal(err)
	}
	if r.store.Len() != 40 {
		t.Errorf("%d events are left, want 40", r.store.Len())
	}
	for _, id := range stays {
		if kept, err := r.Has(t.Context(), id); !kept || err != nil {
			t.Errorf("an event that must stay is gone, %v", err)
		}
	}
	// The newest ones of others are still there.
	if kept, _ := r.Has(t.Context(), oldest[0].ID); !kept {
		t.Error("the newest event was removed")
	}
	// Messages stay a month whatever happens.
	age = 20 * 86400
	for range 60 {
		ev := signed(t, alice, nostr.Event{Kind: 14, CreatedAt: nostr.Now() - age, Content: nostr.GeneratePrivateKey(), Tags: nostr.Tags{{"p", publicKey(t, alice)}}})
		if err := r.Publish(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.makeRoom(t.Context(), r.store.opts.Now()); err != nil {
		t.Fatal(err)
	}
	if found, err := r.Query(t.Context(), nostr.Filter{Kinds: []int{14}}); err != nil || len(found) != 60 {
		t.Errorf("%d of 60 messages are left, %v", len(found), err)
	}
	age = 10
	if _, reason := store(nostr.GeneratePrivateKey(), 1059, nostr.Tag{"p", publicKey(t, alice)}); !strings.HasPrefix(reason, "error: this relay is full") {
		t.Errorf("a store full of messages: %q", reason)
	}
}

// TestC3StolenKey: an event that the node's key has signed and that the node did not publish is
// refused and raises an alarm; replays of what it published do not.
func TestC3StolenKey(t *testing.T) {
	var log bytes.Buffer
	node := publicKey(t, nodeKey)
	r, err := Open(Config{Pubkey: node, Logger: slog.New(slog.NewTextHandler(&log, nil)), Receive: func(context.Context, *nostr.Event) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	now := nostr.Now()
	order := func(age nostr.Timestamp, status string) nostr.Event {
		return signed(t, nodeKey, nostr.Event{Kind: 38383, CreatedAt: now - age, Tags: nostr.Tags{{"d", "one"}, {"s", status}}})
	}
	pending, active := order(20, "pending"), order(10, "in-progress")
	if err := r.Publish(t.Context(), pending, active); err != nil {
		t.Fatal(err)
	}
	expired := signed(t, nodeKey, nostr.Event{Kind: 14, CreatedAt: now - 5000, Tags: nostr.Tags{{"p", publicKey(t, nostr.GeneratePrivateKey())}, {"expiration", fmt.Sprint(now - 10)}}})
	fake := order(5, "success")
	fake.Sig = strings.Repeat("0", 128)
	for _, c := range []struct {
		name  string
		ev    nostr.Event
		want  string
		alarm bool
	}{
		{"older version", pending, "blocked: events of this node", false},
		{"expired message", expired, "invalid: the event has expired", false},
		{"not signed by the key", fake, "blocked: events of this node", false},
		{"newer version", order(5, "success"), "blocked: events of this node", true},
		{"another order", signed(t, nodeKey, nostr.Event{Kind: 38383, Tags: nostr.Tags{{"d", "two"}}}), "blocked: events of this node", true},
		{"note", signed(t, nodeKey, nostr.Event{Kind: 1}), "blocked: events of this node", true},
		{"message of the administrator", signed(t, nodeKey, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", node}}}), "", false},
	} {
		log.Reset()
		r.alarms.SetLimit(1e9)
		time.Sleep(time.Microsecond)
		ok, reason := r.ingest(t.Context(), &c.ev)
		if !strings.HasPrefix(reason, c.want) || ok != (c.want == "") {
			t.Errorf("%s: %v %q", c.name, ok, reason)
		}
		if got := strings.Contains(log.String(), "the key may be stolen"); got != c.alarm {
			t.Errorf("%s: alarm %v, want %v: %s", c.name, got, c.alarm, log.String())
		}
	}
	if kept, err := r.Query(t.Context(), nostr.Filter{Authors: []string{node}}); err != nil || len(kept) != 1 || kept[0].ID != active.ID {
		t.Errorf("stored %v, %v", kept, err)
	}
}

// TestC3IndexMemory: kinds that are always indexed in memory cannot fill it: neither by their tags
// nor by their number.
func TestC3IndexMemory(t *testing.T) {
	limits := DefaultLimits()
	limits.IndexBytes = 100_000
	r, err := Open(Config{Limits: limits, Pubkey: publicKey(t, nodeKey)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	tagged := func(kind, tags int, age nostr.Timestamp) nostr.Event {
		ev := nostr.Event{Kind: kind, CreatedAt: nostr.Now() - age}
		for i := range tags {
			ev.Tags = append(ev.Tags, nostr.Tag{"t", fmt.Sprint(kind, age, i)})
		}
		return signed(t, nostr.GeneratePrivateKey(), ev)
	}
	for _, kind := range []int{0, 4, 14, 1059, 10002} {
		ev := tagged(kind, 101, 0)
		if ok, reason := r.ingest(t.Context(), &ev); ok || !strings.HasPrefix(reason, "invalid: event has 101 tags") {
			t.Errorf("kind %d with 101 tags: %v %q", kind, ok, reason)
		}
	}
	var ids []string
	full := ""
	for i := 0; full == "" && i < 1000; i++ {
		ev := tagged(0, 100, 1000-nostr.Timestamp(i))
		if _, full = r.ingest(t.Context(), &ev); full == "" {
			ids = append(ids, ev.ID)
		}
	}
	if _, _, bytes := r.Indexed(); !strings.HasPrefix(full, "error: this relay is full") || bytes > 120_000 {
		t.Errorf("%d bytes are indexed, %q", bytes, full)
	}
	own := tagged(1, 0, 2000)
	if err := r.Publish(t.Context(), own); err != nil {
		t.Error(err)
	}
	if err := r.makeRoom(t.Context(), r.store.opts.Now()); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{ids[0]: false, ids[len(ids)-1]: true, own.ID: true} {
		if kept, err := r.Has(t.Context(), id); err != nil || kept != want {
			t.Errorf("kept %v, want %v, %v", kept, want, err)
		}
	}
	if ev := tagged(1, 1, 0); true {
		if ok, reason := r.ingest(t.Context(), &ev); !ok {
			t.Error(reason)
		}
	}
}
