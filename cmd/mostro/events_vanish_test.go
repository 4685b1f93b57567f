package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestImportVanish: who has asked this relay, by its address, to forget him (NIP-62) is forgotten by
// an import, too, whatever comes before or after his request.
func TestImportVanish(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, settingsFile), []byte("[relay]\nurl = \"wss://relay.example.com\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	gone, stays := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	say := func(secret string, ev nostr.Event) {
		if err := ev.Sign(secret); err != nil {
			t.Fatal(err)
		}
		lines.WriteString(ev.String() + "\n")
	}
	say(gone, nostr.Event{Kind: 1, CreatedAt: 1_700_000_000, Content: "before"})
	say(gone, nostr.Event{Kind: 62, CreatedAt: 1_700_000_100, Tags: nostr.Tags{{"relay", "wss://relay.example.com"}}})
	say(gone, nostr.Event{Kind: 1, CreatedAt: 1_700_000_001, Content: "after"})
	say(stays, nostr.Event{Kind: 62, CreatedAt: 1_700_000_100, Tags: nostr.Tags{{"relay", "wss://other.example.com"}}})
	say(stays, nostr.Event{Kind: 1, CreatedAt: 1_700_000_000, Content: "of another"})
	run := func(in string, args ...string) string {
		cmd := rootCommand()
		var out bytes.Buffer
		cmd.SetArgs(args)
		cmd.SetIn(strings.NewReader(in))
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out.String())
		}
		return out.String()
	}
	run(lines.String(), "events", "import", "--data-dir", dir)
	kept := run("", "events", "export", "--data-dir", dir)
	if strings.Contains(kept, "before") || strings.Contains(kept, "after") || !strings.Contains(kept, "of another") {
		t.Errorf("kept:\n%s", kept)
	}

	// What is there can be read whatever has become of the settings.
	settings := filepath.Join(dir, settingsFile)
	if err := os.WriteFile(settings, []byte("[relay\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again := run("", "events", "export", "--data-dir", dir); again != kept {
		t.Errorf("with broken settings:\n%s", again)
	}
	// A relay that listens everywhere has the address that its node gives it.
	if err := os.WriteFile(settings, []byte("[relay]\nlisten = \"0.0.0.0:7000\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if url, _, err := relayOf(dir); err != nil || url != "ws://127.0.0.1:7000" {
		t.Errorf("%q, %v", url, err)
	}
}
