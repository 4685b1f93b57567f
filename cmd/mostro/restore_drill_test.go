package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mostro/escrow/audit"
	"mostro/escrow/mostro"
)

// TestM40RestoreDrill is what an operator does whose disk is lost, on real nodes: two trades are paid out
// after the backup, one that was held then and one whose payout hung. The store that is put back
// takes both for owed; the node books what was paid, pays nothing twice, and goes on trading.
func TestM40RestoreDrill(t *testing.T) {
	t.Parallel()
	l := startLab(t)
	ctx := labContext(t)
	held, hanging := l.newTrade(t, ctx), l.newTrade(t, ctx)
	held.run(ctx, held.funding())
	hanging.invoice = hanging.heldInvoice
	hanging.run(ctx, hanging.funding())
	hanging.run(ctx, hanging.payingOut()[:3])

	operator := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(ctx, "mostro", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("mostro %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	backup, store := filepath.Join(filepath.Dir(l.dir), "old.backup"), filepath.Join(l.dir, escrowDir)
	operator("backup", backup, "--data-dir", l.dir)

	held.run(ctx, held.payingOut())
	hanging.run(ctx, hanging.payingOut()[3:])
	held.account(ctx)
	hanging.account(ctx)
	paid := l.paidBy(t, ctx)
	if err := l.kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(store, store+".old"); err != nil {
		t.Fatal(err)
	}
	t.Log(operator("restore", backup, "--data-dir", l.dir))
	if r := l.report(t, ctx); r.Total.PaidOut != 0 || r.Total.Held+r.Total.Owed == 0 {
		t.Fatalf("the copy is not an old one: %+v", r.Total)
	}
	if err := l.start(ctx); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*labTrade{held, hanging} {
		if err := x.inBook(ctx, mostro.StatusSuccess); err != nil {
			t.Fatal(err)
		}
	}
	err := waitUntil(ctx, "the books to know what was paid", func() (bool, error) {
		r := l.report(t, ctx)
		return r.Total.PaidOut == (held.promised+hanging.promised).Msat() && r.Total.Owed == 0, nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, operator("status", "--data-dir", l.dir))
	}
	if now := l.paidBy(t, ctx); !slices.Equal(now, paid) {
		t.Errorf("payments of the node before: %q, and after: %q", paid, now)
	}
	t.Log(operator("status", "--data-dir", l.dir))

	next := l.newTrade(t, ctx)
	next.patient = true
	next.run(ctx, next.steps())
	next.account(ctx)
	l.settle(t)
}

// report is what the auditor finds.
func (l *lab) report(t *testing.T, ctx context.Context) (r audit.Report) {
	t.Helper()
	_, out, err := l.audit(ctx, "--json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&r); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	return r
}

// paidBy are the hashes that the escrow's node was asked to pay, and what became of each.
func (l *lab) paidBy(t *testing.T, ctx context.Context) (paid []string) {
	t.Helper()
	for _, p := range l.payments(t, ctx) {
		paid = append(paid, p.PaymentHash+" "+p.Status.String())
	}
	slices.Sort(paid)
	return paid
}
