package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
)

// otherInvoices is a Lightning node whose hold invoices are not what was asked for.
type otherInvoices struct {
	lightning.Node
	change func(*lightning.HoldRequest)
}

func (n otherInvoices) OpenHold(ctx context.Context, req lightning.HoldRequest) (lightning.HoldInvoice, error) {
	asked := req
	n.change(&req)
	invoice, err := n.Node.OpenHold(ctx, req)
	invoice.Amount = asked.Amount
	return invoice, err
}

// TestClientRefusesInvoices: an invoice that is not what was agreed is never shown, to nobody and no
// program, and the command says what to do.
func TestClientRefusesInvoices(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*lightning.HoldRequest)
		says   string
	}{
		"more":    {func(r *lightning.HoldRequest) { r.Amount *= 10 }, "the invoice is over 1003000 sat, and the node says 100300"},
		"a msat":  {func(r *lightning.HoldRequest) { r.Amount++ }, "the invoice is over 100300.001 sat, and the node says 100300"},
		"longer":  {func(r *lightning.HoldRequest) { r.CLTVDelta = 2000 }, "for 2000 blocks, and by the node's terms it is 288 at most"},
		"shorter": {func(r *lightning.HoldRequest) { r.CLTVDelta = 100 }, "for 100 blocks, and by the node's terms it is 288"},
		"expired": {func(r *lightning.HoldRequest) { r.Expiry = time.Second }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newClientWorld(t, 0, func(n lightning.Node) lightning.Node { return otherInvoices{n, c.change} })
			alice, bob := w.user("alice"), w.user("bob")
			id := bob.message("new", "buy", "--fiat", "USD", "--amount", "50", "--sats", "100000", "--method", "bank, cash").ID
			if name == "expired" {
				alice.ok("take", id)
				for {
					out, problem, code := alice.call("", "messages", "1")
					if code == exitOK {
						time.Sleep(50 * time.Millisecond) // it is still payable
						continue
					}
					if strings.Contains(out, "lnsb") || !strings.Contains(problem, "it is too late to pay") || !strings.Contains(problem, "mostro client messages 1 --follow") {
						t.Errorf("of an invoice whose time is over:\n%s%s", out, problem)
					}
					return
				}
			}
			for _, args := range [][]string{{"take", id}, {"messages", "1"}, {"messages", "1", "--until", "pay-invoice"}, {"messages", "1", "--json"}} {
				out, problem, code := alice.call("", args...)
				if code != exitError || !strings.Contains(problem, c.says) || strings.Contains(out+problem, "lnsb") || !strings.Contains(problem, "take it back: mostro client cancel 1") {
					t.Errorf("%v: exit code %d\n%s%s", args, code, out, problem)
				}
			}
			alice.says("The order is canceled.", "cancel", "1") // and he can, and read on
			if out := alice.ok("messages", "1", "--follow"); !strings.Contains(out, "NO: what the node wants to be paid is not as agreed") || strings.Contains(out, "lnsb") {
				t.Errorf("afterwards:\n%s", out)
			}
			if out, problem, code := alice.call("", "messages", "1", "--json"); code != exitOK || strings.Contains(out, "lnsb") || !strings.Contains(problem, c.says) {
				t.Errorf("afterwards as JSON, exit code %d:\n%s%s", code, out, problem)
			}
		})
	}
}

// TestClientRefusesTerms: a node that says something else than was agreed is found out on both sides,
// and what was agreed to is kept for the trade and for the rest of a range order.
func TestClientRefusesTerms(t *testing.T) {
	w := newClientWorld(t, 0)
	alice, bob := w.user("alice"), w.user("bob")
	// agrees makes what a user has agreed to in a trade something else, as if the node had lied.
	agrees := func(u *user, index uint32, change func(*clientTrade)) {
		u.Helper()
		state, err := clientDir(u.dir).load()
		if err != nil {
			u.Fatal(err)
		}
		for i := range state.Trades {
			if state.Trades[i].Index == index {
				change(&state.Trades[i])
			}
		}
		u.keep(state)
	}
	id := alice.message("new", "sell", "--sats", "100000", "--fiat", "USD", "--amount", "50", "--method", "bank").ID
	bob.ok("take", id)
	agrees(bob, 1, func(t *clientTrade) { t.Agreed.Sats = 200_000 })
	bob.refused(exitError, "what the node would pay you is not as agreed: the node says 99700 sat, and 199400 were agreed", "messages", "1")
	bob.refused(exitError, "give it no invoice for that; take it back: mostro client cancel 1", "messages", "1", "--until", "add-invoice")
	agrees(bob, 1, func(t *clientTrade) { t.Agreed.Sats = 100_000 })
	bob.says("You get 99,700 sat for 50 USD", "messages", "1")
	bob.ok("invoice", "1", bob.invoice(99_700))
	alice.pay(alice.until("1", mostro.PayInvoice))
	bob.until("1", mostro.HoldInvoicePaymentAccepted)
	agrees(bob, 1, func(t *clientTrade) { t.Agreed.Fiat = 5 })
	bob.refused(exitError, "the node says 50 USD, and 5 USD was agreed", "messages", "1")
	bob.refused(exitError, "send no fiat before it is clear; ask the seller: mostro client chat 1 TEXT", "messages", "1")
	agrees(alice, 1, func(t *clientTrade) { t.Agreed.Method = "cash" })
	alice.refused(exitError, `paid by "bank", and "cash" was agreed`, "messages", "1")
	alice.refused(exitError, "release nothing before it is clear", "messages", "1")
	agrees(alice, 1, func(t *clientTrade) { t.Agreed = nil }) // as after a restore
	alice.says("The escrow holds your 100,300 sat", "messages", "1")

	// The market's price is for the user to judge, so he sees it; the rest of a range is agreed to as well.
	id = alice.message("new", "sell", "--min", "20", "--max", "100", "--fiat", "USD", "--method", "bank").ID
	bob.says("That is 50,150 USD a bitcoin, with the fee: look whether it is the market's.", "take", id, "--amount", "30")
	asked := bob.until("2", mostro.AddInvoice)
	bob.ok("invoice", "2", bob.invoice(asked.Payload.Order.Amount))
	alice.says("That is 49,850 USD a bitcoin", "messages", "2", "--until", "pay-invoice")
	alice.pay(alice.until("2", mostro.PayInvoice))
	bob.until("2", mostro.HoldInvoicePaymentAccepted)
	bob.ok("fiat-sent", "2")
	alice.until("2", mostro.FiatSentOk)
	alice.says("20-70 USD", "release", "2")
	if rest := alice.trades()[3].Agreed; rest == nil || rest.MinFiat != 20 || rest.MaxFiat != 70 {
		t.Errorf("of the rest is agreed %+v", rest)
	}
	agrees(alice, 3, func(t *clientTrade) { t.Agreed.MaxFiat = 71 })
	alice.refused(exitError, "the node says 20 to 70 USD, and 20 to 71 USD was agreed", "messages", "3")
}
