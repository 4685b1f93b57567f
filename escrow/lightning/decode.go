package lightning

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/btcsuite/btcd/chaincfg"
	"github.com/lightningnetwork/lnd/zpay32"

	"mostro/escrow/order"
)

// Limits of what Decode reads.
const (
	maxInvoiceLength = 7089                   // characters; zpay32's own bound, one QR code
	maxInvoiceAmount = 21_000_000 * 1e8 * 1e3 // msat: all bitcoin there can be
	// lnd narrows the final delta to 16 bits when it pays, so a larger one would be paid as
	// a small one.
	maxFinalCLTV = math.MaxUint16 // blocks
)

// bolt11Network is a network by its BOLT11 prefix.
type bolt11Network struct {
	prefix string
	name   string
	params *chaincfg.Params
}

// bolt11Networks lists the prefixes, longer ones before those they begin with: "lnbcrt"
// also begins with "lnbc", and "lntbs" with "lntb".
func bolt11Networks() [5]bolt11Network {
	return [...]bolt11Network{
		{"lnbcrt", "regtest", &chaincfg.RegressionNetParams},
		{"lnbc", "mainnet", &chaincfg.MainNetParams},
		{"lntbs", "signet", &chaincfg.SigNetParams},
		{"lntb", "testnet", &chaincfg.TestNet3Params},
		{"lnsb", "simnet", &chaincfg.SimNetParams},
	}
}

// Decode reads a BOLT11 invoice of any network, in upper or lower case, with or without a
// "lightning:" prefix. It checks that the text is a signed, well-formed invoice; whether
// its amount, expiry or network suit an order is for package order to say. The error says
// what is wrong in words that may be shown to the person who sent the invoice.
func Decode(bolt11 string) (order.Invoice, error) {
	invoice, err := decode(bolt11)
	if err != nil {
		return order.Invoice{}, fmt.Errorf("decode invoice: %w", err)
	}
	return invoice, nil
}

func decode(bolt11 string) (invoice order.Invoice, err error) {
	// A stranger chooses the text, so a panic of the library is one more bad invoice.
	defer func() {
		if recovered := recover(); recovered != nil {
			invoice, err = order.Invoice{}, fmt.Errorf("malformed: %v", recovered)
		}
	}()
	text, err := cleanInvoice(bolt11)
	if err != nil {
		return order.Invoice{}, err
	}
	network, err := networkOf(text)
	if err != nil {
		return order.Invoice{}, err
	}
	if err := checkAmountText(text[len(network.prefix):strings.LastIndexByte(text, '1')]); err != nil {
		return order.Invoice{}, err
	}
	decoded, err := zpay32.Decode(text, network.params)
	if err != nil {
		return order.Invoice{}, err
	}
	// lnd 0.20 reads the first hop of a blinded path before it looks whether there is one: told to pay
	// such an invoice, it ends. Of other paths that it does not like it says so in words without a
	// promise that nothing was sent. An lnd that is paid through blinded paths gives no payment secret,
	// and could not be paid in any case.
	if len(decoded.BlindedPaymentPaths) > 0 {
		return order.Invoice{}, errors.New("blinded paths are not paid; give an invoice without them")
	}
	invoice = order.Invoice{
		Text:          text,
		Hash:          *decoded.PaymentHash,
		Payee:         hex.EncodeToString(decoded.Destination.SerializeCompressed()),
		CreatedAt:     decoded.Timestamp,
		ExpiresAt:     decoded.Timestamp.Add(decoded.Expiry()),
		HasHints:      len(decoded.RouteHints) > 0,
		PaymentSecret: decoded.PaymentAddr.IsSome(),
		Network:       network.name,
	}
	if decoded.MilliSat != nil {
		amount := uint64(*decoded.MilliSat)
		if amount == 0 || amount > maxInvoiceAmount {
			return order.Invoice{}, fmt.Errorf("amount %d msat is out of range", amount)
		}
		invoice.Amount = order.Msat(amount)
	}
	if invoice.Hash.IsZero() {
		return order.Invoice{}, errors.New("the payment hash is all zeros")
	}
	if decoded.Expiry() < 0 {
		return order.Invoice{}, errors.New("expiry is out of range")
	}
	cltv := decoded.MinFinalCLTVExpiry()
	if cltv > maxFinalCLTV {
		return order.Invoice{}, fmt.Errorf("final CLTV delta %d is above %d blocks", cltv, maxFinalCLTV)
	}
	invoice.FinalCLTV = uint32(cltv)
	return invoice, nil
}

// cleanInvoice takes off what wallets put around an invoice.
func cleanInvoice(text string) (string, error) {
	const scheme = "lightning:"
	text = strings.TrimSpace(text)
	if len(text) > maxInvoiceLength+len(scheme) {
		return "", fmt.Errorf("%d characters are more than an invoice has", len(text))
	}
	// Some letters outside ASCII have a lower case within it.
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return "", fmt.Errorf("character %q does not belong in an invoice", text[i])
		}
	}
	text = strings.TrimPrefix(strings.ToLower(text), scheme)
	if text == "" {
		return "", errors.New("the invoice is empty")
	}
	return text, nil
}

// networkOf finds the network that an invoice is for. Its text is in lower case.
func networkOf(text string) (bolt11Network, error) {
	for _, network := range bolt11Networks() {
		rest, ok := strings.CutPrefix(text, network.prefix)
		if ok && strings.Contains(rest, "1") {
			return network, nil
		}
	}
	return bolt11Network{}, errors.New("not a BOLT11 invoice of a known network")
}

// checkAmountText refuses amounts with so many digits that zpay32's multiplication wraps
// around: it would then read a small amount where a wallet reads an absurd one.
func checkAmountText(amount string) error {
	digits := strings.TrimRight(amount, "munp")
	longest := map[string]int{"": 8, "m": 11, "u": 14, "n": 17, "p": 20}[amount[len(digits):]]
	if len(digits) > longest {
		return fmt.Errorf("amount %.20q is out of range", amount)
	}
	return nil
}
