package store

import (
	"os"
	"path/filepath"
	"testing"
)

// TestEmptyFilesOfACrash: a disk that is full, or a kill, can leave a log of Badger's without a byte; the store opens all the same.
func TestEmptyFilesOfACrash(t *testing.T) {
	for _, file := range []string{"00099.mem", "000099.vlog"} {
		dir := t.TempDir()
		for range 2 {
			s, err := Open(Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}
