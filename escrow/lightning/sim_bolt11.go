package lightning

import (
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/ecdsa"
	"github.com/btcsuite/btcd/chaincfg"
	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/lightningnetwork/lnd/lnwire"
	"github.com/lightningnetwork/lnd/zpay32"

	"mostro/escrow/order"
)

// bolt11Fields is what a simulated node writes into an invoice.
type bolt11Fields struct {
	network string
	hash    order.Hash
	secret  [32]byte
	amount  order.Msat // 0 = none
	memo    string
	created time.Time
	expiry  time.Duration
	cltv    uint32
	hints   bool
	key     *btcec.PrivateKey
}

// paramsOf returns nil for an unknown network.
func paramsOf(name string) *chaincfg.Params {
	for _, network := range bolt11Networks() {
		if network.name == name {
			return network.params
		}
	}
	return nil
}

// encodeBolt11 writes an invoice with the features that lnd sets on a hold invoice.
func encodeBolt11(fields bolt11Fields) (string, error) {
	features := lnwire.NewFeatureVector(lnwire.NewRawFeatureVector(
		lnwire.TLVOnionPayloadRequired, lnwire.PaymentAddrRequired, lnwire.MPPOptional,
	), lnwire.Features)
	options := []func(*zpay32.Invoice){
		zpay32.Description(fields.memo),
		zpay32.CLTVExpiry(uint64(fields.cltv)),
		zpay32.Expiry(fields.expiry),
		zpay32.PaymentAddr(fields.secret),
		zpay32.Features(features),
	}
	if fields.amount > 0 {
		options = append(options, zpay32.Amount(lnwire.MilliSatoshi(fields.amount)))
	}
	if fields.hints {
		options = append(options, zpay32.RouteHint([]zpay32.HopHint{{
			NodeID:          fields.key.PubKey(),
			ChannelID:       1,
			CLTVExpiryDelta: 40,
		}}))
	}
	invoice, err := zpay32.NewInvoice(paramsOf(fields.network), fields.hash, fields.created, options...)
	if err != nil {
		return "", err
	}
	return invoice.Encode(zpay32.MessageSigner{SignCompact: func(message []byte) ([]byte, error) {
		return ecdsa.SignCompact(fields.key, chainhash.HashB(message), true), nil
	}})
}
