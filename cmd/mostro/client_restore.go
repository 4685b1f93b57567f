package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"mostro/escrow/client"
)

// scanBlock is how many trade keys restore looks at together, and how many in a row must be
// unused before it stops.
const scanBlock = 50

func clientRestoreCommand(o *clientOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "restore",
		Short: "Find your trades again from the twelve words",
		Long: `Find your trades again, in a new --dir with the words of another one or of another client. The
node names the trades of your identity and asks once more for what it waits for; trades in full
privacy are found by the messages that the relay keeps for their keys.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.open(cmd, nil)
			if err != nil {
				return err
			}
			defer s.close()
			found, last, err := s.findTrades()
			if err != nil {
				return advise(err)
			}
			var known []clientTrade
			err = s.dir.locked(s.ctx, func(state *clientState, save func() error) error {
				for _, t := range found {
					at := slices.IndexFunc(state.Trades, func(k clientTrade) bool { return k.Index == t.Index })
					if at < 0 {
						state.put(t)
					} else if state.Trades[at].Order == "" {
						state.Trades[at].Order = t.Order
					}
				}
				state.LastIndex = max(state.LastIndex, last)
				known = slices.Clone(state.Trades)
				return save()
			})
			if err != nil {
				return err
			}
			return s.listTrades(known, true)
		},
	}
}

// findTrades returns the trades that the node and the relay know of, and the highest index
// that was ever used.
func (s *clientSession) findTrades() ([]clientTrade, uint32, error) {
	data, last, err := s.Restore(s.ctx, s.o.transport())
	if err != nil {
		return nil, 0, err
	}
	var found []clientTrade
	add := func(index int64, order string) error {
		if index < 1 || index >= 1<<31 {
			return fmt.Errorf("restore: the node names the trade index %d", index)
		}
		last = max(last, uint32(index))
		if !slices.ContainsFunc(found, func(t clientTrade) bool { return t.Index == uint32(index) }) {
			found = append(found, clientTrade{Index: uint32(index), Order: order, Relay: s.relay, Node: s.node, Transport: s.o.transport()})
		}
		return nil
	}
	for _, o := range data.Orders {
		if err := add(o.TradeIndex, o.OrderID); err != nil {
			return nil, 0, err
		}
	}
	for _, d := range data.Disputes {
		if err := add(d.TradeIndex, d.OrderID); err != nil {
			return nil, 0, err
		}
	}
	// What the node does not name has ended or is in full privacy. It goes on without the
	// identity, which the node then may not know of.
	for first := uint32(1); ; first += scanBlock {
		if err := s.ctx.Err(); err != nil { // a relay that answers at once must not win for ever
			return nil, 0, fmt.Errorf("restore: looked for trades at the keys 1 to %d of %d: %w", first-1, last, err)
		}
		used, err := s.Used(s.ctx, first, scanBlock)
		if err != nil {
			return nil, 0, err
		}
		for _, index := range used {
			last = max(last, index)
			if !slices.ContainsFunc(found, func(t clientTrade) bool { return t.Index == index }) {
				t, err := s.recall(index)
				if err != nil {
					return nil, 0, err
				}
				found = append(found, t)
			}
		}
		if len(used) == 0 && first+scanBlock > last {
			return found, last, nil
		}
	}
}

// recall makes the record of a trade from its messages.
func (s *clientSession) recall(index uint32) (clientTrade, error) {
	t := clientTrade{Index: index, Relay: s.relay, Node: s.node, Transport: s.o.transport(), Private: true}
	trade, err := s.Resume("", index, client.Mode{FullPrivacy: true, Transport: t.Transport})
	if err != nil {
		return t, err
	}
	defer trade.Close() // listTrades opens it again
	if err := trade.CaughtUp(s.ctx); err != nil {
		return t, err
	}
	t.Order, t.Side = trade.OrderID(), sideOf(trade.Messages())
	return t, nil
}
