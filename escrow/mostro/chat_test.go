package mostro

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// The keys of the protocol's test vector.
const (
	chatAlice        = "548f68890c49fa42f104c60352395e60ff030b0b407e955f1eed1400d6c0347a"
	chatBob          = "f258e73f07386d37133718b6127f873dd7c391b8f43b331ff8254034a13d2943"
	chatConversation = "bceb1cd2a8e98ee9729122a1693edcc39c3ace04582ff96a26705c5e4078a6f2"
	chatSigning      = "1dba04571059183f76b148119cfa6f8004dad30cb4e810180a6df17386a7f0b4"
)

func testChats(t testing.TB) (alice, bob *Chat) {
	t.Helper()
	a, err := ParseSecret(chatAlice)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseSecret(chatBob)
	if err != nil {
		t.Fatal(err)
	}
	if alice, err = NewChat(a, b.Public()); err != nil {
		t.Fatal(err)
	}
	if bob, err = NewChat(b, a.Public()); err != nil {
		t.Fatal(err)
	}
	return alice, bob
}

func TestChatKeys(t *testing.T) {
	alice, bob := testChats(t)
	for name, c := range map[string]*Chat{"alice": alice, "bob": bob} {
		got := [2]string{c.conversation.Public(), c.Author()}
		if diff := cmp.Diff([2]string{chatConversation, chatSigning}, got); diff != "" {
			t.Errorf("keys of %s (-want +got):\n%s", name, diff)
		}
	}
	for _, peer := range []string{"", "00", strings.Repeat("0", 64), strings.ToUpper(chatSigning)} {
		if _, err := NewChat(alice.own, peer); err == nil {
			t.Errorf("a chat with %q is made", peer)
		}
	}
	if _, err := NewChat(Secret{}, bob.own.Public()); err == nil {
		t.Error("a chat without a key is made")
	}
}

func TestChat(t *testing.T) {
	const now = 1_700_000_000
	alice, bob := testChats(t)
	ev, err := alice.Seal("IBAN ES00 <&> \u2028 ñ", now)
	if err != nil {
		t.Fatal(err)
	}
	if ev.Kind != KindMessage || ev.PubKey != chatSigning || !cmp.Equal(ev.Tags, nostr.Tags{{"p", chatConversation}}) || ev.CreatedAt != now {
		t.Errorf("the event is %v", ev)
	}
	for name, c := range map[string]*Chat{"alice": alice, "bob": bob} {
		got, err := c.Open(&ev, now)
		want := ChatMessage{ID: got.ID, From: alice.own.Public(), At: now, Text: "IBAN ES00 <&> \u2028 ñ"}
		if err != nil || !cmp.Equal(want, got) || len(got.ID) != 64 {
			t.Errorf("%s reads %v, %v", name, got, err)
		}
	}
	again, err := alice.Seal("IBAN ES00 <&> \u2028 ñ", now)
	if err != nil || again.ID == ev.ID {
		t.Errorf("two messages are one event, %v", err)
	}
	for _, text := range []string{"", strings.Repeat("x", maxChatText+1)} {
		if _, err := alice.Seal(text, now); err == nil {
			t.Errorf("a text of %d bytes is sealed", len(text))
		}
	}
}

// TestChatForged: what the two did not write now, in this chat, is not read.
func TestChatForged(t *testing.T) {
	const now = 1_700_000_000
	alice, bob := testChats(t)
	stranger := &Chat{own: mustSecret(t, 9), peer: bob.own.Public(), conversation: alice.conversation, signing: alice.signing}
	seal := func(c *Chat, at int64) nostr.Event {
		ev, err := c.Seal("hello", at)
		if err != nil {
			t.Fatal(err)
		}
		return ev
	}
	resigned := func(change func(*nostr.Event)) nostr.Event {
		ev := seal(alice, now)
		change(&ev)
		if err := Sign(&ev, alice.signing); err != nil {
			t.Fatal(err)
		}
		return ev
	}
	changed := seal(alice, now)
	changed.CreatedAt++
	other := seal(alice, now)
	if err := Sign(&other, bob.own); err != nil {
		t.Fatal(err)
	}
	inside := func(inner nostr.Event) nostr.Event {
		return resigned(func(ev *nostr.Event) {
			key, err := conversation(alice.conversation, chatConversation)
			if err != nil {
				t.Fatal(err)
			}
			if ev.Content, err = encrypt([]byte(inner.String()), key, random()); err != nil {
				t.Fatal(err)
			}
		})
	}
	signed := func(kind int, text string) nostr.Event {
		ev := nostr.Event{Kind: kind, CreatedAt: now, Content: text}
		if err := Sign(&ev, alice.own); err != nil {
			t.Fatal(err)
		}
		return ev
	}
	broken := signed(kindRumor, "hello")
	broken.Content = "send it elsewhere"
	for name, ev := range map[string]nostr.Event{
		"by a stranger with the keys": seal(stranger, now),
		"signed by another key":       other,
		"changed":                     changed,
		"from the future":             seal(alice, now+chatClockSkew+1),
		"to two":                      resigned(func(ev *nostr.Event) { ev.Tags = append(ev.Tags, nostr.Tag{"p", chatSigning}) }),
		"to another":                  resigned(func(ev *nostr.Event) { ev.Tags = nostr.Tags{{"p", chatSigning}} }),
		"dated anew":                  resigned(func(ev *nostr.Event) { ev.CreatedAt -= chatClockSkew + 1 }),
		"of another kind":             resigned(func(ev *nostr.Event) { ev.Kind = kindRumor }),
		"not encrypted":               resigned(func(ev *nostr.Event) { ev.Content = "hello" }),
		"kind inside":                 inside(signed(KindMessage, "hello")),
		"nothing inside":              inside(signed(kindRumor, "")),
		"too much inside":             inside(signed(kindRumor, strings.Repeat("x", maxChatText+1))),
		"forged inside":               inside(broken),
		"no event inside":             inside(nostr.Event{}),
	} {
		if m, err := bob.Open(&ev, now); err == nil {
			t.Errorf("%s: read as %v", name, m)
		}
	}
	ev := seal(stranger, now)
	if _, err := bob.Open(&ev, now); !errors.Is(err, ErrNotProven) {
		t.Errorf("a stranger's message: %v", err)
	}
}

// FuzzChat puts data into every layer of a chat event: 0 the content, 1 the plaintext, 2 the
// text of a message that is proven. What opens is by one of the two, and when it says.
func FuzzChat(f *testing.F) {
	const now = 1_700_000_000
	alice, bob := testChats(f)
	key, err := conversation(alice.conversation, alice.conversation.Public())
	if err != nil {
		f.Fatal(err)
	}
	inner := func(t testing.TB, text string, at int64) nostr.Event {
		ev := nostr.Event{Kind: kindRumor, CreatedAt: nostr.Timestamp(at), Content: text, Tags: nostr.Tags{{"u", "1"}}}
		sign(t, &ev, alice.own)
		return ev
	}
	hello := inner(f, "hello", now)
	sealed, err := encrypt([]byte(hello.String()), key, random())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(byte(0), sealed, int64(0))
	f.Add(byte(1), hello.String(), int64(0))
	f.Add(byte(1), `{"kind":1,"tags":[[]],"content":"\u0000"}`, int64(5))
	f.Add(byte(2), "IBAN ES00 <&> \u2028", int64(60))
	f.Add(byte(2), "too old", int64(-61))
	f.Fuzz(func(t *testing.T, layer byte, data string, skew int64) {
		if len(data) > 40_000 || layer > 0 && data == "" || skew > 1<<40 || skew < -1<<40 {
			return // NIP-44 carries neither nothing nor more
		}
		good := layer == 2 && utf8.ValidString(data) && len(data) <= maxChatText && skew <= chatClockSkew && skew >= -chatClockSkew
		content := data
		if layer == 2 {
			ev := inner(t, data, now+skew)
			data = ev.String()
		}
		if layer > 0 {
			if content, err = encrypt([]byte(data), key, random()); err != nil {
				return
			}
		}
		ev := nostr.Event{Kind: KindMessage, CreatedAt: now, Tags: nostr.Tags{{"p", alice.conversation.Public()}}, Content: content}
		sign(t, &ev, alice.signing)
		m, err := bob.Open(&ev, now)
		switch {
		case err != nil && m != ChatMessage{}:
			t.Fatalf("%+v came with %v", m, err)
		case good != (err == nil) && layer == 2:
			t.Fatalf("a message that is good: %v, opens with %v", good, err)
		case err != nil:
			return
		case m.From != alice.own.Public() && m.From != bob.own.Public(), m.Text == "", len(m.Text) > maxChatText, m.At < now-chatClockSkew, m.At > now+chatClockSkew:
			t.Fatalf("opened %+v", m)
		}
	})
}
