//go:build !(libsecp256k1 && linux)

package mostro

import (
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
)

// signHash makes the BIP-340 signature of a hash with auxiliary randomness of zero.
func signHash(private *btcec.PrivateKey, hash *[32]byte) (signature [64]byte, err error) {
	sig, err := schnorr.Sign(private, hash[:], schnorr.CustomNonce([32]byte{}), schnorr.FastSign())
	if err != nil {
		return signature, err
	}
	return [64]byte(sig.Serialize()), nil
}

// verifyHash checks a BIP-340 signature of a hash by an x-only public key.
func verifyHash(public *[32]byte, signature *[64]byte, hash *[32]byte) bool {
	point, err := schnorr.ParsePubKey(public[:])
	if err != nil {
		return false
	}
	sig, err := schnorr.ParseSignature(signature[:])
	return err == nil && sig.Verify(hash[:], point)
}

// sharedX is the x coordinate of the product of a private key and the point with even y of an
// x-only public key; ok is false when there is no such point.
func sharedX(private *btcec.PrivateKey, public *[32]byte) (x [32]byte, ok bool) {
	key, err := schnorr.ParsePubKey(public[:])
	if err != nil {
		return x, false
	}
	var point, product btcec.JacobianPoint
	key.AsJacobian(&point)
	btcec.ScalarMultNonConst(&private.Key, &point, &product)
	product.ToAffine()
	product.X.PutBytes(&x)
	return x, true
}
