package relay

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestBannedGoes: what is banned goes, also when the administrator hangs up, or when the process was killed in between.
func TestBannedGoes(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	notes := []nostr.Event{signed(t, nodeKey, nostr.Event{Kind: 1}), signed(t, nodeKey, nostr.Event{Kind: 1, Content: "2"}), signed(t, nodeKey, nostr.Event{Kind: 1, Content: "3"})}
	if err := r.Publish(t.Context(), notes...); err != nil {
		t.Fatal(err)
	}
	has := func(i int) bool {
		found, err := r.Has(t.Context(), notes[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	if _, err := r.methods()["banevent"](gone, params{json.RawMessage(`"` + notes[0].ID + `"`)}); err != nil || has(0) {
		t.Errorf("the first: %v, %v", has(0), err)
	}
	if err := r.management.change(func(s *rules) { s.Events[notes[1].ID] = "" }); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err = Open(Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	if has(0) || has(1) || !has(2) {
		t.Error(has(0), has(1), has(2))
	}
}

// TestAuthorizationOnce: an authorization is remembered for as long as it is good, and one that may have been used before
// the start is not.
func TestAuthorizationOnce(t *testing.T) {
	m, err := openManagement("")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_700_000_000, 999_999_999)
	if !m.first("a", now) || m.first("a", now.Add(2*httpAuthWindow+time.Second)) || !m.first("a", now.Add(2*httpAuthWindow+3*time.Second)) {
		t.Error("an authorization is good twice, or remembered for ever")
	}
	admin := nostr.GeneratePrivateKey()
	r, url := start(t, Config{ServiceURL: serviceURL, Admins: []string{publicKey(t, admin)}})
	const body = `{"method":"listbannedpubkeys","params":[]}`
	if _, _, fault := manage(t, url, admin, body, func(ev *nostr.Event) { ev.CreatedAt = nostr.Timestamp(r.began - 1) }); !strings.Contains(fault, "before the start") {
		t.Error(fault)
	}
	// A clock that was ahead when the relay started and is right now does not lock the administrators out.
	r.began += 3600
	if _, _, fault := manage(t, url, admin, body, nil); !strings.Contains(fault, "before the start") {
		t.Error(fault)
	}
	r.up = r.up.Add(-time.Hour)
	if _, _, fault := manage(t, url, admin, body, nil); fault != "" {
		t.Error(fault)
	}
}

// TestC3CutEarly: a session that is cut off before it has a connection does not go on with it.
func TestC3CutEarly(t *testing.T) {
	r, _ := start(t, Config{})
	s := &session{relay: r}
	s.room.L = &s.mu
	s.ctx, s.end = context.WithCancel(t.Context())
	if s.cut(); !s.leaving.Load() {
		t.Error("it reads on")
	}
}

// TestC3Padded: an event with many spaces is served without them: they would pass what bounds contents.
func TestC3Padded(t *testing.T) {
	r, url := start(t, Config{Contents: map[int]int{0: 200}})
	w := dial(t, url)
	for _, c := range []struct {
		content string
		spaces  int
		longest int
	}{
		{"{}", 100_000, 500},
		{"{}", 100, 700}, // as it was written
		{strings.Repeat("\"", 200), 0, 1000},
	} {
		ev := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 0, Content: c.content})
		w.write(`["EVENT",{` + strings.Repeat(" ", c.spaces) + strings.TrimPrefix(ev.String(), "{") + `]`)
		if got := w.text(); got != "OK "+ev.ID+" true " {
			t.Fatal(got)
		}
		_, bytes, err := r.Count(t.Context(), nostr.Filter{IDs: []string{ev.ID}})
		if err != nil || bytes > c.longest || bytes < len(ev.String()) {
			t.Errorf("%d spaces: %d bytes are kept, at most %d may be (%v)", c.spaces, bytes, c.longest, err)
		}
		if got := w.query(`{"ids":["` + ev.ID + `"]}`); len(got) != 1 || got[0].Content != c.content {
			t.Errorf("%d spaces: %v", c.spaces, got)
		}
	}
}
