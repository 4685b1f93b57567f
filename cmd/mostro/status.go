package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mostro/escrow"
	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// How much of a long list is shown.
const (
	shownActs   = 10 // decisions of operators, the last
	shownStrays = 50 // payments that the store does not know, the first
	shownHolds  = 50 // hold invoices that belong to no order, the first
)

func statusCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how a running node stands: trades, guards, and what waits for you",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := toRunning(cmd, dir)
			if err != nil {
				return err
			}
			s, err := c.status(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(s)
			}
			printStatus(cmd.OutOrStdout(), s, func(rest string) string { return nodeCall(cmd, rest) })
			return nil
		},
	}
	dataDirFlag(cmd, &dir, "~/.mostro")
	waitFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; amounts are millisats")
	return cmd
}

// printStatus prints it for people; call makes a command line of what comes after "mostro".
func printStatus(out io.Writer, s nodeStatus, call func(rest string) string) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(out, "  %-15s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintln(out)
	ln := "does not answer, or is not synced; trades wait for it"
	if s.NodeUp {
		ln = fmt.Sprintf("%s, block %s", s.Node, thousands(int64(s.Height)))
	}
	line("Lightning node", "%s", ln)
	if s.Chain != "" {
		line("chain", "ALARM: %s", s.Chain)
	}
	line("orders", "%s, %s of them taken", count(s.Live, "live order", "live orders"), thousands(int64(s.Trades)))
	if s.Bonds > 0 {
		line("bonds", "%s", count(s.Bonds, "live bond", "live bonds"))
	}
	if s.Owed > 0 {
		line("owed", "%s sat, to buyers, sellers and winners of bonds", msats(s.Owed))
	}
	if s.ByHand > 0 {
		line("", "%s sat of it were paid in too much: %s says to whom you give them back by hand", msats(s.ByHand), call("audit"))
	}
	line("outbox", "%s to be sent or done", count(s.Waiting, "thing", "things"))
	line("mode", "%s", modeText(s))
	line("paid out", "%s in the last hour, %s in the last day", capText(s.VolumeHour, s.Limits.VolumeHour), capText(s.VolumeDay, s.Limits.VolumeDay))
	line("backup", "%s", backupText(s.Backup, time.Unix(s.At, 0)))
	line("prices", "%s", strings.Join(s.Prices.text(), "\n"+strings.Repeat(" ", 18)))
	breaker := "closed; payouts go out"
	if l := s.Latch; l != nil {
		breaker = fmt.Sprintf("OPEN since %s: %s sat went out beyond what the orders brought in, the last with order %s",
			day(l.At), msats(l.Amount), l.Order)
	}
	line("breaker", "%s", breaker)
	if s.Restored != "" {
		line("payouts", "wait until the payments of LND have been read: %s", s.Restored)
	}
	if len(s.Strays) > 0 {
		fmt.Fprintln(out, "\nPayments that the store does not know; payouts over the same amount wait")
		for _, p := range s.Strays[:min(len(s.Strays), shownStrays)] {
			fmt.Fprintf(out, "  %s  %s sat, sent %s\n", p.Hash, msats(p.Amount), day(p.At))
		}
		if more := len(s.Strays) - shownStrays; more > 0 {
			fmt.Fprintf(out, "  and %s: %s\n", count(more, "other", "others"), call("status --json"))
		}
		if slices.ContainsFunc(s.Strays, func(p escrow.Stray) bool { return p.Doubt }) {
			fmt.Fprintln(out, "    They are over just what is owed. If you made them yourself, or the node is not the escrow's alone, that is chance.")
			fmt.Fprintln(out, "    If not, a snapshot of this machine was put back, and they may have paid what is owed: ask the payee first.")
		}
		fmt.Fprintf(out, "    -> %s, with --own if nobody here was paid with it\n", call("restored explain HASH --order ORDER --reason WHY"))
	}
	if len(s.Orphans) > 0 {
		fmt.Fprintln(out, "\nHold invoices of this escrow that belong to no order and no bond")
		for _, o := range s.Orphans[:min(len(s.Orphans), shownHolds)] {
			how := fmt.Sprintf("%s sat can be paid until %s", msats(o.Amount), day(o.ExpiresAt))
			if o.State == lightning.Accepted {
				how = fmt.Sprintf("%s sat are locked, their HTLC expires at block %s", msats(o.Paid), thousands(int64(o.ExpiryHeight)))
			}
			fmt.Fprintf(out, "  %s  %s, for %s\n", o.Hash, how, o.Of)
		}
		if more := len(s.Orphans) - shownHolds; more > 0 {
			fmt.Fprintf(out, "  and %s: %s\n", count(more, "other", "others"), call("status --json"))
		}
		fmt.Fprintln(out, "    Was this store put back from a copy, or does another mostro with the same keys use this Lightning node (stop that one)?")
		fmt.Fprintf(out, "    -> ask both parties, and %s; lncli cancelinvoice HASH gives sats that are locked back to who paid them\n", call("audit"))
	}
	if len(s.Held) > 0 {
		fmt.Fprintln(out, "\nOrders that are held back after a defect")
		for _, id := range slices.Sorted(maps.Keys(s.Held)) {
			fmt.Fprintf(out, "  %s  %s\n", id, s.Held[id])
		}
		fmt.Fprintf(out, "    -> %s, when the defect is mended\n", call("held free ORDER --reason WHY"))
	}
	if s.Latch != nil {
		fmt.Fprintf(out, "\nAll payouts have stopped\n    -> %s, then %s\n", call("audit"), call("breaker reset --reason WHY"))
	}
	if len(s.Log) > 0 {
		fmt.Fprintln(out, "\nWhat operators decided")
		for _, a := range s.Log[max(0, len(s.Log)-shownActs):] {
			fmt.Fprintf(out, "  %s  %s: %s\n", day(a.At), a.What, a.Reason)
		}
	}
}

func backupText(b backupState, now time.Time) string {
	if b.Directory == "" {
		return "none is made; backup.directory names where to"
	}
	text := "none yet"
	if b.Last != 0 {
		text = fmt.Sprintf("%s, %s old, in %s", day(b.Last), ageText(now.Sub(time.Unix(b.Last, 0))), b.Directory)
	}
	if b.Error != "" {
		text += "\n" + strings.Repeat(" ", 18) + "the latest try FAILED: " + b.Error
	}
	return text
}

func modeText(s nodeStatus) string {
	switch {
	case s.Closed == "":
		return string(s.Mode)
	case s.Mode == escrow.ModeDrain && s.Ended():
		return "drain; all trades have ended, and nothing is owed"
	case s.Mode != escrow.ModeOpen:
		return string(s.Mode) + "; nothing new begins, what is running goes on"
	}
	return "open, but nothing new begins: traders are told: " + s.Closed
}

func capText(paid order.Msat, limit order.Sat) string {
	text := msats(paid)
	if limit > 0 {
		text += " of " + thousands(limit)
	}
	return text + " sat"
}

func day(at int64) string { return time.Unix(at, 0).UTC().Format("2 Jan 2006 15:04 UTC") }
