package escrow

import (
	"os"
	"path/filepath"
	"testing"
)

// TestEmptyFilesOfACrash: a disk that is full, or a kill, can leave a log of Badger's without a byte; the money store opens
// all the same, for the node and for the auditor.
func TestEmptyFilesOfACrash(t *testing.T) {
	for _, file := range []string{"00099.mem", "000099.vlog"} {
		dir := t.TempDir()
		open := func() {
			t.Helper()
			db, err := openStore(dir, StoreKey{})
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
		leave := func() {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		open()
		leave()
		open()
		leave()
		db, err := openEnded(dir, StoreKey{})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
