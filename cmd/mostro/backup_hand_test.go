package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"mostro/escrow"
)

// A backup of which the disk has kept something else than was written never gets its name.
func TestBackupIsReadBack(t *testing.T) {
	b, _ := written(t, 1)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "a.backup")
	plain, encrypted := []age.Recipient(nil), []age.Recipient{identity.Recipient()}
	cut := func(file *os.File) error {
		info, err := file.Stat()
		return errors.Join(err, file.Truncate(info.Size()-1))
	}
	change := func(file *os.File) error { _, err := file.WriteAt([]byte{0xa5, 0x5a, 0xa5}, 20); return err }
	for _, c := range []struct {
		name  string
		to    []age.Recipient
		spoil func(*os.File) error // what the disk does to what has been written
	}{
		{"plain, cut", plain, cut}, {"plain, changed", plain, change}, {"encrypted, changed", encrypted, change},
		{"plain", plain, nil}, {"encrypted", encrypted, nil},
	} {
		_, err := writeBackupFile(path, func(w io.Writer) error {
			_, err := b.make(w, escrow.Chain{})
			left, _ := filepath.Glob(filepath.Join(dir, unfinishedFile+"*"))
			if err != nil || len(left) != 1 {
				t.Fatalf("%s: %v, and in the directory %v", c.name, err, left)
			}
			if c.spoil == nil {
				return nil
			}
			file, err := os.OpenFile(left[0], os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			return errors.Join(c.spoil(file), file.Close())
		}, c.to)
		if c.spoil == nil {
			if err := errors.Join(err, os.Remove(path)); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if left, _ := os.ReadDir(dir); err == nil || !strings.Contains(err.Error(), "read it back") || len(left) > 0 {
			t.Errorf("%s: %v; left %v", c.name, err, left)
		}
	}
	for sealed, want := range map[bool]string{false: "and is whole", true: "mostro audit --backup b.age --identity"} {
		if says := readBackText("b.age", sealed); !strings.Contains(says, want) || sealed && strings.Contains(says, "and is whole") {
			t.Errorf("encrypted %v: %s", sealed, says)
		}
	}
}

// A directory of backups that were made by hand is not empty: they are named, the latest first.
func TestDirectoryOfBackupsByHand(t *testing.T) {
	b, _ := written(t, 1)
	dir := t.TempDir()
	if _, err := latestChain(dir, ""); err == nil || !strings.Contains(err.Error(), "there are no backups") {
		t.Errorf("in an empty directory: %v", err)
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	source := func(w io.Writer) error { _, err := b.make(w, escrow.Chain{}); return err }
	old, sealed := filepath.Join(dir, "mostro-20261101T120000Z.backup"), filepath.Join(dir, "mostro-20261102T120000Z.backup.age")
	_, err1 := writeBackupFile(old, source, nil)
	_, err2 := writeBackupFile(sealed, source, []age.Recipient{identity.Recipient()})
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	killed, writing := filepath.Join(dir, unfinishedFile+"mostro-20261103T120000Z.backup-1"), filepath.Join(dir, unfinishedFile+"mostro-20261104T120000Z.backup-2")
	err = errors.Join(err1, err2, os.Chtimes(old, at, at), os.WriteFile(killed, nil, privateFile), os.WriteFile(writing, nil, privateFile), os.Chtimes(killed, at, at))
	if err != nil {
		t.Fatal(err)
	}
	_, err = latestChain(dir, "")
	want := "'" + sealed + "'  of "
	if err == nil || !strings.Contains(err.Error(), "2 files of mostro backup: name the one that you mean") || !strings.HasPrefix(hintsOf(err), want) ||
		!strings.Contains(hintsOf(err), "cannot be read without --identity FILE") || !strings.Contains(hintsOf(err), "'"+old+"'  of 1 Nov 2026 12:00 UTC with 0 orders") || strings.Contains(hintsOf(err), unfinishedFile) {
		t.Errorf("%v\n%s", err, hintsOf(err))
	}

	// The next one by hand deletes what a killed one has left, and not what may still be written.
	if err := clearUnfinished(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	_, gone := os.Stat(killed)
	_, stays := os.Stat(writing)
	if gone == nil || stays != nil {
		t.Errorf("of a killed one %v, of one that is being written %v", gone, stays)
	}
}
