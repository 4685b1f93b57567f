package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"mostro/escrow"
)

// A scheduled backup is called TIME-STORE-NUMBER.backup: when its full one was made, the name of the
// store, and its place after the full one. So it is known without opening it, which takes the secret
// key, what belongs together, and what is of the same store.

// backupName is the file of a backup.
func backupName(store string, began time.Time, seq int, encrypted bool) string {
	name := fmt.Sprintf("%s-%s-%06d%s", began.UTC().Format(backupStamp), store, seq, backupSuffix)
	if encrypted {
		name += ageSuffix
	}
	return name
}

// chainBegan is when the full backup of a chain was made, by its name.
func chainBegan(chain []string) (time.Time, error) {
	stamp, _, _ := strings.Cut(chain[0], "-")
	return time.Parse(backupStamp, stamp)
}

// chainStore is the name of the store of a chain; "" for backups of versions that had no names.
func chainStore(chain []string) string {
	if parts := strings.Split(chain[0], "-"); len(parts) == 3 {
		return parts[1]
	}
	return ""
}

// backupChains lists the backups of a directory: each full one with those after it, in order,
// oldest chain first. Files with other names are not ours.
func backupChains(dir string) (chains [][]string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list backups: %w", err)
	}
	byStart := map[string][]string{}
	for _, entry := range entries {
		name := strings.TrimSuffix(strings.TrimSuffix(entry.Name(), ageSuffix), backupSuffix)
		parts := strings.Split(name, "-")
		number := parts[len(parts)-1]
		_, timeErr := time.Parse(backupStamp, parts[0])
		_, numberErr := strconv.Atoi(number)
		if 1 < len(parts) && len(parts) < 4 && len(number) >= 6 && errors.Join(timeErr, numberErr) == nil && strings.Contains(entry.Name(), backupSuffix) {
			start := strings.TrimSuffix(name, number)
			byStart[start] = append(byStart[start], entry.Name()) // ReadDir sorts
		}
	}
	for _, chain := range byStart {
		chains = append(chains, chain)
	}
	slices.SortFunc(chains, func(a, b []string) int { return cmp.Compare(a[0], b[0]) })
	return chains, nil
}

// nameless returns the chains at the beginning that have no name of a store, when they are what a version
// before this one has left of the only store that has one: all with a name come after them, and are of one.
func nameless(chains [][]string) [][]string {
	n := slices.IndexFunc(chains, func(chain []string) bool { return chainStore(chain) != "" })
	if n < 0 {
		return nil
	}
	named := chains[n:]
	if slices.ContainsFunc(named, func(chain []string) bool { return chainStore(chain) != chainStore(named[0]) }) {
		return nil
	}
	return chains[:n]
}

// latestChain is the latest of a directory, when all in it is of one store. Among several stores nobody
// but the operator knows which is meant: one may be new and empty, made by a start without the data's
// disk or before the restore.
func latestChain(dir, identity string) ([]string, error) {
	chains, err := backupChains(dir)
	if err != nil {
		return nil, err
	}
	if len(chains) == 0 {
		return nil, noChains(dir, identity)
	}
	chains = chains[len(nameless(chains)):]
	latest := map[string][]string{}
	for _, chain := range chains {
		latest[chainStore(chain)] = chain
	}
	if len(latest) > 1 {
		var hints []string
		for _, chain := range slices.Backward(chains) {
			if name := chainStore(chain); latest[name][0] == chain[0] {
				hints = append(hints, describeChain(dir, chain, identity))
			}
		}
		return nil, hint(fmt.Errorf("in %s are backups of %d stores: name the files of the one that you mean", dir, len(latest)), hints...)
	}
	chain := chains[len(chains)-1]
	if began, _ := chainBegan(chain); time.Until(began) > time.Hour {
		return nil, hint(fmt.Errorf("the latest backups in %s are dated %s, which is to come: the clock was wrong, then or now", dir, day(began.Unix())),
			"find those that are the latest in truth, and name them one by one")
	}
	return chain, nil
}

// shownBackups is how many files are named where one is to be chosen, the last.
const shownBackups = 10

// noChains says that a directory has no scheduled backups, and names those that were made by hand.
func noChains(dir, identity string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list backups: %w", err)
	}
	made := map[string]time.Time{}
	for _, entry := range entries {
		info, err := entry.Info()
		name := strings.TrimSuffix(entry.Name(), ageSuffix)
		if err == nil && info.Mode().IsRegular() && strings.HasSuffix(name, backupSuffix) && !strings.HasPrefix(name, unfinishedFile) {
			made[entry.Name()] = info.ModTime()
		}
	}
	if len(made) == 0 {
		return hint(fmt.Errorf("there are no backups in %s", dir), "mostro backup FILE makes one by hand, backup.directory in the settings makes them all the time")
	}
	names := slices.SortedFunc(maps.Keys(made), func(a, b string) int { return cmp.Or(made[b].Compare(made[a]), cmp.Compare(b, a)) })
	var hints []string
	for _, name := range names[:min(len(names), shownBackups)] {
		hints = append(hints, fmt.Sprintf("'%s'  of %s %s", filepath.Join(dir, name), day(made[name].Unix()), describeBackup(filepath.Join(dir, name), identity)))
	}
	if more := len(names) - len(hints); more > 0 {
		hints = append(hints, "and "+count(more, "older one", "older ones"))
	}
	return hint(fmt.Errorf("there are no scheduled backups in %s, but %s: name the one that you mean instead of the directory",
		dir, count(len(names), "file of mostro backup", "files of mostro backup")), hints...)
}

// describeBackup says what is in a full backup.
func describeBackup(path, identity string) string {
	full := &backupFile{path: path, identity: identity}
	defer full.close()
	info, err := escrow.CheckBackup(full)
	switch {
	case err == nil:
		return "with " + count(info.Orders, "order", "orders")
	case identity == "" && strings.HasSuffix(path, ageSuffix):
		return "which cannot be read without --identity FILE"
	}
	return "which cannot be read"
}

// describeChain says what is in a chain, and names its files.
func describeChain(dir string, chain []string, identity string) string {
	began, _ := chainBegan(chain)
	holds := describeBackup(filepath.Join(dir, chain[0]), identity)
	start := chain[0][:strings.LastIndex(chain[0], "-")+1]
	return fmt.Sprintf("'%s'*  %s, the first of %s %s", filepath.Join(dir, start), count(len(chain), "file", "files"), day(began.Unix()), holds)
}
