package lightning

import (
	"crypto/sha256"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/ecdsa"
	"github.com/btcsuite/btcd/chaincfg"
	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/lightningnetwork/lnd/lnwire"
	"github.com/lightningnetwork/lnd/zpay32"

	"mostro/escrow/order"
)

// paramsOf returns nil for an unknown network.
func paramsOf(name string) *chaincfg.Params {
	for _, network := range bolt11Networks() {
		if network.name == name {
			return network.params
		}
	}
	return nil
}

// encodeBolt11 writes an invoice, but for its text and payee, with the features that lnd
// sets on a hold invoice. Its payment secret follows from its hash.
func encodeBolt11(invoice order.Invoice, req SimInvoiceRequest, key *btcec.PrivateKey) (string, error) {
	features := lnwire.NewFeatureVector(lnwire.NewRawFeatureVector(
		lnwire.TLVOnionPayloadRequired, lnwire.PaymentAddrRequired, lnwire.MPPOptional,
	), lnwire.Features)
	options := []func(*zpay32.Invoice){
		zpay32.Description(req.Memo),
		zpay32.CLTVExpiry(uint64(invoice.FinalCLTV)),
		zpay32.Expiry(invoice.ExpiresAt.Sub(invoice.CreatedAt)),
		zpay32.PaymentAddr(sha256.Sum256(append([]byte("payment secret"), invoice.Hash[:]...))),
		zpay32.Features(features),
	}
	if invoice.Amount > 0 {
		options = append(options, zpay32.Amount(lnwire.MilliSatoshi(invoice.Amount)))
	}
	if invoice.HasHints {
		options = append(options, zpay32.RouteHint([]zpay32.HopHint{{
			NodeID:          key.PubKey(),
			ChannelID:       1,
			CLTVExpiryDelta: 40,
		}}))
	}
	if req.Blinded {
		options = append(options, zpay32.WithBlindedPaymentPath(&zpay32.BlindedPaymentPath{
			Features:                    lnwire.EmptyFeatureVector(),
			FirstEphemeralBlindingPoint: key.PubKey(),
		}))
	}
	written, err := zpay32.NewInvoice(paramsOf(invoice.Network), invoice.Hash, invoice.CreatedAt, options...)
	if err != nil {
		return "", err
	}
	return written.Encode(zpay32.MessageSigner{SignCompact: func(message []byte) ([]byte, error) {
		return ecdsa.SignCompact(key, chainhash.HashB(message), true), nil
	}})
}
