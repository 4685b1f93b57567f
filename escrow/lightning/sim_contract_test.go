package lightning_test

import (
	"testing"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/lightning/contract"
	"mostro/escrow/order"
)

// TestContract holds Sim to what real nodes do.
func TestContract(t *testing.T) {
	contract.Run(t, func(t *testing.T) contract.Network {
		net := lightning.NewSimNetwork(lightning.SimConfig{Channels: 1, Funds: order.Sat(500_000_000).Msat()})
		adapter := simAdapter{net, map[contract.Party]*lightning.SimNode{
			contract.Escrow: net.Node("mostro"),
			contract.Seller: net.Node("alice"),
			contract.Buyer:  net.Node("bob"),
		}}
		net.Node("bob").SetRoute(lightning.SimRoute{BaseFee: 1000, FeePPM: 1})
		t.Cleanup(func() {
			if total, minted := net.Total(); total != minted {
				t.Errorf("the network holds %d msat of the %d it began with", total, minted)
			}
		})
		return adapter
	})
}

// simAdapter makes a contract.Network of a SimNetwork.
type simAdapter struct {
	net   *lightning.SimNetwork
	nodes map[contract.Party]*lightning.SimNode
}

func (a simAdapter) Node(p contract.Party) lightning.Node { return a.nodes[p] }

func (a simAdapter) Supports(c contract.Capability) bool {
	return c != contract.Restricted // rights are lnd's matter
}

func (a simAdapter) AddInvoice(t testing.TB, at contract.Party, req contract.InvoiceRequest) string {
	return a.nodes[at].AddInvoice(lightning.SimInvoiceRequest{
		Amount: req.Amount, Expiry: req.Expiry, CLTVDelta: req.CLTVDelta,
	})
}

func (a simAdapter) Pay(t testing.TB, from contract.Party, payment contract.Payment) {
	t.Helper()
	if _, err := a.nodes[from].Pay(lightning.SimPay{Invoice: payment.Invoice, Amount: payment.Amount}); err != nil {
		t.Fatal(err)
	}
}

func (a simAdapter) PayShard(t testing.TB, from contract.Party, bolt11 string, amount, total order.Msat) {
	t.Helper()
	if _, err := a.nodes[from].PayShard(bolt11, amount, total); err != nil {
		t.Fatal(err)
	}
}

func (a simAdapter) SendLosingAnswer(t testing.TB, from contract.Party, req lightning.PayRequest) {
	t.Helper()
	node := a.nodes[from]
	node.SetFaults(lightning.Faults{After: func(lightning.SimMethod, order.Hash) error {
		return lightning.ErrSimDropped
	}})
	defer node.SetFaults(lightning.Faults{})
	if _, err := node.Send(t.Context(), req); err == nil {
		t.Fatal("the answer was not lost")
	}
}

func (a simAdapter) Mine(t testing.TB, blocks uint32)      { a.net.Mine(blocks) }
func (a simAdapter) Advance(t testing.TB, d time.Duration) { a.net.Advance(d) }
func (a simAdapter) Stop(t testing.TB, p contract.Party)   { a.nodes[p].Stop() }
func (a simAdapter) Start(t testing.TB, p contract.Party)  { a.nodes[p].Start() }
func (a simAdapter) Slots() int                            { return 483 }

func (a simAdapter) RestrictedNode(t testing.TB, p contract.Party) lightning.Node {
	t.Fatal("Sim has no rights to restrict")
	return nil
}
