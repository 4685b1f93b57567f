package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode"

	"mostro/relay/mirror"
)

// TestPeersCareless: what was done without care is told: a key that nobody has, and a relay that is this one.
func TestPeersCareless(t *testing.T) {
	var out bytes.Buffer
	printPeers(&out, []mirror.Health{
		{URL: "wss://relay.example.com", State: mirror.Live, Mostros: []string{aMostro}, Unheard: []string{aMostro}, Synced: time.Now()},
		{State: mirror.Searching, Mostros: []string{aMostro}, Error: "its only relay is this one"},
		{URL: "wss://old.example.com", State: mirror.Live, Left: map[string]time.Time{aMostro: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}},
		{State: mirror.Searching, Left: map[string]time.Time{aMostro: time.Now()}},
	}, time.Now())
	for _, want := range []string{
		"nothing was ever heard of " + npub(aMostro) + ": is this its key",
		"nothing is copied: its only relay is this one",
		"carries messages of trades with " + npub(aMostro) + " until 2030-01-02: it is followed no more",
		"is followed no more, and messages of its trades cannot be carried",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	cmd := followCommand("unfollow", "", true)
	cmd.SetArgs([]string{aMostro + "@wss://relay.example.com", "--data-dir", t.TempDir()})
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), "takes a key alone") {
		t.Errorf("unfollow with a relay: %v", err)
	}
}

// TestRelayAddress: one relay is one address, however it is written.
func TestRelayAddress(t *testing.T) {
	for text, want := range map[string]string{
		"WSS://Relay.Example.com/": "wss://relay.example.com", "wss://relay.example.com:443": "wss://relay.example.com",
		"ws://127.0.0.1:80": "ws://127.0.0.1", "wss://relay.example.com:80/Path": "wss://relay.example.com:80/Path", "ws://[::1]:7000": "ws://[::1]:7000",
	} {
		if got := text; relayAddress(&got) != nil || got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}

// TestPeersPrintNoControl: what other relays say of refusals and moves is shown, and no terminal obeys it.
func TestPeersPrintNoControl(t *testing.T) {
	const evil = "blocked: \x1b[2J\x1b]0;title\x07 no\x9b31m\r\nall is well"
	key := strings.Repeat("7", 64)
	var out strings.Builder
	printPeers(&out, []mirror.Health{{
		URL: "wss://relay.example", State: mirror.Waiting, Mostros: []string{key}, Error: evil, LastReason: evil,
		RefusedBy: map[string]int64{evil: 2}, Moved: map[string][]string{key: {"wss://x.example/" + evil}},
	}}, time.Now())
	text := out.String()
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) || strings.Contains(text, "\nall is well") {
		t.Errorf("it prints %q", text)
	}
	if strings.Count(text, "no") < 4 {
		t.Errorf("what they say is not shown:\n%s", text)
	}
}
