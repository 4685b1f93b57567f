package regtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Versions of what is compiled when no binary is given. A test compares them with go.mod.
const (
	LNDVersion  = "v0.20.1-beta"
	BTCDVersion = "v0.24.3-0.20250318170759-4f4ea81776d6"
)

// lndTags are those of lnd's published releases: hold invoices need invoicesrpc, block
// notices chainrpc.
const lndTags = "autopilotrpc chainrpc invoicesrpc neutrinorpc peersrpc signrpc walletrpc watchtowerrpc kvdb_sqlite"

// Paths are the programs of a network.
type Paths struct {
	LND  string
	BTCD string
}

// Options says where Binaries may look.
type Options struct {
	LND  string // path of lnd; empty: look on PATH, then in the cache, then compile
	BTCD string // path of btcd, likewise
	// CacheDir keeps what was compiled; default is DefaultCacheDir.
	CacheDir string
	// Progress is told in a line what is done now; may be nil.
	Progress func(string)
}

// program is one of the two that can be compiled.
type program struct {
	name    string
	version string
	pkg     string
	tags    string
}

func programs() (lnd, btcd program) {
	return program{"lnd", LNDVersion, "github.com/lightningnetwork/lnd/cmd/lnd", lndTags},
		program{"btcd", BTCDVersion, "github.com/btcsuite/btcd", ""}
}

// DefaultCacheDir is this program's part of the user's cache.
func DefaultCacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache directory: %w", err)
	}
	return filepath.Join(dir, "mostro"), nil
}

// Binaries finds lnd and btcd: the path that is given, else on PATH, else in the cache,
// else it compiles them into the cache, which takes minutes and needs Go.
func Binaries(ctx context.Context, options Options) (Paths, error) {
	if options.Progress == nil {
		options.Progress = func(string) {}
	}
	if options.CacheDir == "" {
		var err error
		if options.CacheDir, err = DefaultCacheDir(); err != nil {
			return Paths{}, err
		}
	}
	lnd, btcd := programs()
	var paths Paths
	var err error
	if paths.LND, err = find(ctx, lnd, options.LND, options); err != nil {
		return Paths{}, err
	}
	if paths.BTCD, err = find(ctx, btcd, options.BTCD, options); err != nil {
		return Paths{}, err
	}
	return paths, nil
}

// find returns the path of one program.
func find(ctx context.Context, p program, given string, options Options) (string, error) {
	if given != "" {
		path, err := exec.LookPath(given)
		if err != nil {
			return "", fmt.Errorf("find %s at %s: %w; name a binary that exists, or leave the flag out to have one built", p.name, given, err)
		}
		return filepath.Abs(path)
	}
	if path, err := exec.LookPath(p.name); err == nil {
		options.Progress(fmt.Sprintf("using the %s on PATH: %s", p.name, path))
		return filepath.Abs(path)
	}
	dir := filepath.Join(options.CacheDir, "bin")
	path := filepath.Join(dir, p.name+"-"+p.version)
	if isFile(path) {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("compile %s: %w", p.name, err)
	}
	locked, err := lock(ctx, filepath.Join(dir, "lock"), func() {
		options.Progress("another process is compiling the Lightning nodes; waiting for it")
	})
	if err != nil {
		return "", fmt.Errorf("compile %s: %w", p.name, err)
	}
	defer locked.Close()
	if isFile(path) { // compiled while this process waited
		return path, nil
	}
	if _, err := exec.LookPath("go"); err != nil {
		return "", fmt.Errorf("compile %s: %w; install Go, or put %s on PATH, or give its path with --%s", p.name, err, p.name, p.name)
	}
	if err := compile(ctx, p, path, options.Progress); err != nil {
		return "", fmt.Errorf("compile %s %s: %w", p.name, p.version, err)
	}
	return path, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// versionOf asks a program for its version, in its own words.
func versionOf(ctx context.Context, path string) (string, error) {
	output, err := exec.CommandContext(ctx, path, "--version").Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("ask %s for its version: %w: %s", path, err, exit.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", path, err)
	}
	return string(output), nil
}
