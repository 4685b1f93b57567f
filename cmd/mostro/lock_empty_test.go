package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// TestEmptyFilesOfACrash: a disk that is full, or a kill, can leave a log of Badger's without a byte. Whoever has locked the data
// directory, to write or to read, opens its stores all the same.
func TestEmptyFilesOfACrash(t *testing.T) {
	for _, store := range []string{escrowDir, relayDir, mirrorDir, replicaDir} {
		for _, file := range []string{"00099.mem", "000099.vlog"} {
			for _, shared := range []bool{false, true} {
				dir := t.TempDir()
				open := func() error {
					db, err := badger.Open(badger.DefaultOptions(filepath.Join(dir, store)).WithLogger(nil))
					if err != nil {
						return err
					}
					return db.Close()
				}
				if err := open(); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, store, file), nil, 0o600); err != nil {
					t.Fatal(err)
				}
				unlock, err := lockDataDir(dir, "mostro test", shared)
				if err != nil {
					t.Fatal(err)
				}
				if err := open(); err != nil {
					t.Errorf("%s with %s, shared %v: %v", store, file, shared, err)
				}
				unlock()
			}
		}
	}
}
