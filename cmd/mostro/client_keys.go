package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"mostro/escrow/mostro"
)

// maxWords bounds what keys import reads, in bytes.
const maxWords = 4096

func clientKeysCommand(o *clientOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make, import or show your keys",
		Args:  usage(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "new",
		Short: "Make twelve words, from which all your keys come",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			words, err := mostro.NewMnemonic()
			if err != nil {
				return err
			}
			return o.keepKeys(cmd, words, "write them down: mostro client keys show --mnemonic")
		},
	}, &cobra.Command{
		Use:   "import",
		Short: "Use the twelve words of another client; they are read from standard input",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			typed, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxWords))
			if err != nil {
				return fmt.Errorf("read words: %w", err)
			}
			return o.keepKeys(cmd, strings.ToLower(strings.Join(strings.Fields(string(typed)), " ")), "find your trades: mostro client restore")
		},
	})
	var words bool
	show := &cobra.Command{
		Use:   "show",
		Short: "Print your public identity key, and the words only with --mnemonic",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := o.openDir()
			if err != nil {
				return err
			}
			mnemonic, err := dir.words()
			if err != nil {
				return err
			}
			return o.showKeys(cmd, mnemonic, words, "")
		},
	}
	show.Flags().BoolVar(&words, "mnemonic", false, "print the twelve words; who reads them has your keys")
	cmd.AddCommand(show)
	return cmd
}

// keepKeys stores words and shows whose they are.
func (o *clientOptions) keepKeys(cmd *cobra.Command, words, next string) error {
	if _, err := mostro.DeriveKey(words, 0); err != nil {
		return hint(fmt.Errorf("these are not the words of a wallet: %w", err), "type all twelve, in their order, on standard input")
	}
	dir, err := o.openDir()
	if err != nil {
		return err
	}
	if err := dir.keepWords(words); err != nil {
		return err
	}
	return o.showKeys(cmd, words, false, next)
}

// showKeys prints the identity key, with the words only on demand.
func (o *clientOptions) showKeys(cmd *cobra.Command, words string, withWords bool, next string) error {
	identity, err := mostro.DeriveKey(words, 0)
	if err != nil {
		return err
	}
	screen := o.screen(cmd)
	if screen.json {
		shown := struct {
			Npub     string `json:"npub"`
			Pubkey   string `json:"pubkey"`
			Mnemonic string `json:"mnemonic,omitempty"`
		}{Npub: npub(identity.Public()), Pubkey: identity.Public()}
		if withWords {
			shown.Mnemonic = words
		}
		return screen.object(shown)
	}
	if err := screen.line("%s", npub(identity.Public())); err != nil {
		return err
	}
	if withWords {
		return screen.line("%s", words)
	}
	if next != "" {
		return screen.line("  -> %s", next)
	}
	return nil
}
