package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// holderFile says which process has the lock of a data directory. It is for people: the lock itself is on the
// directory, and ends with the process whatever lies there.
const holderFile = "mostro.pid"

// lockDataDir keeps every other mostro away from the stores of a data directory, until unlock or the end of the
// process. The stores' own locks are not enough: one that has been moved away while its process was ending takes
// its lock along, and that process goes on by the old path, in whatever has been put there. With shared those
// who only read can be there together. doing is the command, for whoever is refused. Root is refused where the
// stores are somebody else's.
func lockDataDir(dir, doing string, shared bool) (unlock func(), err error) {
	if err := refuseRoot(dir, doing, os.Geteuid()); err != nil {
		return nil, err
	}
	lock, err := lockDirectory(dir, shared)
	if errors.Is(err, errLocked) {
		return nil, takenBy(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if !shared {
		if err := cmp.Or(refuseForeign(dir, os.Geteuid()), storesFree(dir)); err != nil {
			lock.Close()
			return nil, err
		}
	}
	if err := dropEmptyFiles(dir); err != nil {
		lock.Close()
		return nil, fmt.Errorf("remove what a crash has left: %w", err)
	}
	holder := filepath.Join(dir, holderFile)
	_ = os.WriteFile(holder, fmt.Appendf(nil, "%d (%s)\n", os.Getpid(), doing), privateFile) // a directory that can only be read has none
	return func() {
		os.Remove(holder)
		lock.Close()
	}, nil
}

// dropEmptyFiles removes files of the stores of which a crash or a full disk has left only the name: Badger makes a log before it
// gives it its length, and does not open a store with one that has none. Nothing was written to it.
func dropEmptyFiles(dir string) error {
	for _, store := range []string{escrowDir, relayDir, mirrorDir, replicaDir} {
		files, err := os.ReadDir(filepath.Join(dir, store))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for _, file := range files {
			if ext := filepath.Ext(file.Name()); err != nil || ext != ".mem" && ext != ".vlog" {
				continue
			}
			info, wrong := file.Info()
			if wrong == nil && info.Size() == 0 {
				wrong = os.Remove(filepath.Join(dir, store, file.Name()))
			}
			err = wrong
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// storesFree looks for a process that has a store open and not the lock of the directory, as those of versions
// before this one.
func storesFree(dir string) error {
	for _, store := range []string{escrowDir, relayDir, mirrorDir, replicaDir} {
		lock, err := lockDirectory(filepath.Join(dir, store), false)
		switch {
		case err == nil:
			lock.Close()
		case errors.Is(err, errLocked):
			return takenBy(dir)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("lock %s: %w", store, err)
		}
	}
	return nil
}

// takenBy says who is in the way.
func takenBy(dir string) error {
	who := "another process"
	if holder, err := os.ReadFile(filepath.Join(dir, holderFile)); err == nil && len(holder) < maxPath {
		who = "process " + strings.TrimSpace(string(holder))
	}
	return hint(fmt.Errorf("%s is in use by %s", dir, who),
		"another mostro runs on this data directory: stop it, or name another with --data-dir",
		"if it answers no commands it starts or ends at this moment: try again when that process is gone, and move nothing in the directory before")
}
