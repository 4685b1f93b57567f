package regtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/modfile"
)

// TestVersions: what is compiled outside of a checkout is what go.mod says.
func TestVersions(t *testing.T) {
	text, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	temporary, err := modfile.Parse("temporary go.mod", []byte(temporaryModule()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if ours.Module.Mod.Path != moduleName {
		t.Errorf("the module is called %s, want %s", ours.Module.Mod.Path, moduleName)
	}
	versions := make(map[string]string)
	for _, require := range ours.Require {
		versions[require.Mod.Path] = require.Mod.Version
	}
	for _, require := range temporary.Require {
		if got := versions[require.Mod.Path]; got != require.Mod.Version {
			t.Errorf("%s: %s is compiled, go.mod has %s", require.Mod.Path, require.Mod.Version, got)
		}
	}
	replacements := func(file *modfile.File) map[string]string {
		found := make(map[string]string)
		for _, replace := range file.Replace {
			found[replace.Old.String()] = replace.New.String()
		}
		return found
	}
	if diff := cmp.Diff(replacements(ours), replacements(temporary)); diff != "" {
		t.Errorf("replacements (-go.mod +temporary):\n%s", diff)
	}
	tools := make(map[string]bool)
	for _, tool := range ours.Tool {
		tools[tool.Path] = true
	}
	lnd, btcd := programs()
	for _, p := range []program{lnd, btcd} {
		if !tools[p.pkg] {
			t.Errorf("%s is not a tool of go.mod", p.pkg)
		}
	}
}

func TestBinaries(t *testing.T) {
	write := func(path string) string {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	dir, cacheDir := t.TempDir(), t.TempDir()
	find := func(lnd string) (Paths, error) {
		return Binaries(context.Background(), Options{LND: lnd, CacheDir: cacheDir})
	}
	t.Setenv("PATH", filepath.Join(dir, "path"))

	if _, err := find(""); err == nil || !strings.Contains(err.Error(), "install Go, or put lnd on PATH, or give its path with --lnd") {
		t.Errorf("nothing there and no Go: %v", err)
	}
	cached := write(filepath.Join(cacheDir, "bin", "lnd-"+LNDVersion))
	btcd := write(filepath.Join(cacheDir, "bin", "btcd-"+BTCDVersion))
	if got, err := find(""); err != nil || got != (Paths{cached, btcd}) {
		t.Errorf("cached: %+v, %v", got, err)
	}
	onPath := write(filepath.Join(dir, "path", "lnd"))
	if got, err := find(""); err != nil || got != (Paths{onPath, btcd}) {
		t.Errorf("on PATH: %+v, %v", got, err)
	}
	given := write(filepath.Join(dir, "own-lnd"))
	if got, err := find(given); err != nil || got != (Paths{given, btcd}) {
		t.Errorf("given: %+v, %v", got, err)
	}
	if _, err := find(filepath.Join(dir, "nowhere")); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("given and missing: %v", err)
	}
}

func TestRunBuild(t *testing.T) {
	var told []string
	progress := func(line string) { told = append(told, line) }
	if err := runBuild(exec.Command("sh", "-c", "echo a/package >&2"), "lnd", progress); err != nil {
		t.Error(err)
	}
	if len(told) != 1 || !strings.HasPrefix(told[0], "compiled lnd in ") {
		t.Errorf("told %q", told)
	}
	err := runBuild(exec.Command("sh", "-c", "echo x.go:1: undefined: y >&2; exit 1"), "lnd", progress)
	if err == nil || !strings.Contains(err.Error(), "undefined: y") || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("failed build: %v", err)
	}
}
