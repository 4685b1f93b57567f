package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"mostro/escrow"
)

// backups makes the backups of a running node: a full one at the start and each
// backup.full_hours, and after each those that have what changed.
type backups struct {
	dir      string
	store    string // name of the store: backups of others in the directory are let alone
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
	b := &backups{dir: inDir(n.cfg.dir, s.Directory), store: n.engine.StoreName(), settings: s, to: to, make: n.engine.Backup, now: time.Now}
	for {
		if err := b.once(); err != nil {
			n.cfg.logger.Error("alarm: a backup failed, or old ones cannot be deleted", "directory", b.dir, "next_is_full", b.next.Base == "", "error", err)
		}
		select {
		case <-time.After(seconds(s.Seconds)):
		case <-ctx.Done():
			return nil
		}
	}
}

// once makes one backup. After one that has failed the next is a full one; that old ones cannot be
// deleted is no reason for that, or each would be.
func (b *backups) once() error {
	full := b.next.Base == "" || b.now().Sub(b.began) >= time.Duration(b.settings.FullHours)*time.Hour
	if err := b.write(full); err != nil || !full {
		return err
	}
	return b.prune()
}

func (b *backups) write(full bool) (err error) {
	defer func() {
		if err != nil {
			b.next = escrow.Chain{}
		}
	}()
	if err := os.MkdirAll(b.dir, privateDir); err != nil {
		return fmt.Errorf("make backup directory: %w", err)
	}
	if full {
		b.next, b.began = escrow.Chain{}, b.now()
	}
	var next escrow.Chain
	path := filepath.Join(b.dir, backupName(b.store, b.began, b.next.Seq, len(b.to) > 0))
	_, err = writeBackupFile(path, func(w io.Writer) (err error) {
		next, err = b.make(w, b.next)
		return err
	}, b.to)
	if err != nil {
		return err
	}
	b.next = next
	return nil
}

// unfinishedFor is how long a file may lie there that nobody has given its name: whoever was
// writing it was killed.
const unfinishedFor = 24 * time.Hour

// prune deletes what is older than what is kept, and what was never finished. Of another store it
// deletes nothing: those may be all that is left of the money when this one was made by mistake.
func (b *backups) prune() error {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return fmt.Errorf("list backups: %w", err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !strings.HasPrefix(entry.Name(), strings.TrimSuffix(unfinishedFile, "*")) || b.now().Sub(info.ModTime()) < unfinishedFor {
			continue // it has its name by now, or may still get one
		}
		if err := os.Remove(filepath.Join(b.dir, entry.Name())); err != nil {
			return fmt.Errorf("delete unfinished backup: %w", err)
		}
	}
	chains, err := backupChains(b.dir)
	if err != nil {
		return err
	}
	chains = slices.DeleteFunc(chains, func(chain []string) bool { return chainStore(chain) != b.store })
	for _, chain := range b.old(chains) {
		for _, name := range slices.Backward(chain) { // the full one last
			if err := os.Remove(filepath.Join(b.dir, name)); err != nil {
				return fmt.Errorf("delete old backup: %w", err)
			}
		}
	}
	return nil
}

// old are the chains that are not kept, of all in order. Each start begins a chain: a node that
// starts again and again must not push out those of the days before, so beside the two latest the
// last of each half of backup.full_hours is kept: of fixed ones, since a chain that was dropped for
// being close to the next could never be replaced by a better one.
func (b *backups) old(chains [][]string) (old [][]string) {
	kept, half, seen := 0, int64(b.settings.FullHours)*1800, map[int64]bool{}
	for i, chain := range slices.Backward(chains) {
		began, err := chainBegan(chain)
		if err != nil {
			continue
		}
		wanted := len(chains)-i <= 2 || !seen[began.Unix()/half]
		if now := began.Equal(b.began.UTC().Truncate(time.Second)); now || wanted && kept < int(b.settings.Keep) {
			kept, seen[began.Unix()/half] = kept+1, true
			continue
		}
		old = append(old, chain)
	}
	slices.Reverse(old)
	return old
}
