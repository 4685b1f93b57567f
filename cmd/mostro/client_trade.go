package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
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
	return s.screen.message(answer, t, true)
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
	t := clientTrade{Side: side, Transport: o.transport(), Private: o.private}
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
			t := clientTrade{Side: sideBuyer, Order: offered.ID, Transport: o.transport(), Private: o.private}
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

// onTrade runs a request on a trade that was begun, with its messages read, and prints the
// answer. A request whose last answer is about another trade says which.
func (o *clientOptions) onTrade(cmd *cobra.Command, ref string, request func(*clientSession, *clientTrade, *client.Trade) (mostro.Message, error)) error {
	s, t, trade, err := o.resume(cmd, ref)
	if err != nil {
		return err
	}
	defer s.close()
	if trade.OrderID() == "" {
		return hint(fmt.Errorf("the node has not named the order of trade %d yet", t.Index), "look later: "+clientCall("messages", t))
	}
	answer, err := request(s, &t, trade)
	if err != nil {
		return advise(err)
	}
	return s.screen.message(answer, t, true)
}

// resume opens a trade that was begun, and reads its messages.
func (o *clientOptions) resume(cmd *cobra.Command, ref string) (*clientSession, clientTrade, *client.Trade, error) {
	dir, err := o.openDir()
	if err != nil {
		return nil, clientTrade{}, nil, err
	}
	state, err := dir.load()
	if err != nil {
		return nil, clientTrade{}, nil, err
	}
	t, err := state.find(ref)
	if err != nil {
		return nil, t, nil, err
	}
	s, err := o.open(cmd, &t)
	if err != nil {
		return nil, t, nil, err
	}
	trade, err := s.read(&t)
	if err != nil {
		s.close()
		return nil, t, nil, advise(err)
	}
	return s, t, trade, nil
}

// read opens a trade and waits for its messages. What they say that was not known is kept.
func (s *clientSession) read(t *clientTrade) (*client.Trade, error) {
	trade, err := s.Resume(t.Order, t.Index, t.mode())
	if err != nil {
		return nil, err
	}
	if err := trade.CaughtUp(s.ctx); err != nil {
		return nil, err
	}
	learned := *t
	learned.Order = trade.OrderID()
	if learned.Side == "" {
		learned.Side = sideOf(trade.Messages())
	}
	if learned == *t {
		return trade, nil
	}
	*t = learned
	return trade, s.dir.locked(s.ctx, func(state *clientState, save func() error) error {
		state.put(learned)
		return save()
	})
}

// sideOf finds out which side of a trade the messages are to, "" when they do not tell: the
// maker is told of his order, and only then of a taker.
func sideOf(messages []mostro.Message) string {
	maker := false
	kind := mostro.OrderKind("")
	for _, m := range messages {
		maker = maker || m.Action == mostro.NewOrder
		if o := orderOf(m); o != nil && o.Kind != "" {
			kind = o.Kind
		}
	}
	switch {
	case kind == "":
		return ""
	case maker == (kind == mostro.Sell):
		return sideSeller
	}
	return sideBuyer
}

// restOf tells whether the messages are to the maker of a range order of which something is
// left after this trade.
func restOf(messages []mostro.Message) bool {
	var least, most, taken int64
	for _, m := range messages {
		o := orderOf(m)
		if o == nil {
			continue
		}
		if m.Action == mostro.NewOrder && o.MinAmount != nil && o.MaxAmount != nil {
			least, most, taken = *o.MinAmount, *o.MaxAmount, 0
		} else if o.FiatAmount > 0 {
			taken = o.FiatAmount
		}
	}
	return most > 0 && most-taken >= least
}

// next runs a request that may name the key for the rest of a range order.
func (s *clientSession) next(t clientTrade, trade *client.Trade, plain func(context.Context) (mostro.Message, error),
	naming func(context.Context) (*client.Trade, mostro.Message, error)) (child *client.Trade, rest clientTrade, answer mostro.Message, err error) {
	if !restOf(trade.Messages()) {
		answer, err = plain(s.ctx)
		return nil, rest, answer, err
	}
	err = s.dir.locked(s.ctx, func(state *clientState, save func() error) error {
		var err error
		rest, err = s.reserve(state, save, clientTrade{Side: t.Side, Transport: t.Transport, Private: t.Private, Parent: t.Order})
		if err != nil {
			return err
		}
		child, answer, err = naming(s.ctx)
		if child == nil {
			state.drop(rest.Index)
		}
		return errors.Join(err, save())
	})
	return child, rest, answer, err
}

func clientInvoiceCommand(o *clientOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "invoice ORDER BOLT11",
		Short: "Give the invoice to which the node pays your sats",
		Args:  usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.onTrade(cmd, args[0], func(s *clientSession, _ *clientTrade, trade *client.Trade) (mostro.Message, error) {
				return trade.AddInvoice(s.ctx, args[1])
			})
		},
	}
}

func clientFiatSentCommand(o *clientOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "fiat-sent ORDER",
		Short: "Tell the seller that you have sent the fiat",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.onTrade(cmd, args[0], func(s *clientSession, t *clientTrade, trade *client.Trade) (mostro.Message, error) {
				_, _, answer, err := s.next(*t, trade, trade.FiatSent, trade.FiatSentNext)
				return answer, err
			})
		},
	}
}

func clientReleaseCommand(o *clientOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "release ORDER",
		Short: "Give the sats to the buyer, for ever; look into your account first",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.onTrade(cmd, args[0], func(s *clientSession, t *clientTrade, trade *client.Trade) (mostro.Message, error) {
				child, rest, answer, err := s.next(*t, trade, trade.Release, trade.ReleaseNext)
				if err != nil || child == nil {
					return answer, err
				}
				if err := s.screen.message(answer, *t, false); err != nil {
					return answer, err
				}
				if answer, err = child.Wait(s.ctx, mostro.NewOrder); err != nil {
					return answer, fmt.Errorf("released; the rest of the order is not in the book yet: %w", err)
				}
				rest.Order = child.OrderID()
				*t = rest
				return answer, s.dir.locked(s.ctx, func(state *clientState, save func() error) error {
					state.put(rest)
					return save()
				})
			})
		},
	}
}

// clientPlainCommand is a request without arguments of its own.
func clientPlainCommand(o *clientOptions, verb, short string, request func(*client.Trade, context.Context) (mostro.Message, error)) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " ORDER",
		Short: short,
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.onTrade(cmd, args[0], func(s *clientSession, _ *clientTrade, trade *client.Trade) (mostro.Message, error) {
				return request(trade, s.ctx)
			})
		},
	}
}

func clientCancelCommand(o *clientOptions) *cobra.Command {
	return clientPlainCommand(o, "cancel", "Take back an order or a take; when sats are held, ask the other side to agree", (*client.Trade).Cancel)
}

func clientDisputeCommand(o *clientOptions) *cobra.Command {
	return clientPlainCommand(o, "dispute", "Ask for a solver", (*client.Trade).Dispute)
}

func clientRateCommand(o *clientOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "rate ORDER STARS",
		Short: "Rate the other side after a trade, with 1 to 5 stars",
		Args:  usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			stars, err := strconv.Atoi(args[1])
			if err != nil || stars < 1 || stars > 5 {
				return badUsage(fmt.Sprintf("%q stars: want a number from 1 to 5", args[1]))
			}
			return o.onTrade(cmd, args[0], func(s *clientSession, _ *clientTrade, trade *client.Trade) (mostro.Message, error) {
				return trade.Rate(s.ctx, stars)
			})
		},
	}
}
