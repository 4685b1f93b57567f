package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"mostro/escrow/lightning/lnd"
)

// macaroonRootKey is a root key of its own, so that the operator can revoke the macaroon
// without touching others (lncli deletemacaroonid).
const macaroonRootKey = 42

// othersMayUse are the rights of strangers. Those of the group are left alone: LND gives them to
// its macaroons, for whoever is to use them.
const othersMayUse = 0o007

func macaroonCommand() *cobra.Command {
	audit := false
	cmd := &cobra.Command{
		Use:   "macaroon",
		Short: "Print the lncli command that bakes the macaroon for this node",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, uris := "mostro.macaroon", lnd.MacaroonURIs()
			if audit {
				file, uris = "audit.macaroon", lnd.AuditURIs()
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), bakeCommand(file, uris))
			return err
		},
	}
	cmd.Flags().BoolVar(&audit, "audit", false, "one for mostro audit, which can only read")
	return cmd
}

func bakeCommand(file string, uris []string) string {
	return fmt.Sprintf("lncli bakemacaroon --root_key_id %d --save_to %s \\\n  uri:%s",
		macaroonRootKey, file, strings.Join(uris, " \\\n  uri:"))
}

// checkMacaroon refuses a macaroon that lacks a right, which would be noticed only in the
// middle of a trade, and warns of one that can do more than the escrow needs or that strangers
// can use.
func (l *loaded) checkMacaroon(logger *slog.Logger) error {
	path := l.Lightning.MacaroonFile
	extra, missing, err := lnd.CheckMacaroon(path)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return l.problemOf("lightning.lnd_macaroon_file",
			fmt.Sprintf("is %s, which lacks the right to call %s", path, strings.Join(missing, ", ")),
			"bake another one with the command that `mostro macaroon` prints")
	}
	if len(extra) > 0 {
		logger.Warn("the macaroon can do more than the escrow needs; `mostro macaroon` prints how to bake a smaller one",
			"macaroon", path, "extra", strings.Join(extra, " "))
	}
	if info, err := os.Stat(path); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&othersMayUse != 0 {
		logger.Warn("every user of this machine can use the macaroon, which can spend what is in the channels; close it: chmod 600 "+path,
			"mode", fmt.Sprintf("%04o", info.Mode().Perm()))
	}
	return nil
}
