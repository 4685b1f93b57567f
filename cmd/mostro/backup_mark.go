package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"mostro/escrow"
)

// encryptedMark is what a backup of an encrypted money store says of it: the comment of an empty gzip member before
// it, over which every version reads. A backup has the rows in plain, so that nothing else tells that they were
// encrypted where they lay.
const encryptedMark = "mostro: of an encrypted money store"

// markEncrypted writes the mark if there is a key.
func markEncrypted(w io.Writer, key escrow.StoreKey) error {
	if key.IsZero() {
		return nil
	}
	mark := gzip.NewWriter(w)
	mark.Comment = encryptedMark
	return mark.Close()
}

// marked tells whether a backup that has not been read yet has the mark.
func marked(backup *bufio.Reader) bool {
	head, _ := backup.Peek(64) // more than the mark takes; a shorter one is found to be none by who reads it
	member, err := gzip.NewReader(bytes.NewReader(head))
	return err == nil && member.Comment == encryptedMark
}

// restoreKey is the key of the store that a restore makes. Nothing is put back in plain because a file is missing:
// that is said, with plain.
func restoreKey(dir string, overrides []string, plain, wasEncrypted bool) (key escrow.StoreKey, err error) {
	_, none := os.Stat(filepath.Join(dir, settingsFile))
	switch missing := errors.Is(none, fs.ErrNotExist); {
	case missing && len(overrides) > 0:
		l, err := loadSettings(settingsFile, nil, overrides)
		if err != nil {
			return key, err
		}
		if key, err = l.storeKey(dir); err != nil {
			return key, err
		}
	case missing && !plain && !isDev(dir):
		return key, hint(fmt.Errorf("there is no %s in %s, which says whether the money store is encrypted", settingsFile, dir),
			"put settings.toml and the keys back first", "or, if the store is to lie there in plain, say so: --plain")
	default:
		if key, err = endedStoreKey(dir, overrides); err != nil {
			return key, err
		}
	}
	switch {
	case plain && !key.IsZero():
		return key, hint(errors.New("--plain, and store.key_file names a key: the node would not open a store in plain"), "take one of the two out")
	case wasEncrypted && key.IsZero() && !plain:
		return key, hint(errors.New("the backup is of an encrypted money store, and store.key_file names no key: it would lie there in plain"),
			"put settings.toml and the keys back first",
			"if the key is lost, mostro store-key FILE makes another: the backup does not need the old one",
			"or, if it is to lie there in plain, say so: --plain")
	}
	return key, nil
}

// ownRecipients are the keys that the settings have for backups. A dev network has no settings.
func ownRecipients(dir string, overrides []string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(dir, settingsFile)); errors.Is(err, fs.ErrNotExist) && len(overrides) == 0 {
		return nil, nil
	}
	settings, err := readSettings(dir, overrides)
	if err != nil {
		return nil, err
	}
	return settings.Backup.Recipients, nil
}
