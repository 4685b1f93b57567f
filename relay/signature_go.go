//go:build !(libsecp256k1 && linux)

package relay

import "github.com/btcsuite/btcd/btcec/v2/schnorr"

// verifyHash checks a BIP-340 signature of a hash by an x-only public key.
func verifyHash(public *[32]byte, signature *[64]byte, hash *[32]byte) bool {
	point, err := schnorr.ParsePubKey(public[:])
	if err != nil {
		return false
	}
	sig, err := schnorr.ParseSignature(signature[:])
	return err == nil && sig.Verify(hash[:], point)
}
