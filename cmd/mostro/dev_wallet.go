package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"mostro/escrow/lightning/lnd"
	"mostro/escrow/lightning/lnd/wallet"
	"mostro/escrow/order"
)

// devWalletCommands let a newcomer pay and be paid on a running dev network, with nothing
// else installed.
func devWalletCommands(dir *string) []*cobra.Command {
	pay := &cobra.Command{
		Use:     "pay alice|bob BOLT11",
		Short:   "Pay an invoice from a wallet of the running dev network",
		Long:    "Pay an invoice from a wallet of the running dev network. A hold invoice is paid when the\nescrow holds the sats; they move on when the trade ends.",
		Example: "  mostro dev pay alice lnsb1003u1p...",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withDevWallet(*dir, args[0], func(w *wallet.Wallet) error {
				if err := w.Pay(cmd.Context(), args[1]); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), "The payment is on its way.")
				return nil
			})
		},
	}
	invoice := &cobra.Command{
		Use:     "invoice alice|bob SATS",
		Short:   "Make an invoice at a wallet of the running dev network",
		Example: "  mostro dev invoice bob 99700",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			sats, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || sats <= 0 {
				return fmt.Errorf("%q sats: want a whole number above 0", args[1])
			}
			return withDevWallet(*dir, args[0], func(w *wallet.Wallet) error {
				inv, err := w.Invoice(cmd.Context(), order.Sat(sats).Msat(), "mostro dev")
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), inv.Text)
				return nil
			})
		},
	}
	for _, cmd := range []*cobra.Command{pay, invoice} {
		dataDirFlag(cmd, dir, "mostro/dev in the user's cache")
	}
	return []*cobra.Command{pay, invoice}
}

// withDevWallet opens a wallet of the network that dev.json describes.
func withDevWallet(dir, name string, use func(*wallet.Wallet) error) error {
	if dir == "" {
		var err error
		if dir, err = defaultDevDir(); err != nil {
			return err
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, devFile))
	if err != nil {
		return hint(fmt.Errorf("find the dev network: %w", err), "start it with: mostro dev", "or name its directory with --data-dir")
	}
	var info devInfo
	if err := json.Unmarshal(b, &info); err != nil {
		return fmt.Errorf("read %s: %w", devFile, err)
	}
	node, ok := info.Nodes[name]
	if !ok || name == escrowNode {
		return fmt.Errorf("there is no wallet %q, only alice and bob", name)
	}
	w, err := wallet.Dial(lnd.Config{Host: node.GRPC, CertFile: node.TLSCert, MacaroonFile: node.Macaroon})
	if err != nil {
		return err
	}
	defer w.Close()
	return use(w)
}
