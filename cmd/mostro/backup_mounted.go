package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// backupNote is the file of the data directory that names the last full backup.
const backupNote = "backup.last"

// mounted makes the backup directory the first time, and refuses to write where the last full backup is
// missing: a disk that is not mounted leaves an empty directory on another one. In the directory that it was
// written to somebody has moved it away, which is said.
func (b *backups) mounted() error {
	last, err := os.ReadFile(b.note) // a note that cannot be read is as good as none
	if path := strings.TrimSpace(string(last)); err == nil && filepath.Dir(path) == b.dir {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			if !b.sameDirectory(last) {
				return fmt.Errorf("the last full backup, %s, is not there: is its disk mounted? If you have moved it away, delete %s", path, b.note)
			}
			if b.away != path && b.alarm != nil {
				b.alarm("the last full backup, " + path + ", is not there any more. Whoever moves backups away must move all of them: what has changed since a full one is worth nothing without it")
			}
			b.away = path
		}
	}
	err = os.Mkdir(b.dir, privateDir) // not its parents: they are there, or their disk is not
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make backup directory: %w; is its disk mounted?", err)
	}
	return nil
}

// sameDirectory tells whether the backup directory is that in which the last full backup was written: this
// process has seen it, or the copy of the note is in it.
func (b *backups) sameDirectory(note []byte) bool {
	info, err := os.Stat(b.dir)
	if err == nil && b.seen != nil && os.SameFile(info, b.seen) {
		return true
	}
	mark, err := os.ReadFile(b.markFile())
	return err == nil && bytes.Equal(mark, note)
}

// markFile is a copy of the note in the backup directory: an older one, of a time at which the disk was not
// mounted, does not say the same.
func (b *backups) markFile() string { return filepath.Join(b.dir, ".last-"+b.store) }

// mark notes the directory in which a backup has just been written. Where it cannot, a start after somebody has
// moved backups away is refused: no reason to call the backup that is there a failure.
func (b *backups) mark() {
	if info, err := os.Stat(b.dir); err == nil {
		b.seen = info
	}
	note, err := os.ReadFile(b.note)
	if err != nil {
		return
	}
	if mark, err := os.ReadFile(b.markFile()); err != nil || !bytes.Equal(mark, note) {
		_ = writeWhole(b.markFile(), note)
	}
}
