package relay

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestCheckSigned: what go-nostr takes for genuine is, and nothing else, whatever stands in the fields.
func TestCheckSigned(t *testing.T) {
	good := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1, Content: "hello"})
	other := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1, Content: "hello"})
	if why := checkSigned(&good, nil); why != "" {
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
		if checkSigned(&ev, nil) == "" {
			t.Errorf("%s: taken for genuine", name)
		}
	}
}

// TestSignedText: the text that is hashed is the one that go-nostr hashes, whatever characters it has.
func TestSignedText(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	text := func() string {
		b := make([]byte, random.IntN(40))
		for i := range b {
			if b[i] = byte(random.IntN(256)); random.IntN(3) > 0 { // long runs of plain text among all others
				b[i] = 'a' + b[i]%26
			}
		}
		return string(b)
	}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	evs := []nostr.Event{{}, {Content: string(all), Tags: nostr.Tags{{}, {"a", string(all)}, nil}, Kind: -1, CreatedAt: -7}}
	for range 20_000 {
		ev := nostr.Event{PubKey: text(), CreatedAt: nostr.Timestamp(random.Int64()), Kind: random.Int(), Content: text()}
		for range random.IntN(3) {
			ev.Tags = append(ev.Tags, nostr.Tag{text(), text()})
		}
		evs = append(evs, ev)
	}
	scratch := make([]byte, 100) // too little for some
	for i := range evs {
		if got, want := string(appendSigned(scratch[:0], &evs[i])), string(evs[i].Serialize()); got != want {
			t.Fatalf("got  %q\nwant %q", got, want)
		}
	}
}

// BenchmarkSignedText compares writing the text of a gift wrap with go-nostr's way.
func BenchmarkSignedText(b *testing.B) {
	ev := nostr.Event{PubKey: strings.Repeat("a", 64), CreatedAt: 1_800_000_000, Kind: 1059,
		Tags: nostr.Tags{{"p", strings.Repeat("b", 64)}}, Content: strings.Repeat("base64+/", 300)}
	b.Run("ours", func(b *testing.B) {
		scratch := make([]byte, 0, 64<<10)
		for b.Loop() {
			scratch = appendSigned(scratch[:0], &ev)
		}
	})
	b.Run("go-nostr", func(b *testing.B) {
		for b.Loop() {
			ev.Serialize()
		}
	})
}
