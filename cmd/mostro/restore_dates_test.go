package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// M42: a chain of backups that is dated in the future is not taken for the latest one: a clock
// that was ahead for a day must not bring back old books.
func TestLatestBackupsOfAWrongClock(t *testing.T) {
	dir := t.TempDir()
	put := func(began time.Time) {
		if err := os.WriteFile(filepath.Join(dir, backupName("0badcafe", began, 0, false)), nil, privateFile); err != nil {
			t.Fatal(err)
		}
	}
	put(time.Now().Add(-time.Hour))
	if _, closeAll, err := openBackups([]string{dir}, ""); err != nil {
		t.Fatal(err)
	} else {
		closeAll()
	}
	put(time.Now().AddDate(3, 0, 0))
	if _, _, err := openBackups([]string{dir}, ""); err == nil || !strings.Contains(err.Error(), "is to come") {
		t.Errorf("the latest backups are taken to be those of the future: %v", err)
	}
}
