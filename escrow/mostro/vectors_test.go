package mostro

import (
	"encoding/json"
	"os"
	"testing"
)

// vectors are messages of real clients with their signatures: trade_signature is BIP-340 by
// key 1 over SHA-256 of the message, identity_signature by key 0 over the identity proof's
// text. Both were made with zero auxiliary randomness, as Secret.sign does.
type vectors struct {
	Mnemonic string `json:"mnemonic"`
	Keys     []struct {
		Private string `json:"private"`
		Public  string `json:"public"`
	} `json:"keys"`
	Messages []vector `json:"messages"`
}

type vector struct {
	Name              string `json:"name"`
	Message           string `json:"message"`
	SHA256            string `json:"sha256"`
	TradeSignature    string `json:"trade_signature"`
	IdentitySignature string `json:"identity_signature"`
}

func loadVectors(tb testing.TB) vectors {
	tb.Helper()
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		tb.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(raw, &v); err != nil {
		tb.Fatal(err)
	}
	if len(v.Messages) == 0 || len(v.Keys) != 4 {
		tb.Fatalf("vectors hold %d messages and %d keys", len(v.Messages), len(v.Keys))
	}
	return v
}

// testKeys are the keys 0 to 3 of the vectors: identity, first trade, and two more.
func testKeys(tb testing.TB) []Secret {
	tb.Helper()
	var keys []Secret
	for _, k := range loadVectors(tb).Keys {
		secret, err := ParseSecret(k.Private)
		if err != nil {
			tb.Fatal(err)
		}
		keys = append(keys, secret)
	}
	return keys
}

func mustSecret(tb testing.TB, b byte) Secret {
	tb.Helper()
	s, err := NewSecret([32]byte{31: b})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func ptr[T any](v T) *T { return &v }
