//go:build libsecp256k1 && linux

package relay

/*
#include <stddef.h>

// What is used here of the libsecp256k1 that go-nostr compiles in under the same build tag: its
// own call hashes the event once more. The symbols are weak because cgo links each package once
// on its own; in a program they are always there.
typedef struct secp256k1_context_struct secp256k1_context;
typedef struct { unsigned char data[64]; } secp256k1_key;
extern __attribute__((weak)) const secp256k1_context *secp256k1_context_static;
extern __attribute__((weak)) int secp256k1_xonly_pubkey_parse(const secp256k1_context *, secp256k1_key *, const unsigned char *);
extern __attribute__((weak)) int secp256k1_schnorrsig_verify(const secp256k1_context *, const unsigned char *, const unsigned char *, size_t, const secp256k1_key *);

static int verify_hash(const unsigned char *public32, const unsigned char *sig64, const unsigned char *hash32) {
	secp256k1_key key;
	return secp256k1_xonly_pubkey_parse(secp256k1_context_static, &key, public32) &&
		secp256k1_schnorrsig_verify(secp256k1_context_static, sig64, hash32, 32, &key);
}
*/
import "C"

import "unsafe"

// verifyHash checks a BIP-340 signature of a hash by an x-only public key.
func verifyHash(public *[32]byte, signature *[64]byte, hash *[32]byte) bool {
	return C.verify_hash(pointer(public[:]), pointer(signature[:]), pointer(hash[:])) == 1
}

func pointer(b []byte) *C.uchar { return (*C.uchar)(unsafe.Pointer(unsafe.SliceData(b))) }
