package lnd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lightningnetwork/lnd/lnrpc"
	"google.golang.org/protobuf/proto"
)

// permission is a call of lnd's and the coarse right that also opens it.
type permission struct{ uri, right string }

func permissions() []permission {
	return []permission{
		{"/lnrpc.Lightning/GetInfo", "info:read"},
		{"/lnrpc.Lightning/ChannelBalance", "offchain:read"},
		{"/lnrpc.Lightning/ListChannels", "offchain:read"},
		{"/lnrpc.Lightning/DecodePayReq", "offchain:read"},
		{"/lnrpc.Lightning/ListInvoices", "invoices:read"},
		{"/lnrpc.Lightning/ListPayments", "offchain:read"},
		{"/invoicesrpc.Invoices/AddHoldInvoice", "invoices:write"},
		{"/invoicesrpc.Invoices/SettleInvoice", "invoices:write"},
		{"/invoicesrpc.Invoices/CancelInvoice", "invoices:write"},
		{"/invoicesrpc.Invoices/LookupInvoiceV2", "invoices:write"},
		{"/invoicesrpc.Invoices/SubscribeSingleInvoice", "invoices:read"},
		{"/routerrpc.Router/SendPaymentV2", "offchain:write"},
		{"/routerrpc.Router/TrackPaymentV2", "offchain:read"},
		{"/routerrpc.Router/EstimateRouteFee", "offchain:read"},
		{"/chainrpc.ChainNotifier/RegisterBlockEpochNtfn", "onchain:read"},
	}
}

// MacaroonURIs are the calls that the escrow's macaroon should permit, and no others:
// lncli bakemacaroon takes each as "uri:" and this. They still can spend all channel funds,
// by SendPaymentV2; lnd knows no limit for that. ChannelBalance, DecodePayReq, ListInvoices
// and ListPayments only read: they serve who compares the escrow's books with the node's.
func MacaroonURIs() []string {
	var uris []string
	for _, permission := range permissions() {
		uris = append(uris, permission.uri)
	}
	return uris
}

// AuditURIs are the calls of an audit. They show every invoice and payment of the node, and
// change nothing.
func AuditURIs() []string {
	return []string{"/lnrpc.Lightning/GetInfo", "/lnrpc.Lightning/ListInvoices", "/lnrpc.Lightning/ListPayments"}
}

// CheckMacaroon compares what a macaroon file permits with MacaroonURIs. Extra are rights
// that the escrow does not need, in lnd's words: a call's URI, or "entity:action"; the admin
// macaroon has only such. Missing are calls that would be refused. Caveats, such as an end
// date, are not looked at.
func CheckMacaroon(path string) (extra, missing []string, err error) {
	mac, err := readMacaroon(path)
	if err != nil {
		return nil, nil, err
	}
	rights, err := macaroonRights(mac.Id())
	if err != nil {
		return nil, nil, fmt.Errorf("lnd macaroon %s: %w", path, err)
	}
	needed := MacaroonURIs()
	for _, right := range rights {
		if !slices.Contains(needed, right) {
			extra = append(extra, right)
		}
	}
	for _, permission := range permissions() {
		if !slices.Contains(rights, permission.uri) && !slices.Contains(rights, permission.right) {
			missing = append(missing, permission.uri)
		}
	}
	return extra, missing, nil
}

// macaroonRights reads the rights that lnd writes into a macaroon's identifier.
func macaroonRights(identifier []byte) ([]string, error) {
	const version = 3 // of the bakery's encoding; the rest is protobuf
	if len(identifier) == 0 || identifier[0] != version {
		return nil, fmt.Errorf("it was not made by lnd: unknown identifier")
	}
	var id lnrpc.MacaroonId
	if err := proto.Unmarshal(identifier[1:], &id); err != nil {
		return nil, fmt.Errorf("it was not made by lnd: %w", err)
	}
	var rights []string
	for _, op := range id.Ops {
		for _, action := range op.Actions {
			if op.Entity == "uri" {
				rights = append(rights, action)
			} else {
				rights = append(rights, strings.Join([]string{op.Entity, action}, ":"))
			}
		}
	}
	return rights, nil
}
