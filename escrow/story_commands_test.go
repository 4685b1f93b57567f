package escrow

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

func (w *world) request(p *person, action mostro.Action, a args) mostro.Message {
	m := mostro.Message{Action: action}
	if a.named["request"] != "" {
		id := uint64(a.number("request", 0))
		m.RequestID = &id
	}
	return m
}

// act sends a message about an order. "next=yes" names a key for the rest of a range.
func (w *world) act(p *person, action mostro.Action, a args) {
	m := w.request(p, action, a)
	m.ID = w.order(a)
	if a.named["as"] != "" { // one of his other keys
		defer func(now mostro.Secret) { p.trade = now }(p.trade)
		p.trade = p.keys[a.number("as", 1)-1]
	}
	if a.named["next"] == "yes" {
		p.index++
		key := secretFor(fmt.Sprintf("%s trade %d", p.name, p.index))
		p.keys = append(p.keys, key)
		if thief := a.named["of"]; thief != "" { // names somebody else's key
			key = w.person(thief).trade
		}
		m.Payload = &mostro.Payload{NextTrade: &mostro.NextTrade{Pubkey: key.Public(), Index: p.index}}
		defer func() { p.trade = key }()
	}
	_ = w.send(p, m) // a refusal is in the transcript
}

func (p *person) begin(m *mostro.Message, a args) {
	if a.named["key"] != "same" {
		p.nextKey()
	}
	p.private = a.named["private"] == "yes"
	if index := a.number("index", p.index); !p.private && index > 0 {
		m.TradeIndex = &index
	}
	if a.named["version"] != "" {
		p.version = mostro.Transport(a.number("version", 2))
	}
}

// invoiceFor makes the invoice that a command asks for: "invoice=97" over so many sats,
// "invoice=hold:97" one that the wallet settles only when told to, "invoice=own:97" one of the
// node itself, "invoice=blinded:97" one with a blinded path of no hops, "invoice=last" the one given before,
// other text as it is.
func (w *world) invoiceFor(p *person, a args) string {
	if a.named["invoice"] == "last" {
		return p.given
	}
	p.given = w.makeInvoice(p, a)
	return p.given
}

func (w *world) makeInvoice(p *person, a args) string {
	text := a.named["invoice"]
	kind, number, _ := strings.Cut(text, ":")
	if number == "" {
		number = kind
	}
	sats, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return text
	}
	amount := order.Sat(sats).Msat()
	req := lightning.SimInvoiceRequest{Amount: amount, Expiry: time.Duration(a.number("life", 7200)) * time.Second, CLTVDelta: uint32(a.number("cltv", 80))}
	switch kind {
	case "hold":
		bolt11, preimage := p.wallet.AddHoldInvoice(amount)
		p.holds = append(p.holds, preimage)
		return bolt11
	case "own":
		return w.node.AddInvoice(req)
	case "blinded":
		req.Blinded = true
	}
	return p.wallet.AddInvoice(req)
}

func (w *world) newOrder(p *person, a args) error {
	m := w.request(p, mostro.NewOrder, a)
	p.begin(&m, a)
	so := &mostro.SmallOrder{
		Kind: mostro.OrderKind(a.words[0]), Status: mostro.StatusPending, Amount: a.number("sats", 0),
		FiatCode: "USD", FiatAmount: a.number("usd", 50), PaymentMethod: "bank transfer", Premium: a.number("premium", 0),
	}
	if a.named["code"] != "" {
		so.FiatCode = a.named["code"]
	}
	if method, ok := a.named["method"]; ok {
		so.PaymentMethod = method
	}
	if a.named["expires"] != "" {
		at := w.net.Now().Unix() + a.number("expires", 0)
		so.ExpiresAt = &at
	}
	if a.named["invoice"] != "" {
		so.BuyerInvoice = w.invoiceFor(p, a)
	}
	if a.named["min"] != "" {
		least, most := a.number("min", 0), a.number("max", 0)
		so.MinAmount, so.MaxAmount, so.FiatAmount = &least, &most, 0
	}
	if so.Kind == "none" {
		so.Kind = ""
	}
	m.Payload = &mostro.Payload{Order: so}
	_ = w.send(p, m)
	return nil
}

func (w *world) take(p *person, a args) error {
	id := w.order(a)
	action := mostro.TakeSell
	if o, _, err := w.e.Order(id); err != nil {
		return err
	} else if o.Kind == mostro.Buy {
		action = mostro.TakeBuy
	}
	if a.named["as"] != "" {
		action = mostro.Action(a.named["as"])
	}
	m := w.request(p, action, a)
	p.begin(&m, a)
	m.ID = id
	var fiat *int64
	if a.named["usd"] != "" {
		n := a.number("usd", 0)
		fiat = &n
		m.Payload = &mostro.Payload{Amount: fiat}
	}
	if a.named["invoice"] != "" {
		m.Payload = &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: w.invoiceFor(p, a), Amount: fiat}}
	}
	_ = w.send(p, m)
	return nil
}

func (w *world) addInvoice(p *person, a args) error {
	m := w.request(p, mostro.AddInvoice, a)
	m.ID = w.order(a)
	m.Payload = &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: w.invoiceFor(p, a)}}
	_ = w.send(p, m)
	return nil
}

// pay pays the hold invoice that the person was asked to pay.
func (w *world) pay(p *person, a args) error {
	got, err := p.wallet.Pay(lightning.SimPay{Invoice: p.invoice, Amount: order.Sat(a.number("sats", 0)).Msat()})
	if err != nil {
		fmt.Fprintf(&w.out, "%s's wallet: %v\n", p.name, err)
	} else {
		fmt.Fprintf(&w.out, "%s's wallet: %s\n", p.name, got.State)
	}
	w.settle()
	return nil
}

// is prints what a person owns more or less than at the beginning.
func (w *world) is(p *person, _ args) error {
	const begin = 100 * 100_000_000 * 1000
	fmt.Fprintf(&w.out, "%s has %+d msat\n", p.name, p.wallet.Funds()-begin)
	return nil
}

// route sets how a person is reached: "none", or the fee of the route.
func (w *world) route(p *person, a args) error {
	p.wallet.SetRoute(lightning.SimRoute{None: len(a.words) > 0, BaseFee: order.Msat(a.number("msat", 0)), FeePPM: a.number("ppm", 0)})
	return nil
}

// uses settles or cancels what the person's wallet holds.
func (w *world) uses(p *person, a args) error {
	for _, preimage := range p.holds {
		if a.words[0] == "settle" {
			w.check(p.wallet.Settle(w.t.Context(), preimage))
		} else {
			w.check(p.wallet.Cancel(w.t.Context(), preimage.Hash()))
		}
	}
	w.settle()
	return nil
}

// ledger prints the money of an order.
func (w *world) ledger(letter string) error {
	o, _, err := w.e.Order(w.order(args{named: map[string]string{"order": letter}}))
	if err != nil {
		return err
	}
	for _, entry := range o.Ledger {
		fmt.Fprintf(&w.out, "ledger: %s %s %d msat", entry.Kind, entry.State, entry.Amount)
		if entry.Routing > 0 {
			fmt.Fprintf(&w.out, ", routing %d", entry.Routing)
		}
		fmt.Fprintln(&w.out)
	}
	return nil
}

func (w *world) rate(p *person, a args) error {
	m := w.request(p, mostro.RateUser, a)
	stars := int(a.number("stars", 5))
	m.ID, m.Payload = w.order(a), &mostro.Payload{RatingUser: &stars}
	if a.named["as"] != "" {
		defer func(now mostro.Secret) { p.trade = now }(p.trade)
		p.trade = p.keys[a.number("as", 1)-1]
	}
	_ = w.send(p, m)
	return nil
}

// ask sends a message that is about no order, from the key of the first trade, as the mobile
// client does.
func (w *world) ask(p *person, m mostro.Message) error {
	if len(p.keys) == 0 {
		p.nextKey()
	}
	now := p.trade
	p.trade = p.keys[0]
	_ = w.send(p, m)
	p.trade = now
	return nil
}

func (w *world) askOrders(p *person, a args) error {
	m := w.request(p, mostro.Orders, a)
	var ids []string
	for _, letter := range a.words {
		ids = append(ids, w.order(args{named: map[string]string{"order": letter}}))
	}
	m.Payload = &mostro.Payload{IDs: ids}
	return w.ask(p, m)
}

func (w *world) restore(p *person, a args) error {
	m := w.request(p, mostro.RestoreSession, a)
	m.Wrapper = mostro.WrapRestore
	return w.ask(p, m)
}

func (w *world) lastIndex(p *person, a args) error {
	m := w.request(p, mostro.LastTradeIndex, a)
	m.Wrapper = mostro.WrapRestore
	return w.ask(p, m)
}

// tradeKey asks to be reached at a new key.
func (w *world) tradeKey(p *person, a args) error {
	p.nextKey()
	m := w.request(p, mostro.TradePubkey, a)
	m.ID, m.TradeIndex = w.order(a), &p.index
	_ = w.send(p, m)
	return nil
}

// addSolver is said by whoever has the node's key, here "operator".
func (w *world) addSolver(p *person, a args) error {
	w.solverKeys(p)
	m := w.request(p, mostro.AdminAddSolver, a)
	text := w.person(a.words[0]).identity.Public() + a.named["level"]
	m.ID, m.Payload = a.named["id"], &mostro.Payload{TextMessage: &text}
	_ = w.send(p, m)
	return nil
}

// solverKeys lets a person speak with his identity key alone, as solvers do; the operator
// has the node's.
func (w *world) solverKeys(p *person) {
	if p.name == "operator" {
		p.identity = w.cfg.Key
	}
	p.trade, p.private = p.identity, true
}

func (w *world) takeDispute(p *person, a args) error {
	w.solverKeys(p)
	m := w.request(p, mostro.AdminTakeDispute, a)
	m.ID = w.dispute
	if a.named["id"] != "" {
		m.ID = a.named["id"]
	}
	_ = w.send(p, m)
	return nil
}

func (w *world) admin(p *person, action mostro.Action, a args) {
	w.solverKeys(p)
	m := w.request(p, action, a)
	m.ID = w.order(a)
	if a.named["slash"] != "" {
		m.Payload = &mostro.Payload{BondResolution: &mostro.BondResolution{
			SlashBuyer: strings.Contains(a.named["slash"], "buyer"), SlashSeller: strings.Contains(a.named["slash"], "seller")}}
	}
	_ = w.send(p, m)
}
