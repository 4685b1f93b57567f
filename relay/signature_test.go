package relay

import (
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestCheckSigned: what go-nostr takes for genuine is, and nothing else, whatever stands in the fields.
func TestCheckSigned(t *testing.T) {
	good := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1, Content: "hello"})
	other := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1, Content: "hello"})
	if why := checkSigned(&good); why != "" {
		t.Fatal(why)
	}
	const noPoint = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
	for name, change := range map[string]func(*nostr.Event){
		"content":                func(ev *nostr.Event) { ev.Content += "." },
		"id of another":          func(ev *nostr.Event) { ev.ID = other.ID },
		"id in capitals":         func(ev *nostr.Event) { ev.ID = strings.ToUpper(ev.ID) },
		"no id":                  func(ev *nostr.Event) { ev.ID = "" },
		"author and id":          func(ev *nostr.Event) { ev.PubKey = other.PubKey; ev.ID = ev.GetID() },
		"no point":               func(ev *nostr.Event) { ev.PubKey = noPoint; ev.ID = ev.GetID() },
		"a long author":          func(ev *nostr.Event) { ev.PubKey += strings.Repeat("00", 100); ev.ID = ev.GetID() },
		"no author":              func(ev *nostr.Event) { ev.PubKey = ""; ev.ID = ev.GetID() },
		"signature of another":   func(ev *nostr.Event) { ev.Sig = other.Sig },
		"a bit of the signature": func(ev *nostr.Event) { ev.Sig = ev.Sig[:127] + string("10"[ev.Sig[127]&1]) },
		"a short signature":      func(ev *nostr.Event) { ev.Sig = ev.Sig[:126] },
		"a long signature":       func(ev *nostr.Event) { ev.Sig += "00" },
		"no digits":              func(ev *nostr.Event) { ev.Sig = strings.Repeat("x", 128) },
		"nothing":                func(ev *nostr.Event) { ev.Sig = strings.Repeat("0", 128) },
	} {
		ev := good
		change(&ev)
		if checkSigned(&ev) == "" {
			t.Errorf("%s: taken for genuine", name)
		}
	}
}
