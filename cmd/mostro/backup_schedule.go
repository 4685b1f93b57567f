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
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"mostro/escrow"
	"mostro/relay/store"
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
	// note is the file that names the last full backup; "" = none.
	note string
	// alarm tells the operator of what keeps no backup from being made. nil: nobody.
	alarm func(what string)
	// grace is how long a backup may take to end when the node ends; 0 = drainTime.
	grace time.Duration
	// free tells the free and total bytes of the disk of a directory; nil: there is no end of room.
	free func(dir string) (free, total uint64, err error)
	// spared is what stays free of the disk on which the money store is too.
	spared escrow.Space

	next  escrow.Chain // zero = a full one
	began time.Time    // of the chain
	hangs bool         // the disk has not answered: whoever waits for it has all the above
	seen  os.FileInfo  // the directory in which the last one was written; nil = none by this process
	away  string       // the full backup that was last found to be gone
}

// newBackups is nil where none are to be made.
func (n *node) newBackups() (*backups, error) {
	s := n.cfg.settings.Backup
	if s.Directory == "" {
		return nil, nil
	}
	to, err := parseRecipients(s.Recipients)
	if err != nil {
		return nil, err
	}
	b := &backups{dir: inDir(n.cfg.dir, s.Directory), store: n.engine.StoreName(), settings: s, to: to, make: n.backup, now: time.Now, note: filepath.Join(n.cfg.dir, backupNote), free: store.DiskFree}
	b.alarm = func(what string) { n.cfg.logger.Error("alarm: "+what, "directory", b.dir) }
	if sameDisk(n.cfg.dir, b.dir) {
		b.spared = n.cfg.settings.space()
	}
	n.backedUp.begin(b.dir)
	return b, nil
}

// backUp runs until ctx ends. A backup that fails is said and made anew; trades do not wait
// for it.
func (n *node) backUp(ctx context.Context, b *backups) error {
	for failed := 0; ; {
		err := b.try(ctx)
		if ctx.Err() != nil {
			return nil
		}
		n.backedUp.tell(err, b.now())
		if err != nil {
			failed++
			n.cfg.logger.Error("alarm: a backup failed, or old ones cannot be deleted", "directory", b.dir, "next_is_full", b.next.Base == "", "error", err)
		} else {
			failed = 0
		}
		select {
		case <-time.After(pauseAfter(failed, seconds(b.settings.Seconds))):
		case <-ctx.Done():
			return nil
		}
	}
}

// lastBackup is made when nothing changes the store any more, so that what is put back elsewhere after
// an end in good order is all of it.
func (n *node) lastBackup(ctx context.Context, b *backups) {
	if b == nil || b.hangs || b.next.Base == "" {
		return
	}
	if err := b.try(ctx); err != nil {
		n.cfg.logger.Error("alarm: the last backup before the end failed", "directory", b.dir, "error", err)
	}
}

// try makes one backup. When ctx ends it is cut off, and one whose disk does not answer even then is left alone: the
// stores must be closed before somebody loses patience and kills the process.
func (b *backups) try(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- b.once(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(cmp.Or(b.grace, drainTime)):
		b.hangs = true
		return fmt.Errorf("%s does not answer", b.dir)
	}
}

// cuttable is a writer that fails when ctx has ended.
type cuttable struct {
	ctx context.Context
	io.Writer
}

func (c cuttable) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Writer.Write(p)
}

// backedUp is how scheduled backups stand, for mostro status.
type backedUp struct {
	mu sync.Mutex
	backupState
}

// backupState is what an operator is told of them.
type backupState struct {
	Directory string `json:"directory,omitempty"` // "" = none are made
	Last      int64  `json:"last,omitempty"`      // of this process, unix seconds; 0 = none yet
	Error     string `json:"error,omitempty"`     // of the latest try
}

func (s *backedUp) begin(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Directory = dir
}

func (s *backedUp) tell(err error, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Error = ""; err != nil {
		s.Error = err.Error()
		return
	}
	s.Last = now.Unix()
}

func (s *backedUp) state() backupState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.backupState
}

// maxPause is the longest wait after backups that have failed: each next one is a full one, beside the
// money store.
const maxPause = time.Hour

// pauseAfter is the wait before the next backup.
func pauseAfter(failed int, interval time.Duration) time.Duration {
	return min(interval<<min(failed, 10), max(interval, maxPause))
}

// once makes one backup. After one that has failed the next is a full one; that old ones cannot be
// deleted is no reason for that, or each would be.
func (b *backups) once(ctx context.Context) error {
	full := b.next.Base == "" || b.now().Sub(b.began) >= time.Duration(b.settings.FullHours)*time.Hour
	if err := b.mounted(); err != nil {
		return err
	}
	left := b.clear()
	err := b.room(full)
	if err != nil && full {
		// The oldest gives way now instead of afterwards: else a full disk would never have room again.
		err = cmp.Or(b.prune(b.settings.Keep-1), b.room(full))
	}
	if err != nil && full && b.next.Base != "" && b.room(false) == nil {
		return errors.Join(err, b.write(ctx, false), left) // the chain that is there goes on until there is room
	}
	if err == nil {
		err = b.write(ctx, full)
	}
	if err != nil || !full {
		return errors.Join(err, left)
	}
	return errors.Join(left, b.prune(b.settings.Keep))
}

// changesFree is the most that must be free for a backup of what has changed, which is small: it goes on
// while running trades do.
const changesFree = 256 << 20

// room refuses to begin a backup that has no room: a disk that is filled to its end with it has none
// for the money store either.
func (b *backups) room(full bool) error {
	if b.free == nil {
		return nil
	}
	free, total, err := b.free(b.dir)
	if err != nil {
		return fmt.Errorf("find room for a backup: %w", err)
	}
	spared := max(b.spared.MinFree, uint64(b.spared.MinFreePercent/100*float64(total)))
	want := min(spared, changesFree)
	if full {
		want = spared + b.lastFull()
	}
	if free < want {
		return fmt.Errorf("no room for a backup in %s: %d MiB are free, and %d are needed, of which %d stay free for the money store; make room, lower backup.keep, or name another disk in backup.directory%s",
			b.dir, free>>20, want>>20, spared>>20, b.nameless())
	}
	return nil
}

// lastFull is the size of the last full backup of this store, in bytes.
func (b *backups) lastFull() uint64 {
	chains, _ := b.chains() // a directory that cannot be read is told of by who writes there
	for _, chain := range slices.Backward(chains) {
		if info, err := os.Stat(filepath.Join(b.dir, chain[0])); err == nil {
			return uint64(info.Size())
		}
	}
	return 0
}

// chains are the backups of this store. Of another store nothing is deleted: it may be all that is left
// of the money when this one was made by mistake.
func (b *backups) chains() ([][]string, error) {
	chains, err := backupChains(b.dir)
	return slices.DeleteFunc(chains, func(chain []string) bool { return chainStore(chain) != b.store }), err
}

// nameless says which backups keep their room though they are old.
func (b *backups) nameless() string {
	chains, _ := backupChains(b.dir) // a directory that cannot be read is told of by who writes there
	for _, chain := range chains {
		if chainStore(chain) == "" {
			return fmt.Sprintf("; those of a version before this one, from %s on, stay for the time of backup.keep: you can move them away", chain[0])
		}
	}
	return ""
}

func (b *backups) write(ctx context.Context, full bool) (err error) {
	defer func() {
		if err != nil && (full || ctx.Err() == nil) { // one that was cut off can be made again
			b.next = escrow.Chain{}
		}
	}()
	if full {
		b.next, b.began = escrow.Chain{}, b.now()
	}
	var next escrow.Chain
	path := filepath.Join(b.dir, backupName(b.store, b.began, b.next.Seq, len(b.to) > 0))
	_, err = writeBackupFile(path, func(w io.Writer) (err error) {
		next, err = b.make(cuttable{ctx, w}, b.next)
		return err
	}, b.to)
	if err != nil {
		return err
	}
	b.next = next
	if full && b.note != "" {
		err = writeWhole(b.note, []byte(path+"\n"))
	}
	b.mark()
	return err
}

// unfinishedFor is how long a file may lie there that nobody has given its name: whoever was
// writing it was killed.
const unfinishedFor = 24 * time.Hour

// clear deletes what was never finished: of this store at once, since nobody else writes that.
func (b *backups) clear() error {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return fmt.Errorf("list backups: %w", err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !strings.HasPrefix(entry.Name(), unfinishedFile) {
			continue // it has its name by now
		}
		if !strings.Contains(entry.Name(), "-"+b.store+"-") && b.now().Sub(info.ModTime()) < unfinishedFor {
			continue // it may still get one
		}
		if err := os.Remove(filepath.Join(b.dir, entry.Name())); err != nil {
			return fmt.Errorf("delete unfinished backup: %w", err)
		}
	}
	return nil
}

// prune deletes what is older than what is kept.
func (b *backups) prune(keep int64) error {
	chains, err := b.chains()
	if err != nil {
		return err
	}
	keep = max(keep, 1)
	old := b.old(chains, keep)
	if int64(len(chains)-len(old)) >= keep {
		all, err := backupChains(b.dir)
		if err != nil {
			return err
		}
		// Those of the version before have had their time. It is waited for, since a store that was begun by
		// mistake in the place of theirs is the only one with a name too.
		if before := nameless(all); len(before) > 0 {
			began, err := chainBegan(before[len(before)-1])
			if err == nil && b.now().Sub(began) >= time.Duration(keep*b.settings.FullHours)*time.Hour {
				old = slices.Concat(before, old)
			}
		}
	}
	for _, chain := range old {
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
func (b *backups) old(chains [][]string, keep int64) (old [][]string) {
	kept, half, seen := int64(0), int64(b.settings.FullHours)*1800, map[int64]bool{}
	for i, chain := range slices.Backward(chains) {
		began, err := chainBegan(chain)
		if err != nil {
			continue
		}
		wanted := len(chains)-i <= 2 || !seen[began.Unix()/half]
		if now := began.Equal(b.began.UTC().Truncate(time.Second)); now || wanted && kept < keep {
			kept, seen[began.Unix()/half] = kept+1, true
			continue
		}
		old = append(old, chain)
	}
	slices.Reverse(old)
	return old
}
