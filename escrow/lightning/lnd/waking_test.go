package lnd_test

import (
	"testing"

	"mostro/escrow/lightning"
	"mostro/escrow/lightning/lnd"
	"mostro/escrow/lightning/lnd/wallet"
	"mostro/escrow/lightning/regtest"
	"mostro/escrow/order"
)

// TestNoPeersYet: an lnd that has just started and has no connection to a peer yet finds no path to
// him. That is no reason to refuse an invoice of his.
func TestNoPeersYet(t *testing.T) {
	t.Parallel()
	network, ctx := regtest.ForTest(t), t.Context()
	config := func(name string) lnd.Config {
		info := network.Node(name)
		return lnd.Config{Host: info.GRPC, CertFile: info.TLSCert, MacaroonFile: info.Macaroon}
	}
	bob, err := wallet.Dial(config("bob"))
	if err != nil {
		t.Fatal(err)
	}
	defer bob.Close()
	node, err := lnd.Dial(config("mostro"))
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	made, err := bob.Invoice(ctx, order.Sat(1000).Msat(), "")
	if err != nil {
		t.Fatal(err)
	}
	invoice, err := lightning.Decode(made.Text)
	if err != nil {
		t.Fatal(err)
	}
	network.KillNode("bob")
	network.KillNode("mostro")
	if err := network.StartNode(ctx, "mostro"); err != nil {
		t.Fatal(err)
	}
	if balance, err := node.Balance(ctx); err != nil || balance.ActiveChannels != 1 {
		t.Fatalf("%d active channels, %v, want the one with alice", balance.ActiveChannels, err)
	}
	if err := node.CanRoute(ctx, invoice, invoice.Amount); err != nil {
		t.Errorf("bob's invoice: %v", err)
	}
}
