package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"mostro/escrow"
)

// writeBackupFile makes a file that is either whole, read back, or not there, for its owner alone.
func writeBackupFile(path string, source func(io.Writer) error, to []age.Recipient) (info escrow.BackupInfo, err error) {
	written := sha256.New()
	err = writeChecked(path, func(w io.Writer) error {
		info, err = copyBackup(io.MultiWriter(w, written), source, to)
		return err
	}, func(file io.Reader) error { return readBack(file, written.Sum(nil), len(to) > 0) })
	return info, err
}

// readBack reads a backup from where it lies: it is what was written, and whole. Of an encrypted one only the
// first can be known without the secret key; that it was whole is known from before it was encrypted.
func readBack(file io.Reader, written []byte, encrypted bool) error {
	sum := sha256.New()
	read := io.TeeReader(file, sum)
	if !encrypted {
		if _, err := escrow.CheckBackup(read); err != nil {
			return fmt.Errorf("read it back: %w; is the disk sound?", err)
		}
	}
	if _, err := io.Copy(io.Discard, read); err != nil {
		return fmt.Errorf("read it back: %w", err)
	}
	if !bytes.Equal(sum.Sum(nil), written) {
		return errors.New("read it back: it is not what was written; is the disk sound?")
	}
	return nil
}

// readBackText says what is known of a backup that has been written, and what is not.
func readBackText(path string, encrypted bool) string {
	if encrypted {
		return "It was whole before it was encrypted, and what lies there was read back and is what was written. That your secret key opens it shows: mostro audit --backup " +
			path + " --identity FILE."
	}
	return "It was read back and is whole."
}

// writeLarge makes a new file of what write writes, that is either whole and on the disk or not there, for its
// owner alone.
func writeLarge(path string, write func(io.Writer) error) error {
	return writeChecked(path, write, func(io.Reader) error { return nil })
}

// writeChecked does the same with a file that check has read.
func writeChecked(path string, write func(io.Writer) error, check func(io.Reader) error) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return hint(fmt.Errorf("%s exists already", path), "name another file")
	}
	file, err := os.CreateTemp(filepath.Dir(path), unfinishedFile+filepath.Base(path)+"-*") // mode 0600
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return hint(fmt.Errorf("write %s: there is no directory %s", path, filepath.Dir(path)), "make it first, for you alone: mkdir -m 700 -p "+filepath.Dir(path))
	case errors.Is(err, fs.ErrPermission):
		return hint(fmt.Errorf("write %s: %w", path, err), "name a file in a directory that you may write to")
	case err != nil:
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = errors.Join(write(file), file.Sync(), file.Close())
	if err == nil {
		err = checkFile(file.Name(), check)
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func checkFile(path string, check func(io.Reader) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return check(file)
}

// clearUnfinished deletes what backups by hand have left in a directory that were killed. One that may still be
// written stays.
func clearUnfinished(dir string, now time.Time) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // whoever writes there says so
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), unfinishedFile) || !strings.Contains(entry.Name(), backupSuffix) {
			continue
		}
		info, gone := entry.Info()
		if gone != nil || now.Sub(info.ModTime()) < unfinishedFor {
			continue // it has its name by now, or may get it
		}
		err = errors.Join(err, os.Remove(filepath.Join(dir, entry.Name())))
	}
	return err
}
