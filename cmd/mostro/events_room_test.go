package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/store"
)

// TestImportLeavesRoom: an import ends before it takes the free space of the disk, which the settings leave to the money.
func TestImportLeavesRoom(t *testing.T) {
	var lines strings.Builder
	for range 3 {
		ev := nostr.Event{Kind: 1, CreatedAt: 1_700_000_000}
		if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
			t.Fatal(err)
		}
		lines.WriteString(ev.String() + "\n")
	}
	for _, c := range []struct {
		settings, want string
		err            error
	}{
		{"[relay]\nmin_free_mib = 0\nmin_free_percent = 0\n", "3 lines: 3 stored, 0 known or overtaken, 0 refused\n", nil},
		{"[relay]\nmin_free_percent = 100\n", "3 lines: 0 stored, 0 known or overtaken, 0 refused\n", store.ErrFull},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, settingsFile), []byte(c.settings), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := rootCommand()
		var out strings.Builder
		cmd.SetArgs([]string{"events", "import", "--data-dir", dir})
		cmd.SetIn(strings.NewReader(lines.String()))
		cmd.SetOut(&out)
		if err := cmd.ExecuteContext(t.Context()); !errors.Is(err, c.err) || out.String() != c.want {
			t.Errorf("%s: %v\n%s", c.settings, err, out.String())
		} else if c.err != nil && !strings.Contains(hintsOf(err), "import again") {
			t.Errorf("no hint: %q", hintsOf(err))
		}
	}
	// Without settings the defaults hold.
	url, space, err := relayOf(t.TempDir())
	if url != "" || space.Rule == nil || err != nil {
		t.Fatal(url, space, err)
	}
	for free, want := range map[uint64]bool{2 << 30: true, 2<<30 - 1: false} {
		if outside, _, _ := space.Rule(free, 1<<40, false); outside != want {
			t.Errorf("%d bytes free: events are taken: %v", free, outside)
		}
	}
	// An export that moves a folder leaves what the store itself needs.
	for free, want := range map[uint64]bool{store.CriticalFree: true, store.CriticalFree - 1: false} {
		if _, inside, hold := exportSpace().Rule(free, 1<<40, false); inside != want || hold {
			t.Errorf("%d bytes free: events are moved: %v, a reserve is made: %v", free, inside, hold)
		}
	}
}
