package mostro

import (
	"crypto/sha256"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/nbd-wtf/go-nostr"
)

// CoordinatorReview is what a trader says of a coordinator of RoboSats, in the form of there (kind 31986). A coordinator
// signs only for trades that have ended, so the unhappy are not heard.
type CoordinatorReview struct {
	Coordinator string // hex
	Key, Order  string // of the trade; the proof is for both
	Rating      float64
	Text        string
	At          int64 // unix seconds
}

// ParseCoordinatorReview reads such a review and checks it, the proof and both signatures. now is in unix seconds. The
// address is "NAME:ORDER"; what the coordinator has signed is the key and the order as they are written (BIP-340 takes texts of
// any length), or their SHA-256.
func ParseCoordinatorReview(ev *nostr.Event, now int64) (CoordinatorReview, error) {
	fail := func(why string) (CoordinatorReview, error) {
		return CoordinatorReview{}, fmt.Errorf("read review %s: %s", ev.ID, why)
	}
	r := CoordinatorReview{Key: ev.PubKey, Text: ev.Content, At: int64(ev.CreatedAt)}
	sig, rating := "", ""
	for name, to := range map[string]*string{"p": &r.Coordinator, "sig": &sig, "rating": &rating} {
		if tag := ev.Tags.Find(name); tag != nil {
			*to = tag[1]
		}
	}
	_, order, named := strings.Cut(ev.Tags.GetD(), ":")
	r.Order = order
	var err error
	r.Rating, err = strconv.ParseFloat(rating, 64)
	switch {
	case ev.Kind != KindReview:
		return fail("not a review")
	case !named || order == "" || strings.Contains(order, ":"):
		return fail("the address names no order")
	case err != nil, math.IsNaN(r.Rating), r.Rating < 0, r.Rating > 1:
		return fail("the rating is not from 0 to 1")
	case len(r.Text) > MaxReview, r.At > now+reviewSlack:
		return fail("too long, or from the future")
	}
	if signed := []byte(ev.PubKey + order); !verifyText(r.Coordinator, sig, signed) && !verify(r.Coordinator, sig, sha256.Sum256(signed)) {
		return fail("not proven by the coordinator")
	}
	if err := CheckEvent(ev); err != nil {
		return fail(err.Error())
	}
	return r, nil
}

// IsProvenReview reports whether a review carries the proof of whom it is about, in one of the two forms. now is in unix
// seconds.
func IsProvenReview(ev *nostr.Event, now int64) bool {
	_, err := ParseReview(ev, now)
	if err != nil {
		_, err = ParseCoordinatorReview(ev, now)
	}
	return err == nil
}

// verifyText checks a BIP-340 signature of a text of any length by an x-only public key, both in hex. The libraries take
// hashes only.
func verifyText(public, signature string, text []byte) bool {
	var key, r, s [32]byte
	if len(signature) != 128 || !decodeHex(key[:], public) || !decodeHex(r[:], signature[:64]) || !decodeHex(s[:], signature[64:]) {
		return false
	}
	point, err := schnorr.ParsePubKey(key[:])
	if err != nil {
		return false
	}
	var x btcec.FieldVal
	var scalar, e btcec.ModNScalar
	if x.SetBytes(&r) != 0 || scalar.SetBytes(&s) != 0 {
		return false // not below the field's prime, or the group's order
	}
	challenge := chainhash.TaggedHash(chainhash.TagBIP0340Challenge, r[:], key[:], text)
	e.SetBytes((*[32]byte)(challenge))
	e.Negate()
	var p, sG, eP, sum btcec.JacobianPoint // sum = s*G - e*P, of which x has to be r, and y even
	point.AsJacobian(&p)
	btcec.ScalarBaseMultNonConst(&scalar, &sG)
	btcec.ScalarMultNonConst(&e, &p, &eP)
	btcec.AddNonConst(&sG, &eP, &sum)
	if sum.Z.IsZero() {
		return false
	}
	sum.ToAffine()
	return !sum.Y.IsOdd() && sum.X.Equals(&x)
}
