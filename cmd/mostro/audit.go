package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"mostro/escrow"
	"mostro/escrow/audit"
	"mostro/escrow/lightning/lnd"
	"mostro/escrow/order"
)

const (
	auditTime   = 10 * time.Minute // for the node's whole books, where --timeout says nothing else
	auditRounds = 5                // in which a running escrow may still be hearing of something
	auditPause  = 2 * time.Second  // between two of them
)

// auditOptions are the flags of mostro audit.
type auditOptions struct {
	dir, macaroon, month string
	backup, identity     string
	settings             []string
	timeout              time.Duration
	json, csv            bool
}

func auditCommand() *cobra.Command {
	var o auditOptions
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Compare the escrow's books with those of the Lightning node, to the millisat",
		Long: `Compare the escrow's books with those of the Lightning node, to the millisat, and print for each
order what came in, what went out, what it cost, what the node kept and what is owed. The node
may be running or not. Nothing is changed, anywhere: a macaroon that can only read is enough,
and "mostro macaroon --audit" prints how to bake one.

Hold invoices at the node that belong to no order are listed: those of this escrow as differences,
those of other software as what they are. LND does not tell a settled one from an ordinary invoice.

After a move to another Lightning node what was settled and paid at the one before is counted apart.
The hold invoices in the books say at which node they were made.

Exit code 0: the two agree. Exit code 1: they do not, and the differences are listed.

  mostro audit
  mostro audit --month 2026-11 --csv > 2026-11.csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, before, err := o.between()
			if err != nil {
				return err
			}
			dir, err := resolveDataDir(o.dir)
			if err != nil {
				return err
			}
			o.dir = dir
			ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
			defer cancel()
			a, err := newAuditor(ctx, o)
			if err != nil {
				return err
			}
			defer a.node.Close()
			report, accounts, err := a.audit(ctx)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if o.month != "" {
				report.Between(accounts, from, before)
			}
			switch {
			case o.json:
				encoder := json.NewEncoder(out)
				encoder.SetIndent("", "  ")
				err = encoder.Encode(report)
			case o.csv:
				err = printBookings(out, audit.Bookings(accounts, from, before))
				printFindings(cmd.ErrOrStderr(), differences, report.Differences)
			default:
				var text bytes.Buffer // or a full disk would cut it and end with 0
				printAudit(&text, report, a.source)
				_, err = text.WriteTo(out)
			}
			if err != nil || report.Agrees() {
				return err
			}
			return hint(fmt.Errorf("the books and the Lightning node differ in %s", count(len(report.Differences), "thing", "things")),
				"each is listed above; look at the order and the hash at LND before you do anything",
				"while it is not explained, take no new orders: "+nodeCall(cmd, "mode maintenance --reason \"the audit\""))
		},
	}
	dataDirFlag(cmd, &o.dir, "~/.mostro")
	settingsFlag(cmd, &o.settings)
	flags := cmd.Flags()
	flags.StringVar(&o.macaroon, "macaroon", "", "macaroon that can read (default: the escrow's own)")
	flags.StringVar(&o.backup, "backup", "", "take the books from a backup: a full one, or the latest of a directory")
	identityFlag(cmd, &o.identity)
	flags.DurationVar(&o.timeout, "timeout", auditTime, "how long it may take to read all that the Lightning node has")
	flags.StringVar(&o.month, "month", "", "only what was booked in a month, YYYY-MM in UTC")
	flags.BoolVar(&o.json, "json", false, "print JSON; amounts are millisats")
	flags.BoolVar(&o.csv, "csv", false, "print each booking as a line of CSV; amounts are millisats")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	return cmd
}

// between are the bounds of the month that was asked for. Without one nothing is left out, be it that a clock was ahead
// when it was booked.
func (o *auditOptions) between() (from, before int64, err error) {
	if o.month == "" {
		return math.MinInt64, math.MaxInt64, nil
	}
	month, err := time.Parse("2006-01", o.month)
	if err != nil {
		return 0, 0, hint(fmt.Errorf("--month is %q, want a month", o.month), "write it as --month 2026-11")
	}
	return month.Unix(), month.AddDate(0, 1, 0).Unix(), nil
}

// auditor has both sides of an audit at hand.
type auditor struct {
	node    *lnd.Node
	derive  audit.Derive
	source  string // of the books, for people
	running bool
	written int64 // when a backup was made, 0 = the books are of now
	books   func(context.Context) ([]audit.Account, error)
}

func newAuditor(ctx context.Context, o auditOptions) (*auditor, error) {
	config, err := auditLightning(o)
	if err != nil {
		return nil, err
	}
	a := &auditor{}
	if err := a.findBooks(ctx, o); err != nil {
		return nil, err
	}
	if secret, err := readEscrowSecret(o.dir); err == nil {
		a.derive = func(id string, attempt uint32) order.Hash { return escrow.Preimage(secret, id, attempt).Hash() }
	}
	a.node, err = lnd.Dial(config)
	return a, err
}

// findBooks asks the running node for its books, or reads those of one that has ended.
func (a *auditor) findBooks(ctx context.Context, o auditOptions) error {
	if o.backup != "" {
		return a.readBackup(o)
	}
	running, err := dialControl(ctx, o.dir)
	switch {
	case err == nil:
		running.patience = 0 // --timeout is for all of it
		a.source, a.running, a.books = o.dir+", of the running node", true, running.books
		return nil
	case !errors.Is(err, errNotRunning):
		return err
	}
	store := filepath.Join(o.dir, escrowDir)
	if _, err := os.Stat(store); errors.Is(err, fs.ErrNotExist) {
		return hint(fmt.Errorf("there are no books: %s", store), "name the data directory of a node with --data-dir")
	}
	key, err := endedStoreKey(o.dir, o.settings)
	if err != nil {
		return err
	}
	a.source = o.dir + ", of a node that is not running"
	a.books = func(context.Context) (list []audit.Account, err error) {
		unlock, err := lockDataDir(o.dir, "mostro audit", true)
		if err != nil {
			return nil, err
		}
		defer unlock()
		err = escrow.ReadBooks(store, key, func(a audit.Account) error { list = append(list, a); return nil })
		return list, endedHint(o.dir, err)
	}
	return nil
}

// readBackup takes the books from a backup: a file, or the latest of a directory.
func (a *auditor) readBackup(o auditOptions) error {
	files, closeAll, err := openBackups([]string{o.backup}, o.identity)
	if err != nil {
		return err
	}
	defer closeAll()
	var list []audit.Account
	info, err := escrow.BackupBooks(func(a audit.Account) error { list = append(list, a); return nil }, files...)
	if err != nil {
		return chainHint(files, err)
	}
	a.source, a.written = "backup of "+day(info.Made), info.Made
	a.books = func(context.Context) ([]audit.Account, error) { return list, nil }
	return nil
}

// auditLightning says where the Lightning node is, from the settings or from a dev network.
func auditLightning(o auditOptions) (lnd.Config, error) {
	macaroon := o.macaroon
	if macaroon != "" {
		var err error
		if macaroon, err = filepath.Abs(macaroon); err != nil {
			return lnd.Config{}, fmt.Errorf("find macaroon: %w", err)
		}
	}
	settings, err := readSettings(o.dir, o.settings)
	if err != nil {
		if dev, ok := readDev(o.dir); ok {
			n := dev.Nodes[escrowNode]
			return lnd.Config{Host: n.GRPC, CertFile: n.TLSCert, MacaroonFile: cmp.Or(macaroon, n.Macaroon)}, nil
		}
		return lnd.Config{}, err
	}
	if macaroon != "" {
		settings.Lightning.MacaroonFile = macaroon
		settings.origin["lightning.lnd_macaroon_file"] = "--macaroon"
	}
	if err := settings.requireLightning(o.dir); err != nil {
		return lnd.Config{}, err
	}
	l := settings.Lightning
	return lnd.Config{Host: l.Host, CertFile: l.CertFile, MacaroonFile: l.MacaroonFile}, nil
}

// audit compares what both sides say now.
func (a *auditor) audit(ctx context.Context) (*audit.Report, []audit.Account, error) {
	return standing(ctx, a.running, auditPause, a.look)
}

// look reads both sides once.
func (a *auditor) look(ctx context.Context) (*audit.Report, []audit.Account, error) {
	accounts, err := a.books(ctx)
	if err != nil {
		return nil, nil, err
	}
	node, err := audit.ReadNode(ctx, a.node)
	switch {
	case ctx.Err() != nil:
		return nil, nil, hint(fmt.Errorf("read all invoices and payments of the Lightning node: %w", context.Cause(ctx)),
			"a large node needs more time: mostro audit --timeout 1h")
	case err != nil:
		return nil, nil, hint(err, "the Lightning node must be running, and the macaroon allow to read",
			"`mostro macaroon --audit` prints how to bake one that can only read")
	}
	report := audit.Compare(accounts, node, a.derive, time.Now().Unix(), a.written)
	if !a.running {
		report.NotRunning()
	}
	return report, accounts, nil
}

// standing looks until what differs stays. While the escrow runs the two sides are read one after the other and
// things go on in between: what was under way in one round is not there in the next, where something else is. What
// was found is not lost when the time ends in a later round.
func standing(ctx context.Context, running bool, pause time.Duration, look func(context.Context) (*audit.Report, []audit.Account, error)) (report *audit.Report, accounts []audit.Account, err error) {
	for round := 1; ; round++ {
		next, books, err := look(ctx)
		if err != nil && report != nil && ctx.Err() != nil {
			return report, accounts, nil
		}
		if err != nil {
			return nil, nil, err
		}
		stays := false
		if report != nil {
			next.Standing(report)
			stays = len(next.Differences) == len(report.Differences)
		}
		report, accounts = next, books
		if report.Agrees() || !running || stays || round == auditRounds {
			return report, accounts, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return report, accounts, nil
		}
	}
}
