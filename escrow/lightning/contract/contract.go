// Package contract says in running cases what the escrow relies on of a Lightning node.
//
// The same cases run against lightning.Sim on every test and against real lnd nodes where
// those can be started. A difference between the two shows here and not in a trade: a Sim
// that is kinder than lnd would make every other test of the escrow worthless.
//
// The rules: a case may use nothing but Network; it waits for what happens and never for
// time to pass, with one long deadline for all; it makes its own invoices and leaves no
// payment in flight, since all cases share one network. The package must know neither lnd
// nor how Sim works (it uses a Sim of its own to write the invoices of unknown nodes).
package contract

import (
	"testing"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// Party is one of the three nodes of a network.
type Party int

const (
	// Escrow is the node under test. It has a channel with each of the others.
	Escrow Party = iota
	// Seller pays the escrow's hold invoices over a channel of its own.
	Seller
	// Buyer is paid by the escrow. From the seller it is two hops away, and the escrow, in
	// the middle, asks a routing fee.
	Buyer
)

func (p Party) String() string { return [...]string{"escrow", "seller", "buyer"}[p] }

// Capability is something that not every network can do.
type Capability string

const (
	// MPP: PayShard works.
	MPP Capability = "mpp"
	// LongWaits: Advance by minutes is possible.
	LongWaits Capability = "long waits"
	// Restricted: RestrictedNode works.
	Restricted Capability = "restricted macaroon"
	// LostAnswer: SendLosingAnswer works.
	LostAnswer Capability = "lost answer"
	// ManyHTLCs: it is practical to have as many payments accepted at once as Slots says.
	ManyHTLCs Capability = "many HTLCs"
)

// InvoiceRequest asks for an ordinary invoice, paid as soon as its payment arrives.
type InvoiceRequest struct {
	Amount    order.Msat    // 0 = the payer decides
	Expiry    time.Duration // 0 = an hour
	CLTVDelta uint32        // blocks; 0 = the node's default, 80
}

// Payment is a payment as a careless wallet may send it: what Node.Send would refuse to do.
type Payment struct {
	Invoice string
	// Amount to pay whatever the invoice asks, 0 = what it asks. A real adapter sends to the
	// decoded payee, hash, payment secret and final CLTV delta instead of to the text.
	Amount order.Msat
}

// Network is three connected nodes with funds and block production under the test's hand.
// Methods that take t end the case when the environment itself breaks; what a case tests
// comes back as values. All methods may take seconds on real nodes, and return when the
// nodes themselves agree that it is done. Channels of at least 2,000,000 sat on each side
// connect seller and buyer to the escrow; the seller's own funds are below 100 BTC.
type Network interface {
	// Node is a party as the escrow would drive it. All three can do everything.
	Node(p Party) lightning.Node
	// Supports tells whether the network can do something. A case that needs more is
	// skipped with the reason.
	Supports(c Capability) bool

	// AddInvoice makes an ordinary invoice at a node.
	AddInvoice(t testing.TB, at Party, req InvoiceRequest) (bolt11 string)
	// Pay starts a payment, in one or more parts, with a generous fee limit, and does not
	// wait for its end. It is found by Node(from).Track.
	Pay(t testing.TB, from Party, payment Payment)
	// PayShard sends one HTLC that claims to be part of a payment of total (lnd:
	// SendToRouteV2 with an mpp record, in the background, since that call waits for the
	// end), and does not wait for what becomes of it.
	PayShard(t testing.TB, from Party, bolt11 string, amount, total order.Msat)
	// SendLosingAnswer makes a node carry out Send while the caller sees its connection
	// break before the answer (lnd: a connection of its own, cut by an interceptor). It
	// returns when the caller has seen that.
	SendLosingAnswer(t testing.TB, from Party, req lightning.PayRequest)

	// Mine adds blocks and returns when every running node has seen them.
	Mine(t testing.TB, blocks uint32)
	// Advance lets time pass for the nodes: a simulated clock jumps, a real one is waited for.
	Advance(t testing.TB, d time.Duration)

	// Stop ends a node as a crash does (lnd: kill -9), Start brings it back and returns when
	// it answers calls; Start of the last stopped node also waits until channels are active
	// and payments route. Node keeps working over a restart: the value that a case got
	// before reconnects.
	Stop(t testing.TB, p Party)
	Start(t testing.TB, p Party)

	// RestrictedNode is a party with rights to read only: Info and Lookup work, everything
	// that moves money does not.
	RestrictedNode(t testing.TB, p Party) lightning.Node
	// Slots is how many HTLCs the seller can have in flight to the escrow (lnd: 483 for each
	// channel). Used only with ManyHTLCs.
	Slots() int
}

// Run runs all cases, in order, on one network.
func Run(t *testing.T, newNetwork func(t *testing.T) Network) {
	network := newNetwork(t)
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			for _, need := range c.needs {
				if !network.Supports(need) {
					t.Skipf("this network has no support for: %s", need)
				}
			}
			c.run(newLab(t, network))
		})
	}
}
