package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"mostro/escrow/lightning/lnd/wallet"
	"mostro/escrow/order"
)

// accounts are the books of all nodes, by name.
type accounts map[string]wallet.Books

// books reads the books of the three nodes when nothing is on its way between them, but for some
// payments.
func (d *demo) books(ctx context.Context, but ...order.Hash) (accounts, error) {
	nodes := map[string]*wallet.Wallet{escrowNode: d.escrow, d.alice.name: d.alice.wallet, d.bob.name: d.bob.wallet}
	for name, node := range nodes {
		if err := node.Quiet(ctx, but...); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	all := accounts{}
	for name, node := range nodes {
		books, err := node.Books(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all[name] = books
	}
	return all, nil
}

// settleAccounts prints where every sat went, and returns an error that lists what does not
// agree: what one node paid and another did not get, what a message promised and a node did
// not do, channels that say something else than the books, money that moved outside of the
// trades.
func settleAccounts(out io.Writer, flows []flow, before, after accounts) error {
	var wrong []error
	agree := func(what string, got, want order.Msat) {
		if got != want {
			wrong = append(wrong, fmt.Errorf("%s: %s msat, not %s", what, thousands(got), thousands(want)))
		}
	}
	fmt.Fprintf(out, "\nWhere every millisat went, as the Lightning nodes tell it\n\n")
	table := newTable(out, "", "seller paid", "buyer got", "node's fee", "routing", "sum")
	var total flow
	moved := map[string]order.Msat{} // by the trades, per node
	for i, f := range flows {
		name := fmt.Sprintf("trade %d", i+1)
		table.row(name, f.row()...)
		agree(name+": of what the seller paid the escrow got", f.EscrowGot, f.SellerPaid)
		agree(name+": of what the escrow paid the buyer got", f.BuyerGot, f.EscrowPaid)
		agree(name+": the seller was asked for one amount and paid", f.SellerPaid, f.AskedOfSeller)
		agree(name+": the buyer was promised one amount and got", f.BuyerGot, f.PromisedToBuyer)
		moved[f.seller] -= f.SellerPaid + f.SellerRouting
		moved[f.buyer] += f.BuyerGot
		moved[escrowNode] += f.EscrowGot - f.EscrowPaid - f.EscrowRouting
		total.add(f)
	}
	table.row("total", total.row()...)

	fmt.Fprintln(out)
	table = newTable(out, "", "invoices", "payments", "routing", "forwards", "channels", "trades")
	var all wallet.Books
	var trades order.Msat
	for _, name := range []string{"alice", "bob", escrowNode} {
		change := after[name].Since(before[name])
		table.row(name, change.Received, -change.Paid, -change.Routing, change.Forwarded, change.Channels, moved[name])
		agree(name+": the channels changed by something else than the books", change.Channels, change.Net())
		agree(name+": the channels changed by something else than the trades", change.Channels, moved[name]+change.Forwarded)
		all = all.Plus(change)
		trades += moved[name]
	}
	table.row("sum", all.Received, -all.Paid, -all.Routing, all.Forwarded, all.Channels, trades)
	agree("the channels of all nodes together changed by", all.Channels, 0)
	if len(wrong) > 0 {
		return fmt.Errorf("the demo's sum is not zero:\n%w", errors.Join(wrong...))
	}
	fmt.Fprintln(out, "\nThe sum is zero: what the sellers paid, the buyers and the node got.")
	return nil
}

// fee is what the trade left with the node.
func (f flow) fee() order.Msat { return f.EscrowGot - f.EscrowPaid - f.EscrowRouting }

func (f flow) routing() order.Msat { return f.SellerRouting + f.EscrowRouting }

// sum is zero when nothing is lost between the three.
func (f flow) sum() order.Msat {
	return -f.SellerPaid - f.SellerRouting + f.BuyerGot + f.fee() + f.routing()
}

func (f flow) row() []order.Msat {
	return []order.Msat{-f.SellerPaid - f.SellerRouting, f.BuyerGot, f.fee(), f.routing(), f.sum()}
}

func (f *flow) add(other flow) {
	f.SellerPaid += other.SellerPaid
	f.SellerRouting += other.SellerRouting
	f.EscrowGot += other.EscrowGot
	f.EscrowPaid += other.EscrowPaid
	f.EscrowRouting += other.EscrowRouting
	f.BuyerGot += other.BuyerGot
}

// textTable prints columns of amounts.
type textTable struct{ out io.Writer }

func newTable(out io.Writer, first string, columns ...string) textTable {
	t := textTable{out}
	t.line(first, columns)
	return t
}

func (t textTable) row(name string, amounts ...order.Msat) {
	cells := make([]string, len(amounts))
	for i, amount := range amounts {
		cells[i] = thousands(amount)
	}
	t.line(name, cells)
}

func (t textTable) line(name string, cells []string) {
	line := fmt.Sprintf("  %-8s", name)
	for _, cell := range cells {
		line += fmt.Sprintf("%14s", cell)
	}
	fmt.Fprintln(t.out, strings.TrimRight(line, " "))
}
