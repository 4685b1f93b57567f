package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

func clientOrdersCommand(o *clientOptions) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "orders",
		Short: "List your trades and where they stand",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.open(cmd, nil)
			if err != nil {
				return err
			}
			defer s.close()
			state, err := s.dir.load()
			if err != nil {
				return err
			}
			return s.listTrades(state.Trades, all)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also those that have ended")
	return cmd
}

// shownTrade is a trade of the user's as JSON.
type shownTrade struct {
	clientTrade
	Status mostro.Status `json:"status,omitempty"`
}

// listTrades prints the trades on this node.
func (s *clientSession) listTrades(trades []clientTrade, all bool) error {
	table := tabwriter.NewWriter(s.screen.out, 0, 0, 2, ' ', 0)
	shown, elsewhere := 0, 0
	for _, t := range trades {
		if t.Node != s.node {
			elsewhere++
			continue
		}
		trade, err := s.read(&t)
		if err != nil {
			return advise(err)
		}
		trade.Close() // or the mail of all would be read again for each
		status := trade.Status()
		if status == mostro.StatusSettledHoldInvoice { // nobody tells the seller that the buyer is paid
			if o, err := s.Order(s.ctx, t.Order); err == nil && o.Status == mostro.StatusSuccess {
				status = mostro.StatusSuccess
			}
		}
		if (hasEnded(status) || t.Order == "") && !all {
			continue
		}
		shown++
		if s.screen.json {
			if err := s.screen.object(shownTrade{t, status}); err != nil {
				return err
			}
			continue
		}
		if shown == 1 {
			fmt.Fprintln(table, "TRADE\tORDER\tYOU\tSTATUS\tBITCOIN\tFIAT")
		}
		bitcoin, fiat := "", ""
		if o := latestOrder(trade.Messages()); o != nil {
			bitcoin, fiat = priceText(o.Amount, o.Premium), fiatText(o.FiatAmount, o.MinAmount, o.MaxAmount, o.FiatCode)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\n", t.Index, t.Order, t.Side, status, bitcoin, fiat)
	}
	if s.screen.json {
		return nil
	}
	if shown == 0 {
		fmt.Fprintln(table, "You have no trades under way.\n  -> see what is offered: mostro client book")
	}
	if elsewhere > 0 {
		fmt.Fprintf(table, "  -> %d more with other nodes: name them by --mostro, and their --relay\n", elsewhere)
	}
	return table.Flush()
}

func latestOrder(messages []mostro.Message) (latest *mostro.SmallOrder) {
	for _, m := range messages {
		if o := orderOf(m); o != nil {
			latest = o
		}
	}
	return latest
}

// hasEnded tells whether nothing is left to do in a trade.
func hasEnded(status mostro.Status) bool {
	switch status {
	case mostro.StatusSuccess, mostro.StatusCanceled, mostro.StatusCooperativelyCanceled, mostro.StatusExpired,
		mostro.StatusCanceledByAdmin, mostro.StatusCompletedByAdmin:
		return true
	}
	return false
}

func clientMessagesCommand(o *clientOptions) *cobra.Command {
	var follow bool
	var until string
	cmd := &cobra.Command{
		Use:   "messages ORDER",
		Short: "Show what the node has said about a trade, and what to do next",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if until != "" && !mostro.Action(until).Known() {
				return badUsage(fmt.Sprintf("--until %q: the protocol has no such action", until), "for example hold-invoice-payment-accepted")
			}
			s, t, trade, err := o.resume(cmd, args[0])
			if err != nil {
				return err
			}
			defer s.close()
			ctx := s.ctx
			if follow && !cmd.Flags().Changed("timeout") {
				ctx = s.command
			}
			if !follow && until == "" {
				return s.showMessages(t, trade.Messages())
			}
			return s.follow(ctx, t, trade, mostro.Action(until))
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "go on and print what comes, until the trade ends or Ctrl-C")
	cmd.Flags().StringVar(&until, "until", "", "go on until a message with this action has come, such as fiat-sent-ok")
	return cmd
}

// showMessages prints messages, and at the end what to do now.
func (s *clientSession) showMessages(t clientTrade, messages []mostro.Message) error {
	now := ""
	var wrong error
	at := present(messages)
	for i, m := range messages {
		err := t.Agreed.Check(messages[:i], m, payableAt(i == at))
		switch {
		case err != nil && i == at:
			wrong = notAgreed(err, t)
			continue
		case err != nil:
			err = s.screen.doubtful(err, t)
		default:
			err = s.screen.message(m, t, false)
		}
		if err != nil {
			return err
		}
		switch {
		case m.Action == mostro.SendDM && m.RequestID != nil: // it was done, and now waits for the node
			now = "wait: " + clientCall("messages", t, "--follow")
		case i == at:
			_, now = explain(m, t)
		}
	}
	switch {
	case wrong != nil || s.screen.json:
		return wrong
	case len(messages) == 0:
		return s.screen.line("The node has said nothing about this trade.")
	case now != "":
		return s.screen.line("  -> %s", now)
	}
	return nil
}

// follow prints messages as they come, until one has the last action or the command ends;
// without a last action until the trade is over, which the prompt to rate says after a release.
func (s *clientSession) follow(ctx context.Context, t clientTrade, trade *client.Trade, last mostro.Action) error {
	for n := 0; ; n++ {
		m, err := trade.Wait(ctx)
		switch {
		case err != nil && s.command.Err() != nil, errors.Is(err, client.ErrOver) && last == "":
			return nil
		case err != nil:
			return advise(err)
		}
		_, notice := client.ReputationOf(m)
		all := trade.Messages()
		err = t.Agreed.Check(all[:n], m, payableAt(n >= present(all)))
		switch {
		case err != nil && !notice && m.Action == last:
			return notAgreed(err, t)
		case err != nil:
			err = s.screen.doubtful(err, t)
		default:
			err = s.screen.message(m, t, true)
		}
		if err != nil {
			return err
		}
		if !notice && m.Action == last || last == "" && m.Action == mostro.Rate {
			return nil
		}
	}
}

func clientChatCommand(o *clientOptions) *cobra.Command {
	var follow, solver bool
	cmd := &cobra.Command{
		Use:   "chat ORDER [TEXT]",
		Short: "Talk to the other side of a trade; without TEXT, show what was said",
		Long: `Talk to the other side of a trade, once the escrow is held. What is said is encrypted for the
two of you, and goes through the relay but not through the node. With --solver you talk to the
solver of your dispute. Without TEXT, what was said is shown.`,
		Args: usage(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, _, trade, err := o.resume(cmd, args[0])
			if err != nil {
				return err
			}
			defer s.close()
			with, who := trade.Peer(), "peer"
			if solver {
				with, who = trade.Solver(), "solver"
			}
			if with == "" {
				return hint(fmt.Errorf("the node has not named the %s yet", who), "it does when the escrow is held, or a solver has taken the dispute")
			}
			chat, err := trade.Chat(with)
			if err != nil {
				return err
			}
			return s.talk(chat, map[string]string{with: who, trade.Pubkey(): "you"}, args[1:], follow)
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "go on and print what is said, until Ctrl-C")
	cmd.Flags().BoolVar(&solver, "solver", false, "talk to the solver of the dispute")
	return cmd
}

// shownChat is a chat message as JSON.
type shownChat struct {
	ID     string `json:"id"`
	From   string `json:"from"`
	Pubkey string `json:"pubkey"`
	At     int64  `json:"at"` // unix seconds
	Text   string `json:"text"`
}

// talk says a text, or shows what was said.
func (s *clientSession) talk(chat *client.Chat, names map[string]string, text []string, follow bool) error {
	if len(text) > 0 {
		if err := chat.Say(s.ctx, text[0]); err != nil {
			return advise(err)
		}
		if !follow {
			return nil
		}
	}
	ctx := s.ctx
	if follow {
		ctx = s.command
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	var failed error
	done := false
	err := chat.Watch(ctx, func(messages []mostro.ChatMessage) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range messages {
			failed = errors.Join(failed, s.showChat(m, names[m.From]))
		}
		if !follow || failed != nil {
			done = true
			stop()
		}
	})
	mu.Lock()
	defer mu.Unlock()
	if done || s.command.Err() != nil {
		err = nil
	}
	return errors.Join(advise(err), failed)
}

func (s *clientSession) showChat(m mostro.ChatMessage, from string) error {
	if s.screen.json {
		return s.screen.object(shownChat{m.ID, from, m.From, m.At, m.Text})
	}
	text := strings.ReplaceAll(m.Text, "\n", "\n    ") // a line of its own could pass for somebody else's
	return s.screen.line("%s  %s: %s", time.Unix(m.At, 0).Format(time.DateTime), from, text)
}
