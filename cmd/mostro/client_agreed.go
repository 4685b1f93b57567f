package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

// show prints the answer to a request, unless it is not what was agreed: that is an error.
func (s *clientSession) show(answer mostro.Message, t clientTrade, trade *client.Trade) error {
	if err := t.Agreed.Check(trade.Messages(), answer, time.Now()); err != nil {
		return notAgreed(err, t)
	}
	return s.screen.message(answer, t, true)
}

// present is the message that says where a trade stands, -1 when none does.
func present(messages []mostro.Message) int {
	for i, m := range slices.Backward(messages) {
		if _, notice := client.ReputationOf(m); !notice && m.Action != mostro.CantDo && m.Action != mostro.SendDM {
			return i
		}
	}
	return -1
}

// payableAt is when an invoice must still be payable: now when the trade waits for it, and never when
// it has gone on.
func payableAt(waits bool) time.Time {
	if waits {
		return time.Now()
	}
	return time.Time{}
}

// doubtful says in the place of a message that it is not what was agreed, where others follow.
func (c clientScreen) doubtful(err error, t clientTrade) error {
	err = notAgreed(err, t)
	if c.json {
		_, err = fmt.Fprintln(c.problems, "mostro:", err)
		return err
	}
	var told hinted
	if err := c.line("NO: %s", err); err != nil || !errors.As(err, &told) {
		return err
	}
	return c.line("  -> %s", strings.Join(told.hints, "\n  -> "))
}

// inOneLine is an error in which stand words of the node.
func inOneLine(err error) string { return printable(strings.ReplaceAll(err.Error(), "\n", "; ")) }

// notAgreed is the error that a message of the node stands for, with what to do instead of what it
// says. Its invoice is not shown.
func notAgreed(err error, t clientTrade) error {
	var not *client.NotAgreedError
	if !errors.As(err, &not) {
		return err
	}
	cancel := clientCall("cancel", t)
	elsewhere := "ask the node's operator what it means, or trade on another node"
	wrong := func(ask string) error { return fmt.Errorf("%s is not as agreed: %s", ask, inOneLine(err)) }
	switch {
	case not.Expired:
		return hint(fmt.Errorf("it is too late to pay: %s", inOneLine(err)),
			"pay nothing; see whether the order is canceled or offered again: "+clientCall("messages", t, "--follow"), "or take it back: "+cancel)
	case not.Action == mostro.PayInvoice, not.Action == mostro.PayBondInvoice:
		return hint(wrong("what the node wants to be paid"), "pay nothing, so the invoice is not shown; take it back: "+cancel, elsewhere)
	case not.Action == mostro.AddInvoice:
		return hint(wrong("what the node would pay you"), "give it no invoice for that; take it back: "+cancel, elsewhere)
	case not.Action == mostro.NewOrder:
		return hint(wrong("the order that the node has put into the book"), "take it back: "+cancel, elsewhere)
	case t.Side == sideSeller:
		return hint(wrong("what the node says of the escrow"), "release nothing before it is clear; ask the buyer: "+clientCall("chat", t, "TEXT"),
			"or a solver: "+clientCall("dispute", t), elsewhere)
	}
	return hint(wrong("what the node says of the escrow"), "send no fiat before it is clear; ask the seller: "+clientCall("chat", t, "TEXT"),
		"or give the trade up, when both want it: "+cancel, elsewhere)
}

// marketText is the price at which an order at the market price was taken, "" when the amount was
// fixed or it is not known what was agreed. Nobody but the user can tell whether it is right.
func marketText(o *mostro.SmallOrder, t clientTrade) string {
	if t.Agreed == nil {
		return " What was agreed is not known in this directory: compare it yourself."
	}
	if t.Agreed.Sats > 0 || o.Amount <= 0 {
		return ""
	}
	return fmt.Sprintf(" That is %s %s a bitcoin, with the fee: look whether it is the market's.",
		thousands(int64(float64(o.FiatAmount)*1e8/float64(o.Amount))), o.FiatCode)
}
