package regtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const (
	// snapshotFormat is counted up when snapshots are made in another way.
	snapshotFormat = 2
	// maxSnapshotAge: lnd forgets channels of others that were silent for 14 days.
	maxSnapshotAge = 10 * 24 * time.Hour
)

// ForTest starts a network of the default nodes and channels for one test, and stops it when
// the test ends. It is a copy of a network that is made once and kept in the user's cache,
// so that a test waits seconds; the first on a machine may wait for the programs to be
// compiled. Node keys are the same in all copies. With -short the test is skipped.
func ForTest(t testing.TB) *Network {
	t.Helper()
	config := forTest(t)
	if err := copySnapshot(t.Context(), config.CacheDir, config.Dir, config.Binaries, config.Progress); err != nil {
		t.Fatal(err)
	}
	return startForTest(t, config)
}

// NewForTest is ForTest with other nodes and channels. The network is made from nothing, which
// takes longer.
func NewForTest(t testing.TB, nodes []string, channels []Channel) *Network {
	t.Helper()
	config := forTest(t)
	config.Nodes, config.Channels = nodes, channels
	return startForTest(t, config)
}

func forTest(t testing.TB) Config {
	t.Helper()
	if testing.Short() {
		t.Skip("real nodes: left out by -short")
	}
	config := Config{Dir: t.TempDir(), Progress: func(line string) { t.Log(line) }}
	var err error
	if config.CacheDir, err = DefaultCacheDir(); err != nil {
		t.Fatal(err)
	}
	if config.Binaries, err = Binaries(t.Context(), Options{CacheDir: config.CacheDir, Progress: config.Progress}); err != nil {
		t.Fatal(err)
	}
	return config
}

func startForTest(t testing.TB, config Config) *Network {
	t.Helper()
	network, err := Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		network.Stop(ctx)
	})
	return network
}

// copySnapshot puts a copy of the prepared network into dir, and prepares it when there is
// none for these programs or when it is old.
func copySnapshot(ctx context.Context, cacheDir, dir string, paths Paths, progress func(string)) error {
	key, err := snapshotKey(ctx, paths)
	if err != nil {
		return err
	}
	parent := filepath.Join(cacheDir, "regtest")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return fmt.Errorf("prepare a network: %w", err)
	}
	locked, err := lock(ctx, filepath.Join(parent, "lock"), func() {
		progress("another process is preparing a network; waiting for it")
	})
	if err != nil {
		return fmt.Errorf("prepare a network: %w", err)
	}
	defer locked.Close()
	snapshot := filepath.Join(parent, key)
	info, err := os.Stat(filepath.Join(snapshot, stateFile))
	if errors.Is(err, fs.ErrNotExist) || err == nil && time.Since(info.ModTime()) > maxSnapshotAge {
		progress("preparing a network, once for all tests")
		if err := makeSnapshot(ctx, cacheDir, snapshot, paths, progress); err != nil {
			return fmt.Errorf("prepare a network: %w", err)
		}
	} else if err != nil {
		return fmt.Errorf("prepare a network: %w", err)
	}
	if err := os.CopyFS(dir, os.DirFS(snapshot)); err != nil {
		return fmt.Errorf("copy the prepared network: %w", err)
	}
	return nil
}

// makeSnapshot makes a network, stops it, and puts it into place whole.
func makeSnapshot(ctx context.Context, cacheDir, snapshot string, paths Paths, progress func(string)) error {
	unfinished := snapshot + ".unfinished"
	network, err := Start(ctx, Config{
		Dir: unfinished, Binaries: paths, CacheDir: cacheDir, Progress: progress, snapshot: true,
	})
	if err != nil {
		return err
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	network.Stop(stopCtx)
	if err := os.RemoveAll(snapshot); err != nil {
		return err
	}
	return os.Rename(unfinished, snapshot)
}

// snapshotKey names the programs that a network was made with.
func snapshotKey(ctx context.Context, paths Paths) (string, error) {
	lnd, err := versionOf(ctx, paths.LND)
	if err != nil {
		return "", err
	}
	btcd, err := versionOf(ctx, paths.BTCD)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\n%s\n%s", snapshotFormat, lnd, btcd))
	return hex.EncodeToString(sum[:8]), nil
}
