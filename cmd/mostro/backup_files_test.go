package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mostro/escrow"
	"mostro/escrow/lightning"
)

// written makes backups in a directory of its own by a clock under the test's hand.
func written(t *testing.T, keep int64) (b *backups, now *time.Time) {
	dir := t.TempDir()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	engine, err := escrow.Open(escrow.Config{Dir: filepath.Join(dir, "escrow"), Key: key, Node: lightning.NewSimNetwork(lightning.SimConfig{}).Node("x")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	at := time.Date(2026, 11, 10, 12, 0, 0, 0, time.UTC)
	b = &backups{dir: filepath.Join(dir, "a [new] disk"), store: engine.StoreName(), settings: BackupSettings{FullHours: 24, Keep: keep}, make: engine.Backup, now: func() time.Time { return at }}
	return b, &at
}

func (b *backups) mustOnce(t *testing.T) {
	t.Helper()
	if err := b.once(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A node that dies and starts again all the time begins a chain each time. Those of the days
// before are not pushed out by that.
func TestBackupsOfANodeThatStartsAllTheTime(t *testing.T) {
	b, now := written(t, 4)
	for range 5 { // good days
		b.mustOnce(t)
		*now = now.Add(24 * time.Hour)
	}
	for range 30 { // and a bad minute
		b.next = escrow.Chain{}
		b.mustOnce(t)
		*now = now.Add(2 * time.Second)
	}
	chains, err := backupChains(b.dir)
	if err != nil || len(chains) != 4 {
		t.Fatalf("%v, %v", chains, err)
	}
	for i, day := range []string{"20261113T", "20261114T", "20261115T120056", "20261115T120058"} {
		if !strings.HasPrefix(chains[i][0], day) {
			t.Errorf("kept %d is %s, want one of %s", i, chains[i][0], day)
		}
	}
}

// Nor do starts that are hours apart, day after day, push out the days before: those of the last days
// are there, and none of a month ago holds its place.
func TestBackupsOfANodeThatStartsThriceADay(t *testing.T) {
	for _, apart := range []time.Duration{5 * time.Hour, 8 * time.Hour, 11 * time.Hour} {
		b, now := written(t, 7)
		for range 90 {
			b.next = escrow.Chain{}
			b.mustOnce(t)
			*now = now.Add(apart)
		}
		chains, err := backupChains(b.dir)
		if err != nil || len(chains) != 7 {
			t.Fatalf("%v, %v", chains, err)
		}
		for i, chain := range chains {
			began, err := chainBegan(chain)
			if age := now.Sub(began); err != nil || age > 96*time.Hour || i == 0 && age < 48*time.Hour {
				t.Errorf("each %v: %d of 7 is %v old: %v", apart, i+1, age, err)
			}
		}
	}
}

// The chain that is being written is kept, also beside one that is dated later.
func TestBackupBesideOneOfTheFuture(t *testing.T) {
	b, now := written(t, 1)
	*now = now.AddDate(1, 0, 0)
	b.mustOnce(t)
	*now = now.AddDate(-1, 0, 0)
	b.next = escrow.Chain{}
	b.mustOnce(t)
	if chains, err := backupChains(b.dir); err != nil || len(chains) != 2 || !strings.HasPrefix(chains[0][0], "20261110") {
		t.Errorf("%v, %v", chains, err)
	}
}

// What a killed node was writing is deleted once nobody can be writing it any more; that old ones
// cannot be deleted is said, and does not make each backup a full one.
func TestBackupsClearUp(t *testing.T) {
	b, now := written(t, 1)
	b.mustOnce(t)
	old, young := filepath.Join(b.dir, ".new-1"), filepath.Join(b.dir, ".new-2")
	for path, age := range map[string]time.Duration{old: 0, young: 30 * time.Hour} {
		if err := errors.Join(os.WriteFile(path, nil, privateFile), os.Chtimes(path, now.Add(age), now.Add(age))); err != nil {
			t.Fatal(err)
		}
	}
	*now = now.Add(48 * time.Hour)
	stuck := filepath.Join(b.dir, backupName(b.store, now.AddDate(0, 0, -9), 0, false)) // a directory with something in it
	if err := errors.Join(os.MkdirAll(stuck, privateDir), os.WriteFile(filepath.Join(stuck, "x"), nil, privateFile)); err != nil {
		t.Fatal(err)
	}
	if err := b.once(t.Context()); err == nil || !strings.Contains(err.Error(), "delete old backup") {
		t.Errorf("one that cannot be deleted: %v", err)
	}
	if b.next.Seq != 1 {
		t.Errorf("the next backup is number %d", b.next.Seq)
	}
	_, gone := os.Stat(old)
	_, stays := os.Stat(young)
	if gone == nil || stays != nil {
		t.Errorf("unfinished: of yesterday %v, of today %v", gone, stays)
	}
}

// A chain of a month has more files than a process can have open.
func TestLongChainIsOpenedOneByOne(t *testing.T) {
	b, now := written(t, 1)
	for range 40 {
		b.mustOnce(t)
		*now = now.Add(time.Minute)
	}
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("needs /proc")
		}
		return len(fds)
	}
	before := open()
	files, closeAll, err := openBackups([]string{b.dir}, "")
	if err != nil || len(files) != 40 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	defer closeAll()
	most := 0
	for i, file := range files {
		if _, err := escrow.CheckBackup(io.TeeReader(file, writerFunc(func([]byte) { most = max(most, open()) }))); err != nil {
			t.Fatalf("backup %d: %v", i, err)
		}
	}
	if most > before+10 {
		t.Errorf("%d files are open, %d before", most, before)
	}
	if err := os.Remove(filepath.Join(b.dir, backupName(b.store, b.began, 7, false))); err != nil {
		t.Fatal(err)
	}
	files, closeAll, err = openBackups([]string{b.dir}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll()
	_, err = escrow.Restore(filepath.Join(t.TempDir(), "escrow"), escrow.StoreKey{}, files...)
	if err == nil || !strings.Contains(err.Error(), "does not follow the one before") {
		t.Errorf("a chain with a hole: %v", err)
	}
	name := func(seq int) string { return filepath.Join(b.dir, backupName(b.store, b.began, seq, false)) }
	if err = chainHint(files, err); !strings.Contains(err.Error(), name(8)) || !strings.Contains(hintsOf(err), "the 7 files before it one by one, in order, the last of them "+name(6)) {
		t.Errorf("a chain with a hole: %v\n%s", err, hintsOf(err))
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

// A simulation that plays nothing says so: it proves nothing.
func TestSimulateNothing(t *testing.T) {
	for _, args := range [][]string{{"--seeds", "0"}, {"--jobs", "0"}, {"--jobs", "-1"}, {"--trades", "0"}, {"--trades", "-2"}, {"--from", "18446744073709551615"}} {
		cmd := simulateCommand()
		cmd.SetArgs(args)
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), "nothing to play") {
			t.Errorf("%v: %v, %s", args, err, out.String())
		}
	}
}

// One that is stopped says so too: it has not proved what it was asked to.
func TestSimulateStopped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	cmd := simulateCommand()
	cmd.SetArgs([]string{"--seeds", "5", "--jobs", "1"})
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	if err := cmd.ExecuteContext(ctx); err == nil || !strings.Contains(err.Error(), "stopped after 0 of 5 seeds") {
		t.Errorf("%v", err)
	}
}

// A restored store may not know thousands of payments. Status still says so, in a page.
func TestStatusOfManyStrays(t *testing.T) {
	s := escrow.Status{Strays: make([]escrow.Stray, 20_000)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(s) }))
	defer server.Close()
	c := &control{client: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", server.Listener.Addr().String())
	}}}}
	got, err := c.status(t.Context())
	if err != nil || len(got.Strays) != len(s.Strays) {
		t.Fatalf("%d of them, %v", len(got.Strays), err)
	}
	var out bytes.Buffer
	printStatus(&out, got, bare)
	if text := out.String(); strings.Count(text, "\n") > 80 || !strings.Contains(text, "and 19,950 others: mostro status --json") {
		t.Errorf("status:\n%s", text)
	}
}

// An operator who restored nothing is not told that he did, and is told what a payment means that
// was found all the same: the answer that pays again is not the first that he reads.
func TestStatusInDoubt(t *testing.T) {
	for name, c := range map[string]struct {
		s          escrow.Status
		want, lack string
	}{
		"before the payments are read": {escrow.Status{Restored: "the node has started"}, "payouts         wait until the payments of LND have been read", "restored"},
		"a payment that was found":     {escrow.Status{Strays: []escrow.Stray{{Doubt: true}}}, "ask the payee first", "restored store"},
		"after a restore":              {escrow.Status{Strays: []escrow.Stray{{}}}, "--own if nobody here was paid with it", "snapshot"},
	} {
		var out bytes.Buffer
		printStatus(&out, nodeStatus{Status: c.s}, bare)
		if text := out.String(); !strings.Contains(text, c.want) || strings.Contains(text, c.lack) {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}

// In the directory of a dev network no hint leads to mostro serve, which would make settings there.
func TestHintsInADevNetwork(t *testing.T) {
	dir := t.TempDir()
	if _, err := readSettings(dir, nil); err == nil || !strings.Contains(hintsOf(err), "mostro serve --data-dir "+dir+" writes one") {
		t.Errorf("in an empty directory: %v", hintsOf(err))
	}
	if err := os.Mkdir(filepath.Join(dir, networkDir), privateDir); err != nil {
		t.Fatal(err)
	}
	if _, err := readSettings(dir, nil); err == nil || !strings.Contains(hintsOf(err), "mostro dev --data-dir "+dir) || strings.Contains(hintsOf(err), "serve") {
		t.Errorf("in a dev network: %v", hintsOf(err))
	}
	if _, err := healthURL(dir, nil); err == nil {
		t.Error("one that does not run has an address")
	}
	if err := os.WriteFile(filepath.Join(dir, devFile), []byte(`{"http_url":"http://127.0.0.1:7"}`), privateFile); err != nil {
		t.Fatal(err)
	}
	if url, err := healthURL(dir, nil); err != nil || url != "http://127.0.0.1:7" {
		t.Errorf("health of a dev network is asked at %q, %v", url, err)
	}
	if _, err := healthURL(portless(t), nil); err == nil || !strings.Contains(hintsOf(err), "--url http://127.0.0.1:PORT") {
		t.Errorf("a node on any free port is asked: %v", err)
	}
	// Its file may have been left behind by one that was killed.
	if err := os.WriteFile(filepath.Join(dir, settingsFile), []byte("[relay]\nlisten = \"127.0.0.1:8\"\n"), privateFile); err != nil {
		t.Fatal(err)
	}
	if url, err := healthURL(dir, nil); err != nil || url != "http://127.0.0.1:8" {
		t.Errorf("health beside settings is asked at %q, %v", url, err)
	}
	if url, err := healthURL(dir, []string{"relay.listen=127.0.0.1:9"}); err != nil || url != "http://127.0.0.1:9" {
		t.Errorf("health of a node whose address is overridden is asked at %q, %v", url, err)
	}
}

// portless is the directory of a node that listens on any free port.
func portless(t *testing.T) string {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, settingsFile), []byte("[relay]\nlisten = \"127.0.0.1:0\"\n"), privateFile); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A store that a node is just opening or closing is no defect, and a backup that the node cuts off leads to its log.
func TestHintsOfAStoreInUse(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, escrowDir)
	engine, err := escrow.Open(escrow.Config{Dir: store, Node: lightning.NewSimNetwork(lightning.SimConfig{}).Node("x")})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	operator := backupCommand()
	operator.SetContext(t.Context())
	source, err := backupSource(operator, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := source(io.Discard); err == nil || !strings.Contains(hintsOf(err), "a node starts or ends there") {
		t.Errorf("in use: %v", err)
	}
	// As of a snapshot, which is mounted to be read.
	if err := endedHint(dir, errors.New("Cannot write pid file \"LOCK\" err: open LOCK: read-only file system")); !strings.Contains(hintsOf(err), "name the copy with --data-dir") {
		t.Errorf("a store that was killed, to be read only: %v", err)
	}
	listener, err := listenControl(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})}
	go server.Serve(listener)
	defer server.Close()
	if source, err = backupSource(operator, dir, nil); err != nil {
		t.Fatal(err)
	}
	_, err = writeBackupFile(filepath.Join(dir, "x"), source, nil)
	if err == nil || !strings.Contains(err.Error(), "the node has cut its backup off") || !strings.Contains(hintsOf(err), "its log says why") {
		t.Errorf("cut off: %v", err)
	}
}

// A wrong name among several backups is said before anything is read.
func TestRestoreNamesAWrongFile(t *testing.T) {
	there, missing := filepath.Join(t.TempDir(), "a.backup"), filepath.Join(t.TempDir(), "b.backup")
	if err := os.WriteFile(there, nil, privateFile); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openBackups([]string{there, missing}, ""); err == nil || !strings.Contains(err.Error(), "find backup: stat "+missing) {
		t.Errorf("%v", err)
	}
}

// bare is a command line for the node of the default directory.
func bare(rest string) string { return "mostro " + rest }

func hintsOf(err error) string {
	var h hinted
	errors.As(err, &h)
	return strings.Join(h.hints, "\n")
}
