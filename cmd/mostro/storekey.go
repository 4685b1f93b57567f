package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"mostro/escrow"
)

// credential marks a key file that systemd hands to the unit.
const credential = "credential:"

func storeKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "store-key FILE",
		Short: "Make a key that encrypts the money store, in a new file",
		Long: `Make a key that encrypts the money store, and write it to a new file that you alone can read.
Name the file in store.key_file. Put it on another disk than the data directory: it protects a
stolen disk and backups, not a machine that somebody has taken over. Whoever loses it loses the
ledger, so keep a copy.

A store that is there already is encrypted by way of a backup. Stop the node first, and do not start
it before the end: what is traded in between would be lost.

  mostro backup now.backup --plain    before store.key_file is set
  mv ~/.mostro/escrow ~/.mostro/escrow.plain
  mostro restore now.backup           with store.key_file set
  mostro serve                        then mostro status and mostro audit
  rm -r ~/.mostro/escrow.plain now.backup

The last two are not encrypted, nor are earlier backups that were made without recipients.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return fmt.Errorf("find file: %w", err)
			}
			var key [32]byte
			rand.Read(key[:]) // never fails: crypto/rand ends the process instead
			err = writeNew(path, []byte(hex.EncodeToString(key[:])+"\n"))
			if errors.Is(err, fs.ErrExist) {
				return hint(fmt.Errorf("%s exists already; a key is not replaced", path), "name another file")
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "The key is in %s. Keep a copy of it, and set in [store]: key_file = %q\n", path, path)
			return err
		},
	}
}

// storeKey reads the key of the money store; the zero key where the settings name none.
func (l *loaded) storeKey(dir string) (key escrow.StoreKey, err error) {
	wrong := func(what, remedy string) error { return l.problemOf("store.key_file", what, remedy) }
	path := l.Store.KeyFile
	if path == "" {
		return key, nil
	}
	if name, ok := strings.CutPrefix(path, credential); ok {
		given := os.Getenv("CREDENTIALS_DIRECTORY")
		if given == "" || name == "" || name != filepath.Base(name) {
			return key, wrong("names a credential, and systemd has handed none over", "put LoadCredential="+name+":/path/to/key into the unit; in a shell name the file instead: --settings store.key_file=/path/to/key")
		}
		path = filepath.Join(given, name)
	} else {
		path = inDir(dir, path)
		real, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return key, wrong(fmt.Sprintf("cannot be read: %v", err), "mostro store-key FILE makes one")
		}
		home, err := filepath.EvalSymlinks(dir)
		if errors.Is(err, fs.ErrNotExist) { // nothing is in it yet
			home, err = dir, nil
		}
		if err != nil {
			return key, fmt.Errorf("find data directory: %w", err)
		}
		if rel, err := filepath.Rel(home, real); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return key, wrong("lies in the data directory: whoever has one has the other", "move the key to another disk")
		}
	}
	data, err := readSecretFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return key, wrong(fmt.Sprintf("names %s, which is not there", path), "put it back from your copy; mostro store-key FILE makes the first one")
	}
	if err != nil {
		return key, err
	}
	decoded, err := hex.DecodeString(string(bytes.TrimSpace(data)))
	if err != nil || len(decoded) != 32 {
		return key, wrong("names a file that is damaged: want 64 hex digits", "put it back from your copy")
	}
	return escrow.NewStoreKey([32]byte(decoded)), nil
}

// storeKeyHint adds what to do about a key that does not fit.
func storeKeyHint(err error) error {
	if errors.Is(err, escrow.ErrStoreKey) {
		return hint(err, "name the file with the right key in store.key_file, or none if the store was never encrypted",
			"a store is encrypted, or no longer, by mostro backup and mostro restore")
	}
	return err
}
