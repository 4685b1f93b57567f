package mostro

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

const testTime = 1_700_000_000

// sealed is an event with this plaintext, sealed as a client does but without the care.
func sealed(tb testing.TB, t Transport, from Party, node Secret, content string) *nostr.Event {
	tb.Helper()
	var ev nostr.Event
	author := from.Trade
	if t == NIP44 {
		ev = nostr.Event{Kind: KindMessage, CreatedAt: testTime, Content: encrypted(tb, content, from.Trade, node)}
	} else {
		rumor := nostr.Event{Kind: kindRumor, PubKey: from.Trade.Public(), CreatedAt: testTime, Tags: nostr.Tags{}, Content: content}
		seal := nostr.Event{Kind: kindSeal, CreatedAt: testTime - 5, Content: encrypted(tb, rumor.String(), from.Identity, node)}
		sign(tb, &seal, from.Identity)
		return wrapped(tb, seal.String(), node)
	}
	ev.Tags = nostr.Tags{{"p", node.Public()}}
	sign(tb, &ev, author)
	return &ev
}

// wrapped is a gift wrap around a text that should be a seal.
func wrapped(tb testing.TB, seal string, node Secret) *nostr.Event {
	tb.Helper()
	ephemeral := mustSecret(tb, 77)
	ev := nostr.Event{Kind: KindGiftWrap, CreatedAt: testTime - 9, Tags: nostr.Tags{{"p", node.Public()}}, Content: encrypted(tb, seal, ephemeral, node)}
	sign(tb, &ev, ephemeral)
	return &ev
}

func encrypted(tb testing.TB, plain string, from, to Secret) string {
	tb.Helper()
	key, err := conversation(from, to.Public())
	if err != nil {
		tb.Fatal(err)
	}
	content, err := encrypt([]byte(plain), key, [32]byte{1})
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

func sign(tb testing.TB, ev *nostr.Event, key Secret) {
	tb.Helper()
	if err := Sign(ev, key); err != nil {
		tb.Fatal(err)
	}
}

// TestOpenVectors opens what real clients sign, in the layouts in which they write it.
func TestOpenVectors(t *testing.T) {
	keys, node := testKeys(t), mustSecret(t, 9)
	identity, trade := keys[0], keys[1]
	opener := NewOpener(node)
	for _, v := range loadVectors(t).Messages {
		proof := `["` + identity.Public() + `","` + v.IdentitySignature + `"]`
		sig := `"` + v.TradeSignature + `"`
		tests := []struct {
			name      string
			transport Transport
			identity  Secret
			content   string
			signed    bool
		}{
			{"v1", GiftWrap, identity, "[" + v.Message + "," + sig + "]", true},
			{"v1 of mobile, with a space", GiftWrap, identity, "[" + v.Message + ", " + sig + "]", true},
			{"v1 full privacy", GiftWrap, trade, "[" + v.Message + ",null]", false},
			{"v1 full privacy, signed", GiftWrap, trade, "[" + v.Message + "," + sig + "]", true},
			{"v2", NIP44, identity, "[" + v.Message + "," + sig + "," + proof + "]", true},
			{"v2 with white space", NIP44, identity, "\n[ " + v.Message + "\n,\t" + sig + ", " + proof + " ] ", true},
			{"v2 full privacy", NIP44, trade, "[" + v.Message + ",null,null]", false},
			{"v2 full privacy of ts-client, signed", NIP44, trade, "[" + v.Message + "," + sig + ",null]", true},
			{"v2 of two elements", NIP44, trade, "[" + v.Message + ",null]", false},
		}
		want, err := DecodeMessage([]byte(v.Message))
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range tests {
			ev := sealed(t, test.transport, Party{trade, test.identity}, node, test.content)
			got, err := opener.Open(ev)
			if err != nil {
				t.Errorf("%s, %s: %v", v.Name, test.name, err)
				continue
			}
			diff := cmp.Diff(Received{
				Message: want, Raw: []byte(v.Message), Sender: trade.Public(), Identity: test.identity.Public(),
				Signed: test.signed, Transport: test.transport, CreatedAt: testTime,
			}, got)
			if diff != "" {
				t.Errorf("%s, %s: (-want +got)\n%s", v.Name, test.name, diff)
			}
			if got.FullPrivacy() != test.identity.Equal(trade) {
				t.Errorf("%s, %s: full privacy %t", v.Name, test.name, got.FullPrivacy())
			}
		}
	}
}

// TestOpenSignedForm: a signature counts over the bytes that were sent, or over the
// canonical form of the same message, and over nothing else.
func TestOpenSignedForm(t *testing.T) {
	keys, node := testKeys(t), mustSecret(t, 9)
	v := loadVectors(t).Messages[2]
	loose := strings.Replace(v.Message, `"request_id":null,`, ` "request_id" : null , `, 1)
	other := strings.Replace(v.Message, "fiat-sent", "release", 1)
	for _, test := range []struct {
		name, message string
		ok            bool
	}{
		{"as signed", v.Message, true},
		{"pretty-printed after signing", loose, true},
		{"another message", other, false},
		{"one more field", strings.Replace(v.Message, `"version":2`, `"version":2,"request_id":1`, 1), false},
	} {
		content := `[` + test.message + `,"` + v.TradeSignature + `",["` + keys[0].Public() + `","` + v.IdentitySignature + `"]]`
		_, err := NewOpener(node).Open(sealed(t, NIP44, Party{Trade: keys[1]}, node, content))
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestOpenRefuses has one case for each refusal, and which error it is.
func TestOpenRefuses(t *testing.T) {
	keys, node := testKeys(t), mustSecret(t, 9)
	identity, trade, other := keys[0], keys[1], keys[2]
	party, private := Party{trade, identity}, Party{trade, trade}
	v := loadVectors(t).Messages[2]
	msg, sig, proof := v.Message, `"`+v.TradeSignature+`"`, `["`+identity.Public()+`","`+v.IdentitySignature+`"]`
	broken := func(s string) string { return strings.Replace(s, s[9:11], "zz", 1) }
	flipped := func(s string) string {
		last := len(s) - 2
		if s[last] == '1' {
			return s[:last] + "2" + s[last+1:]
		}
		return s[:last] + "1" + s[last+1:]
	}
	rumor := func(edit func(*nostr.Event)) string {
		ev := nostr.Event{Kind: kindRumor, PubKey: trade.Public(), CreatedAt: testTime, Tags: nostr.Tags{}, Content: "[" + msg + "," + sig + "]"}
		edit(&ev)
		return ev.String()
	}
	seal := func(plain string, edit func(*nostr.Event)) *nostr.Event {
		ev := nostr.Event{Kind: kindSeal, CreatedAt: testTime, Content: encrypted(t, plain, identity, node)}
		sign(t, &ev, identity)
		edit(&ev)
		return wrapped(t, ev.String(), node)
	}
	same := func(*nostr.Event) {}
	if _, err := NewOpener(node).Open(seal(rumor(same), same)); err != nil {
		t.Fatal(err)
	}
	v2 := func(content string) *nostr.Event { return sealed(t, NIP44, party, node, content) }
	v1 := func(from Party, content string) *nostr.Event { return sealed(t, GiftWrap, from, node, content) }
	kind := func(ev *nostr.Event, k int) *nostr.Event { ev.Kind = k; return ev }
	var decode *DecodeError

	tests := []struct {
		name string
		ev   *nostr.Event
		want error // nil: a *DecodeError with the proven sender
	}{
		{"another kind", kind(v2("["+msg+",null,null]"), 4), ErrCannotDecrypt},
		{"empty content", &nostr.Event{Kind: KindMessage, PubKey: trade.Public()}, ErrCannotDecrypt},
		{"empty wrap", &nostr.Event{Kind: KindGiftWrap, PubKey: trade.Public()}, ErrCannotDecrypt},
		{"no author", &nostr.Event{Kind: KindMessage, Content: v2("[]").Content}, ErrCannotDecrypt},
		{"author off the curve", &nostr.Event{Kind: KindMessage, PubKey: strings.Repeat("f", 64), Content: v2("[]").Content}, ErrCannotDecrypt},
		{"for another node", sealed(t, NIP44, private, other, "["+msg+",null,null]"), ErrCannotDecrypt},
		{"wrap for another node", sealed(t, GiftWrap, private, other, "["+msg+",null]"), ErrCannotDecrypt},
		{"seal for another node", wrapped(t, sealTo(t, identity, other, rumor(same)), node), ErrCannotDecrypt},

		{"v2 signature of nonsense", v2("[" + msg + "," + broken(sig) + ",null]"), ErrNotProven},
		{"v2 wrong signature, full privacy", v2("[" + msg + "," + flipped(sig) + ",null]"), ErrNotProven},
		{"v2 signature a number", v2("[" + msg + ",1,null]"), ErrNotProven},
		{"v2 signature short", v2("[" + msg + `,"00",null]`), ErrNotProven},
		{"v2 signature empty", v2("[" + msg + `,"",null]`), ErrNotProven},
		{"v2 identity without signature", v2("[" + msg + ",null," + proof + "]"), ErrNotProven},
		{"v2 wrong proof", v2("[" + msg + "," + sig + "," + strings.Replace(proof, identity.Public(), other.Public(), 1) + "]"), ErrNotProven},
		{"v2 proof is the trade signature", v2("[" + msg + "," + sig + `,["` + trade.Public() + `",` + sig + `]]`), ErrNotProven},
		{"v2 proof in capitals", v2("[" + msg + "," + sig + "," + strings.ToUpper(proof) + "]"), ErrNotProven},
		{"v2 proof of one", v2("[" + msg + "," + sig + `,["` + identity.Public() + `"]]`), ErrNotProven},
		{"v2 proof of three", v2("[" + msg + "," + sig + "," + proof[:len(proof)-1] + `,""]]`), ErrNotProven},
		{"v2 proof empty", v2("[" + msg + "," + sig + ",[]]"), ErrNotProven},
		{"v2 proof a string", v2("[" + msg + "," + sig + `,"x"]`), ErrNotProven},
		{"v2 signature of another trade key", sealed(t, NIP44, Party{other, identity}, node, "["+msg+","+sig+","+proof+"]"), ErrNotProven},
		{"v2 bad signature and bad message", v2("[" + `{"order":1}` + "," + sig + ",null]"), ErrNotProven},

		{"v1 unsigned", v1(party, "["+msg+",null]"), ErrNotProven},
		{"v1 wrong signature", v1(party, "["+msg+","+flipped(sig)+"]"), ErrNotProven},
		{"v1 wrong signature, full privacy", v1(private, "["+msg+","+flipped(sig)+"]"), ErrNotProven},
		{"v1 of three elements", v1(party, "["+msg+","+sig+",null]"), ErrNotProven},
		{"v1 unsigned and not a tuple", v1(party, msg), ErrNotProven},
		{"v1 signed for another trade key", v1(Party{other, identity}, "["+msg+","+sig+"]"), ErrNotProven},
		{"seal no JSON", wrapped(t, "x", node), ErrNotProven},
		{"seal null", wrapped(t, "null", node), ErrNotProven},
		{"seal of kind 1", seal(rumor(same), func(ev *nostr.Event) { ev.Kind = 1; sign(t, ev, identity) }), ErrNotProven},
		{"seal without signature", seal(rumor(same), func(ev *nostr.Event) { ev.Sig = "" }), ErrNotProven},
		{"seal with a long signature", seal(rumor(same), func(ev *nostr.Event) { ev.Sig += "00" }), ErrNotProven},
		{"seal signed by another", seal(rumor(same), func(ev *nostr.Event) { ev.Sig = strings.Repeat("0", 128) }), ErrNotProven},
		{"seal by a claimed key", seal(rumor(same), func(ev *nostr.Event) { ev.PubKey = other.Public() }), ErrNotProven},
		{"seal by a long key", seal(rumor(same), func(ev *nostr.Event) { ev.PubKey += "00" }), ErrNotProven},
		{"seal with another id", seal(rumor(same), func(ev *nostr.Event) { ev.ID = strings.Repeat("0", 64) }), ErrNotProven},
		{"seal changed after signing", seal(rumor(same), func(ev *nostr.Event) { ev.CreatedAt++ }), ErrNotProven},
		{"rumor no JSON", seal("x", same), ErrNotProven},
		{"rumor of kind 14 (NIP-17)", seal(rumor(func(ev *nostr.Event) { ev.Kind = 14 }), same), ErrNotProven},
		{"rumor without author", seal(rumor(func(ev *nostr.Event) { ev.PubKey = "" }), same), ErrNotProven},
		{"rumor with a duplicate author", seal(strings.Replace(rumor(same), "{", `{"pubkey":"`+other.Public()+`",`, 1), same), ErrNotProven},
		{"rumor by a key in capitals", seal(rumor(func(ev *nostr.Event) { ev.PubKey = strings.ToUpper(ev.PubKey) }), same), ErrNotProven},
		{"rumor by a short key", seal(rumor(func(ev *nostr.Event) { ev.PubKey = "00" }), same), ErrNotProven},

		{"v2 not an array", v2(msg), nil},
		{"v2 not JSON", v2("x"), nil},
		{"v2 of one element", v2("[" + msg + "]"), nil},
		{"v2 of four elements", v2("[" + msg + ",null,null,null]"), nil},
		{"v2 trailing data", v2("[" + msg + ",null,null]x"), nil},
		{"v2 unclosed", v2("[" + msg + ",null,null"), nil},
		{"v2 unknown action", v2("[" + strings.Replace(msg, "fiat-sent", "dance", 1) + ",null,null]"), nil},
		{"v1 full privacy, not an array", v1(private, msg), nil},
		{"v1 full privacy, unknown payload", v1(private, "["+strings.Replace(msg, `null}}`, `{"x":1}}}`, 1)+",null]"), nil},
	}
	for _, test := range tests {
		got, err := NewOpener(node).Open(test.ev)
		if test.want != nil {
			if !errors.Is(err, test.want) || errors.As(err, &decode) {
				t.Errorf("%s: %v", test.name, err)
			}
			if !cmp.Equal(got, Received{}) {
				t.Errorf("%s: something came with the error: %+v", test.name, got)
			}
			continue
		}
		if !errors.As(err, &decode) {
			t.Errorf("%s: %v", test.name, err)
		}
		if got.Sender != trade.Public() || got.Identity != trade.Public() || got.CreatedAt != testTime || got.Transport == 0 {
			t.Errorf("%s: whom to answer: %+v", test.name, got)
		}
	}
}

func sealTo(t *testing.T, from, to Secret, rumor string) string {
	ev := nostr.Event{Kind: kindSeal, CreatedAt: testTime, Content: encrypted(t, rumor, from, to)}
	sign(t, &ev, from)
	return ev.String()
}

// TestOpenAnswerable: what is proven and cannot be decoded says what to answer.
func TestOpenAnswerable(t *testing.T) {
	node, trade := mustSecret(t, 9), mustSecret(t, 10)
	content := `[{"order":{"version":2,"request_id":18446744073709551615,"id":"` + testID + `","action":"add-cashu-escrow","payload":null}},null,null]`
	_, err := NewOpener(node).Open(sealed(t, NIP44, Party{Trade: trade}, node, content))
	var decode *DecodeError
	if !errors.As(err, &decode) || !decode.Answerable() || decode.Reason != InvalidAction {
		t.Fatalf("error %v", err)
	}
	want := Message{RequestID: ptr(uint64(18446744073709551615)), ID: testID, Action: "add-cashu-escrow"}
	if diff := cmp.Diff(want, decode.Partial); diff != "" {
		t.Error(diff)
	}
}

// TestOpenRealClientRumor: an id and a signature in the rumor, as mobile writes them, and
// even wrong ones, change nothing; neither does a rumor without tags.
func TestOpenRealClientRumor(t *testing.T) {
	keys, node := testKeys(t), mustSecret(t, 9)
	v := loadVectors(t).Messages[0]
	content := strings.ReplaceAll(`[`+v.Message+`, "`+v.TradeSignature+`"]`, `"`, `\"`)
	rumor := fmt.Sprintf(`{"id":"%064d","pubkey":"%s","created_at":%d,"kind":1,"tags":[["p","%s"]],"content":"%s","sig":"%0128d"}`,
		1, keys[1].Public(), testTime, node.Public(), content, 2)
	bare := fmt.Sprintf(`{"pubkey":"%s","created_at":%d,"kind":1,"content":"%s"}`, keys[1].Public(), testTime, content)
	for _, plain := range []string{rumor, bare} {
		got, err := NewOpener(node).Open(wrapped(t, sealTo(t, keys[0], node, plain), node))
		if err != nil || got.Sender != keys[1].Public() || got.Identity != keys[0].Public() || string(got.Raw) != v.Message {
			t.Errorf("%s\n%+v, %v", plain, got, err)
		}
	}
}

// FuzzOpen puts data into every layer of both envelopes: 0 the content of a message, 1 of a
// wrap, 2 the plaintext of a message, 3 the seal, 4 the rumor, 5 the rumor's content.
func FuzzOpen(f *testing.F) {
	keys, node := testKeys(f), mustSecret(f, 9)
	identity, trade := keys[0], keys[1]
	opener := NewOpener(node)
	for _, v := range loadVectors(f).Messages {
		tuple := "[" + v.Message + `,"` + v.TradeSignature + `"`
		f.Add(byte(2), tuple+`,["`+identity.Public()+`","`+v.IdentitySignature+`"]]`)
		f.Add(byte(2), "["+v.Message+",null,null]")
		f.Add(byte(5), tuple+"]")
	}
	rumor := nostr.Event{Kind: kindRumor, PubKey: trade.Public(), CreatedAt: testTime, Tags: nostr.Tags{{"p", "x"}}, Content: "[{},null]"}
	seal := nostr.Event{Kind: kindSeal, Content: encrypted(f, rumor.String(), identity, node)}
	sign(f, &seal, identity)
	f.Add(byte(3), seal.String())
	f.Add(byte(4), rumor.String())
	f.Add(byte(0), encrypted(f, "[{},null,null]", trade, node))
	f.Add(byte(1), seal.Content)

	f.Fuzz(func(t *testing.T, layer byte, data string) {
		if layer > 1 && (data == "" || len(data) > 20000) {
			return // NIP-44 carries neither nothing nor more, two layers deep
		}
		var ev *nostr.Event
		switch layer {
		case 0:
			ev = &nostr.Event{Kind: KindMessage, PubKey: trade.Public(), Content: data}
		case 1:
			ev = &nostr.Event{Kind: KindGiftWrap, PubKey: trade.Public(), Content: data}
		case 2:
			ev = &nostr.Event{Kind: KindMessage, PubKey: trade.Public(), Content: encrypted(t, data, trade, node)}
		case 3:
			ev = wrapped(t, data, node)
		case 4:
			ev = wrapped(t, sealTo(t, identity, node, data), node)
		case 5:
			ev = sealed(t, GiftWrap, Party{trade, identity}, node, data)
		default:
			return
		}
		got, err := opener.Open(ev)
		var decode *DecodeError
		switch {
		case err == nil || errors.As(err, &decode):
			if !isPubkey(got.Sender) || !isPubkey(got.Identity) {
				t.Fatalf("parties %q %q", got.Sender, got.Identity)
			}
			if got.Identity != got.Sender && !got.Signed {
				t.Fatalf("an identity without signature: %+v", got)
			}
			if err == nil {
				if again, err := DecodeMessage(got.Raw); err != nil || !cmp.Equal(again, got.Message) {
					t.Fatalf("raw %s is not the message %+v", got.Raw, got.Message)
				}
			}
		case errors.Is(err, ErrCannotDecrypt) == errors.Is(err, ErrNotProven):
			t.Fatalf("error %v", err)
		case !cmp.Equal(got, Received{}):
			t.Fatalf("%+v came with %v", got, err)
		}
	})
}
