// Command mostro is a Nostr relay with a built-in escrow for peer-to-peer bitcoin trades over
// Lightning.
//
// This package is the only one that knows all parts. It reads the settings, makes the parts,
// and hands each what it needs: the relay gets a function that takes messages to the escrow,
// the escrow one that publishes. Neither knows the other. What a sub-command does stands in
// the file of its name; node.go is the wiring that serve and dev share.
//
// Rules: secrets are never arguments, never logged, and never read from a file that others
// can read. An error says what is wrong, where, and what to do about it. Nothing is written
// to the data directory except by the parts that own it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes. Flags that cannot be read are errors like any other, but for mostro client.
const (
	exitOK    = 0
	exitError = 1
)

//go:generate go test -run Fresh . -update

// garbagePercent is how much garbage may gather beside what lives: most of that is the index of
// the event store, which hardly changes, so that collecting more often costs little. It holds
// unless GOGC says otherwise.
const garbagePercent = 50

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends a process that is slow to stop
	root, begun := rootCommand(), false
	noteBegin(root, &begun)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !begun && !errors.As(err, new(hinted)) {
		err = hint(err, "how it is written: "+cmd.CommandPath()+" --help")
	}
	if err != nil {
		printError(cmd.ErrOrStderr(), cmd, err)
	}
	return exitCode(err)
}

// noteBegin notes in begun that a command line was understood and its command begins.
func noteBegin(cmd *cobra.Command, begun *bool) {
	if do := cmd.RunE; do != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*begun = true
			return do(cmd, args)
		}
	}
	for _, each := range cmd.Commands() {
		noteBegin(each, begun)
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "mostro",
		Short: "A Nostr relay with a built-in escrow for peer-to-peer bitcoin trades",
		Long: `Mostro is a Nostr relay and, in the same process, the escrow of a peer-to-peer bitcoin
exchange: it keeps the order book, holds the seller's sats in a Lightning hold invoice, and
pays the buyer when the seller has the fiat.

  mostro dev      a whole network on this machine, to try things: bitcoin, three Lightning
                  nodes, relay and escrow; nothing of it is worth anything
  mostro serve    a node for the world, beside your own LND
  mostro client   trade on a node`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(devCommand(), serveCommand(), keyCommand(), macaroonCommand(), settingsCommand(), healthCommand(), simulateCommand(), eventsCommand(), peersCommand(),
		auditCommand(),
		backupCommand(), restoreCommand(), storeKeyCommand(), statusCommand(), modeCommand(), breakerCommand(), heldCommand(), restoredCommand(), payoutCommand(), escrowCommand(), clientCommand(), versionCommand())
	return root
}

// hinted is an error with what to do about it, one step a line.
type hinted struct {
	error
	hints []string
}

func (h hinted) Unwrap() error { return h.error }

// hint adds remedies to an error.
func hint(err error, hints ...string) error { return hinted{err, hints} }

// printError says what is wrong with a command, and what to do about it.
func printError(w io.Writer, cmd *cobra.Command, err error) {
	fmt.Fprintf(w, "mostro: %s\n", err)
	var h hinted
	if errors.As(err, &h) {
		for _, line := range h.hints {
			fmt.Fprintf(w, "    -> %s\n", typed(cmd, line))
		}
	}
}

// dataDirFlag adds --data-dir to a command. The default is made when the command runs, since
// a user without a home directory may still name a directory.
func dataDirFlag(cmd *cobra.Command, dir *string, preset string) {
	cmd.Flags().StringVar(dir, "data-dir", "", "directory of settings, keys and stores (default "+preset+")")
}

// settingsFlag adds --settings to a command.
func settingsFlag(cmd *cobra.Command, overrides *[]string) {
	cmd.Flags().StringArrayVar(overrides, "settings", nil,
		"override a setting, KEY=VALUE with a dotted key such as mostro.fee=0.01 (repeatable)")
}

// resolveDataDir returns an absolute path; "" is .mostro in the home directory.
func resolveDataDir(dir string) (string, error) {
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", hint(fmt.Errorf("find home directory: %w", err), "name a directory with --data-dir")
		}
		dir = filepath.Join(home, ".mostro")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find data directory: %w", err)
	}
	return abs, nil
}

// inDir makes a path of the settings absolute: relative ones start at the data directory,
// and ~/ is the home directory.
func inDir(dir, path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
