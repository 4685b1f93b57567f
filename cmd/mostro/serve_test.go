package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// TestServeWithoutLND serves while nobody answers at lnd_grpc_host, ends cleanly, and starts
// again after kill -9.
func TestServeWithoutLND(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	if err := openDataDir(dir); err != nil {
		t.Fatal(err)
	}
	if err := writeLNDFiles(filepath.Join(dir, "lnd")); err != nil {
		t.Fatal(err)
	}
	// A port that was just free: nobody speaks gRPC there.
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	settings := `[lightning]
lnd_grpc_host = "` + nobody.Addr().String() + `"
lnd_cert_file = "lnd/tls.cert"
lnd_macaroon_file = "lnd/good.macaroon"
[price.providers.yadio]
enabled = false
[mostro]
name = "Test"
`
	if err := os.WriteFile(filepath.Join(dir, settingsFile), []byte(settings), privateFile); err != nil {
		t.Fatal(err)
	}
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(nsecVariable, key.Nsec())

	start := func() (*process, string) {
		p := startProcess(t, "serve", "--data-dir", dir, "--settings", "relay.listen=127.0.0.1:0")
		line := p.waitLine("msg=serving")
		address := regexp.MustCompile(`relay=ws://(\S+)`).FindStringSubmatch(line)
		if address == nil {
			t.Fatalf("no address in %q", line)
		}
		return p, address[1]
	}
	check := func(address string) {
		t.Helper()
		health := startProcess(t, "health", "--url", "http://"+address)
		if code := health.end(); code != exitOK {
			t.Errorf("mostro health ends with %d", code)
		}
		ctx := context.Background()
		relay, err := nostr.RelayConnect(ctx, "ws://"+address)
		if err != nil {
			t.Fatal(err)
		}
		defer relay.Close()
		sub, err := relay.Subscribe(ctx, nostr.Filters{{
			Kinds: []int{mostro.KindInfo, mostro.KindMetadata, mostro.KindRelayList}, Authors: []string{key.Public()},
		}})
		if err != nil {
			t.Fatal(err)
		}
		// Who the node is, where, and on what terms: told within seconds, LND or not.
		for missing := map[int]bool{mostro.KindInfo: true, mostro.KindMetadata: true, mostro.KindRelayList: true}; len(missing) > 0; {
			delete(missing, (<-sub.Events).Kind)
		}
	}

	p, address := start()
	check(address)
	p.signal(syscall.SIGKILL)
	p.end()

	p, address = start()
	check(address)
	p.signal(syscall.SIGTERM)
	if code := p.end(); code != exitOK {
		t.Errorf("mostro serve ends with %d after SIGTERM", code)
	}
	if _, err := os.Stat(filepath.Join(dir, escrowSecretFile)); err != nil {
		t.Error(err)
	}

	// Trades without their secret are not started on: another secret could settle nothing.
	if err := os.Remove(filepath.Join(dir, escrowSecretFile)); err != nil {
		t.Fatal(err)
	}
	p = startProcess(t, "serve", "--data-dir", dir)
	p.waitLine("escrow.secret is missing")
	if code := p.end(); code != exitError {
		t.Errorf("mostro serve ends with %d without its escrow secret", code)
	}
}
