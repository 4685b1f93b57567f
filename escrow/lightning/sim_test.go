package lightning_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// trio is the usual network of a trade.
type trio struct {
	net                   *lightning.SimNetwork
	escrow, seller, buyer *lightning.SimNode
}

func newTrio(t *testing.T) trio { return newTrioWith(t, lightning.SimConfig{}) }

func newTrioWith(t *testing.T, config lightning.SimConfig) trio {
	net := lightning.NewSimNetwork(config)
	t.Cleanup(func() {
		if total, minted := net.Total(); total != minted {
			t.Errorf("the network holds %d msat of the %d it began with", total, minted)
		}
	})
	return trio{net, net.Node("mostro"), net.Node("alice"), net.Node("bob")}
}

// hold opens a hold invoice of the escrow, with a preimage made of its number.
func (n trio) hold(t *testing.T, number byte, sats order.Sat) (lightning.HoldInvoice, order.Preimage) {
	t.Helper()
	preimage := order.NewPreimage([32]byte{number, 1})
	invoice, err := n.escrow.OpenHold(t.Context(), lightning.HoldRequest{
		Hash: preimage.Hash(), Amount: sats.Msat(), CLTVDelta: 288, Expiry: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	return invoice, preimage
}

func payRequest(bolt11 string, sats order.Sat) lightning.PayRequest {
	return lightning.PayRequest{Invoice: bolt11, Amount: sats.Msat(), FeeLimit: 10_000, MaxParts: 1, Timeout: time.Minute}
}

// TestSimTrade plays a trade without goroutines and reads all there is to see of it.
func TestSimTrade(t *testing.T) {
	n := newTrio(t)
	n.buyer.SetRoute(lightning.SimRoute{BaseFee: 1000, FeePPM: 100})
	var seen []string
	n.net.OnChange(func(change lightning.SimChange) {
		switch {
		case change.Hold != nil:
			seen = append(seen, fmt.Sprintf("%s hold %s", change.Node, change.Hold.State))
		case change.Payment != nil:
			seen = append(seen, fmt.Sprintf("%s payment %s", change.Node, change.Payment.State))
		}
	})
	invoice, preimage := n.hold(t, 1, 50_000)
	if payment, err := n.seller.PayHold(invoice.Invoice); err != nil || payment.State != lightning.InFlight {
		t.Fatalf("seller's payment: %v %v", payment.State, err)
	}
	if err := n.escrow.Settle(t.Context(), preimage); err != nil {
		t.Fatal(err)
	}
	payout := n.buyer.AddInvoice(lightning.SimInvoiceRequest{Amount: order.Sat(49_000).Msat()})
	if sent, err := n.escrow.Send(t.Context(), payRequest(payout, 49_000)); err != nil || sent.State != lightning.InFlight {
		t.Fatalf("payout: %v %v", sent.State, err)
	}
	want := []string{
		"mostro hold open", "alice payment in-flight", "mostro hold accepted",
		"mostro hold settled", "alice payment succeeded", "bob hold open",
		"mostro payment in-flight", "bob hold settled", "mostro payment succeeded",
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	fee := order.Msat(1000 + 4900)
	begin := order.Sat(10_000_000_000).Msat()
	got := map[string]order.Msat{
		"mostro": n.escrow.Funds(), "alice": n.seller.Funds(), "bob": n.buyer.Funds(), "routing": n.net.Routed(),
	}
	wantFunds := map[string]order.Msat{
		"mostro": begin + 1_000_000 - fee, "alice": begin - 50_000_000, "bob": begin + 49_000_000, "routing": fee,
	}
	if diff := cmp.Diff(wantFunds, got); diff != "" {
		t.Errorf("funds (-want +got):\n%s", diff)
	}
	var calls []string
	for _, call := range n.escrow.Calls() {
		calls = append(calls, fmt.Sprintf("%s %s", call.Method, call.Outcome))
	}
	if diff := cmp.Diff([]string{"OpenHold open", "Settle settled", "Send in-flight"}, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// TestSimFailures checks why a payment fails, and that a failed one costs nothing.
func TestSimFailures(t *testing.T) {
	for name, c := range map[string]struct {
		config lightning.SimConfig
		set    func(n trio, bolt11 string)
		pay    lightning.SimPay
		want   string
	}{
		"no route": {
			set:  func(n trio, bolt11 string) { n.buyer.SetRoute(lightning.SimRoute{None: true}) },
			want: "FAILURE_REASON_NO_ROUTE",
		},
		"payee offline": {
			set:  func(n trio, bolt11 string) { n.buyer.Stop() },
			want: "FAILURE_REASON_NO_ROUTE",
		},
		"fee above the limit": {
			set:  func(n trio, bolt11 string) { n.buyer.SetRoute(lightning.SimRoute{FeePPM: 5000}) },
			pay:  lightning.SimPay{FeeLimit: 499_999},
			want: "FAILURE_REASON_NO_ROUTE",
		},
		"not enough for the fee": {
			config: lightning.SimConfig{Funds: 100_000_000},
			set:    func(n trio, bolt11 string) { n.buyer.SetRoute(lightning.SimRoute{BaseFee: 1}) },
			want:   "FAILURE_REASON_INSUFFICIENT_BALANCE",
		},
		"payee cannot receive so much": {
			config: lightning.SimConfig{Funds: 100_000_000},
			set: func(n trio, bolt11 string) {
				n.seller.Pay(lightning.SimPay{Invoice: n.buyer.AddInvoice(lightning.SimInvoiceRequest{Amount: 1000})})
			},
			want: "FAILURE_REASON_NO_ROUTE",
		},
		"payee has no slot left": {
			config: lightning.SimConfig{Channels: 1},
			set: func(n trio, bolt11 string) {
				for i := range 483 {
					held, _ := n.buyer.AddHoldInvoice(1000)
					n.net.Node("payer " + strconv.Itoa(i)).PayHold(held)
				}
			},
			want: "FAILURE_REASON_NO_ROUTE",
		},
		"paid by another": {
			set: func(n trio, bolt11 string) {
				n.seller.Pay(lightning.SimPay{Invoice: bolt11})
			},
			want: "FAILURE_REASON_INCORRECT_PAYMENT_DETAILS",
		},
	} {
		n := newTrioWith(t, c.config)
		c.pay.Invoice = n.buyer.AddInvoice(lightning.SimInvoiceRequest{Amount: 100_000_000})
		c.set(n, c.pay.Invoice)
		before := n.escrow.Funds()
		payment, err := n.escrow.Pay(c.pay)
		if err != nil || payment.State != lightning.Failed || payment.Reason != c.want {
			t.Errorf("%s: %s (%s), %v, want failed (%s)", name, payment.State, payment.Reason, err, c.want)
		}
		if got := n.escrow.Funds(); got != before {
			t.Errorf("%s: the payer has %d msat after it and had %d", name, got, before)
		}
	}
}

// TestSimRoutingFee checks the figure itself, and that all of it is accounted for.
func TestSimRoutingFee(t *testing.T) {
	n := newTrio(t)
	n.buyer.SetRoute(lightning.SimRoute{BaseFee: 7, FeePPM: 1234})
	bolt11 := n.buyer.AddInvoice(lightning.SimInvoiceRequest{Amount: 3_456_789})
	want := order.Msat(7 + 3_456_789*1234/1_000_000)
	before := n.escrow.Funds()
	payment, err := n.escrow.Pay(lightning.SimPay{Invoice: bolt11, FeeLimit: want, Parts: 3})
	if err != nil || payment.State != lightning.Succeeded || payment.RoutingFee != want {
		t.Fatalf("%+v, %v, want a fee of %d", payment, err, want)
	}
	if paid := before - n.escrow.Funds(); paid != 3_456_789+want || n.net.Routed() != want {
		t.Errorf("%d msat left the payer and %d went to routing, want %d and %d", paid, n.net.Routed(), 3_456_789+want, want)
	}
}

// TestSimWhileStopped lets everything become due at a stopped node.
func TestSimWhileStopped(t *testing.T) {
	n := newTrio(t)
	unpaid, _ := n.hold(t, 1, 1000)
	paid, preimage := n.hold(t, 2, 1000)
	if _, err := n.seller.PayHold(paid.Invoice); err != nil {
		t.Fatal(err)
	}
	n.escrow.Stop()
	n.net.Advance(2 * time.Hour)
	n.net.Mine(288 + 3 - 12)
	for _, hold := range []lightning.HoldInvoice{unpaid, paid} {
		if state, _ := n.escrow.HoldState(hold.Hash); state.State.Final() {
			t.Errorf("a stopped node has made its invoice %s", state.State)
		}
	}
	if state, _ := n.seller.PaymentState(paid.Hash); state.State != lightning.InFlight {
		t.Errorf("the payment is %s, want in-flight", state.State)
	}
	n.escrow.Start()
	for _, hold := range []lightning.HoldInvoice{unpaid, paid} {
		if state, _ := n.escrow.HoldState(hold.Hash); state.State != lightning.Canceled {
			t.Errorf("after the start the invoice is %s, want canceled", state.State)
		}
	}
	if state, _ := n.seller.PaymentState(paid.Hash); state.State != lightning.Failed {
		t.Errorf("the payment is %s, want failed", state.State)
	}
	if err := n.escrow.Settle(t.Context(), preimage); err == nil {
		t.Error("settled what was canceled")
	}
}

// TestSimRandom does many random things to a small network and checks the money after each.
// The same seed must do the same again, to the letter.
func TestSimRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const steps = 1000
	first, second := randomRun(t, seed, steps), randomRun(t, seed, steps)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("seed %d: two runs differ:\n%s", seed, diff)
	}
	kinds := map[string]int{}
	for _, line := range first {
		kinds[line.what]++
	}
	for _, what := range []string{"open", "accepted", "settled", "canceled", "in-flight", "succeeded", "failed"} {
		if kinds[what] == 0 {
			t.Errorf("seed %d: %s never happened in %v", seed, what, kinds)
		}
	}
}

// told is a line of the protocol of a random run.
type told struct{ node, what, hash string }

func (t told) Equal(other told) bool { return t == other }

func randomRun(t *testing.T, seed uint64, steps int) (lines []told) {
	t.Helper()
	dice := rand.New(rand.NewPCG(seed, 1))
	net := lightning.NewSimNetwork(lightning.SimConfig{Funds: 50_000_000, Channels: 1})
	var nodes []*lightning.SimNode
	for _, name := range []string{"mostro", "alice", "bob", "carol"} {
		node := net.Node(name)
		node.SetRoute(lightning.SimRoute{BaseFee: order.Msat(dice.IntN(2000)), FeePPM: dice.Int64N(2000)})
		node.SetFaults(lightning.Faults{
			Fate: func(order.Hash) lightning.SimFate {
				return lightning.SimFate(max(0, dice.IntN(12)-8))
			},
			Notice: func(order.Hash) lightning.SimNotice {
				return lightning.SimNotice(max(0, dice.IntN(12)-9))
			},
		})
		nodes = append(nodes, node)
	}
	net.OnChange(func(change lightning.SimChange) {
		line := told{node: change.Node, hash: change.Hash.String()}
		switch {
		case change.Hold != nil:
			line.what = string(change.Hold.State)
		case change.Payment != nil:
			line.what = string(change.Payment.State)
		default:
			line.what, line.hash = "block", strconv.Itoa(int(change.Height))
		}
		lines = append(lines, line)
	})
	type made struct {
		text     string
		preimage order.Preimage
		at       *lightning.SimNode
	}
	var invoices []made
	for step := range steps {
		node := nodes[dice.IntN(len(nodes))]
		amount := order.Msat(1 + dice.IntN(3_000_000))
		if dice.IntN(4) == 0 || len(invoices) == 0 {
			if dice.IntN(3) == 0 {
				invoices = append(invoices, made{text: node.AddInvoice(lightning.SimInvoiceRequest{Amount: amount}), at: node})
			} else {
				text, preimage := node.AddHoldInvoice(amount)
				invoices = append(invoices, made{text, preimage, node})
			}
			continue
		}
		invoice := invoices[len(invoices)-1-dice.IntN(min(len(invoices), 20))]
		hash := hashOf(t, invoice.text)
		// What a call answers is for other tests: here only the money counts.
		switch dice.IntN(14) {
		case 0, 1:
			node.Pay(lightning.SimPay{Invoice: invoice.text, Parts: 1 + dice.IntN(3)})
		case 2:
			node.Pay(lightning.SimPay{Invoice: invoice.text, Amount: amount, FeeLimit: 1000})
		case 3:
			node.PayShard(invoice.text, amount/2, amount)
		case 4, 5:
			node.Send(t.Context(), lightning.PayRequest{Invoice: invoice.text, Amount: amount, FeeLimit: 10_000})
			decoded, _ := lightning.Decode(invoice.text)
			node.Send(t.Context(), lightning.PayRequest{Invoice: invoice.text, Amount: decoded.Amount, FeeLimit: 10_000})
		case 6, 7:
			invoice.at.Settle(t.Context(), invoice.preimage)
		case 8:
			invoice.at.Cancel(t.Context(), hash)
		case 9:
			node.Unstick(hash)
			node.ReleaseNotices()
		case 10:
			node.ForgetPayment(hash)
		case 11:
			net.Advance(time.Duration(dice.IntN(100)) * time.Second)
		case 12:
			net.Mine(uint32(dice.IntN(4)))
		case 13:
			if dice.IntN(2) == 0 {
				node.Stop()
			}
			nodes[dice.IntN(len(nodes))].Start()
		}
		if total, minted := net.Total(); total != minted {
			t.Fatalf("seed %d, step %d: the network holds %d msat of the %d it began with", seed, step, total, minted)
		}
		for _, node := range nodes {
			if node.Funds() < 0 {
				t.Fatalf("seed %d, step %d: %s has %d msat", seed, step, node.Name(), node.Funds())
			}
		}
	}
	// When everything is over, nothing is left on the way.
	for _, node := range nodes {
		node.Start()
	}
	net.Advance(48 * time.Hour)
	net.Mine(200)
	var owned order.Msat
	for _, node := range nodes {
		owned += node.Funds()
	}
	if _, minted := net.Total(); owned+net.Routed() != minted {
		t.Errorf("seed %d: %d msat are owned in the end and %d went to routing, want %d in all", seed, owned, net.Routed(), minted)
	}
	return lines
}

// BenchmarkSimTrade is what a simulation of trades pays for its Lightning part.
func BenchmarkSimTrade(b *testing.B) {
	net := lightning.NewSimNetwork(lightning.SimConfig{Funds: 1 << 60})
	escrow, seller, buyer := net.Node("mostro"), net.Node("alice"), net.Node("bob")
	b.ReportAllocs()
	for i := range b.N {
		preimage := order.NewPreimage([32]byte{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24), 1})
		hold, err := escrow.OpenHold(b.Context(), lightning.HoldRequest{Hash: preimage.Hash(), Amount: 1_000_000})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := seller.PayHold(hold.Invoice); err != nil {
			b.Fatal(err)
		}
		if err := escrow.Settle(b.Context(), preimage); err != nil {
			b.Fatal(err)
		}
		payout := buyer.AddInvoice(lightning.SimInvoiceRequest{Amount: 1_000_000})
		if _, err := escrow.Send(b.Context(), payRequest(payout, 1000)); err != nil {
			b.Fatal(err)
		}
	}
}
