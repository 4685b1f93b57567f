package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"

	"mostro/escrow"
)

// backups makes the backups of a running node: a full one at the start and each
// backup.full_hours, and after each those that have what changed.
type backups struct {
	dir      string
	settings BackupSettings
	to       []age.Recipient
	make     func(io.Writer, escrow.Chain) (escrow.Chain, error)
	now      func() time.Time

	next  escrow.Chain // zero = a full one
	began time.Time    // of the chain
}

// backUp runs until ctx ends. A backup that fails is said and made anew; trades do not wait
// for it.
func (n *node) backUp(ctx context.Context) error {
	s := n.cfg.settings.Backup
	to, err := parseRecipients(s.Recipients)
	if err != nil {
		return err
	}
	b := &backups{dir: inDir(n.cfg.dir, s.Directory), settings: s, to: to, make: n.engine.Backup, now: time.Now}
	for {
		if err := b.once(); err != nil {
			n.cfg.logger.Error("alarm: a backup failed, the next one will be a full one", "directory", b.dir, "error", err)
		}
		select {
		case <-time.After(seconds(s.Seconds)):
		case <-ctx.Done():
			return nil
		}
	}
}

// once makes one backup. After an error the next is a full one.
func (b *backups) once() (err error) {
	defer func() {
		if err != nil {
			b.next = escrow.Chain{}
		}
	}()
	if err := os.MkdirAll(b.dir, privateDir); err != nil {
		return fmt.Errorf("make backup directory: %w", err)
	}
	now := b.now()
	if b.next.Base == "" || now.Sub(b.began) >= time.Duration(b.settings.FullHours)*time.Hour {
		b.next, b.began = escrow.Chain{}, now
	}
	var next escrow.Chain
	path := filepath.Join(b.dir, backupName(b.began, b.next.Seq, len(b.to) > 0))
	_, err = writeBackupFile(path, func(w io.Writer) (err error) {
		next, err = b.make(w, b.next)
		return err
	}, b.to)
	if err != nil {
		return err
	}
	full := b.next.Seq == 0
	b.next = next
	if full {
		return b.prune()
	}
	return nil
}

// prune deletes the oldest full backups, and what follows each.
func (b *backups) prune() error {
	chains, err := backupChains(b.dir)
	if err != nil {
		return err
	}
	for len(chains) > int(b.settings.Keep) {
		for _, name := range slices.Backward(chains[0]) { // the full one last
			if err := os.Remove(filepath.Join(b.dir, name)); err != nil {
				return fmt.Errorf("delete old backup: %w", err)
			}
		}
		chains = chains[1:]
	}
	return nil
}

// backupName is the file of a backup: the time of its full one and its number.
func backupName(began time.Time, seq int, encrypted bool) string {
	name := fmt.Sprintf("%s-%06d%s", began.UTC().Format(backupStamp), seq, backupSuffix)
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

// backupChains lists the backups of a directory: each full one with those after it, in order,
// oldest chain first. Files with other names are not ours.
func backupChains(dir string) (chains [][]string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list backups: %w", err)
	}
	byStamp := map[string][]string{}
	for _, entry := range entries {
		name := strings.TrimSuffix(strings.TrimSuffix(entry.Name(), ageSuffix), backupSuffix)
		stamp, number, ok := strings.Cut(name, "-")
		_, timeErr := time.Parse(backupStamp, stamp)
		_, numberErr := strconv.Atoi(number)
		if ok && len(number) >= 6 && errors.Join(timeErr, numberErr) == nil && strings.Contains(entry.Name(), backupSuffix) {
			byStamp[stamp] = append(byStamp[stamp], entry.Name()) // ReadDir sorts
		}
	}
	for _, chain := range byStamp {
		chains = append(chains, chain)
	}
	slices.SortFunc(chains, func(a, b []string) int { return cmp.Compare(a[0], b[0]) })
	return chains, nil
}
