package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

// What mostro client uses unless it is told otherwise.
const (
	clientRelay   = "ws://127.0.0.1:7000"
	clientTimeout = time.Minute
)

// exitUsage is the exit code of a command line that cannot be understood. Only mostro client
// tells it apart.
const exitUsage = 2

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitCode is what an error ends the process with.
func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	}
	return exitError
}

// usage makes the errors of a check of arguments usage errors.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return hint(usageError{err}, cmd.CommandPath()+" --help")
		}
		return nil
	}
}

// badUsage is a usage error with what would be right.
func badUsage(what string, hints ...string) error {
	return hint(usageError{errors.New(what)}, hints...)
}

// clientOptions are the flags of every sub-command of mostro client.
type clientOptions struct {
	relay, node, dir  string
	json, v1, private bool
	timeout           time.Duration
}

func clientCommand() *cobra.Command {
	o := &clientOptions{}
	cmd := &cobra.Command{
		Use:   "client",
		Short: "Trade on a Mostro node: order book, trades, chat, disputes",
		Long: `Trade on a Mostro node from the command line. Your keys come from twelve words in --dir, the
same that mobile clients use; the wallet is yours: the client shows invoices and takes yours.

  mostro client keys new                            once
  mostro client book                                what is offered
  mostro client new sell --fiat USD --amount 50 --sats 100000 --method "bank transfer"
  mostro client take ORDER --invoice BOLT11
  mostro client orders                              your trades and their numbers
  mostro client messages 1 --follow                 what the node says, and what to do next

ORDER is the number of a trade of yours, or an order's id or its beginning. With --json every
message is one line of JSON as it is on the wire; one that is not what you agreed to when you
made or took the order, such as an invoice over another amount, is left out. The exit code is 0 when it is done, 1 when it
is refused or fails, and 2 when the command line is wrong.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return hint(usageError{err}, cmd.CommandPath()+" --help")
	})
	flags := cmd.PersistentFlags()
	flags.StringVar(&o.relay, "relay", clientRelay, "relay of the node; a trade keeps the one it began on")
	flags.StringVar(&o.node, "mostro", "", "public key of the node, npub or hex (default: what the relay names)")
	flags.StringVar(&o.dir, "dir", "", "directory of keys and trades (default ~/"+clientDirName+")")
	flags.BoolVar(&o.json, "json", false, "print JSON, one object a line")
	flags.BoolVar(&o.v1, "v1", false, "speak version 1 of the protocol (gift wraps) in a new trade")
	flags.BoolVar(&o.private, "private", false, "full privacy in a new trade: no identity, no reputation")
	flags.DurationVar(&o.timeout, "timeout", clientTimeout, "how long to wait for answers, 0 for ever")
	cmd.AddCommand(
		clientKeysCommand(o), clientInfoCommand(o), clientBookCommand(o), clientOffersCommand(o),
		clientNewCommand(o), clientTakeCommand(o), clientInvoiceCommand(o), clientBondInvoiceCommand(o), clientFiatSentCommand(o), clientReleaseCommand(o),
		clientCancelCommand(o), clientDisputeCommand(o), clientRateCommand(o), clientReviewCommand(o), clientMostrosCommand(o),
		clientOrdersCommand(o), clientRestoreCommand(o), clientMessagesCommand(o), clientChatCommand(o), clientAdminCommand(o),
	)
	return cmd
}

// transport is what a request without a trade travels in; 0 is the node's choice.
func (o *clientOptions) transport() mostro.Transport {
	if o.v1 {
		return mostro.GiftWrap
	}
	return 0
}

// bound returns a context that ends after --timeout.
func (o *clientOptions) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, o.timeout)
}

// clientSession is one run of a sub-command: a connection, and where its results go.
type clientSession struct {
	*client.Client
	o       *clientOptions
	ctx     context.Context // ends after --timeout
	command context.Context // ends with the command
	dir     clientDir
	relay   string
	node    string // hex
	screen  clientScreen
	cancel  context.CancelFunc

	remembers bool // which node the relay names
}

// open connects. A trade of the user's is on the relay and the node where it began.
func (o *clientOptions) open(cmd *cobra.Command, trade *clientTrade) (*clientSession, error) {
	dir, err := o.openDir()
	if err != nil {
		return nil, err
	}
	words, err := dir.words()
	if err != nil {
		return nil, err
	}
	state, err := dir.load()
	if err != nil {
		return nil, err
	}
	s := o.session(cmd, dir)
	s.remembers = true
	if trade != nil {
		if !cmd.Flags().Changed("relay") {
			s.relay = trade.Relay
		}
		s.node = trade.Node
	}
	return s, s.connect(client.Keys{Mnemonic: words, LastIndex: state.LastIndex})
}

// openReader connects without keys of the user, to read what everybody may.
func (o *clientOptions) openReader(cmd *cobra.Command) (*clientSession, error) {
	dir, err := o.findDir()
	if err != nil {
		return nil, err
	}
	words, err := mostro.NewMnemonic()
	if err != nil {
		return nil, err
	}
	s := o.session(cmd, dir)
	return s, s.connect(client.Keys{Mnemonic: words})
}

func (o *clientOptions) session(cmd *cobra.Command, dir clientDir) *clientSession {
	s := &clientSession{o: o, command: cmd.Context(), dir: dir, relay: o.relay, screen: o.screen(cmd)}
	s.ctx, s.cancel = o.bound(cmd.Context())
	return s
}

func (s *clientSession) connect(keys client.Keys) error {
	err := s.findNode()
	if err == nil {
		s.Client, err = client.Dial(s.ctx, client.Config{RelayURL: s.relay, Node: s.node, Keys: keys})
		if err != nil {
			err = hint(err, "is it running? mostro serve, or mostro dev; --relay names another one")
		}
	}
	if err != nil {
		s.cancel()
	}
	return err
}

func (s *clientSession) close() {
	s.Close()
	s.cancel()
}

// mode is how a new trade shows itself.
func (s *clientSession) mode() client.Mode {
	return client.Mode{FullPrivacy: s.o.private, Transport: s.o.transport()}
}

// advise adds what a user can do about an error of the client.
func advise(err error) error {
	if advice := client.Hint(err); advice != "" {
		return hint(err, advice)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return hint(err, "--timeout gives it more time")
	}
	return err
}

// clientScreen prints for people or for programs.
type clientScreen struct {
	out      io.Writer
	problems io.Writer // of JSON, which has no place for them
	json     bool
}

func (o *clientOptions) screen(cmd *cobra.Command) clientScreen {
	if o.json {
		return clientScreen{out: cmd.OutOrStdout(), problems: cmd.ErrOrStderr(), json: true}
	}
	return clientScreen{out: plainWriter{cmd}}
}

// message prints a message of the node: what happened and, when it is the latest, what to do
// next.
func (c clientScreen) message(m mostro.Message, t clientTrade, latest bool) error {
	if c.json {
		encoded, err := m.Encode()
		if err != nil {
			return fmt.Errorf("print message: %w", err)
		}
		return c.line("%s", encoded)
	}
	what, next := explain(m, t)
	if err := c.line("%s", what); err != nil || next == "" || !latest {
		return err
	}
	return c.line("  -> %s", next)
}

func (c clientScreen) line(format string, args ...any) error {
	_, err := fmt.Fprintf(c.out, format+"\n", args...)
	return err
}

// object prints a value as one line of JSON.
func (c clientScreen) object(v any) error {
	encoded, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return c.line("%s", encoded)
}
