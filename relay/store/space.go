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

// Space says how much of the disk stays free. Badger maps its files, so a disk that is really full
// kills the process.
//
// Below the minimum, events from outside are refused and those of the node are taken. When not
// even criticalFree is left, the reserve file is removed, and the node writes on in its place;
// when that is used up, nothing is taken. The file comes back with the space.
type Space struct {
	MinFree        uint64  // bytes, 0 = no minimum; the larger of the two counts
	MinFreePercent float64 // of the disk, 0 = no minimum
	Reserve        uint64  // bytes of the reserve file, 0 = none

	// Free tells the free and total bytes of the disk that holds dir; nil asks the system.
	Free func(dir string) (free, total uint64, err error)
}

const (
	criticalFree = 2*memTableBytes*memTables + 32<<20 // Badger's next files, and what it compacts
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
	full     bool // everything is
}

// newGuard makes the guard of a folder; without a folder or a minimum it guards nothing.
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

// On reports whether there is a minimum.
func (s Space) On() bool { return s.MinFree > 0 || s.MinFreePercent > 0 }

func (g *guard) on() bool { return g.dir != "" && g.On() }

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
	if g.full || g.low && !own {
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
	least := max(g.MinFree, uint64(g.MinFreePercent/100*float64(total)))
	if low := free < least; low != g.low {
		g.low = low
		g.log.Warn("free space of the event store", "free_bytes", free, "minimum_bytes", least, "refusing", low)
	}
	path := filepath.Join(g.dir, reserveName)
	_, err = os.Stat(path)
	held := err == nil
	g.full = false
	switch {
	case free < criticalFree && held:
		g.log.Error("the disk is nearly full: the reserve is given up", "free_bytes", free)
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove reserve: %w", err)
		}
	case free < criticalFree:
		g.full = true
	case !held && g.Reserve > 0 && free > least+2*g.Reserve:
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
