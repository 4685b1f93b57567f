package relay

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestRemovedTold: that an event is banned is told to replicas at once, and to nobody else.
func TestRemovedTold(t *testing.T) {
	secret := nostr.GeneratePrivateKey()
	replica := publicKey(t, secret)
	r, url := start(t, Config{ServiceURL: serviceURL, Federation: Federation{Peer: func(pubkey string) bool { return pubkey == replica }}})
	other, challenge := greet(t, url)
	if ok, reason := other.auth(login(t, nostr.GeneratePrivateKey(), challenge, serviceURL, nil)); !ok {
		t.Fatal(reason)
	}
	peer, challenge := greet(t, url)
	if ok, reason := peer.auth(login(t, secret, challenge, serviceURL, nil)); !ok {
		t.Fatal(reason)
	}
	stranger, _ := greet(t, url)
	note := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1, Content: "to be banned"})
	if err := r.Publish(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	if _, err := r.methods()["banevent"](t.Context(), params{json.RawMessage(`"` + note.ID + `"`)}); err != nil {
		t.Fatal(err)
	}
	if got, want := peer.text(), Removed+" "+note.ID; got != want {
		t.Errorf("the replica hears %q, want %q", got, want)
	}
	for _, w := range []wire{other, stranger} {
		w.write(`["REQ","next",{"limit":0}]`)
		if got := w.text(); !strings.HasPrefix(got, "EOSE") {
			t.Errorf("somebody else hears %q", got)
		}
	}
}
