package mostro

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// robosats is a review of a coordinator as RoboSats publishes them, taken from public relays.
const robosats = `{"id":"8fcb094d5e4ac8a7602e85c66c80a9673728ec71fa340a2ddd27e3026df92124","pubkey":"96342850bbc9cb0a9ac67d6880c4745971aa19881a3403a297b7330c332ba3cb","created_at":1791409659,"kind":31986,"tags":[["sig","578f47cb33da9bf538db09c6eef357d777523b640898e5f95b28afaa3f5c3701309b743243669cf695dc4e8640af0df59cadd04e2bf08903e9009a405de223b0"],["d","lake:138621"],["p","f2d4855df39a7db6196666e8469a07a131cddc08dcaa744a344343ffcf54a10c"],["rating","1"]],"content":"","sig":"92ac2010a329672f8b376ac1ed4579963e6ddd04899629835cee162500396fa77f4a9bc75e1965eb4f6cffc83f69648796dd18758154ddd3d80717eb21298570"}`

// TestCoordinatorReview: a real review of a coordinator is proven; with the proof of another order, trader or coordinator it
// is not.
func TestCoordinatorReview(t *testing.T) {
	var real nostr.Event
	if err := real.UnmarshalJSON([]byte(robosats)); err != nil {
		t.Fatal(err)
	}
	now := int64(real.CreatedAt)
	r, err := ParseCoordinatorReview(&real, now)
	if err != nil || r.Order != "138621" || r.Rating != 1 || r.Key != real.PubKey || !IsProvenReview(&real, now) {
		t.Fatalf("%+v, %v", r, err)
	}
	if IsProvenReview(&real, now-86400) {
		t.Error("a review from the future is taken")
	}
	trader, err := NewSecret([32]byte{31: 9})
	if err != nil {
		t.Fatal(err)
	}
	coordinator, err := NewSecret([32]byte{31: 8})
	if err != nil {
		t.Fatal(err)
	}
	proof := real.Tags.Find("sig")[1]
	hashed, err := coordinator.sign(sha256.Sum256([]byte(trader.Public() + "7")))
	if err != nil {
		t.Fatal(err)
	}
	lake := real.Tags.Find("p")[1]
	for name, c := range map[string]struct {
		d, p, sig, rating string
		ok                bool
	}{
		"of a hash":           {"x:7", coordinator.Public(), hashed, "0.5", true},
		"another order":       {"x:8", coordinator.Public(), hashed, "0.5", false},
		"another coordinator": {"x:7", lake, hashed, "0.5", false},
		"another trader":      {"lake:138621", lake, proof, "1", false},
		"no order":            {"x7", coordinator.Public(), hashed, "1", false},
		"too good":            {"x:7", coordinator.Public(), hashed, "5", false},
		"not a number":        {"x:7", coordinator.Public(), hashed, "NaN", false},
		"no signature":        {"x:7", coordinator.Public(), "", "1", false},
		"too large":           {"x:7", coordinator.Public(), strings.Repeat("f", 128), "1", false},
		"no key":              {"x:7", "", hashed, "1", false},
	} {
		ev := nostr.Event{Kind: KindReview, CreatedAt: real.CreatedAt, Tags: nostr.Tags{{"d", c.d}, {"p", c.p}, {"sig", c.sig}, {"rating", c.rating}}}
		if err := Sign(&ev, trader); err != nil {
			t.Fatal(err)
		}
		if IsProvenReview(&ev, now) != c.ok {
			t.Errorf("%s: proven %v", name, !c.ok)
		}
	}
	real.Sig = hex.EncodeToString(make([]byte, 64))
	if IsProvenReview(&real, now) {
		t.Error("a forged event is taken")
	}
}
