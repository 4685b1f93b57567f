package mostro

import (
	"fmt"
	"strings"

	"github.com/btcsuite/btcd/btcutil/hdkeychain"
	"github.com/btcsuite/btcd/chaincfg"
	"github.com/tyler-smith/go-bip39"
)

// The path of a user's keys, m/44'/1237'/38383'/0/index (NIP-06 with the account of the
// Mostro clients). Index 0 is the identity key, 1 and up are trade keys.
const (
	pathPurpose = 44
	pathCoin    = 1237
	pathAccount = 38383
)

const mnemonicBits = 128 // 12 words, as the clients use

// NewMnemonic makes 12 random BIP-39 words.
func NewMnemonic() (string, error) {
	entropy, err := bip39.NewEntropy(mnemonicBits)
	if err != nil {
		return "", fmt.Errorf("make mnemonic: %w", err)
	}
	words, err := bip39.NewMnemonic(entropy)
	if err != nil {
		return "", fmt.Errorf("make mnemonic: %w", err)
	}
	return words, nil
}

// DeriveKey derives a user's key from BIP-39 words without passphrase. The index is below
// 2^31. Errors: words that are no mnemonic, a wrong checksum.
func DeriveKey(mnemonic string, index uint32) (Secret, error) {
	words := strings.Join(strings.Fields(mnemonic), " ")
	seed, err := bip39.NewSeedWithErrorChecking(words, "")
	if err != nil {
		return Secret{}, fmt.Errorf("derive key %d: %w", index, err)
	}
	if index >= hdkeychain.HardenedKeyStart {
		return Secret{}, fmt.Errorf("derive key %d: the index is not below 2^31", index)
	}
	key, err := hdkeychain.NewMaster(seed, &chaincfg.MainNetParams)
	if err != nil {
		return Secret{}, fmt.Errorf("derive master key: %w", err)
	}
	const hardened = hdkeychain.HardenedKeyStart
	for _, step := range []uint32{hardened + pathPurpose, hardened + pathCoin, hardened + pathAccount, 0, index} {
		if key, err = key.Derive(step); err != nil {
			return Secret{}, fmt.Errorf("derive key %d: %w", index, err)
		}
	}
	private, err := key.ECPrivKey()
	if err != nil {
		return Secret{}, fmt.Errorf("derive key %d: %w", index, err)
	}
	return NewSecret([32]byte(private.Serialize()))
}
