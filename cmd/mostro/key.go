package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
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
you alone. Only the public key is printed. A key that is there is never overwritten.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := resolveDataDir(dir)
			if err != nil {
				return err
			}
			if err := openDataDir(dir); err != nil {
				return err
			}
			path := filepath.Join(dir, envFile)
			key, err := newKey()
			if err != nil {
				return err
			}
			err = writeNew(path, []byte(nsecVariable+"="+key.Nsec()+"\n"))
			if errors.Is(err, fs.ErrExist) {
				return hint(fmt.Errorf("%s exists already; the identity of a node is not replaced", path),
					"move it away first if you are sure")
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
