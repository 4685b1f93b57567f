package lnd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lightningnetwork/lnd/lnrpc"
	"google.golang.org/protobuf/proto"
	"gopkg.in/macaroon.v2"
)

// newMacaroon makes a macaroon as lnd does, with rights written "entity:action".
func newMacaroon(t *testing.T, rights []string) []byte {
	t.Helper()
	id := &lnrpc.MacaroonId{Nonce: []byte("nonce"), StorageId: []byte("42")}
	for _, right := range rights {
		entity, action, _ := strings.Cut(right, ":")
		id.Ops = append(id.Ops, &lnrpc.Op{Entity: entity, Actions: []string{action}})
	}
	encoded, err := proto.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	return writeMacaroon(t, append([]byte{3}, encoded...))
}

func writeMacaroon(t *testing.T, identifier []byte) []byte {
	t.Helper()
	mac, err := macaroon.New([]byte("root key"), identifier, "lnd", macaroon.LatestVersion)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := mac.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestCheckMacaroon(t *testing.T) {
	var exact []string
	for _, uri := range MacaroonURIs() {
		exact = append(exact, "uri:"+uri)
	}
	admin := []string{
		"address:read", "address:write", "info:read", "info:write", "invoices:read", "invoices:write",
		"macaroon:generate", "macaroon:read", "macaroon:write", "message:read", "message:write",
		"offchain:read", "offchain:write", "onchain:read", "onchain:write", "peers:read", "peers:write",
	}
	for _, test := range []struct {
		name           string
		rights         []string
		extra, missing []string
	}{
		{"exactly what is needed", exact, nil, nil},
		{"the admin macaroon", admin, admin, nil},
		{"one call too many", append([]string{"uri:/lnrpc.Lightning/SendCoins"}, exact...), []string{"/lnrpc.Lightning/SendCoins"}, nil},
		{"one call too few", exact[1:], nil, []string{"/lnrpc.Lightning/GetInfo"}},
		{"a read-only one", []string{"info:read", "offchain:read", "onchain:read", "invoices:read"},
			[]string{"info:read", "offchain:read", "onchain:read", "invoices:read"},
			[]string{
				"/invoicesrpc.Invoices/AddHoldInvoice", "/invoicesrpc.Invoices/SettleInvoice", "/invoicesrpc.Invoices/CancelInvoice",
				"/invoicesrpc.Invoices/LookupInvoiceV2", "/routerrpc.Router/SendPaymentV2",
			}},
	} {
		path := filepath.Join(t.TempDir(), "macaroon")
		if err := os.WriteFile(path, newMacaroon(t, test.rights), 0o600); err != nil {
			t.Fatal(err)
		}
		extra, missing, err := CheckMacaroon(path)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.extra, extra); diff != "" {
			t.Errorf("%s: extra rights (-want +got):\n%s", test.name, diff)
		}
		if diff := cmp.Diff(test.missing, missing); diff != "" {
			t.Errorf("%s: missing calls (-want +got):\n%s", test.name, diff)
		}
	}
	for name, identifier := range map[string][]byte{"no version": {}, "another service's": []byte("id"), "broken": {3, 0xff}} {
		path := filepath.Join(t.TempDir(), "macaroon")
		if err := os.WriteFile(path, writeMacaroon(t, identifier), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := CheckMacaroon(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want an error that names the file", name, err)
		}
	}
}
