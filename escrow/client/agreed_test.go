package client

import (
	"errors"
	"strings"
	"testing"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// TestAgreed: what a node says is right, or wrong in exactly one way.
func TestAgreed(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	clock := now
	wallet := lightning.NewSimNetwork(lightning.SimConfig{Now: func() time.Time { return clock }}).Node("mostro")
	invoice := func(amount order.Msat, blocks uint32) string {
		return wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: amount, CLTVDelta: blocks, Expiry: time.Hour})
	}
	least, most := int64(20), int64(100)
	terms := Info{NodeInfo: mostro.NodeInfo{Fee: "0.006", LNDNetworks: []string{"simnet"}, HoldInvoiceCLTVDelta: 144}}
	with := func(change func(*Info)) Info { changed := terms; change(&changed); return changed }
	fixed := mostro.BookOrder{Kind: mostro.Buy, Amount: 100_000, FiatCode: "USD", FiatAmount: 50, PaymentMethod: "bank,cash"}
	market := mostro.BookOrder{Kind: mostro.Sell, FiatCode: "USD", MinAmount: &least, MaxAmount: &most, PaymentMethod: "bank", Premium: 2}
	sells, buys := AgreeTake(fixed, 0, terms), AgreeTake(market, 30, terms)
	makes := AgreeNew(mostro.SmallOrder{Kind: mostro.Sell, FiatCode: "USD", MinAmount: &least, MaxAmount: &most, PaymentMethod: "bank", Premium: 2}, terms)
	bonded := AgreeTake(fixed, 0, with(func(i *Info) { i.Bond = &mostro.BondTerms{AmountPct: "0.01", BaseAmount: 500} }))

	// said is the order as a node tells it, right but for one change.
	said := func(a *Agreed, amount int64, changes ...func(*mostro.SmallOrder)) *mostro.SmallOrder {
		o := &mostro.SmallOrder{Kind: a.Kind, Amount: amount, FiatCode: a.Code, FiatAmount: a.Fiat, PaymentMethod: "bank", Premium: a.Premium}
		if a.Sats > 0 {
			o.PaymentMethod = "bank, cash" // as its maker wrote it
		}
		if o.FiatAmount == 0 {
			o.FiatAmount = 60
		}
		for _, change := range changes {
			change(o)
		}
		return o
	}
	about := func(action mostro.Action, o *mostro.SmallOrder) mostro.Message {
		return mostro.Message{Action: action, Payload: &mostro.Payload{Order: o}}
	}
	pay := func(action mostro.Action, o *mostro.SmallOrder, text string) mostro.Message {
		return mostro.Message{Action: action, Payload: &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Order: o, Invoice: text}}}
	}
	right := invoice(100_300_000, 144)
	other := lightning.NewSimNetwork(lightning.SimConfig{Now: func() time.Time { return clock }, Network: "regtest"}).Node("mostro").
		AddInvoice(lightning.SimInvoiceRequest{Amount: 100_300_000, CLTVDelta: 144})
	clock = now.Add(-2 * time.Hour)
	late := invoice(100_300_000, 144)
	clock = now
	book := func(change func(*mostro.SmallOrder)) *mostro.SmallOrder {
		return said(makes, 0, func(o *mostro.SmallOrder) { o.FiatAmount, o.MinAmount, o.MaxAmount = 0, &least, &most }, change)
	}
	asIs := func(*mostro.SmallOrder) {}
	before := []mostro.Message{about(mostro.AddInvoice, said(buys, 60_000))}

	for name, c := range map[string]struct {
		agreed *Agreed
		before []mostro.Message
		m      mostro.Message
		past   bool
		want   string
	}{
		"right":            {agreed: sells, m: pay(mostro.PayInvoice, said(sells, 100_300), right)},
		"rounded":          {agreed: sells, m: pay(mostro.PayInvoice, said(sells, 100_301), invoice(100_301_000, 144)), want: ""},
		"too much":         {sells, nil, pay(mostro.PayInvoice, said(sells, 100_302), invoice(100_302_000, 144)), false, "the node says 100302 sat, and 100300 were agreed: 100000 and a fee of 300"},
		"too little":       {sells, nil, pay(mostro.PayInvoice, said(sells, 100_000), invoice(100_000_000, 144)), false, "the node says 100000 sat"},
		"another invoice":  {sells, nil, pay(mostro.PayInvoice, said(sells, 100_300), invoice(1_003_000_000, 144)), false, "the invoice is over 1003000 sat"},
		"a wrapped number": {sells, nil, pay(mostro.PayInvoice, said(sells, 100_300-1<<61), right), false, "the invoice is over 100300 sat"},
		"any amount":       {sells, nil, pay(mostro.PayInvoice, said(sells, 100_300), invoice(0, 144)), false, "names no amount"},
		"no invoice":       {sells, nil, pay(mostro.PayInvoice, said(sells, 100_300), "lnsb1"), false, "cannot be read"},
		"no order":         {sells, nil, pay(mostro.PayInvoice, nil, right), false, "does not say what its invoice is for"},
		"regtest":          {sells, nil, pay(mostro.PayInvoice, said(sells, 100_300), other), false, "is for regtest"},
		"too short":        {sells, nil, pay(mostro.PayInvoice, said(sells, 100_300), invoice(100_300_000, 143)), false, "for 143 blocks"},
		"too long":         {sells, nil, pay(mostro.PayInvoice, said(sells, 100_300), invoice(100_300_000, 145)), false, "for 145 blocks"},
		"late":             {sells, nil, pay(mostro.PayInvoice, said(sells, 100_300), late), false, "its time was over"},
		"late, long paid":  {agreed: sells, m: pay(mostro.PayInvoice, said(sells, 100_300), late), past: true},
		"no fee":           {AgreeTake(fixed, 0, with(func(i *Info) { i.Fee = "NaN" })), nil, pay(mostro.PayInvoice, said(sells, 100_300), right), false, `fee is "NaN"`},

		"restored":           {m: pay(mostro.PayInvoice, said(sells, 5), invoice(5000, 300))},
		"restored, too long": {nil, nil, pay(mostro.PayInvoice, said(sells, 5), invoice(5000, 3000)), false, "for 3000 blocks"},
		"restored, another":  {nil, nil, pay(mostro.PayInvoice, said(sells, 5), invoice(6000, 300)), false, "over 6 sat"},

		"bond":          {agreed: bonded, m: pay(mostro.PayBondInvoice, said(sells, 1000), invoice(1_000_000, 500))},
		"dear bond":     {bonded, nil, pay(mostro.PayBondInvoice, said(sells, 1002), invoice(1_002_000, 500)), false, "a bond of 1002 sat, and by its terms it is 1000"},
		"no bonds here": {sells, nil, pay(mostro.PayBondInvoice, said(sells, 1000), invoice(1_000_000, 500)), false, "there are no bonds"},
		"other bond":    {bonded, nil, pay(mostro.PayBondInvoice, said(sells, 1000), right), false, "over 100300 sat"},

		"bought":           {agreed: buys, m: about(mostro.AddInvoice, said(buys, 60_000))},
		"the same again":   {agreed: buys, before: before, m: about(mostro.HoldInvoicePaymentAccepted, said(buys, 60_000))},
		"less than before": {buys, before, about(mostro.HoldInvoicePaymentAccepted, said(buys, 59_999)), false, "59999 sat, and said 60000 before"},
		"another take":     {agreed: makes, before: append(before, about(mostro.NewOrder, book(asIs))), m: pay(mostro.PayInvoice, said(makes, 61_000), invoice(61_000_000, 144))},
		"nothing":          {buys, nil, about(mostro.AddInvoice, said(buys, 0)), false, "the node says 0 sat"},
		"more fiat":        {buys, before, about(mostro.HoldInvoicePaymentAccepted, said(buys, 60_000, func(o *mostro.SmallOrder) { o.FiatAmount = 300 })), false, "300 USD, and 30 USD was agreed"},
		"other money":      {buys, before, about(mostro.HoldInvoicePaymentAccepted, said(buys, 60_000, func(o *mostro.SmallOrder) { o.FiatCode = "EUR" })), false, `"EUR"`},
		"other way":        {buys, before, about(mostro.HoldInvoicePaymentAccepted, said(buys, 60_000, func(o *mostro.SmallOrder) { o.PaymentMethod = "bank,x" })), false, `"bank,x"`},
		"other side":       {buys, before, about(mostro.HoldInvoicePaymentAccepted, said(buys, 60_000, func(o *mostro.SmallOrder) { o.Kind = mostro.Buy })), false, `"buy" order`},

		"in the book":    {agreed: makes, m: about(mostro.NewOrder, book(asIs))},
		"as one part":    {agreed: makes, m: about(mostro.NewOrder, said(makes, 0, func(o *mostro.SmallOrder) { o.FiatAmount = 20 }))},
		"other range":    {makes, nil, about(mostro.NewOrder, book(func(o *mostro.SmallOrder) { o.MaxAmount = &least })), false, "20 to 20 USD, and 20 to 100 USD was agreed"},
		"other premium":  {makes, nil, about(mostro.NewOrder, book(func(o *mostro.SmallOrder) { o.Premium = -50 })), false, "a premium of -50%"},
		"other price":    {makes, nil, about(mostro.NewOrder, book(func(o *mostro.SmallOrder) { o.Amount = 1 })), false, "is over 1 sat, and it is over 0"},
		"out of range":   {makes, nil, about(mostro.BuyerTookOrder, said(makes, 60_000, func(o *mostro.SmallOrder) { o.FiatAmount = 101 })), false, "101 USD"},
		"the reputation": {agreed: sells, m: mostro.Message{Action: mostro.PayInvoice, Payload: &mostro.Payload{Peer: &mostro.Peer{Reputation: &mostro.UserInfo{}}}}},
		"nothing said":   {agreed: sells, m: mostro.Message{Action: mostro.PayInvoice}},
	} {
		at := now
		if c.past {
			at = time.Time{}
		}
		err := c.agreed.Check(c.before, c.m, at)
		var not *NotAgreedError
		switch {
		case c.want == "" && err == nil:
		case c.want == "" || !errors.As(err, &not) || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		case not.Expired != (name == "late") || not.Action != c.m.Action:
			t.Errorf("%s: %+v", name, not)
		}
	}
}
