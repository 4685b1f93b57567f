package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

func clientAdminCommand(o *clientOptions) *cobra.Command {
	var nsecFile string
	cmd := &cobra.Command{
		Use:   "admin",
		Short: "Decide disputes, as an administrator of the node or a solver",
		Long: `Decide disputes. You act with the key in --nsec-file, such as the node's own or one that its
settings name, or else with your identity, which an administrator has made a solver.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&nsecFile, "nsec-file", "", "file with the nsec to act with, readable by you alone")

	// act runs a request with the chosen key and prints the answer.
	act := func(cmd *cobra.Command, request func(*clientSession, *client.Admin) (mostro.Message, error)) error {
		s, admin, err := o.openAdmin(cmd, nsecFile)
		if err != nil {
			return err
		}
		defer s.close()
		answer, err := request(s, admin)
		if err != nil {
			return advise(err)
		}
		return s.screen.message(answer, clientTrade{}, true)
	}
	var readOnly bool
	var slash []string // bonds
	add := &cobra.Command{
		Use:   "add-solver NPUB",
		Short: "Let a person take disputes and decide them; administrators only",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			pubkey, err := mostro.ParsePubkey(args[0])
			if err != nil {
				return hint(usageError{err}, "want an npub or 64 hex digits")
			}
			return act(cmd, func(s *clientSession, a *client.Admin) (mostro.Message, error) {
				return a.AddSolver(s.ctx, npub(pubkey), readOnly)
			})
		},
	}
	add.Flags().BoolVar(&readOnly, "read-only", false, "he may look at disputes and talk, not decide")
	byID := func(verb, what, short string, request func(*client.Admin, *clientSession, string) (mostro.Message, error)) *cobra.Command {
		return &cobra.Command{
			Use:   verb + " " + what,
			Short: short,
			Args:  usage(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, args []string) error {
				return act(cmd, func(s *clientSession, a *client.Admin) (mostro.Message, error) {
					return request(a, s, strings.ToLower(args[0]))
				})
			},
		}
	}
	disputes := &cobra.Command{
		Use:   "disputes",
		Short: "List the disputes that nobody has decided",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.openReader(cmd)
			if err != nil {
				return err
			}
			defer s.close()
			open, err := s.Disputes(s.ctx)
			if err != nil {
				return advise(err)
			}
			return s.showDisputes(open)
		},
	}
	var follow bool
	chat := &cobra.Command{
		Use:   "chat PUBKEY [TEXT]",
		Short: "Talk to a party of your dispute, by its key in what take shows",
		Args:  usage(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			party, err := mostro.ParsePubkey(args[0])
			if err != nil {
				return hint(usageError{err}, "want an npub or 64 hex digits")
			}
			s, admin, err := o.openAdmin(cmd, nsecFile)
			if err != nil {
				return err
			}
			defer s.close()
			chat, err := admin.Chat(party)
			if err != nil {
				return err
			}
			return s.talk(chat, map[string]string{party: "party", admin.Pubkey(): "you"}, args[1:], follow)
		},
	}
	chat.Flags().BoolVar(&follow, "follow", false, "go on and print what is said, until Ctrl-C")
	cmd.AddCommand(add, chat, disputes,
		byID("take", "DISPUTE", "Take a dispute, by its own id", func(a *client.Admin, s *clientSession, id string) (mostro.Message, error) {
			return a.TakeDispute(s.ctx, id)
		}),
		byID("settle", "ORDER", "Give the sats of a disputed order to the buyer", func(a *client.Admin, s *clientSession, id string) (mostro.Message, error) {
			resolution, err := resolve(slash)
			if err != nil {
				return mostro.Message{}, err
			}
			return a.Settle(s.ctx, id, resolution)
		}),
		byID("cancel", "ORDER", "Give the sats of a disputed order back to the seller", func(a *client.Admin, s *clientSession, id string) (mostro.Message, error) {
			resolution, err := resolve(slash)
			if err != nil {
				return mostro.Message{}, err
			}
			return a.Cancel(s.ctx, id, resolution)
		}))
	for _, decides := range cmd.Commands() {
		if decides.Name() == "settle" || decides.Name() == "cancel" {
			decides.Flags().StringSliceVar(&slash, "slash", nil, "whose bond goes to the other side: buyer, seller, or buyer,seller")
		}
	}
	return cmd
}

// openAdmin connects to act with the key of a file, or with the user's identity when there is
// none. With a file no keys of the user are needed.
func (o *clientOptions) openAdmin(cmd *cobra.Command, nsecFile string) (*clientSession, *client.Admin, error) {
	var key mostro.Secret
	if nsecFile != "" {
		data, err := readSecretFile(nsecFile)
		if err != nil {
			return nil, nil, fmt.Errorf("read --nsec-file: %w", err)
		}
		if key, err = mostro.ParseSecret(strings.TrimPrefix(strings.TrimSpace(string(data)), nsecVariable+"=")); err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", nsecFile, err)
		}
	}
	var s *clientSession
	var err error
	if key.IsZero() {
		s, err = o.open(cmd, nil)
	} else {
		s, err = o.openReader(cmd)
	}
	if err != nil {
		return nil, nil, err
	}
	return s, s.Admin(key, o.transport()), nil
}

func (s *clientSession) showDisputes(open []client.Dispute) error {
	if s.screen.json {
		for _, d := range open {
			if err := s.screen.object(d); err != nil {
				return err
			}
		}
		return nil
	}
	if len(open) == 0 {
		return s.screen.line("There are no open disputes.")
	}
	table := tabwriter.NewWriter(s.screen.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DISPUTE\tSTATUS\tOPENED BY\tOPENED AT")
	for _, d := range open {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", d.ID, d.Status, d.Initiator, time.Unix(d.CreatedAt, 0).Format(time.DateTime))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return s.screen.line("  -> take one: mostro client admin take DISPUTE")
}
