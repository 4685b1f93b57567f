package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lightningnetwork/lnd/lnrpc"

	"mostro/escrow"
	"mostro/escrow/audit"
	"mostro/escrow/lightning"
	"mostro/escrow/lightning/lnd"
	"mostro/escrow/order"
)

// audit runs mostro audit on the lab's node, with a macaroon that can only read, and returns
// its exit code and what it prints.
func (l *lab) audit(ctx context.Context, args ...string) (code int, out string, err error) {
	macaroon := filepath.Join(filepath.Dir(l.dir), "audit.macaroon")
	request := &lnrpc.BakeMacaroonRequest{RootKeyId: macaroonRootKey}
	for _, uri := range lnd.AuditURIs() {
		request.Permissions = append(request.Permissions, &lnrpc.MacaroonPermission{Entity: "uri", Action: uri})
	}
	baked, err := l.network.Client(escrowNode).BakeMacaroon(ctx, request)
	if err != nil {
		return 0, "", err
	}
	raw, err := hex.DecodeString(baked.Macaroon)
	if err != nil {
		return 0, "", err
	}
	if err := writeWhole(macaroon, raw); err != nil {
		return 0, "", err
	}
	cmd := exec.CommandContext(ctx, "mostro", append([]string{"audit", "--data-dir", l.dir, "--macaroon", macaroon}, args...)...)
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	err = cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		return 0, "", err
	}
	return cmd.ProcessState.ExitCode(), both.String(), nil
}

// agrees checks that the auditor finds nothing.
func (l *lab) agrees(t *testing.T) {
	t.Helper()
	code, out, err := l.audit(labContext(t))
	if err != nil || code != exitOK {
		t.Errorf("mostro audit ends with %d, %v:\n%s", code, err, out)
		return
	}
	t.Log(out)
}

// TestAudit: after trades the auditor agrees with lnd, while the node runs and when it has
// been killed; then lnd is made to have what the books do not, and it is found.
func TestAudit(t *testing.T) {
	t.Parallel()
	l := startLab(t)
	ctx := labContext(t)
	done, open := l.newTrade(t, ctx), l.newTrade(t, ctx)
	done.run(ctx, done.steps())
	done.account(ctx)
	open.run(ctx, open.funding())
	l.agrees(t)

	report := func() audit.Report { return l.report(t, ctx) }
	r := report()
	want := audit.Sums{SettledIn: 100_300_000, PaidOut: 99_700_000, NodeFee: 600_000, Held: 100_300_000}
	if r.Total != want || r.Settled.Amount != want.SettledIn || r.Paid.Amount != want.PaidOut {
		t.Errorf("sums %+v, at the node %+v and %+v", r.Total, r.Settled, r.Paid)
	}

	// The same from a backup of the running node, and as a month's bookings.
	backup := filepath.Join(filepath.Dir(l.dir), "now.backup")
	if out, err := exec.CommandContext(ctx, "mostro", "backup", backup, "--data-dir", l.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if code, out, err := l.audit(ctx, "--backup", backup); err != nil || code != exitOK || !strings.Contains(out, "backup of ") {
		t.Errorf("from a backup: code %d, %v:\n%s", code, err, out)
	}
	code, out, err := l.audit(ctx, "--csv", "--month", time.Now().UTC().Format("2006-01"))
	if err != nil || code != exitOK || strings.Count(out, "\n") != 4 || !strings.Contains(out, ",paid-buyer,-99700000,0,"+done.payout.Hash.String()) {
		t.Errorf("bookings: code %d, %v:\n%s", code, err, out)
	}

	if err := l.kill(); err != nil {
		t.Fatal(err)
	}
	l.agrees(t)
	if r := report(); r.Total != want {
		t.Errorf("when it is killed: %+v", r.Total)
	}

	l.refusesAnotherNode(t, open)

	// Other software makes invoices at the same lnd: its hold invoices are listed.
	other, err := l.demo.escrow.OpenHold(ctx, lightning.HoldRequest{Hash: order.Hash{1}, Amount: 7_000, Memo: "coffee", CLTVDelta: heldPayoutCLTV, Expiry: heldPayoutLife})
	if err != nil {
		t.Fatal(err)
	}
	for _, ordinary := range []*lnrpc.Invoice{{Memo: "tea", ValueMsat: 8_000}, {Memo: "milk", ValueMsat: 9_000, IsAmp: true}} {
		if _, err := l.network.Client(escrowNode).AddInvoice(ctx, ordinary); err != nil {
			t.Fatal(err)
		}
	}
	if r := report(); !r.Agrees() || len(r.OthersHolds) != 1 || r.OthersHolds[0].Hash != other.Hash || r.OthersHolds[0].State != lightning.Open || r.OthersHolds[0].Amount != 7_000 {
		t.Errorf("differences %+v, hold invoices of others %+v", r.Differences, r.OthersHolds)
	}
	if err := l.demo.escrow.Cancel(ctx, other.Hash); err != nil {
		t.Fatal(err)
	}
	if r := report(); !r.Agrees() || len(r.OthersHolds) != 1 || r.OthersHolds[0].State != lightning.Canceled {
		t.Errorf("when it is canceled: differences %+v, hold invoices of others %+v", r.Differences, r.OthersHolds)
	}

	// The seller's sats are given back behind the escrow's back: it will hear of that.
	if err := l.demo.escrow.Cancel(ctx, open.hold); err != nil {
		t.Fatal(err)
	}
	r = report()
	if !r.Agrees() || len(r.News) != 1 || r.News[0].Kind != audit.GoneNews {
		t.Errorf("a canceled escrow: %+v, news %+v", r.Differences, r.News)
	}

	// An escrow of an order that nobody knows, derived as only this escrow derives it.
	secret, err := readEscrowSecret(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	id := "00000000-0000-4000-8000-000000000000"
	add := &lnrpc.Invoice{Memo: fmt.Sprintf("Mostro escrow %s/1: lost", id), ValueMsat: 1_000}
	preimage := escrow.Preimage(secret, id, 1).Bytes()
	add.RPreimage = preimage[:]
	lost, err := l.network.Client(escrowNode).AddInvoice(ctx, add)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.demo.alice.wallet.Pay(ctx, lost.PaymentRequest); err != nil {
		t.Fatal(err)
	}
	if paid, err := l.demo.alice.wallet.Paid(ctx, order.Hash(lost.RHash)); err != nil || paid.Amount != 1_000 {
		t.Fatalf("%+v, %v", paid, err)
	}
	code, out, err = l.audit(ctx)
	if err != nil || code != exitError || !strings.Contains(out, "belongs to no order") || !strings.Contains(out, id) {
		t.Errorf("money of a lost order: code %d, %v:\n%s", code, err, out)
	}
	t.Log(out)

	// lnd forgets how the buyer was paid.
	if _, err := l.network.Client(escrowNode).DeletePayment(ctx, &lnrpc.DeletePaymentRequest{PaymentHash: done.payout.Hash[:]}); err != nil {
		t.Fatal(err)
	}
	r = report()
	want.Held = 0 // canceled above
	if len(r.Differences) != 2 || r.Total != want {
		t.Errorf("a payment that lnd has forgotten: %+v", r.Differences)
	}
	l.keepsSecrets(t)
	code, out, err = l.audit(ctx, "--csv", "--month", "2026-13")
	if err != nil || code != exitError || !strings.Contains(out, "--month 2026-11") {
		t.Errorf("a month that is none: code %d, %v:\n%s", code, err, out)
	}
}

// A month ends where the next begins, in UTC, at the end of a year too. Without a month no booking is left out, whatever the
// clock of this machine says.
func TestMonthsOfTheAudit(t *testing.T) {
	for month, want := range map[string][2]string{
		"2026-11": {"2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"},
		"2026-12": {"2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		"2028-02": {"2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"},
	} {
		from, before, err := (&auditOptions{month: month}).between()
		utc := func(at int64) string { return time.Unix(at, 0).UTC().Format(time.RFC3339) }
		if got := [2]string{utc(from), utc(before)}; err != nil || got != want {
			t.Errorf("%s: %v, %v", month, got, err)
		}
	}
	for _, month := range []string{"2026-13", "2026-00", "2026-1", "26-11", "2026-11-01", "November"} {
		if _, _, err := (&auditOptions{month: month}).between(); err == nil {
			t.Errorf("%q is taken for a month", month)
		}
	}
	ahead := audit.Account{ID: "a", Ledger: order.Ledger{{Kind: order.SettledIn, State: order.Booked, Amount: 1000, At: time.Now().Add(time.Hour).Unix()}}}
	from, before, err := (&auditOptions{}).between()
	if list := audit.Bookings([]audit.Account{ahead}, from, before); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

// A book that was cut on its way is not taken for a whole one.
func TestReadAccounts(t *testing.T) {
	for text, want := range map[string]int{
		"\n": 0, `{"id":"a"}` + "\n\n": 1, `{"id":"a"}` + "\n" + `{"id":"b"}` + "\n\n": 2,
		"": -1, `{"id":"a"}` + "\n": -1, `{"id":"a"}` + "\n" + `{"i`: -1, "{\n\n": -1,
	} {
		list, err := readAccounts(strings.NewReader(text))
		if want < 0 && err == nil || want >= 0 && (err != nil || len(list) != want) {
			t.Errorf("%q: %d accounts, %v", text, len(list), err)
		}
	}
}

func TestAmountsAndAges(t *testing.T) {
	for m, want := range map[order.Msat]string{0: "0", 1: "0.001", 1500: "1.5", -1500: "-1.5", 100_300_000: "100,300", 1_234_567_890: "1,234,567.89"} {
		if got := msats(m); got != want {
			t.Errorf("%d msat: %s, want %s", m, got, want)
		}
	}
}
