package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"mostro/escrow"
)

const (
	backupStamp  = "20060102T150405Z"
	backupSuffix = ".backup"
	ageSuffix    = ".age"
	// unfinishedFile is what stands before the name of a file until it is whole.
	unfinishedFile = ".new-"
)

func backupCommand() *cobra.Command {
	var dir string
	var recipients, overrides []string
	var plain bool
	cmd := &cobra.Command{
		Use:   "backup [FILE]",
		Short: "Write a full backup of the money store, while the node runs or not",
		Long: `Write a full backup of the money store to a new file, or to the standard output with "-". Without
a name the file is mostro-20261126T131500Z.backup in the current directory, with the time of now, and
.age behind it when it is encrypted. The node may be running: it goes on, and the backup is the store of
one moment. It is encrypted with age to backup.recipients of the settings, or to the keys that
--recipient names. Put it back with mostro restore.

It does not have escrow.secret and the node's key, which are backed up once, apart from it.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := resolveDataDir(dir)
			if err != nil {
				return err
			}
			if len(recipients) == 0 && !plain {
				if recipients, err = ownRecipients(dir, overrides); err != nil {
					return err
				}
			}
			to, err := parseRecipients(recipients)
			if err != nil {
				return hint(fmt.Errorf("--recipient %w", err), "age-keygen makes a pair of keys and prints the public one")
			}
			source, err := backupSource(cmd, dir, overrides)
			if err != nil {
				return err
			}
			if len(args) == 1 && args[0] == "-" {
				_, err := copyBackup(cmd.OutOrStdout(), source, to)
				return err
			}
			path := time.Now().UTC().Format("mostro-"+backupStamp) + backupSuffix
			if len(to) > 0 {
				path += ageSuffix
			}
			if len(args) == 1 {
				path = args[0]
			}
			if err := clearUnfinished(filepath.Dir(path), time.Now()); err != nil { // no reason to make none
				fmt.Fprintf(cmd.ErrOrStderr(), "delete an unfinished backup: %v\n", err)
			}
			info, err := writeBackupFile(path, source, to)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s has %s. %s\n", path, count(info.Rows, "row", "rows"), readBackText(path, len(to) > 0))
			what := "It is not encrypted: whoever reads it sees every trade. --recipient age1... encrypts it."
			if len(to) > 0 {
				what = fmt.Sprintf("It is encrypted to %s. Keep the secret ones apart: without them it opens for nobody.", count(len(to), "key of age", "keys of age"))
			}
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), what)
			}
			return err
		},
	}
	dataDirFlag(cmd, &dir, "~/.mostro")
	waitFlag(cmd)
	settingsFlag(cmd, &overrides)
	cmd.Flags().StringArrayVar(&recipients, "recipient", nil, "encrypt to this key of age, age1... (repeatable; default: backup.recipients)")
	cmd.Flags().BoolVar(&plain, "plain", false, "do not encrypt it")
	cmd.MarkFlagsMutuallyExclusive("recipient", "plain")
	return cmd
}

// backupSource writes a full backup: of the running node, or of one that has ended.
func backupSource(cmd *cobra.Command, dir string, overrides []string) (func(io.Writer) error, error) {
	ctx := cmd.Context()
	running, err := dialControl(ctx, dir)
	if err == nil {
		running.patient(cmd)
		return func(w io.Writer) error {
			body, err := running.ask(ctx, http.MethodGet, "/backup", nil)
			if err != nil {
				return err
			}
			defer body.Close()
			if _, err = io.Copy(w, body); errors.Is(err, io.ErrUnexpectedEOF) {
				return hint(fmt.Errorf("the node has cut its backup off: %w", err), "its log says why")
			}
			return err
		}, nil
	}
	if !errors.Is(err, errNotRunning) {
		return nil, err
	}
	store := filepath.Join(dir, escrowDir)
	if _, err := os.Stat(store); errors.Is(err, fs.ErrNotExist) {
		return nil, hint(fmt.Errorf("there is no money store: %s", store), "name the data directory of a node with --data-dir")
	}
	key, err := endedStoreKey(dir, overrides)
	if err != nil {
		return nil, err
	}
	return func(w io.Writer) error {
		unlock, err := lockDataDir(dir, "mostro backup", true)
		if err != nil {
			return err
		}
		defer unlock()
		if err := markEncrypted(w, key); err != nil {
			return err
		}
		return endedHint(dir, escrow.BackupStore(store, key, w))
	}, nil
}

// endedStoreKey is the key of a store that no node has open. A dev network has no settings
// file, and no key.
func endedStoreKey(dir string, overrides []string) (escrow.StoreKey, error) {
	if _, err := os.Stat(filepath.Join(dir, settingsFile)); errors.Is(err, fs.ErrNotExist) && len(overrides) == 0 {
		return escrow.StoreKey{}, nil
	}
	settings, err := readSettings(dir, overrides)
	if err != nil {
		return escrow.StoreKey{}, err
	}
	return settings.storeKey(dir)
}

// endedHint says what to do about the store of a node that has ended when it cannot be opened.
func endedHint(dir string, err error) error {
	if err != nil && strings.Contains(err.Error(), "directory lock") {
		return hint(fmt.Errorf("%s is in use: %w", dir, err), "a node starts or ends there at this moment, and answers no commands yet: try again")
	}
	if err != nil && strings.Contains(err.Error(), syscall.EROFS.Error()) { // badger loses the chain
		return hint(err, "its process was killed, and whoever opens it first completes its log, which writes: copy the directory to another disk, and name the copy with --data-dir")
	}
	return storeKeyHint(err)
}

// copyBackup writes a backup, encrypted or not, and reads it while it passes: one that is not
// whole is an error.
func copyBackup(out io.Writer, source func(io.Writer) error, to []age.Recipient) (info escrow.BackupInfo, err error) {
	end := func() error { return nil }
	if len(to) > 0 {
		encrypted, err := age.Encrypt(out, to...)
		if err != nil {
			return info, fmt.Errorf("encrypt backup: %w", err)
		}
		out, end = encrypted, encrypted.Close
	}
	read, write := io.Pipe()
	checked := make(chan error, 1)
	go func() {
		var err error
		info, err = escrow.CheckBackup(read)
		read.CloseWithError(err)
		checked <- err
	}()
	err = source(io.MultiWriter(out, write))
	write.CloseWithError(err)
	if checkErr := <-checked; err == nil {
		err = checkErr
	}
	return info, errors.Join(err, end())
}

// backup writes what the store has now, or more than at the backup before, with the mark of an encrypted one.
func (n *node) backup(w io.Writer, at escrow.Chain) (next escrow.Chain, err error) {
	if err := markEncrypted(w, n.cfg.storeKey); err != nil {
		return next, err
	}
	return n.engine.Backup(w, at)
}

// sendBackup streams a full backup. What fails in the middle cuts the connection.
func (n *node) sendBackup(w http.ResponseWriter, _ *http.Request) {
	if _, err := n.backup(w, escrow.Chain{}); err != nil {
		n.cfg.logger.Warn("send a backup", "error", err)
		panic(http.ErrAbortHandler)
	}
}
