package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"mostro/escrow"
)

// A new and empty store that was started beside the backups of the one that is lost deletes none of
// them, and none of its own are taken for the latest of the other.
func TestBackupsOfAnEmptyStoreBesideTheRealOnes(t *testing.T) {
	lost, now := written(t, 2)
	for range 2 {
		lost.mustOnce(t)
		*now = now.Add(12 * time.Hour)
	}
	if info, err := latestInfo(lost.dir); err != nil || info != 2 {
		t.Fatalf("of one store: %d files, %v", info, err)
	}
	empty, later := written(t, 2)
	empty.dir, *later = lost.dir, *now
	if empty.store == lost.store || len(empty.store) != 8 {
		t.Fatalf("stores %q and %q", empty.store, lost.store)
	}
	for range 10 {
		empty.next = escrow.Chain{}
		empty.mustOnce(t)
		*later = later.Add(12 * time.Hour)
	}
	chains, err := backupChains(lost.dir)
	mine := slices.DeleteFunc(slices.Clone(chains), func(c []string) bool { return chainStore(c) != lost.store })
	if err != nil || len(chains) != 3 || len(mine) != 1 || len(mine[0]) != 2 {
		t.Fatalf("%v, %v", chains, err)
	}
	_, err = latestInfo(lost.dir)
	if err == nil || !strings.Contains(err.Error(), "backups of 2 stores") {
		t.Fatalf("the latest of two stores: %v", err)
	}
	want := fmt.Sprintf("'%s'*  2 files, the first of 10 Nov 2026 12:00 UTC with 0 orders", filepath.Join(lost.dir, "20261110T120000Z-"+lost.store+"-"))
	if got := hintsOf(err); !strings.HasSuffix(got, want) || strings.Count(got, "\n") != 1 {
		t.Errorf("hints\n%s\nwant at the end\n%s", got, want)
	}
}

// Encrypted backups of several stores are told apart without the key, and those of versions that
// gave stores no names are nobody's to delete.
func TestBackupsOfSeveralStoresEncrypted(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	old, now := written(t, 1)
	old.mustOnce(t)
	if err := os.Rename(filepath.Join(old.dir, backupName(old.store, *now, 0, false)), filepath.Join(old.dir, "20261110T120000Z-000000.backup")); err != nil {
		t.Fatal(err)
	}
	if chains, err := backupChains(old.dir); err != nil || len(chains) != 1 || chainStore(chains[0]) != "" {
		t.Fatalf("without a name: %v, %v", chains, err)
	}
	b, later := written(t, 1)
	b.dir, b.to, *later = old.dir, []age.Recipient{identity.Recipient()}, now.Add(time.Hour)
	b.mustOnce(t)
	*later = later.Add(48 * time.Hour)
	b.mustOnce(t)
	_, err = latestInfo(b.dir)
	if got := hintsOf(err); !strings.Contains(got, "which cannot be read without --identity FILE") || !strings.Contains(got, "20261110T120000Z-'*  1 file") {
		t.Errorf("%v\n%s", err, got)
	}
}

func latestInfo(dir string) (files int, err error) {
	readers, closeAll, err := openBackups([]string{dir}, "")
	if err == nil {
		closeAll()
	}
	return len(readers), err
}
