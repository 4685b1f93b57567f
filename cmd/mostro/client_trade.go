package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

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
	return s.show(answer, t, trade)
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

// restOf is how much fiat is left of a range order after this trade, when the messages are to its
// maker; 0 = nothing.
func restOf(messages []mostro.Message) int64 {
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
	if most == 0 || most-taken < least {
		return 0
	}
	return most - taken
}

// next runs a request that may name the key for the rest of a range order.
func (s *clientSession) next(t clientTrade, trade *client.Trade, plain func(context.Context) (mostro.Message, error),
	naming func(context.Context) (*client.Trade, mostro.Message, error)) (child *client.Trade, rest clientTrade, answer mostro.Message, err error) {
	left := restOf(trade.Messages())
	if left == 0 {
		answer, err = plain(s.ctx)
		return nil, rest, answer, err
	}
	err = s.dir.locked(s.ctx, func(state *clientState, save func() error) error {
		var err error
		rest, err = s.reserve(state, save, clientTrade{Side: t.Side, Transport: t.Transport, Private: t.Private, Parent: t.Order, Agreed: t.Agreed.Rest(left)})
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
