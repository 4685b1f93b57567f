package main

import (
	"fmt"

	"filippo.io/age"
)

// StoreSettings say how the money store lies on the disk.
type StoreSettings struct {
	KeyFile string
}

// BackupSettings say when the money store is backed up, and where to.
type BackupSettings struct {
	Directory  string
	Seconds    int64 // between two backups
	FullHours  int64 // between two full ones
	Keep       int64 // full ones, with those that follow each
	Recipients []string
}

func (s *Settings) backupSections() []section {
	return []section{
		{"store", "How the money store lies on the disk."},
		{"backup", "Backups of the money store while the node runs. `mostro backup` makes one at once, `mostro restore` puts one back. escrow.secret is not in them: keep it apart, once."},
	}
}

func (s *Settings) backupKeys() []key {
	b := &s.Backup
	return []key{
		{"store.key_file", &textValue{to: &s.Store.KeyFile, max: maxPath}, `""`, "",
			"File with the key that encrypts the money store; `mostro store-key FILE` makes one. It must lie outside the data directory. credential:NAME is one of systemd (LoadCredential). Empty: not encrypted. To change it: backup, restore."},
		{"backup.directory", &textValue{to: &b.Directory, max: maxPath}, `""`, "",
			"Where to, best another disk. A relative path starts at the data directory. The directory above it must be there. Empty: no backups."},
		{"backup.interval_seconds", &intValue{&b.Seconds, 5, 86400}, "60", "seconds", "Between two backups. Each has what changed since the one before."},
		{"backup.full_hours", &intValue{&b.FullHours, 1, 24 * 31}, "24", "hours", "Between two full backups."},
		{"backup.keep", &intValue{&b.Keep, 1, 1000}, "7", "full backups", "That are kept, each with those that follow it."},
		{"backup.recipients", &recipientsValue{&b.Recipients}, "[]", "",
			"Keys of age (age1...) that backups are encrypted to; `age-keygen` makes a pair. The secret one stays off this machine. []: not encrypted, which store.key_file does not go with."},
	}
}

// recipientsValue is a list of public keys of age.
type recipientsValue struct{ to *[]string }

func (v *recipientsValue) set(l literal) error {
	keys, err := list(l)
	if err != nil {
		return err
	}
	if _, err := parseRecipients(keys); err != nil {
		return err
	}
	*v.to = keys
	return nil
}

func (v *recipientsValue) takes() string { return "" }

func parseRecipients(keys []string) (list []age.Recipient, err error) {
	for _, key := range keys {
		if len(key) > 15 && key[:15] == "AGE-SECRET-KEY-" {
			return nil, fmt.Errorf("has a secret key (AGE-SECRET-KEY-...), want the public one (age1...); treat that secret as leaked")
		}
		r, err := age.ParseX25519Recipient(key)
		if err != nil {
			return nil, fmt.Errorf("has %.80q, want a public key of age (age1...)", key)
		}
		list = append(list, r)
	}
	return list, nil
}
