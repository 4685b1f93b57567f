package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

// The sides of a trade.
const (
	sideBuyer  = "buyer"
	sideSeller = "seller"
)

// plainWriter prints for a person at a terminal. It keeps control characters from it, since node
// and peer choose what is printed, and shows commands as this user has to type them.
type plainWriter struct{ cmd *cobra.Command }

func (w plainWriter) Write(b []byte) (int, error) {
	_, err := io.WriteString(w.cmd.OutOrStdout(), printable(typed(w.cmd, string(b))))
	return len(b), err
}

// printable is a text without the control characters that a terminal would obey.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

func sats(amount int64) string { return thousands(amount) + " sat" }

// priceText is how much bitcoin an order is about.
func priceText(amount, premium int64) string {
	if amount > 0 {
		return sats(amount)
	}
	if premium == 0 {
		return "market"
	}
	return fmt.Sprintf("market %+d%%", premium)
}

// fiatText is how much fiat an order is about.
func fiatText(amount int64, least, most *int64, code string) string {
	if amount == 0 && least != nil && most != nil {
		return fmt.Sprintf("%s-%s %s", thousands(*least), thousands(*most), code)
	}
	return thousands(amount) + " " + code
}

func orderText(o *mostro.SmallOrder) string {
	price := priceText(o.Amount, o.Premium)
	if o.Amount == 0 {
		price = "at " + price
	}
	return fmt.Sprintf("%s for %s by %s", price, fiatText(o.FiatAmount, o.MinAmount, o.MaxAmount, o.FiatCode), o.PaymentMethod)
}

// typed puts the commands in a text so that this user can copy them: with the directory that he
// named, or he would act with another person's keys, and as he has called the program.
func typed(cmd *cobra.Command, text string) string {
	call := calledAs() + " client"
	if dir := cmd.Flags().Lookup("dir"); dir != nil && dir.Changed {
		call += " --dir " + dir.Value.String()
	}
	return strings.ReplaceAll(text, "mostro client", call)
}

// clientCall is a command line about a trade.
func clientCall(verb string, t clientTrade, rest ...string) string {
	return strings.Join(append([]string{"mostro client", verb, fmt.Sprint(t.Index)}, rest...), " ")
}

// orderOf is the order that a message carries, nil when it carries none.
func orderOf(m mostro.Message) *mostro.SmallOrder {
	switch {
	case m.Payload == nil:
		return nil
	case m.Payload.Order != nil:
		return m.Payload.Order
	case m.Payload.PaymentRequest != nil:
		return m.Payload.PaymentRequest.Order
	case m.Payload.BondPayoutRequest != nil:
		return &m.Payload.BondPayoutRequest.Order
	}
	return nil
}

// explain says in words what a message tells, and what to do next, "" when there is nothing.
func explain(m mostro.Message, t clientTrade) (what, next string) {
	if who, notice := client.ReputationOf(m); notice {
		return fmt.Sprintf("The taker has %s, and %d days here.", ratingsText(who), who.OperatingDays), ""
	}
	wait := clientCall("messages", t, "--follow")
	switch m.Action {
	case mostro.NewOrder, mostro.PayInvoice, mostro.AddInvoice, mostro.BuyerTookOrder, mostro.HoldInvoicePaymentAccepted:
		if o := orderOf(m); o != nil && (m.Action != mostro.PayInvoice || m.Payload.PaymentRequest != nil) {
			return explainOrder(m, o, t, wait)
		}
	case mostro.WaitingSellerToPay:
		return "The seller is asked to pay into the escrow.", "wait: " + wait
	case mostro.WaitingBuyerInvoice:
		return "The buyer is asked for an invoice.", "wait: " + wait
	case mostro.FiatSentOk:
		if t.Side == sideSeller {
			return "The buyer says that the fiat is sent.", "when it is in your account, and only then: " + clientCall("release", t)
		}
		return "The seller is told that the fiat is sent.", "wait until the sats are released: " + wait
	case mostro.Released:
		return "The seller has released the sats. The node pays your invoice.", "wait: " + wait
	case mostro.HoldInvoicePaymentSettled:
		return "The sats go to the buyer.", "rate him: " + clientCall("rate", t, "5")
	case mostro.PurchaseCompleted:
		return "Your invoice is paid.", ""
	case mostro.Rate:
		return "You can rate the other side.", clientCall("rate", t, "5")
	case mostro.RateReceived:
		return "Your rating is counted.", ""
	case mostro.ProveReview:
		return "The node has proven that you may review it.", "when the trade is over: " + clientCall("review", t, "5")
	case mostro.InvoiceUpdated:
		return "The node has your new invoice and pays it.", "wait: " + wait
	}
	return explainTrouble(m, t, wait)
}

func explainOrder(m mostro.Message, o *mostro.SmallOrder, t clientTrade, wait string) (what, next string) {
	switch m.Action {
	case mostro.NewOrder:
		return fmt.Sprintf("Order %s is in the book: %s %s. It is your trade %d.", m.ID, o.Kind, orderText(o), t.Index),
			"wait for a taker: " + wait
	case mostro.PayInvoice:
		return fmt.Sprintf("Pay %s into the escrow for %s. They are held, and yours until you release them.%s\n%s",
				sats(o.Amount), fiatText(o.FiatAmount, nil, nil, o.FiatCode), marketText(o, t), m.Payload.PaymentRequest.Invoice),
			"pay it with your wallet, then wait: " + wait
	case mostro.AddInvoice:
		return fmt.Sprintf("You get %s for %s.%s", sats(o.Amount), fiatText(o.FiatAmount, nil, nil, o.FiatCode), marketText(o, t)),
			fmt.Sprintf("make an invoice for exactly %s and give it: %s", sats(o.Amount), clientCall("invoice", t, "BOLT11"))
	case mostro.BuyerTookOrder:
		return fmt.Sprintf("The escrow holds your %s. The buyer pays %s by %s.",
				sats(o.Amount), fiatText(o.FiatAmount, nil, nil, o.FiatCode), o.PaymentMethod),
			"tell him where to: " + clientCall("chat", t, "TEXT")
	}
	return fmt.Sprintf("The sats are in the escrow: %s for you.%s", sats(o.Amount), marketText(o, t)),
		fmt.Sprintf("ask where to with %s, send %s by %s, then: %s", clientCall("chat", t, "TEXT"),
			fiatText(o.FiatAmount, nil, nil, o.FiatCode), o.PaymentMethod, clientCall("fiat-sent", t))
}

// explainTrouble is about what happens beside the straight way.
func explainTrouble(m mostro.Message, t clientTrade, wait string) (what, next string) {
	switch p := m.Payload; m.Action {
	case mostro.Canceled:
		return "The order is canceled.", ""
	case mostro.CooperativeCancelInitiatedByYou:
		return "The other side is asked to cancel, too.", "wait: " + wait
	case mostro.CooperativeCancelInitiatedByPeer:
		return "The other side wants to cancel.", "if you agree: " + clientCall("cancel", t)
	case mostro.CooperativeCancelAccepted:
		return "Both have canceled; the sats go back to the seller.", ""
	case mostro.HoldInvoicePaymentCanceled:
		return "The escrow is gone; the sats are back with the seller.", ""
	case mostro.DisputeInitiatedByYou, mostro.DisputeInitiatedByPeer:
		by := "You have"
		if m.Action == mostro.DisputeInitiatedByPeer {
			by = "The other side has"
		}
		if p != nil && p.Dispute != nil {
			return fmt.Sprintf("%s opened the dispute %s.", by, p.Dispute.ID), "wait for a solver: " + wait
		}
	case mostro.AdminTookDispute:
		if p != nil && p.Peer != nil {
			return "A solver has taken the dispute: " + npub(p.Peer.Pubkey) + ".", "talk to him: " + clientCall("chat", t, "--solver", "TEXT")
		}
		if p != nil && p.Dispute != nil && p.Dispute.Info != nil {
			return explainDispute(p.Dispute)
		}
	case mostro.AdminSettled:
		return "The solver gives the sats to the buyer.", ""
	case mostro.AdminCanceled:
		return "The solver gives the sats back to the seller.", ""
	case mostro.AdminAddSolver:
		if p != nil && p.TextMessage != nil {
			return "Solver: " + *p.TextMessage, ""
		}
	case mostro.PaymentFailed:
		if p != nil && p.PaymentFailed != nil {
			return fmt.Sprintf("Your invoice could not be paid yet. The node tries %d more times, every %d seconds.",
				p.PaymentFailed.Attempts, p.PaymentFailed.RetriesInterval), "keep your wallet reachable, and wait: " + wait
		}
	case mostro.SendDM:
		if p != nil && p.TextMessage != nil {
			return *p.TextMessage, ""
		}
	case mostro.CantDo:
		if p != nil && p.CantDo != nil {
			return "The node refused a request: " + string(*p.CantDo) + ".", ""
		}
	}
	return explainBond(m, t, wait)
}

// explainDispute is what a solver is told.
func explainDispute(d *mostro.DisputeRef) (what, next string) {
	i := d.Info
	opener := sideSeller
	if i.InitiatorPubkey == i.BuyerPubkey {
		opener = sideBuyer
	}
	lines := []string{
		fmt.Sprintf("You have the dispute %s, opened by the %s.", d.ID, opener),
		fmt.Sprintf("  order   %s: %s, %s for %d by %s, was %s", i.ID, i.Kind, sats(i.Amount), i.FiatAmount, i.PaymentMethod, i.OrderPreviousStatus),
		"  buyer   " + npub(i.BuyerPubkey),
		"  seller  " + npub(i.SellerPubkey),
	}
	return strings.Join(lines, "\n"),
		fmt.Sprintf("talk to them: mostro client admin chat PUBKEY TEXT; then for the buyer: mostro client admin settle %s, for the seller: mostro client admin cancel %s", i.ID, i.ID)
}

func ratingsText(u mostro.UserInfo) string {
	if u.Reviews == 0 {
		return "no reviews"
	}
	return fmt.Sprintf("%.1f of 5 stars in %d reviews", u.Rating, u.Reviews)
}
