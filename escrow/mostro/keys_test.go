package mostro

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

func TestDeriveKey(t *testing.T) {
	v := loadVectors(t)
	for i, want := range v.Keys {
		got, err := DeriveKey("  "+strings.ReplaceAll(v.Mnemonic, " ", "\n "), uint32(i))
		if err != nil {
			t.Fatal(err)
		}
		if got.key().hex != want.Private || got.Public() != want.Public {
			t.Errorf("key %d is %s, public %s; want %s, %s", i, got.key().hex, got.Public(), want.Private, want.Public)
		}
	}
	for _, bad := range []string{"", "leader monkey", strings.Replace(v.Mnemonic, "bean", "leader", 1), v.Mnemonic + "x"} {
		if _, err := DeriveKey(bad, 0); err == nil {
			t.Errorf("a key was derived from %q", bad)
		}
	}
	if _, err := DeriveKey(v.Mnemonic, 1<<31); err == nil {
		t.Error("a hardened index was derived")
	}
}

func TestNewMnemonic(t *testing.T) {
	one, err := NewMnemonic()
	if err != nil {
		t.Fatal(err)
	}
	two, err := NewMnemonic()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(one)); n != 12 || one == two {
		t.Errorf("mnemonics of %d words, equal: %t", n, one == two)
	}
	if _, err := DeriveKey(one, 0); err != nil {
		t.Error(err)
	}
}

func TestParseSecret(t *testing.T) {
	const one = "0000000000000000000000000000000000000000000000000000000000000001"
	const order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
	key, err := ParseSecret(" " + one + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"; key.Public() != want {
		t.Errorf("public key of 1 is %s, want the generator %s", key.Public(), want)
	}
	again, err := ParseSecret(key.Nsec())
	if err != nil || !again.Equal(key) {
		t.Errorf("the nsec does not give the key back: %v", err)
	}
	npub, _ := nip19.EncodePublicKey(key.Public())
	for _, bad := range []string{
		"", one[1:], one + "0", strings.Repeat("0", 64), order, strings.Repeat("f", 64), "z" + one[1:],
		npub, key.Nsec() + "q", "nsec1" + one, strings.Repeat("00", 200),
	} {
		if _, err := ParseSecret(bad); err == nil {
			t.Errorf("%q was taken for a secret key", bad)
		} else if len(bad) > 8 && strings.Contains(err.Error(), bad[5:]) {
			t.Errorf("the error quotes the input: %v", err)
		}
	}
}

func TestSecretZero(t *testing.T) {
	var none Secret
	if !none.IsZero() || none.Public() != "" || none.Nsec() != "" {
		t.Error("the zero secret looks like a key")
	}
	if none.Equal(mustSecret(t, 1)) || mustSecret(t, 1).Equal(mustSecret(t, 2)) {
		t.Error("different secrets are equal")
	}
	if err := Sign(&nostr.Event{}, none); err == nil {
		t.Error("the zero secret signed")
	}
}

// TestSecretRedacted prints a secret in every way in which one could end in a log.
func TestSecretRedacted(t *testing.T) {
	key := testKeys(t)[0]
	type holder struct {
		Shown  Secret
		hidden Secret
		Many   []Secret
		Named  map[string]*Secret
	}
	h := holder{key, key, []Secret{key}, map[string]*Secret{"k": &key}}
	var prints []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T", "%U"} {
		prints = append(prints, fmt.Sprintf(verb, key), fmt.Sprintf(verb, &key), fmt.Sprintf(verb, h), fmt.Sprintf(verb, &h))
	}
	raw, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", key, "holder", h)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", key, "holder", h)
	prints = append(prints, string(raw), log.String(), fmt.Sprint(key, h))
	if fmt.Sprint(key) != redacted || string(raw) == "" || !strings.Contains(string(raw), redacted) {
		t.Errorf("prints %q and %s", fmt.Sprint(key), raw)
	}
	b, _ := hex.DecodeString(key.key().hex)
	for _, print := range prints {
		lower := strings.ToLower(print)
		for what, secret := range map[string]string{
			"hex": key.key().hex, "nsec": key.Nsec(), "bytes": strings.Trim(fmt.Sprint(b[:4]), "[]"), "word": key.key().hex[:8],
		} {
			if strings.Contains(lower, secret) {
				t.Errorf("%s shows in %q", what, print)
			}
		}
	}
}

// TestSign compares with the vectors, which other implementations made, and with go-nostr.
func TestSign(t *testing.T) {
	v, keys := loadVectors(t), testKeys(t)
	for _, m := range v.Messages {
		hash := sha256.Sum256([]byte(m.Message))
		if hex.EncodeToString(hash[:]) != m.SHA256 {
			t.Fatalf("%s: the message's hash is %x", m.Name, hash)
		}
		if sig, err := keys[1].sign(hash); err != nil || sig != m.TradeSignature {
			t.Errorf("%s: signature %s %v, want %s", m.Name, sig, err, m.TradeSignature)
		}
		if !verify(keys[1].Public(), m.TradeSignature, hash) {
			t.Errorf("%s: the signature does not verify", m.Name)
		}
		if verify(keys[2].Public(), m.TradeSignature, hash) || verify(keys[1].Public(), m.IdentitySignature, hash) {
			t.Errorf("%s: another key's signature verifies", m.Name)
		}
	}
	ev := nostr.Event{Kind: 1, CreatedAt: 7, Content: "a \"<&>\" \u2028"}
	if err := Sign(&ev, keys[0]); err != nil {
		t.Fatal(err)
	}
	if err := verifyEvent(&ev); err != nil {
		t.Error(err)
	}
	if ev.PubKey != keys[0].Public() || ev.Tags == nil {
		t.Errorf("signed event is %v", ev)
	}
}

func TestParsePubkey(t *testing.T) {
	want := testKeys(t)[0].Public()
	npub, err := nip19.EncodePublicKey(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, good := range []string{want, strings.ToUpper(want), npub, " " + npub + "\n"} {
		if got, err := ParsePubkey(good); err != nil || got != want {
			t.Errorf("ParsePubkey(%q) = %s, %v", good, got, err)
		}
	}
	nsec := testKeys(t)[0].Nsec()
	for _, bad := range []string{"", want[2:], want + "00", "02" + want, npub[:20], nsec, strings.Repeat("f", 64), strings.Repeat("0", 64)} {
		if got, err := ParsePubkey(bad); err == nil {
			t.Errorf("ParsePubkey(%q) = %s", bad, got)
		}
	}
}

func TestPow(t *testing.T) {
	for id, want := range map[string]int{
		strings.Repeat("0", 64):               256,
		"1" + strings.Repeat("0", 63):         3,
		"00ff" + strings.Repeat("0", 60):      8,
		"000000017" + strings.Repeat("f", 55): 31,
		"8" + strings.Repeat("0", 63):         0,
		"":                                    0,
		"00":                                  0,
		"zz" + strings.Repeat("0", 62):        0,
		strings.Repeat("0", 66):               0,
		"0000000000000001" + strings.Repeat("0", 48): 63,
	} {
		if got := PowBits(id); got != want {
			t.Errorf("PowBits(%q) = %d, want %d", id, got, want)
		}
	}
	ev := nostr.Event{PubKey: testKeys(t)[0].Public(), Tags: nostr.Tags{{"p", "x"}}, Content: `["nonce","`}
	if err := mine(t.Context(), &ev, 10); err != nil {
		t.Fatal(err)
	}
	if got := PowBits(ev.GetID()); got < 10 {
		t.Errorf("mined %d bits, want 10", got)
	}
	if tag := ev.Tags[1]; tag[0] != "nonce" || tag[2] != "10" {
		t.Errorf("nonce tag is %q", tag)
	}
	if err := mine(t.Context(), &ev, 33); !errors.Is(err, ErrPow) {
		t.Errorf("33 bits were tried: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := mine(ended, &ev, 32); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "of about 4294967296 tries") {
		t.Errorf("mining goes on: %v", err)
	}
}
