package escrow

import (
	"fmt"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// bondTerms are those of a story: "bonds apply=take|make|both" and what else differs from the
// template's defaults, "subsidy=" of routing among it, and
// "uncovered=" that the circuit breaker lets it come to. Orders that are there already keep their own.
func (w *world) bondTerms(a args) {
	apply := a.named["apply"]
	if apply == "none" {
		w.cfg.Settings.Terms.Bond = nil
	} else {
		w.cfg.Settings.Terms.Bond = &order.BondTerms{
			AmountPPM: a.number("ppm", 10_000), Base: order.Sat(a.number("base", 1000)),
			Taker: apply != "make", Maker: apply == "make" || apply == "both",
			SlashOnTimeout: a.named["slash"] != "no", NodeSharePPM: a.number("node", 500_000),
			AskSeconds: a.number("ask", 300), Attempts: a.number("attempts", 5), ClaimSeconds: a.number("days", 15) * 86400,
		}
	}
	w.cfg.Settings.Terms.RoutingSubsidy = order.Sat(a.number("subsidy", 0))
	w.cfg.Settings.Guards.Uncovered = order.Sat(a.number("uncovered", 0))
	w.cfg.Settings.Rules.MaxBonds = int(a.number("most", 200))
	w.e.cfg.Settings = w.cfg.Settings
}

// showBonds prints the bonds of an order and their money.
func (w *world) showBonds(letter string) error {
	bonds, err := w.e.Bonds(w.order(args{named: map[string]string{"order": letter}}))
	if err != nil {
		return err
	}
	for _, b := range bonds {
		what := "bond"
		if b.Parent != "" {
			what = "rest of a bond"
		}
		fmt.Fprintf(&w.out, "%s of %s, the %s, %d sat: %s, hold invoice %s, payout %s\n", what, w.who(b.Owner.Trade), b.Role, b.Amount,
			b.State, orNone(string(b.Hold.State)), orNone(string(b.Payout.State)))
		for _, entry := range b.Ledger {
			fmt.Fprintf(&w.out, "  ledger: %s %s %d msat", entry.Kind, entry.State, entry.Amount)
			if entry.Routing > 0 {
				fmt.Fprintf(&w.out, ", routing %d", entry.Routing)
			}
			fmt.Fprintln(&w.out)
		}
	}
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// claim sends the invoice for a share of a slashed bond.
func (w *world) claim(p *person, a args) error {
	m := w.request(p, mostro.AddBondInvoice, a)
	m.ID = w.order(a)
	if a.named["as"] != "" { // one of his other keys
		defer func(now mostro.Secret) { p.trade = now }(p.trade)
		p.trade = p.keys[a.number("as", 1)-1]
	}
	m.Payload = &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: w.invoiceFor(p, a)}}
	_ = w.send(p, m)
	return nil
}
