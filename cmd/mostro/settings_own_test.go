package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mostro/escrow/mostro"
)

// TestOwnAmongOthers: a node's own relay is no other relay, however it is written, and its own key no replica's.
func TestOwnAmongOthers(t *testing.T) {
	const listen = "relay.listen=0.0.0.0:7777"
	for _, c := range []struct {
		own     string // relay.url
		relay   string
		refused bool
	}{
		{own: "wss://mostro.example", relay: "wss://Mostro.Example:443/", refused: true},
		{own: "wss://Mostro.example:443/", relay: "wss://mostro.example", refused: true},
		{own: "wss://mostro.example", relay: "ws://127.0.0.1:7777", refused: true},
		{own: "", relay: "ws://localhost:7777", refused: true},
		{own: "", relay: "ws://127.0.0.1:7777", refused: true},
		{own: "", relay: "ws://127.0.0.1:7778"},
		{own: "", relay: "ws://10.0.0.1:7777"},
		{own: "wss://mostro.example", relay: "wss://mostro.example/other"},
		{own: "wss://mostro.example", relay: "wss://relay.example"},
	} {
		l, err := loadSettings("f", []byte(fmt.Sprintf("nostr.relays = [%q]\n", c.relay)), []string{"relay.url=" + c.own, listen})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.checkOwn(strings.Repeat("1", 64)); err != nil {
			t.Fatal(err)
		}
		n := &node{cfg: nodeConfig{settings: &l.Settings}, url: c.own}
		switch {
		case !c.refused && (len(l.harmful) > 0 || len(n.outside()) != 1):
			t.Errorf("%+v: %v", c, l.harmful)
		case c.refused && (!strings.HasPrefix(l.harmful.Error(), "f line 1: nostr.relays names this node's own relay, ws") || len(n.outside()) != 0):
			t.Errorf("%+v is taken: %v", c, l.harmful)
		}
	}

	// What check refuses serve refuses, in the same words.
	o := newOperated(t, "[nostr]\nrelays = [\"ws://127.0.0.1:7000\"]\n")
	const relay = "settings.toml line 8: nostr.relays names this node's own relay, ws://127.0.0.1:7000\n    -> leave it out"
	o.run(exitError, relay, "settings", "check")
	o.run(exitError, relay, "serve")

	o = newOperated(t, "")
	o.run(exitOK, "the settings are good", "settings", "check")
	text, err := readEnvFile(filepath.Join(o.dir, envFile))
	if err != nil {
		t.Fatal(err)
	}
	key, err := mostro.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(o.dir, settingsFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(file, "[federation]\nreplicas = [%q]\n", npub(key.Public()))
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	const replica = "federation.replicas names this node itself\n    -> name the key that the replica says when it starts"
	o.run(exitError, replica, "settings", "check")
	o.run(exitError, replica, "serve")
	if _, err := os.Stat(filepath.Join(o.dir, escrowDir)); err == nil {
		t.Error("a money store is made with settings that are refused")
	}
}
