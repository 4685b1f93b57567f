package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

// begin makes a trade with a request. Its index is saved before the request goes out, and
// nobody else on this directory begins one meanwhile: the node wants rising indices.
func (s *clientSession) begin(t clientTrade, request func() (*client.Trade, mostro.Message, error)) error {
	var trade *client.Trade
	var answer mostro.Message
	err := s.dir.locked(s.ctx, func(state *clientState, save func() error) error {
		var err error
		t, err = s.reserve(state, save, t)
		if err != nil {
			return err
		}
		trade, answer, err = request()
		if trade == nil {
			state.drop(t.Index)
		} else {
			t.Order = trade.OrderID()
			state.put(t)
		}
		return errors.Join(err, save())
	})
	switch {
	case err != nil && trade != nil:
		return hint(err, fmt.Sprintf("it may stand, as your trade %d: ", t.Index)+clientCall("messages", t, "--follow"))
	case err != nil:
		return advise(err)
	}
	return s.show(answer, t, trade)
}

// reserve takes the next index for a trade and saves it.
func (s *clientSession) reserve(state *clientState, save func() error, t clientTrade) (clientTrade, error) {
	s.SkipTo(state.LastIndex)
	state.LastIndex++
	t.Index, t.Relay, t.Node = state.LastIndex, s.relay, s.node
	state.put(t)
	return t, save()
}

// newOptions are the flags of new.
type newOptions struct {
	sats, fiat, least, most, premium int64
	code, method, invoice            string
	expires                          time.Duration
}

func clientNewCommand(o *clientOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Put an order into the book",
		Long: `Put an order into the book. With --sats the amount is fixed; without, it is the market price
when somebody takes the order, less --premium percent. With --min and --max the taker chooses
the amount of fiat, and what is left is offered again after the trade.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, kind := range []mostro.OrderKind{mostro.Sell, mostro.Buy} {
		var n newOptions
		short := "Offer your bitcoin for fiat"
		if kind == mostro.Buy {
			short = "Ask for bitcoin against your fiat"
		}
		sub := &cobra.Command{
			Use:   string(kind),
			Short: short,
			Args:  usage(cobra.NoArgs),
			RunE:  func(cmd *cobra.Command, _ []string) error { return o.newOrder(cmd, kind, n) },
		}
		flags := sub.Flags()
		flags.Int64Var(&n.sats, "sats", 0, "amount in sats (default: the market price when it is taken)")
		flags.StringVar(&n.code, "fiat", "", "currency, such as USD")
		flags.Int64Var(&n.fiat, "amount", 0, "amount of fiat, in whole units")
		flags.Int64Var(&n.least, "min", 0, "least amount of fiat, of a range order")
		flags.Int64Var(&n.most, "max", 0, "most fiat, of a range order")
		flags.Int64Var(&n.premium, "premium", 0, "percent over the market price")
		flags.StringVar(&n.method, "method", "", "how the fiat is paid; several with commas")
		flags.DurationVar(&n.expires, "expires", 0, "how long the offer stands, such as 48h (default: what the node gives)")
		if kind == mostro.Buy {
			flags.StringVar(&n.invoice, "invoice", "", "a Lightning invoice or address for the payout")
		}
		cmd.AddCommand(sub)
	}
	return cmd
}

// order checks what can be checked without the node.
func (n newOptions) order(kind mostro.OrderKind, now time.Time) (mostro.SmallOrder, error) {
	o := mostro.SmallOrder{
		Kind: kind, Amount: n.sats, FiatCode: n.code, FiatAmount: n.fiat, PaymentMethod: n.method, Premium: n.premium, BuyerInvoice: n.invoice,
	}
	ranged := n.least != 0 || n.most != 0
	switch {
	case n.code == "":
		return o, badUsage("--fiat is missing", "name the currency: --fiat USD; the node's are in: mostro client info")
	case n.method == "":
		return o, badUsage("--method is missing", `say how the fiat is paid: --method "bank transfer"`)
	case ranged && (n.fiat != 0 || n.sats != 0):
		return o, badUsage("a range order has no --amount and no --sats", "leave them out; the taker chooses, at the market price")
	case ranged && (n.least < 1 || n.most <= n.least):
		return o, badUsage(fmt.Sprintf("the range %d to %d is none", n.least, n.most), "--min is at least 1, and --max is more")
	case !ranged && n.fiat < 1:
		return o, badUsage("--amount is missing", "say how much fiat: --amount 50, or a range: --min 20 --max 100")
	case n.sats < 0:
		return o, badUsage("--sats is negative")
	case n.sats > 0 && n.premium != 0:
		return o, badUsage("--premium is for the market price, and --sats fixes the amount", "leave one out")
	case n.expires < 0:
		return o, badUsage("--expires is negative")
	}
	if ranged {
		o.MinAmount, o.MaxAmount = &n.least, &n.most
	}
	if n.expires > 0 {
		end := now.Add(n.expires).Unix()
		o.ExpiresAt = &end
	}
	return o, nil
}

func (o *clientOptions) newOrder(cmd *cobra.Command, kind mostro.OrderKind, n newOptions) error {
	order, err := n.order(kind, time.Now())
	if err != nil {
		return err
	}
	s, err := o.open(cmd, nil)
	if err != nil {
		return err
	}
	defer s.close()
	side := sideSeller
	if kind == mostro.Buy {
		side = sideBuyer
	}
	terms, err := s.Info(s.ctx)
	if err != nil {
		return advise(err)
	}
	t := clientTrade{Side: side, Transport: o.transport(), Private: o.private, Agreed: client.AgreeNew(order, terms)}
	return s.begin(t, func() (*client.Trade, mostro.Message, error) { return s.NewOrder(s.ctx, order, s.mode()) })
}

func clientTakeCommand(o *clientOptions) *cobra.Command {
	var invoice string
	var fiat int64
	cmd := &cobra.Command{
		Use:   "take ORDER",
		Short: "Take an order of the book, by its id or the id's beginning",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := o.open(cmd, nil)
			if err != nil {
				return err
			}
			defer s.close()
			offered, err := s.findOffer(args[0])
			if err != nil {
				return err
			}
			ranged := offered.MinAmount != nil && offered.MaxAmount != nil
			limits := fiatText(0, offered.MinAmount, offered.MaxAmount, offered.FiatCode)
			switch {
			case ranged && fiat == 0:
				return badUsage("this is a range order, and --amount is missing", "choose the fiat, "+limits+": --amount "+fmt.Sprint(*offered.MinAmount))
			case ranged && (fiat < *offered.MinAmount || fiat > *offered.MaxAmount):
				return badUsage(fmt.Sprintf("--amount %d is outside the range", fiat), "choose from "+limits)
			case !ranged && fiat != 0 && fiat != offered.FiatAmount:
				return badUsage("--amount is for range orders; this one is over "+fiatText(offered.FiatAmount, nil, nil, offered.FiatCode), "leave it out")
			case invoice != "" && offered.Kind == mostro.Buy:
				return badUsage("--invoice is the buyer's, and you would sell", "leave it out")
			}
			terms, err := s.Info(s.ctx)
			if err != nil {
				return advise(err)
			}
			t := clientTrade{Side: sideBuyer, Order: offered.ID, Transport: o.transport(), Private: o.private, Agreed: client.AgreeTake(offered, fiat, terms)}
			if offered.Kind == mostro.Buy {
				t.Side = sideSeller
			}
			return s.begin(t, func() (*client.Trade, mostro.Message, error) {
				if ranged {
					return s.TakeRange(s.ctx, offered, fiat, invoice, s.mode())
				}
				return s.Take(s.ctx, offered, invoice, s.mode())
			})
		},
	}
	cmd.Flags().StringVar(&invoice, "invoice", "", "your Lightning invoice or address for the payout, when you buy; it can also be given later")
	cmd.Flags().Int64Var(&fiat, "amount", 0, "amount of fiat to take of a range order")
	return cmd
}

// findOffer returns the order of the book with an id, or a beginning of one.
func (s *clientSession) findOffer(ref string) (mostro.BookOrder, error) {
	orders, err := s.Book(s.ctx)
	if err != nil {
		return mostro.BookOrder{}, advise(err)
	}
	var found []mostro.BookOrder
	for _, o := range orders {
		if len(ref) >= leastPrefix && strings.HasPrefix(o.ID, strings.ToLower(ref)) {
			found = append(found, o)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return mostro.BookOrder{}, hint(fmt.Errorf("no order of the book is %q", ref), "see what is offered: mostro client book")
	}
	return mostro.BookOrder{}, hint(fmt.Errorf("%d orders of the book begin with %q", len(found), ref), "give more of the id")
}
