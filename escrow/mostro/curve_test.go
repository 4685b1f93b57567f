package mostro

import (
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/nbd-wtf/go-nostr/nip44"
)

// TestCurve: whichever library the build has, signatures and conversation keys are those of
// btcec and go-nostr, and what is no key or no signature is neither.
func TestCurve(t *testing.T) {
	const (
		noPoint = "0000000000000000000000000000000000000000000000000000000000000005" // x^3 + 7 is no square
		beyond  = "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f" // the field's prime
		order   = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
	)
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	bytes := func() (b [32]byte) {
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	for range 200 {
		one, err := NewSecret(bytes())
		if err != nil {
			t.Fatal(err)
		}
		two, err := NewSecret(bytes())
		if err != nil {
			t.Fatal(err)
		}
		got, err := conversation(one, two.Public())
		if err != nil {
			t.Fatal(err)
		}
		want, err := nip44.GenerateConversationKey(one.Public(), two.key().hex)
		if err != nil || got != want {
			t.Fatalf("conversation key %x, want %x (%v)", got, want, err)
		}

		hash := bytes()
		sig, err := one.sign(hash)
		if err != nil {
			t.Fatal(err)
		}
		for name, bad := range map[string]struct {
			public, signature string
			hash              [32]byte
		}{
			"another key":          {two.Public(), sig, hash},
			"another hash":         {one.Public(), sig, bytes()},
			"a changed nonce":      {one.Public(), flip(sig, r.IntN(64)), hash},
			"a changed sum":        {one.Public(), flip(sig, 64+r.IntN(64)), hash},
			"halves exchanged":     {one.Public(), sig[64:] + sig[:64], hash},
			"a nonce too large":    {one.Public(), beyond + sig[64:], hash},
			"a sum too large":      {one.Public(), sig[:64] + order, hash},
			"all zero":             {one.Public(), strings.Repeat("0", 128), hash},
			"one digit more":       {one.Public(), sig + "0", hash},
			"one digit less":       {one.Public(), sig[:127], hash},
			"one byte more":        {one.Public(), sig + "00", hash},
			"no signature":         {one.Public(), "", hash},
			"no hex":               {one.Public(), "g" + sig[1:], hash},
			"a key not on curve":   {noPoint, sig, hash},
			"a key beyond field":   {beyond, sig, hash},
			"a key of zero":        {strings.Repeat("0", 64), sig, hash},
			"a key with its sign":  {"02" + one.Public(), sig, hash},
			"a key without an end": {one.Public()[:62], sig, hash},
		} {
			if verify(bad.public, bad.signature, bad.hash) {
				t.Errorf("a signature is taken with %s: key %s, signature %s, hash %x", name, bad.public, bad.signature, bad.hash)
			}
		}
		if !verify(one.Public(), sig, hash) {
			t.Errorf("a good signature is refused: key %s, signature %s, hash %x", one.Public(), sig, hash)
		}
		theirs, err := schnorr.Sign(one.key().private, hash[:], schnorr.CustomNonce([32]byte{}))
		if err != nil || hex.EncodeToString(theirs.Serialize()) != sig {
			t.Errorf("signature %s of hash %x by %s, btcec makes %x (%v)", sig, hash, one.Public(), theirs.Serialize(), err)
		}
	}
	own := mustSecret(t, 1)
	for _, public := range []string{noPoint, beyond, strings.Repeat("0", 64), "", own.Public()[:62], "02" + own.Public(), strings.ToUpper(own.Public())} {
		if key, err := conversation(own, public); err == nil {
			t.Errorf("a conversation with %q has key %x", public, key)
		}
	}
	if _, err := conversation(Secret{}, own.Public()); err == nil {
		t.Error("a conversation without a key")
	}
}

// flip changes one hex digit.
func flip(digits string, at int) string {
	digit := byte('0')
	if digits[at] == '0' {
		digit = '1'
	}
	return digits[:at] + string(digit) + digits[at+1:]
}
