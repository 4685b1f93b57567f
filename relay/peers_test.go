package relay

import (
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestC3PeerAmongKeys: a replica is known however many keys its connection holds, and asking whether one is there looks at
// one key.
func TestC3PeerAmongKeys(t *testing.T) {
	secret, asked := nostr.GeneratePrivateKey(), 0
	replica := publicKey(t, secret)
	r, url := start(t, Config{ServiceURL: serviceURL, Federation: Federation{Peer: func(pubkey string) bool {
		asked++
		return pubkey == replica
	}}})
	w, challenge := greet(t, url)
	var s *session
	r.mu.Lock()
	for s = range r.sessions {
	}
	r.mu.Unlock()
	for i := range 20 {
		who, want := nostr.GeneratePrivateKey(), i >= 10
		if i == 10 {
			who = secret
		}
		if ok, reason := w.auth(login(t, who, challenge, serviceURL, nil)); !ok {
			t.Fatal(reason)
		}
		asked = 0
		if r.isPeer(s.keys.Load()) != want || asked != 1 {
			t.Errorf("with %d keys: want %v; %d keys were looked at", i+1, want, asked)
		}
	}
}
