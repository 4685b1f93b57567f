package main

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nbd-wtf/go-nostr/nip19"
	"github.com/spf13/cobra"

	"mostro/escrow/mostro"
)

func keyCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make a key for a new node and keep it in the data directory",
		Long: `Make a key for a new node and write it to the file .env of the data directory, readable by
you alone. Only the public key is printed. Where there is a key already, in .env, in settings.toml or
in MOSTRO_NSEC_PRIVKEY, none is made: it would take that one's place at the next start.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := resolveDataDir(dir)
			if err != nil {
				return err
			}
			if err := openDataDir(dir); err != nil {
				return err
			}
			if err := refuseRoot(dir, "mostro key", os.Geteuid()); err != nil {
				return err
			}
			path := filepath.Join(dir, envFile)
			taken := func(where string) error {
				return hint(fmt.Errorf("%s exists already; the identity of a node is not replaced", where),
					"a new node gets a data directory of its own: mostro key --data-dir OTHER")
			}
			if where, err := otherKey(dir); err != nil || where != "" {
				return cmp.Or(err, taken("a key in "+where))
			}
			key, err := newKey()
			if err != nil {
				return err
			}
			err = writeNew(path, []byte(nsecVariable+"="+key.Nsec()+"\n"))
			if errors.Is(err, fs.ErrExist) {
				return taken(path)
			}
			if err != nil {
				return err
			}
			npub, err := nip19.EncodePublicKey(key.Public())
			if err != nil {
				return fmt.Errorf("encode public key: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\nThe secret key is in %s. Back it up: it is the identity of the node.\n", npub, path)
			return nil
		},
	}
	dataDirFlag(cmd, &dir, "~/.mostro")
	return cmd
}

// otherKey says where a node has a key that is not in .env; "" = nowhere.
func otherKey(dir string) (where string, err error) {
	if os.Getenv(nsecVariable) != "" {
		return "the environment variable " + nsecVariable, nil
	}
	if _, err := os.Lstat(filepath.Join(dir, settingsFile)); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	settings, err := readSettings(dir, nil)
	if err != nil || settings.Nostr.Nsec == "" {
		return "", err
	}
	return settings.origin["nostr.nsec_privkey"], nil
}

// newKey makes a random key.
func newKey() (mostro.Secret, error) {
	var b [32]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	key, err := mostro.NewSecret(b)
	if err != nil { // one in 2^127
		return mostro.Secret{}, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}
