package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// Space says what the disk is used for. Badger maps its files, so a disk that is really full kills the process. The store
// measures it and holds the reserve file; what follows from that is decided by the rule.
type Space struct {
	// Rule says by the free and total bytes of the disk whether events from outside are taken, whether those of the node
	// are, and whether the reserve file is to be there, which it is if held. nil = everything is taken.
	Rule    func(free, total uint64, held bool) (outside, own, hold bool)
	Reserve uint64 // bytes of the reserve file, 0 = none

	// Free tells the free and total bytes of the disk that holds dir; nil asks the system.
	Free func(dir string) (free, total uint64, err error)
}

// CriticalFree is what must stay free for the store: Badger's next files, and what it compacts.
const CriticalFree = 2*memTableBytes*memTables + 32<<20

const (
	measureEvery = time.Second
	measureBytes = 4 << 20 // written since the last look
	reserveName  = "reserve"
)

// guard decides by the free space. It is used by the committer only.
type guard struct {
	Space
	dir      string
	log      *slog.Logger
	measured time.Time
	written  int
	low      bool // outsiders are refused
	full     bool // the node is
}

// newGuard makes the guard of a folder; without a folder or a rule it guards nothing.
func newGuard(dir string, space Space, log *slog.Logger) (*guard, error) {
	g := &guard{Space: space, dir: dir, log: log}
	if g.Free == nil {
		g.Free = DiskFree
	}
	if !g.on() {
		return g, nil
	}
	if err := g.measure(); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *guard) on() bool { return g.dir != "" && g.Rule != nil }

// allow is asked before each event, and answers with ErrFull or nil.
func (g *guard) allow(bytes int, own bool) error {
	if !g.on() {
		return nil
	}
	if g.written += bytes; g.written > measureBytes || time.Since(g.measured) > measureEvery {
		if err := g.measure(); err != nil {
			return err
		}
	}
	if own && g.full || !own && g.low {
		return ErrFull
	}
	return nil
}

// measure looks at the disk, and removes or makes the reserve file.
func (g *guard) measure() error {
	free, total, err := g.Free(g.dir)
	if err != nil {
		return fmt.Errorf("measure free space of %q: %w", g.dir, err)
	}
	g.measured, g.written = time.Now(), 0
	path := filepath.Join(g.dir, reserveName)
	_, err = os.Stat(path)
	held := err == nil
	outside, own, hold := g.Rule(free, total, held)
	if g.low == outside {
		g.log.Warn("free space of the event store", "free_bytes", free, "refusing", !outside)
	}
	g.low, g.full = !outside, !own
	switch {
	case held && !hold:
		g.log.Error("the disk is nearly full: the reserve is given up", "free_bytes", free)
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove reserve: %w", err)
		}
	case !held && hold:
		return g.reserve(path)
	}
	return nil
}

// reserve writes the reserve file. Blocks are really written: a hole would reserve nothing.
func (g *guard) reserve(path string) (err error) {
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make reserve: %w", err)
	}
	defer func() {
		if err != nil {
			if gone := os.Remove(part); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
				err = errors.Join(err, gone)
			}
		}
	}()
	block := make([]byte, 1<<20)
	for left := g.Reserve; left > 0 && err == nil; left -= min(left, uint64(len(block))) {
		_, err = f.Write(block[:min(left, uint64(len(block)))])
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write reserve: %w", err)
	}
	if err = os.Rename(part, path); err != nil {
		return fmt.Errorf("name reserve: %w", err)
	}
	return nil
}
