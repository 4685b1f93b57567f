package mostro

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

func testOutgoing(tb testing.TB, t Transport, to Secret) Outgoing {
	tb.Helper()
	m := Message{Wrapper: WrapOrder, Version: t.Version(), RequestID: ptr(uint64(7)), ID: testID, Action: FiatSentOk,
		Payload: &Payload{Peer: &Peer{Pubkey: to.Public()}}}
	plain, err := m.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	return Outgoing{
		Transport: t, To: to.Public(), Plaintext: plain, CreatedAt: testTime, Expiration: testTime + 30*86400, Seed: [32]byte{1, 2, 3},
	}
}

// TestSealGolden pins the events, since a retry after an upgrade should be the same event.
func TestSealGolden(t *testing.T) {
	node, trade := mustSecret(t, 9), mustSecret(t, 10)
	for transport, want := range map[Transport][2]string{
		NIP44: {
			"c4abda12fcbe8875fe3433090b871a41f198681eecfae8db100babc0fbe48828",
			"bd4a9c377c2bc2387d38bd23b250672b3a8ea7136a30369cc259ca0f971b5fd9ab2b9fb47772ca1d1829d2bd4edd202a4f980cee9d4e7083599403215c0d0222",
		},
		GiftWrap: {
			"c4f0eb9e3f808a76907abc107081e627701ca24901273099a6ebe691f8d8a146",
			"e00d8098fabccc38ce40fe4a13efbef797eaa7a372241e49fb0c6a412cf5ebf92c930446f1cbfd65a12181f2ee6bd61ffbeb41862c76caacfe3f61f433de9a39",
		},
	} {
		ev, err := NewSealer(node).Seal(testOutgoing(t, transport, trade))
		if err != nil {
			t.Fatal(err)
		}
		if ev.ID != want[0] || ev.Sig != want[1] {
			t.Errorf("version %d: id %s sig %s", transport, ev.ID, ev.Sig)
		}
	}
}

// TestSealPure: the same again from another sealer and from many goroutines is the same
// event; a change of anything changes what is encrypted with, even when the seed is not
// changed.
func TestSealPure(t *testing.T) {
	node, trade := mustSecret(t, 9), mustSecret(t, 10)
	for _, transport := range []Transport{NIP44, GiftWrap} {
		o := testOutgoing(t, transport, trade)
		first, err := NewSealer(node).Seal(o)
		if err != nil {
			t.Fatal(err)
		}
		shared := NewSealer(node)
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				if again, err := shared.Seal(o); err != nil || !cmp.Equal(first, again) {
					t.Errorf("version %d: sealed again: %v\n%s", transport, err, cmp.Diff(first, again))
				}
			})
		}
		wait.Wait()
		nonces := map[string]string{nonce(first): "the original"}
		for name, edit := range map[string]func(*Outgoing){
			"plaintext":  func(o *Outgoing) { o.Plaintext = []byte(strings.Replace(string(o.Plaintext), ":7,", ":8,", 1)) },
			"created_at": func(o *Outgoing) { o.CreatedAt++ },
			"expiration": func(o *Outgoing) { o.Expiration = 0 },
			"seed":       func(o *Outgoing) { o.Seed[31]++ },
			"receiver":   func(o *Outgoing) { o.To = mustSecret(t, 11).Public() },
		} {
			other := o
			edit(&other)
			ev, err := shared.Seal(other)
			if err != nil {
				t.Fatal(err)
			}
			if before, used := nonces[nonce(ev)]; used {
				t.Errorf("version %d: another %s has the nonce of %s", transport, name, before)
			}
			nonces[nonce(ev)] = name
		}
		if other, err := NewSealer(mustSecret(t, 12)).Seal(o); err != nil || nonces[nonce(other)] != "" {
			t.Errorf("version %d: another node has the same nonce", transport)
		}
	}
}

// nonce is the part of the content that begins a NIP-44 payload: version and nonce.
func nonce(ev nostr.Event) string { return ev.Content[:44] }

// TestSealShape: what clients look at beside the content.
func TestSealShape(t *testing.T) {
	node, trade := mustSecret(t, 9), mustSecret(t, 10)
	for _, transport := range []Transport{NIP44, GiftWrap} {
		o := testOutgoing(t, transport, trade)
		ev, err := NewSealer(node).Seal(o)
		if err != nil {
			t.Fatal(err)
		}
		want := nostr.Tags{{"p", trade.Public()}, {"expiration", fmt.Sprint(o.Expiration)}}
		if diff := cmp.Diff(want, ev.Tags); diff != "" || ev.CreatedAt != testTime {
			t.Errorf("version %d at %d: %s", transport, ev.CreatedAt, diff)
		}
		switch {
		case transport == NIP44 && (ev.Kind != 14 || ev.PubKey != node.Public()):
			t.Errorf("kind %d by %s", ev.Kind, ev.PubKey)
		case transport == GiftWrap && (ev.Kind != 1059 || ev.PubKey == node.Public() || ev.PubKey == trade.Public()):
			t.Errorf("kind %d by %s", ev.Kind, ev.PubKey)
		}
		o.Expiration = 0
		if ev, err = NewSealer(node).Seal(o); err != nil || len(ev.Tags) != 1 {
			t.Errorf("tags without expiration: %v, %v", ev.Tags, err)
		}
	}
	o := testOutgoing(t, GiftWrap, trade)
	ev, err := NewSealer(node).Seal(o)
	if err != nil {
		t.Fatal(err)
	}
	seal, rumor, err := unwrap(&ev, newConversations(trade))
	if err != nil {
		t.Fatal(err)
	}
	if seal.PubKey != node.Public() || seal.CreatedAt != testTime || len(seal.Tags) != 0 {
		t.Errorf("seal %v", seal)
	}
	if rumor.PubKey != node.Public() || rumor.CreatedAt != testTime || rumor.ID != rumor.GetID() || rumor.Sig != "" {
		t.Errorf("rumor %v", rumor)
	}
	if want := "[" + string(o.Plaintext) + ",null]"; rumor.Content != want {
		t.Errorf("content %s, want %s", rumor.Content, want)
	}
}

func TestSealRefuses(t *testing.T) {
	node, trade := mustSecret(t, 9), mustSecret(t, 10)
	for name, edit := range map[string]func(*Outgoing){
		"no receiver":            func(o *Outgoing) { o.To = "" },
		"receiver off the curve": func(o *Outgoing) { o.To = strings.Repeat("f", 64) },
		"receiver in capitals":   func(o *Outgoing) { o.To = strings.ToUpper(o.To) },
		"no transport":           func(o *Outgoing) { o.Transport = 0 },
		"too long":               func(o *Outgoing) { o.Plaintext = make([]byte, 70000) },
	} {
		for _, transport := range []Transport{NIP44, GiftWrap} {
			o := testOutgoing(t, transport, trade)
			edit(&o)
			if ev, err := NewSealer(node).Seal(o); err == nil {
				t.Errorf("%s: sealed as %v", name, ev)
			}
		}
	}
	if _, err := NewSealer(Secret{}).Seal(testOutgoing(t, NIP44, trade)); err == nil {
		t.Error("sealed without a key")
	}
}

// TestRequestAndReply goes the whole way: client to node and back, on both transports, in
// reputation mode and in full privacy.
func TestRequestAndReply(t *testing.T) {
	keys, node := testKeys(t), mustSecret(t, 9)
	opener, sealer := NewOpener(node), NewSealer(node)
	for _, transport := range []Transport{NIP44, GiftWrap} {
		for _, from := range []Party{{keys[1], keys[0]}, {keys[1], keys[1]}} {
			msg := Message{Wrapper: WrapOrder, Version: transport.Version(), RequestID: ptr(uint64(1) << 63), ID: testID, Action: TakeBuy}
			ev, err := SealRequest(msg, transport, from, node.Public(), testTime, 4)
			if err != nil {
				t.Fatal(err)
			}
			if err := verifyEvent(&ev); err != nil {
				t.Fatal(err)
			}
			if PowBits(ev.ID) < 4 || ev.Tags[1][2] != "4" {
				t.Errorf("mined %d bits, tags %v", PowBits(ev.ID), ev.Tags)
			}
			got, err := opener.Open(&ev)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(msg, got.Message); diff != "" {
				t.Error(diff)
			}
			private := from.Trade.Equal(from.Identity)
			if got.Sender != from.Trade.Public() || got.Identity != from.Identity.Public() || got.FullPrivacy() != private ||
				got.Signed == private || got.Transport != transport || got.CreatedAt != testTime {
				t.Errorf("received %+v", got)
			}
			if past := testTime - int64(ev.CreatedAt); past < 0 || past >= wrapPast || transport == NIP44 && past != 0 {
				t.Errorf("version %d: dated %d s back", transport, past)
			}

			o := testOutgoing(t, transport, from.Trade)
			reply, err := sealer.Seal(o)
			if err != nil {
				t.Fatal(err)
			}
			back, err := OpenReply(&reply, from.Trade, node.Public())
			if err != nil {
				t.Fatal(err)
			}
			if plain, err := back.Encode(); err != nil || string(plain) != string(o.Plaintext) {
				t.Errorf("reply %s, want %s", plain, o.Plaintext)
			}
		}
	}
}

// TestSealRequestIsRandom: two requests share no nonce and no ephemeral key.
func TestSealRequestIsRandom(t *testing.T) {
	keys, node := testKeys(t), mustSecret(t, 9)
	msg := Message{Wrapper: WrapRestore, Version: 1, Action: RestoreSession}
	for _, transport := range []Transport{NIP44, GiftWrap} {
		var evs [2]nostr.Event
		for i := range evs {
			var err error
			if evs[i], err = SealRequest(msg, transport, Party{keys[1], keys[0]}, node.Public(), testTime, 0); err != nil {
				t.Fatal(err)
			}
		}
		if nonce(evs[0]) == nonce(evs[1]) || transport == GiftWrap && evs[0].PubKey == evs[1].PubKey {
			t.Errorf("version %d repeats itself", transport)
		}
		if len(evs[0].Tags) != 1 {
			t.Errorf("tags %v", evs[0].Tags)
		}
	}
	if _, err := SealRequest(msg, 3, Party{keys[1], keys[0]}, node.Public(), testTime, 0); err == nil {
		t.Error("sealed on transport 3")
	}
	if _, err := SealRequest(msg, NIP44, Party{keys[1], keys[0]}, "x", testTime, 0); err == nil {
		t.Error("sealed to x")
	}
	if _, err := SealRequest(Message{}, NIP44, Party{keys[1], keys[0]}, node.Public(), testTime, 0); err == nil {
		t.Error("sealed nothing")
	}
	if _, err := SealRequest(msg, NIP44, Party{keys[1], keys[0]}, node.Public(), testTime, 60); err == nil {
		t.Error("mined 60 bits")
	}
}

// TestOpenReplyRefuses: nothing but the node's own word is taken for the node's.
func TestOpenReplyRefuses(t *testing.T) {
	node, trade, other := mustSecret(t, 9), mustSecret(t, 10), mustSecret(t, 11)
	for _, transport := range []Transport{NIP44, GiftWrap} {
		good, err := NewSealer(node).Seal(testOutgoing(t, transport, trade))
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := NewSealer(other).Seal(testOutgoing(t, transport, trade))
		if err != nil {
			t.Fatal(err)
		}
		content := "[" + string(testOutgoing(t, transport, trade).Plaintext) + ",null]"
		claimed := sealed(t, GiftWrap, Party{Trade: node, Identity: other}, trade, content)
		tests := map[string]struct {
			ev   nostr.Event
			want error
		}{
			"another node":               {foreign, ErrNotProven},
			"the node's key only inside": {*claimed, ErrNotProven},
			"the node's seal only":       {*request(t, transport, Party{other, node}, trade), ErrNotProven},
			"the node's signature only":  {*request(t, transport, Party{node, other}, trade), ErrNotProven},
			"for somebody else":          {must(NewSealer(node).Seal(testOutgoing(t, transport, other))), ErrCannotDecrypt},
			"changed":                    {func() nostr.Event { ev := good; ev.CreatedAt++; return ev }(), nil},
			"unsigned":                   {func() nostr.Event { ev := good; ev.Sig = ""; return ev }(), nil},
			"another signature":          {func() nostr.Event { ev := good; ev.Sig = foreign.Sig; return ev }(), nil},
		}
		for name, test := range tests {
			m, err := OpenReply(&test.ev, trade, node.Public())
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("version %d, %s: %+v, %v", transport, name, m, err)
			}
		}
	}
}

// request is a signed message of a party to any key.
func request(t *testing.T, transport Transport, from Party, to Secret) *nostr.Event {
	t.Helper()
	msg := Message{Wrapper: WrapOrder, Version: 1, ID: testID, Action: Canceled}
	ev, err := SealRequest(msg, transport, from, to.Public(), testTime, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &ev
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
