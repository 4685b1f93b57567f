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

// Encrypted backups of several stores are told apart without the key. Among them those of versions that
// gave stores no names are nobody's to delete.
func TestBackupsOfSeveralStoresEncrypted(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	old, now := written(t, 1)
	old.mustOnce(t)
	if err := os.Link(filepath.Join(old.dir, backupName(old.store, *now, 0, false)), filepath.Join(old.dir, "20261110T120000Z-000000.backup")); err != nil {
		t.Fatal(err)
	}
	if chains, err := backupChains(old.dir); err != nil || len(chains) != 2 || chainStore(chains[0]) != "" {
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

// Backups of a version that gave stores no names are those of the only store that has one: restore finds
// the latest in a directory with both, and they go when as many as are kept have their names, and time is over.
func TestBackupsOfTheVersionBefore(t *testing.T) {
	b, now := written(t, 2)
	for range 2 {
		b.next = escrow.Chain{}
		b.mustOnce(t)
		named := filepath.Join(b.dir, backupName(b.store, *now, 0, false))
		if err := os.Rename(named, strings.Replace(named, "-"+b.store, "", 1)); err != nil {
			t.Fatal(err)
		}
		*now = now.Add(24 * time.Hour)
	}
	b.next = escrow.Chain{}
	b.free = func(string) (uint64, uint64, error) { return 0, 1 << 40, nil }
	b.spared = escrow.Space{MinFree: 1}
	if err := b.once(t.Context()); err == nil || !strings.Contains(err.Error(), "of a version before this one, from 20261110T120000Z-000000.backup on") {
		t.Errorf("with no room: %v", err)
	}
	b.free = nil
	left := func() (nameless int) {
		chains, err := backupChains(b.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, chain := range chains {
			if chainStore(chain) == "" {
				nameless++
			}
		}
		return nameless
	}
	for _, want := range []int{2, 2, 0, 0} {
		b.mustOnce(t)
		if got := left(); got != want {
			t.Errorf("at %v there are %d of the version before, want %d", *now, got, want)
		}
		chain, err := latestChain(b.dir, "")
		if err != nil || chain[0] != backupName(b.store, *now, 0, false) {
			t.Errorf("at %v the latest is %v, %v", *now, chain, err)
		}
		*now = now.Add(23 * time.Hour)
		b.next = escrow.Chain{}
	}

	// What is younger is somebody else's.
	young := filepath.Join(b.dir, backupName(b.store, now.Add(-23*time.Hour), 0, false))
	if err := os.Link(young, filepath.Join(b.dir, now.Format(backupStamp)+"-000000.backup")); err != nil {
		t.Fatal(err)
	}
	if _, err := latestChain(b.dir, ""); err == nil || !strings.Contains(err.Error(), "backups of 2 stores") {
		t.Errorf("beside younger ones without a name: %v", err)
	}
	*now = now.Add(time.Hour)
	for range 2 {
		*now = now.Add(30 * time.Hour)
		b.next = escrow.Chain{}
		b.mustOnce(t)
	}
	if got := left(); got != 1 {
		t.Errorf("of somebody else %d are left", got)
	}
}

func latestInfo(dir string) (files int, err error) {
	readers, closeAll, err := openBackups([]string{dir}, "")
	if err == nil {
		closeAll()
	}
	return len(readers), err
}
