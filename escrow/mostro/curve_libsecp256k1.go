//go:build libsecp256k1 && linux

package mostro

/*
#include <stddef.h>

// What is used here of the libsecp256k1 that go-nostr compiles in under the same build tag. A
// second copy would clash with it, and its headers cannot be included across modules. They are
// weak because cgo links each package once on its own; in a program they are always there.
typedef struct secp256k1_context_struct secp256k1_context;
typedef struct { unsigned char data[64]; } secp256k1_key;
typedef struct { unsigned char data[96]; } secp256k1_keypair;
#define FROM_GO_NOSTR extern __attribute__((weak))
FROM_GO_NOSTR const secp256k1_context *secp256k1_context_static;
FROM_GO_NOSTR int secp256k1_xonly_pubkey_parse(const secp256k1_context *, secp256k1_key *, const unsigned char *);
FROM_GO_NOSTR int secp256k1_schnorrsig_verify(const secp256k1_context *, const unsigned char *, const unsigned char *, size_t, const secp256k1_key *);
FROM_GO_NOSTR secp256k1_context *secp256k1_context_create(unsigned int);
FROM_GO_NOSTR int secp256k1_context_randomize(secp256k1_context *, const unsigned char *);
FROM_GO_NOSTR int secp256k1_keypair_create(const secp256k1_context *, secp256k1_keypair *, const unsigned char *);
FROM_GO_NOSTR int secp256k1_schnorrsig_sign32(const secp256k1_context *, unsigned char *, const unsigned char *, const secp256k1_keypair *, const unsigned char *);
FROM_GO_NOSTR int secp256k1_ec_pubkey_parse(const secp256k1_context *, secp256k1_key *, const unsigned char *, size_t);
FROM_GO_NOSTR int secp256k1_ec_pubkey_tweak_mul(const secp256k1_context *, secp256k1_key *, const unsigned char *);
FROM_GO_NOSTR int secp256k1_ec_pubkey_serialize(const secp256k1_context *, unsigned char *, size_t *, const secp256k1_key *, unsigned int);

// The context for signing, blinded by random bytes against whoever can measure how long it takes.
static secp256k1_context *signing_context(const unsigned char *random32) {
	const unsigned int none = 1; // SECP256K1_CONTEXT_NONE
	secp256k1_context *context = secp256k1_context_create(none);
	return context && secp256k1_context_randomize(context, random32) ? context : NULL;
}

static int sign_hash(const secp256k1_context *context, unsigned char *sig64, const unsigned char *private32, const unsigned char *hash32) {
	secp256k1_keypair pair;
	int ok = secp256k1_keypair_create(context, &pair, private32) &&
		secp256k1_schnorrsig_sign32(context, sig64, hash32, &pair, NULL);
	for (volatile unsigned char *p = pair.data; p < pair.data + sizeof pair.data; p++) *p = 0;
	return ok;
}

static int verify_hash(const unsigned char *public32, const unsigned char *sig64, const unsigned char *hash32) {
	secp256k1_key key;
	return secp256k1_xonly_pubkey_parse(secp256k1_context_static, &key, public32) &&
		secp256k1_schnorrsig_verify(secp256k1_context_static, sig64, hash32, 32, &key);
}

static int multiply(unsigned char *point33, const unsigned char *private32) {
	const unsigned int compressed = 0x102; // SECP256K1_EC_COMPRESSED
	secp256k1_key key;
	size_t size = 33;
	return secp256k1_ec_pubkey_parse(secp256k1_context_static, &key, point33, size) &&
		secp256k1_ec_pubkey_tweak_mul(secp256k1_context_static, &key, private32) &&
		secp256k1_ec_pubkey_serialize(secp256k1_context_static, point33, &size, &key, compressed);
}
*/
import "C"

import (
	"errors"
	"sync"
	"unsafe"

	"github.com/btcsuite/btcd/btcec/v2"
)

// signer makes the context for signing, once. Signing itself changes nothing in it.
var signer = sync.OnceValue(func() *C.secp256k1_context {
	seed := random()
	return C.signing_context(bytesOf(seed[:]))
})

// signHash makes the BIP-340 signature of a hash with auxiliary randomness of zero, in a time
// that does not depend on the key.
func signHash(private *btcec.PrivateKey, hash *[32]byte) (signature [64]byte, err error) {
	key := private.Key.Bytes()
	defer clear(key[:])
	if signer() == nil || C.sign_hash(signer(), bytesOf(signature[:]), bytesOf(key[:]), bytesOf(hash[:])) != 1 {
		return signature, errors.New("libsecp256k1 refuses the key")
	}
	return signature, nil
}

// verifyHash checks a BIP-340 signature of a hash by an x-only public key.
func verifyHash(public *[32]byte, signature *[64]byte, hash *[32]byte) bool {
	return C.verify_hash(bytesOf(public[:]), bytesOf(signature[:]), bytesOf(hash[:])) == 1
}

// sharedX is the x coordinate of the product of a private key and the point with even y of an
// x-only public key; ok is false when there is no such point.
func sharedX(private *btcec.PrivateKey, public *[32]byte) (x [32]byte, ok bool) {
	const evenY = 2
	point := append([]byte{evenY}, public[:]...)
	scalar := private.Key.Bytes()
	defer clear(scalar[:])
	if C.multiply(bytesOf(point), bytesOf(scalar[:])) != 1 {
		return x, false
	}
	return [32]byte(point[1:]), true
}

func bytesOf(b []byte) *C.uchar { return (*C.uchar)(unsafe.Pointer(unsafe.SliceData(b))) }
