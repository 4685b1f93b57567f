package client

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
)

// Bounds of the blocks that a hold invoice may ask for beyond what a node's terms say.
const (
	leastCLTV = 18   // lnd takes no hold invoice with fewer
	mostCLTV  = 2016 // lnd pays none with more
)

// Agreed is what the user of a trade has agreed to: the offer, and the node's terms when the trade
// began. It is kept, so that a node which asks for something else later is found out.
type Agreed struct {
	Kind    mostro.OrderKind `json:"kind"`
	Seller  bool             `json:"seller,omitempty"` // which side the user is
	Sats    int64            `json:"sats,omitempty"`   // 0 = the market price when it is taken
	Code    string           `json:"code"`
	Fiat    int64            `json:"fiat,omitempty"` // 0 = the taker chooses between the next two
	MinFiat int64            `json:"min_fiat,omitempty"`
	MaxFiat int64            `json:"max_fiat,omitempty"`
	Method  string           `json:"method"`
	Premium int64            `json:"premium,omitempty"`

	Fee       string            `json:"fee"`                  // fraction of the amount, both sides together
	Networks  []string          `json:"networks,omitempty"`   // none = the node does not say
	CLTVDelta int64             `json:"cltv_delta,omitempty"` // blocks, 0 = the node does not say
	Bond      *mostro.BondTerms `json:"bond,omitempty"`       // nil = no bonds
}

// AgreeNew is what the maker of an order agrees to.
func AgreeNew(o mostro.SmallOrder, terms Info) *Agreed {
	a := &Agreed{
		Kind: o.Kind, Seller: o.Kind == mostro.Sell, Sats: o.Amount, Code: o.FiatCode, Fiat: o.FiatAmount, Method: o.PaymentMethod, Premium: o.Premium,
		Fee: terms.Fee, Networks: terms.LNDNetworks, CLTVDelta: terms.HoldInvoiceCLTVDelta, Bond: terms.Bond,
	}
	if o.MinAmount != nil && o.MaxAmount != nil {
		a.Fiat, a.MinFiat, a.MaxFiat = 0, *o.MinAmount, *o.MaxAmount
	}
	return a
}

// AgreeTake is what the taker of an offer agrees to; fiat is what he chooses of a range.
func AgreeTake(o mostro.BookOrder, fiat int64, terms Info) *Agreed {
	a := AgreeNew(mostro.SmallOrder{
		Kind: o.Kind, Amount: o.Amount, FiatCode: o.FiatCode, FiatAmount: o.FiatAmount, PaymentMethod: o.PaymentMethod, Premium: o.Premium,
	}, terms)
	a.Seller = !a.Seller
	if fiat != 0 {
		a.Fiat = fiat
	}
	return a
}

// Rest is what the maker of a range order has agreed to for the part that is left of it.
func (a *Agreed) Rest(most int64) *Agreed {
	if a == nil {
		return nil
	}
	rest := *a
	rest.MaxFiat = most
	return &rest
}

// NotAgreedError is a message of the node that is not what was agreed. Nothing that it asks for
// should be done.
type NotAgreedError struct {
	Action  mostro.Action
	Expired bool // it would be right, and comes too late
	What    string
}

func (e *NotAgreedError) Error() string { return e.What }

// Check holds a message of the node against what was agreed, and its invoice against what it says
// itself; before are the messages that came first. Of an invoice at now it must still be possible to
// pay it; the zero time leaves that out, for one of which the trade has gone on. The error is a
// *NotAgreedError. Of a nil Agreed, of a trade that was restored, only the second part is checked.
func (a *Agreed) Check(before []mostro.Message, m mostro.Message, now time.Time) error {
	bad := func(err error) error {
		if err == nil {
			return nil
		}
		return &NotAgreedError{Action: m.Action, Expired: errors.Is(err, errExpired), What: err.Error()}
	}
	if _, notice := ReputationOf(m); notice || m.Payload == nil {
		return nil
	}
	o, request := m.Payload.Order, m.Payload.PaymentRequest
	switch m.Action {
	case mostro.NewOrder, mostro.AddInvoice, mostro.BuyerTookOrder, mostro.HoldInvoicePaymentAccepted:
		if o == nil {
			return nil
		}
		return bad(a.order(before, m.Action, *o))
	case mostro.PayInvoice, mostro.PayBondInvoice:
		if request == nil {
			return nil
		}
		if request.Order == nil {
			return bad(errors.New("the node does not say what its invoice is for"))
		}
		if m.Action == mostro.PayBondInvoice {
			return bad(errors.Join(a.bond(*request.Order), a.invoice(*request, leastCLTV, mostCLTV, now)))
		}
		least, most := int64(leastCLTV), int64(mostCLTV)
		if a != nil && a.CLTVDelta > 0 {
			least, most = a.CLTVDelta, a.CLTVDelta
		}
		return bad(errors.Join(a.order(before, m.Action, *request.Order), a.invoice(*request, least, most, now)))
	}
	return nil
}

// order compares the order in a message.
func (a *Agreed) order(before []mostro.Message, action mostro.Action, o mostro.SmallOrder) error {
	if action != mostro.NewOrder {
		if first := toldAmount(before); first != 0 && first != o.Amount {
			return fmt.Errorf("the node says %d sat, and said %d before", o.Amount, first)
		}
		if o.Amount <= 0 {
			return fmt.Errorf("the node says %d sat", o.Amount)
		}
	}
	if a == nil {
		return nil
	}
	return errors.Join(a.fiat(action, o), a.sats(action, o.Amount))
}

// fiat compares what is paid outside of Lightning.
func (a *Agreed) fiat(action mostro.Action, o mostro.SmallOrder) error {
	ranged := o.MinAmount != nil && o.MaxAmount != nil
	switch {
	case o.Kind != "" && o.Kind != a.Kind:
		return fmt.Errorf("the node says that it is a %q order, and it was a %s order", o.Kind, a.Kind)
	case o.FiatCode != a.Code:
		return fmt.Errorf("the node names the currency %q, and %s was agreed", o.FiatCode, a.Code)
	case !slices.Equal(methods(o.PaymentMethod), methods(a.Method)):
		return fmt.Errorf("the node says that the fiat is paid by %q, and %q was agreed", o.PaymentMethod, a.Method)
	case o.Premium != a.Premium:
		return fmt.Errorf("the node says a premium of %d%%, and %d%% was agreed", o.Premium, a.Premium)
	case action == mostro.NewOrder && ranged && o.FiatAmount == 0:
		if *o.MinAmount != a.MinFiat || *o.MaxAmount != a.MaxFiat {
			return fmt.Errorf("the node says %d to %d %s, and %s was agreed", *o.MinAmount, *o.MaxAmount, a.Code, a.fiatText())
		}
	case a.Fiat != 0 && o.FiatAmount != a.Fiat, a.Fiat == 0 && (o.FiatAmount < a.MinFiat || o.FiatAmount > a.MaxFiat):
		return fmt.Errorf("the node says %d %s, and %s was agreed", o.FiatAmount, a.Code, a.fiatText())
	}
	return nil
}

func (a *Agreed) fiatText() string {
	if a.Fiat != 0 {
		return fmt.Sprintf("%d %s", a.Fiat, a.Code)
	}
	return fmt.Sprintf("%d to %d %s", a.MinFiat, a.MaxFiat, a.Code)
}

// methods are the ways to pay in a list with commas, which the book splits and the maker wrote.
func methods(text string) (list []string) {
	for method := range strings.SplitSeq(text, ",") {
		if method = strings.TrimSpace(method); method != "" {
			list = append(list, method)
		}
	}
	return list
}

// sats compares the amount that a message tells: what the seller pays, what the buyer gets, or in the
// book what the order is about.
func (a *Agreed) sats(action mostro.Action, told int64) error {
	if a.Sats == 0 && action != mostro.NewOrder {
		return nil // the market's; who pays it has to look
	}
	if action == mostro.NewOrder {
		if told != a.Sats {
			return fmt.Errorf("the node says that the order is over %d sat, and it is over %d", told, a.Sats)
		}
		return nil
	}
	fee, ok := share(a.Fee, a.Sats, 0.5)
	if !ok {
		return fmt.Errorf("the node's fee is %q, so that it cannot be told whether %d sat are right", a.Fee, told)
	}
	want, sign := a.Sats-fee, "less"
	if a.Seller {
		want, sign = a.Sats+fee, "and"
	}
	if off(told, want) {
		return fmt.Errorf("the node says %d sat, and %d were agreed: %d %s a fee of %d (%s of the amount; the node may have changed it since the offer was made)",
			told, want, a.Sats, sign, fee, a.Fee)
	}
	return nil
}

// bond compares the amount of a bond, where the amount of the order is known.
func (a *Agreed) bond(o mostro.SmallOrder) error {
	if a == nil {
		return nil
	}
	if a.Bond == nil {
		return fmt.Errorf("the node wants a bond of %d sat, and there are no bonds in its terms", o.Amount)
	}
	size, ok := share(a.Bond.AmountPct, a.Sats, 1)
	if !ok {
		return fmt.Errorf("the node's terms say %q of the amount for a bond, so that it cannot be told whether %d sat are right", a.Bond.AmountPct, o.Amount)
	}
	if want := max(size, a.Bond.BaseAmount); a.Sats > 0 && off(o.Amount, want) {
		return fmt.Errorf("the node wants a bond of %d sat, and by its terms it is %d", o.Amount, want)
	}
	return nil
}

// share is a published fraction of an amount, times part, rounded.
func share(fraction string, amount int64, part float64) (int64, bool) {
	f, err := strconv.ParseFloat(fraction, 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return 0, false
	}
	return int64(math.Round(f * float64(amount) * part)), true
}

// off tells whether an amount is another. Nodes that count in floating point round halves either way.
func off(told, want int64) bool { return told < want-1 || told > want+1 }

var errExpired = errors.New("the invoice cannot be paid any more")

// invoice reads a hold invoice and compares it with the message around it.
func (a *Agreed) invoice(request mostro.PaymentRequest, leastBlocks, mostBlocks int64, now time.Time) error {
	invoice, err := lightning.Decode(request.Invoice)
	if err != nil {
		return fmt.Errorf("the invoice of the node cannot be read: %w", err)
	}
	said := request.Order.Amount
	blocks := int64(invoice.FinalCLTV)
	switch {
	case invoice.Amount == 0:
		return fmt.Errorf("the invoice names no amount, and the node says %d sat", said)
	case invoice.Amount%1000 != 0 || int64(invoice.Amount/1000) != said:
		return fmt.Errorf("the invoice is over %s sat, and the node says %d", strconv.FormatFloat(float64(invoice.Amount)/1000, 'f', -1, 64), said)
	case a != nil && len(a.Networks) > 0 && !slices.Contains(a.Networks, invoice.Network):
		return fmt.Errorf("the invoice is for %s, and the node's terms say %q", invoice.Network, strings.Join(a.Networks, ","))
	case blocks < leastBlocks:
		return fmt.Errorf("the invoice holds the sats for %d blocks, and by the node's terms it is %d: they would be back before the trade has its time", blocks, leastBlocks)
	case blocks > mostBlocks:
		return fmt.Errorf("the invoice holds the sats for %d blocks, and by the node's terms it is %d at most: they could be locked for that long", blocks, mostBlocks)
	case !now.IsZero() && !now.Before(invoice.ExpiresAt):
		return fmt.Errorf("%w: its time was over at %s", errExpired, invoice.ExpiresAt.UTC().Format("2 January 2006, 15:04:05 UTC"))
	}
	return nil
}

// toldAmount is what the node has said first of the sats of the present take, 0 when it has not.
func toldAmount(messages []mostro.Message) (amount int64) {
	for _, m := range messages {
		if m.Payload == nil {
			continue
		}
		switch p := m.Payload; {
		case m.Action == mostro.NewOrder:
			amount = 0 // in the book, once more
		case amount != 0:
		case m.Action == mostro.PayInvoice && p.PaymentRequest != nil && p.PaymentRequest.Order != nil:
			amount = p.PaymentRequest.Order.Amount
		case p.Order != nil && (m.Action == mostro.AddInvoice || m.Action == mostro.BuyerTookOrder || m.Action == mostro.HoldInvoicePaymentAccepted):
			amount = p.Order.Amount
		}
	}
	return amount
}
