package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"mostro/escrow"
	"mostro/escrow/lightning"
)

// operated is a node without a Lightning node, and its operator.
type operated struct {
	t    *testing.T
	dir  string
	node *process
}

func newOperated(t *testing.T, settings string) *operated {
	o := &operated{t: t, dir: filepath.Join(t.TempDir(), "node")}
	if err := openDataDir(o.dir); err != nil {
		t.Fatal(err)
	}
	if err := writeLNDFiles(filepath.Join(o.dir, "lnd")); err != nil {
		t.Fatal(err)
	}
	text := `[lightning]
lnd_grpc_host = "127.0.0.1:1"
lnd_cert_file = "lnd/tls.cert"
lnd_macaroon_file = "lnd/good.macaroon"
[price.providers.yadio]
enabled = false
` + settings
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.WriteFile(filepath.Join(o.dir, settingsFile), []byte(text), privateFile),
		writeWhole(filepath.Join(o.dir, envFile), []byte(nsecVariable+"="+key.Nsec()+"\n")))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *operated) start() {
	o.t.Helper()
	o.node = startProcess(o.t, "serve", "--data-dir", o.dir, "--settings", "relay.listen=127.0.0.1:0")
	o.node.waitLine("msg=serving")
}

// run runs a command to its end and checks how it ends and what it says.
func (o *operated) run(code int, says string, args ...string) string {
	o.t.Helper()
	args = append(args, "--data-dir", o.dir)
	cmd := exec.Command("mostro", args...)
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != code || !strings.Contains(string(out), says) {
		o.t.Errorf("mostro %s ends with %d, want %d and %q:\n%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), code, says, out)
	}
	return string(out)
}

// TestOperator is what an operator does with a node: he looks, closes it, backs it up, loses
// its disk and puts it back.
func TestOperator(t *testing.T) {
	outside := t.TempDir()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(outside, "age.key")
	if err := writeWhole(secret, []byte("# the operator's\n"+identity.String()+"\n")); err != nil {
		t.Fatal(err)
	}
	keyFile, backups := filepath.Join(outside, "store.key"), filepath.Join(outside, "backups")
	o := newOperated(t, fmt.Sprintf("[store]\nkey_file = %q\n[backup]\ndirectory = %q\ninterval_seconds = 5\nrecipients = [%q]\n",
		keyFile, backups, identity.Recipient()))
	o.run(exitError, "start it: mostro serve", "status")
	o.run(exitError, "there is no money store", "backup", filepath.Join(outside, "none.backup"))
	if out, err := exec.Command("mostro", "store-key", keyFile).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("mostro", "store-key", keyFile).CombinedOutput(); err == nil || !strings.Contains(string(out), "not replaced") {
		t.Errorf("a second key: %s", out)
	}
	o.start()

	t.Log(o.run(exitOK, "closed; payouts go out", "status"))
	o.run(exitError, "required flag(s) \"reason\"", "mode", "drain")
	o.run(exitError, "want open, maintenance or drain", "mode", "shut", "--reason", "x")
	o.run(exitError, "a reason is needed", "mode", "drain", "--reason", " ")
	o.run(exitOK, "Done. `mostro status --data-dir "+o.dir+"` shows", "mode", "drain", "--reason", "a new machine")
	o.run(exitOK, "mode drain: a new machine", "status")
	o.run(exitOK, `"mode": "drain"`, "status", "--json")
	o.run(exitError, "has not tripped", "breaker", "reset", "--reason", "x")
	o.run(exitError, "is not held back", "held", "free", "nobody", "--reason", "x")
	o.run(exitError, "want 64 hex digits", "restored", "explain", "x", "--own", "--reason", "x")
	o.run(exitError, "waits for no explanation", "restored", "explain", strings.Repeat("0a", 32), "--own", "--reason", "x")
	o.run(exitError, "want either --paid HASH or --unpaid", "payout", "nobody", "--reason", "x")
	o.run(exitError, "want 64 hex digits", "payout", "nobody", "--paid", "x", "--reason", "x")
	o.run(exitError, "want the hash of a payment", "payout", "nobody", "--paid", strings.Repeat("00", 32), "--reason", "x")
	o.run(exitError, "required flag(s) \"reason\"", "payout", "nobody", "--unpaid")
	o.run(exitError, "there is no order and no bond \"nobody\"", "payout", "nobody", "--unpaid", "--reason", "x")

	o.run(exitError, "want either --settled or --gone", "escrow", "nobody", "--reason", "x")
	o.run(exitError, "there is no order and no bond \"nobody\"", "escrow", "nobody", "--gone", "--reason", "x")

	// Nobody else gets at the store, and no second node.
	second := startProcess(t, "serve", "--data-dir", o.dir, "--settings", "relay.listen=127.0.0.1:0")
	if code := second.end(); code != exitError || !slices.ContainsFunc(second.seen, func(l string) bool { return strings.Contains(l, "another mostro runs on this data directory") }) {
		t.Errorf("a second node ends with %d: %s", code, strings.Join(second.seen, "\n"))
	}
	if info, err := os.Stat(filepath.Join(o.dir, controlFile)); err == nil && info.Mode().Perm() != privateFile {
		t.Errorf("the control socket has mode %v", info.Mode())
	}

	plain, sealed := filepath.Join(outside, "a.backup"), filepath.Join(outside, "b.backup.age")
	o.run(exitOK, "It is not encrypted", "backup", plain, "--plain")
	o.run(exitError, "exists already", "backup", plain)
	o.run(exitOK, "was read back and is what was written", "backup", sealed, "--recipient", identity.Recipient().String())
	o.run(exitError, "want a public key of age", "backup", filepath.Join(outside, "c"), "--recipient", "age1nonsense")
	o.run(exitError, "treat that secret as leaked", "backup", filepath.Join(outside, "c"), "--recipient", identity.String())
	o.run(exitError, fmt.Sprintf("in use by process %d (mostro serve)", o.node.cmd.Process.Pid), "restore", plain)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // two scheduled ones
		chains, err := backupChains(backups)
		if err == nil && len(chains) == 1 && len(chains[0]) >= 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("backups: %v, %v", chains, err)
		}
	}

	o.node.cmd.Process.Kill()
	o.node.end()
	o.run(exitOK, "It is encrypted to 1 key of age", "backup", filepath.Join(outside, "stopped.backup")) // as the settings say
	if err := os.Rename(keyFile, keyFile+".away"); err != nil {
		t.Fatal(err)
	}
	o.run(exitError, "which is not there", "backup", filepath.Join(outside, "c"))
	o.run(exitError, "which is not there", "serve")
	if out, err := exec.Command("mostro", "store-key", keyFile).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	o.run(exitError, "name the file with the right key", "serve")
	o.run(exitError, "name the file with the right key", "backup", filepath.Join(outside, "c"))

	// The store is lost; the backup goes into one with the other key.
	o.run(exitError, "move it away first", "restore", backups)
	if err := os.Rename(filepath.Join(o.dir, escrowDir), filepath.Join(outside, "lost")); err != nil {
		t.Fatal(err)
	}
	o.run(exitError, "--identity FILE", "restore", backups)
	o.run(exitError, "no secret key of age", "restore", backups, "--identity", keyFile)
	o.run(exitOK, "then mostro status --data-dir "+o.dir+" and mostro audit --data-dir "+o.dir, "restore", backups, "--identity", secret)
	o.start()
	status := o.run(exitOK, "wait until the payments of LND have been read", "status")
	if !strings.Contains(status, "a new machine") {
		t.Errorf("the restored store has forgotten what the operator decided: %s", status)
	}
	t.Log(status)
}

// TestStoreKeyFile: the key is refused beside the data, and found as a credential.
func TestStoreKeyFile(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	for _, path := range []string{filepath.Join(dir, "store.key"), filepath.Join(outside, "store.key")} {
		if err := writeWhole(path, []byte(strings.Repeat("0a", 32)+"\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, filepath.Join(outside, "link")); err != nil {
		t.Fatal(err)
	}
	if err := writeWhole(filepath.Join(outside, "short.key"), []byte("0a\n")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", outside)
	for path, want := range map[string]string{
		"":                                       "",
		filepath.Join(outside, "store.key"):      "",
		"credential:store.key":                   "",
		"store.key":                              "lies in the data directory",
		filepath.Join(outside, "link/store.key"): "lies in the data directory",
		filepath.Join(outside, "none.key"):       "is not there",
		filepath.Join(outside, "short.key"):      "is damaged",
		"credential:../store.key":                "in a shell name the file instead: --settings store.key_file=/path/to/key",
		"credential:none.key":                    "is not there",
	} {
		l := &loaded{origin: map[string]string{}}
		l.Store.KeyFile = path
		key, err := l.storeKey(dir)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", path, err, want)
		}
		if err == nil && key.IsZero() != (path == "") {
			t.Errorf("%q gives a key: %v", path, !key.IsZero())
		}
	}
}

// TestScheduledBackups: a full one each day, what changed in between, and no more days than
// are to be kept.
func TestScheduledBackups(t *testing.T) {
	dir := t.TempDir()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	engine, err := escrow.Open(escrow.Config{Dir: filepath.Join(dir, "escrow"), Key: key, Node: lightning.NewSimNetwork(lightning.SimConfig{}).Node("x")})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	b := &backups{dir: filepath.Join(dir, "backups"), store: "0badcafe", settings: BackupSettings{FullHours: 24, Keep: 2}, make: engine.Backup, now: func() time.Time { return now }}
	for range 9 { // at noon, at eight, at four, at noon ...
		if err := b.once(t.Context()); err != nil {
			t.Fatal(err)
		}
		now = now.Add(8 * time.Hour)
	}
	chains, err := backupChains(b.dir)
	if err != nil || len(chains) != 2 || len(chains[0]) != 3 || len(chains[1]) != 3 || chains[1][2] != "20261103T120000Z-0badcafe-000002.backup" {
		t.Fatalf("%v, %v", chains, err)
	}
	files, closeAll, err := openBackups([]string{b.dir}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll()
	if info, err := escrow.Restore(filepath.Join(dir, "restored"), escrow.StoreKey{}, files...); err != nil || info.Seq != 2 {
		t.Errorf("%+v, %v", info, err)
	}

	// A failure is not papered over: the next one is full.
	broken := errors.New("the disk is full")
	b.make = func(io.Writer, escrow.Chain) (escrow.Chain, error) { return escrow.Chain{}, broken }
	if err := b.once(t.Context()); !errors.Is(err, broken) {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(b.dir, ".new-*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	b.make = engine.Backup
	now = now.Add(time.Second)
	if err := b.once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if chains, err := backupChains(b.dir); err != nil || len(chains[len(chains)-1]) != 1 {
		t.Errorf("after a failure: %v, %v", chains, err)
	}
}

// A backup that ends in the middle is an error, also where its bytes came from a connection.
func TestCutBackup(t *testing.T) {
	var whole bytes.Buffer
	engine, err := escrow.Open(escrow.Config{Node: lightning.NewSimNetwork(lightning.SimConfig{}).Node("x")})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	if _, err := engine.Backup(&whole, escrow.Chain{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x")
	for n, want := range map[int]bool{whole.Len(): true, whole.Len() - 1: false, 0: false} {
		_, err := writeBackupFile(path, func(w io.Writer) error { _, err := w.Write(whole.Bytes()[:n]); return err }, nil)
		_, missing := os.Stat(path)
		if (err == nil) != want || (missing == nil) != want {
			t.Errorf("%d bytes of %d: %v, %v", n, whole.Len(), err, missing)
		}
		os.Remove(path)
	}
}
