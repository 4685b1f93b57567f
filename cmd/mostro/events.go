package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"mostro/policies"
	"mostro/relay"
	"mostro/relay/store"
)

func eventsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Export and import the events of the relay",
		Long: `Export and import the events of the relay as lines of JSON, the form in which other relays
do it too. The node must not be running.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(eventsExportCommand(), eventsImportCommand())
	return cmd
}

func eventsExportCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "export [FILE]",
		Short: "Write all events, one a line, to a new file or to the standard output",
		Long: `Write all events, one a line, to a new file, or to the standard output without one or with "-".
People's messages are among them, encrypted: the file is for your eyes only.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			events, end, err := openEvents(cmd, dir, false)
			if err != nil {
				return err
			}
			defer end()
			export := func(out io.Writer) error {
				return events.Export(cmd.Context(), out, func(done, total int) {
					fmt.Fprintf(cmd.ErrOrStderr(), "%d of %d events written\n", done, total)
				})
			}
			if aFile(args) {
				return writeLarge(args[0], export)
			}
			return export(cmd.OutOrStdout())
		},
	}
	dataDirFlag(cmd, &dir, "~/.mostro")
	return cmd
}

func eventsImportCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Read events, one a line, from a file or from the standard input",
		Long: `Read events, one a line, from a file, or from the standard input without one or with "-". The id
and signature of each are checked. What is stored already is passed over, so an import can be
repeated.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := cmd.InOrStdin()
			if aFile(args) {
				file, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("open import: %w", err)
				}
				defer file.Close()
				in = file
			}
			events, end, err := openEvents(cmd, dir, true)
			if err != nil {
				return err
			}
			defer end()
			return importEvents(cmd, events, in)
		},
	}
	dataDirFlag(cmd, &dir, "~/.mostro")
	return cmd
}

// aFile tells whether a file was named, and not the standard input or output.
func aFile(args []string) bool { return len(args) == 1 && args[0] != "-" }

const (
	importEvery = 10_000 // lines between two reports
	maxRefusals = 10     // that are told one by one
)

func importEvents(cmd *cobra.Command, events *store.Store, in io.Reader) error {
	progress := cmd.ErrOrStderr()
	told, next := 0, importEvery
	sum, err := events.Import(cmd.Context(), in, relay.Importable,
		func(sum store.Imported) {
			if sum.Lines >= next {
				fmt.Fprintf(progress, "%d lines: %d stored\n", sum.Lines, sum.Stored)
				next = sum.Lines + importEvery
			}
		},
		func(line int, why error) {
			if told++; told <= maxRefusals {
				fmt.Fprintf(progress, "line %d refused: %v\n", line, why)
			}
		})
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %d stored, %d known or overtaken, %d refused\n", count(sum.Lines, "line", "lines"), sum.Stored, sum.Known, sum.Refused)
	switch {
	case errors.Is(err, store.ErrFull):
		return hint(err, "make room on that disk, then import again: what is stored is passed over")
	case err == nil && sum.Refused > 0 && sum.Stored+sum.Known == 0:
		return hint(errors.New("none of the lines was taken"), "if the file is packed, unpack it on the way: gunzip -c FILE | mostro events import")
	}
	return err
}

// openEvents opens the relay's store in the data directory, until end. Only with create may it be new.
func openEvents(cmd *cobra.Command, dir string, create bool) (events *store.Store, end func(), err error) {
	if dir, err = resolveDataDir(dir); err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, relayDir)
	if create {
		err = openDataDir(dir)
	} else if _, err = os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		err = hint(fmt.Errorf("%s has no events: %w", dir, err), "name the node's directory with --data-dir")
	}
	if err != nil {
		return nil, nil, err
	}
	url, space, err := "", exportSpace(), error(nil)
	if create {
		if url, space, err = relayOf(dir); err != nil {
			return nil, nil, err
		}
	}
	unlock, err := lockDataDir(dir, cmd.CommandPath(), false)
	if err != nil {
		return nil, nil, err
	}
	events, err = relay.OpenEvents(path, url, space, slog.New(slog.DiscardHandler), func(doing string, done, total int) {
		if total > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d of %d events\n", doing, done, total)
		}
	})
	if err != nil {
		unlock()
		if errors.Is(err, store.ErrFull) {
			return nil, nil, hint(err, "make room on that disk, then try again: nothing is lost, and what is moved to the present format already stays so")
		}
		return nil, nil, inUse(dir, err)
	}
	return events, func() { events.Close(); unlock() }, nil
}

// exportSpace is what an export leaves free, whatever has become of the settings: it writes only when it is the first to
// open a folder of the first format, and a disk that is full would kill it then.
func exportSpace() store.Space {
	return store.Space{Rule: policies.FreeSpace(1, 0, 0, store.CriticalFree)}
}

// relayOf is what the settings of a data directory say about its relay: its address, which requests to vanish (NIP-62)
// name, and the disk that it leaves free, for the money is kept on the same one. Without settings the address is "", and
// the defaults hold.
func relayOf(dir string) (url string, space store.Space, err error) {
	_, err = os.Stat(filepath.Join(dir, settingsFile))
	none := errors.Is(err, fs.ErrNotExist)
	var l *loaded
	if none {
		l, err = loadSettings(settingsFile, nil, nil)
	} else {
		l, err = readSettings(dir, nil)
	}
	if err != nil {
		return "", store.Space{}, err
	}
	if url = l.Relay.URL; url == "" && !none {
		url = "ws://" + dialable(l.Relay.Listen)
	}
	return url, l.Relay.space(0), nil
}
