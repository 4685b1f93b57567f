package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mostro/escrow/lightning/lnd"
	"mostro/escrow/mostro"
)

// harmful are settings that were taken once, each with what is said of them.
var harmful = map[string]string{
	"[mostro]\nfee = 0\n": "mostro.fee is 0",
	"[anti_abuse_bond]\nenabled = true\napply_to = \"make\"\n":   "anti_abuse_bond.apply_to is",
	"[store]\nkey_file = \"/k\"\n[backup]\ndirectory = \"/b\"\n": "backup.recipients is empty",
	"[mostro]\npow = 3\n[relay]\nmin_pow = 4\n":                  "relay.min_pow is 4, above mostro.pow, 3",
	"[relay]\nmax_content_characters = 12287\n":                  "relay.max_content_characters is 12287",
	"[relay]\nmax_content_by_kind = [\"0,14: 12287\"]\n":         "relay.max_content_by_kind gives kind 14 12287 bytes",
	"[relay]\nmax_content_by_kind = [\"1059: 0\"]\n":             "relay.max_content_by_kind gives kind 1059 0 bytes",
}

// Limits that are narrow but leave room for messages of trades are taken.
func TestNarrowLimits(t *testing.T) {
	file := "[mostro]\npow = 4\n[relay]\nmin_pow = 4\nmax_content_characters = 12288\nmax_content_by_kind = [\"14,1059: 12288\", \"0: 10\"]\n"
	if _, err := loadSettings("f", []byte(file), nil); err != nil {
		t.Error(err)
	}
}

// Settings that were taken once keep nobody from his money: what works on a store that no node has open
// reads them all the same.
func TestHarmfulSettingsAndTheStoreOfAnEndedNode(t *testing.T) {
	for file, want := range harmful {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, settingsFile), []byte(file), privateFile); err != nil {
			t.Fatal(err)
		}
		l, err := readSettings(dir, []string{"network.proxy=socks5h://me:hush@127.0.0.1:9050"})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if text := l.harmful.Error(); !strings.Contains(text, want) || !strings.Contains(text, "network.proxy is a secret") || strings.Contains(text, "hush") {
			t.Errorf("%s: said is %s", file, text)
		}
		if _, err := spaceOf(dir, nil); err != nil { // restore
			t.Errorf("%s: %v", file, err)
		}
	}
}

// A grace of 0 was taken once. It is read as the default now, and that is said.
func TestNoPayoutGrace(t *testing.T) {
	l, err := loadSettings("f", []byte("[lightning]\npayout_grace_seconds = 600\n"), []string{"lightning.payout_grace_seconds=0"})
	if err != nil || l.Lightning.PayoutGrace != 300 || len(l.changed) != 1 || !strings.Contains(l.changed.Error(), "--settings: lightning.payout_grace_seconds is 0, and read as 300") {
		t.Errorf("%+v, %v", l, err)
	}
	for _, bad := range []string{"-1", "86401", "x"} {
		if _, err := loadSettings("f", nil, []string{"lightning.payout_grace_seconds=" + bad}); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// A node with harmful settings starts, and cries, where an order is live; it does not where none is, and
// makes no store.
func TestHarmfulSettingsOfANodeWithLiveOrders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	files := filepath.Join(dir, "lnd")
	if err := errors.Join(openDataDir(dir), writeLNDFiles(files)); err != nil {
		t.Fatal(err)
	}
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	open := func(settings ...string) (*node, *bytes.Buffer, error) {
		l, err := parseSettings("none", nil, append([]string{"relay.min_free_mib=0", "price.providers.yadio.enabled=false"}, settings...))
		if err != nil {
			t.Fatal(err)
		}
		listener, err := listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		n, err := openNode(t.Context(), nodeConfig{
			dir: dir, settings: &l.Settings, harmful: l.harmful, key: key, listener: listener, logger: slog.New(slog.NewTextHandler(&log, nil)),
			lightning: lnd.Config{Host: "127.0.0.1:1", CertFile: filepath.Join(files, "tls.cert"), MacaroonFile: filepath.Join(files, "good.macaroon")},
		})
		if err != nil {
			listener.Close()
		}
		return n, &log, err // which is not to be read before the node has ended
	}
	// serve runs a node, with what happens while it serves.
	serve := func(n *node, during func()) {
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- n.run(ctx) }()
		during()
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}

	if _, _, err := open("mostro.fee=0"); err == nil || !strings.Contains(err.Error(), "mostro.fee is 0") {
		t.Errorf("without a store: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, escrowDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a store is made: %v", err)
	}
	file := "[lightning]\nlnd_grpc_host = \"127.0.0.1:1\"\nlnd_cert_file = \"lnd/tls.cert\"\nlnd_macaroon_file = \"lnd/good.macaroon\"\n"
	if err := os.WriteFile(filepath.Join(dir, settingsFile), []byte(file), privateFile); err != nil {
		t.Fatal(err)
	}
	check := func(settings string) error {
		t.Setenv(nsecVariable, key.Nsec()) // whoever reads it takes it away
		cmd := settingsCommand()
		cmd.SetArgs([]string{"check", "--data-dir", dir, "--settings", settings})
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		return cmd.Execute()
	}
	n, _, err := open()
	if err != nil {
		t.Fatal(err)
	}
	serve(n, func() {})
	if _, _, err := open("mostro.fee=0"); err == nil || !strings.Contains(err.Error(), "mostro.fee is 0") {
		t.Errorf("without an order: %v", err)
	}

	if n, _, err = open(); err != nil {
		t.Fatal(err)
	}
	serve(n, func() {
		request, err := mostro.SealRequest(mostro.Message{
			Version: mostro.NIP44.Version(), Wrapper: mostro.WrapOrder, Action: mostro.NewOrder, RequestID: new(uint64),
			Payload: &mostro.Payload{Order: &mostro.SmallOrder{Kind: mostro.Sell, Status: mostro.StatusPending, Amount: 100_000, FiatCode: "USD", FiatAmount: 50, PaymentMethod: "bank"}},
		}, mostro.NIP44, mostro.Party{Trade: key, Identity: key}, key.Public(), time.Now().Unix(), 0)
		if err == nil {
			err = n.engine.Receive(t.Context(), &request)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	n, log, err := open("mostro.fee=0")
	if err != nil {
		t.Fatalf("with a live order: %v", err)
	}
	serve(n, func() {})
	if text := log.String(); strings.Count(text, "alarm: with this setting") != 1 || !strings.Contains(text, "setting=mostro.fee") {
		t.Errorf("the log says\n%s", text)
	}
	if err := check("mostro.fee=0.01"); err != nil {
		t.Errorf("good settings: %v", err)
	}
	if err := check("mostro.fee=0"); err == nil || !strings.Contains(err.Error(), "--settings: mostro.fee is 0") {
		t.Errorf("settings check: %v", err)
	}
}
