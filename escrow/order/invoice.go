package order

import "time"

// Invoice is a decoded BOLT11 invoice. Decoding happens at the edge (package lightning);
// what an invoice must be like to be accepted is decided here.
type Invoice struct {
	Text          string // lower-cased, without a "lightning:" prefix
	Hash          Hash
	Amount        Msat   // 0 = the payer decides
	Payee         string // hex pubkey of the last node
	CreatedAt     time.Time
	ExpiresAt     time.Time
	FinalCLTV     uint32 // min_final_cltv_expiry_delta, blocks
	HasHints      bool   // route hints: the payee may be private
	PaymentSecret bool
	Network       string // "mainnet", "testnet", "signet", "regtest", "simnet"
}
