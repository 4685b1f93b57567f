package escrow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Space says how much of the disk stays free. Badger maps its files, so a disk that is really full
// kills the process in the middle of a write.
//
// Below the minimum nothing new begins, and running trades go on. When not even lastFree is left,
// the reserve file is removed, and they go on in its place. When that is used up too, Run ends with
// ErrNoSpace before it writes anything more, while there is still room to close the stores; Open
// answers the same until there is room. The file comes back with the space.
type Space struct {
	MinFree        uint64  // bytes; the larger of the two counts, 0 for both = no guard
	MinFreePercent float64 // of the disk
	Reserve        uint64  // bytes of the reserve file, 0 = none
	// Free tells the free and total bytes of the disk that holds dir; nil = no guard.
	Free func(dir string) (free, total uint64, err error)
	// Allocate gives the first bytes of a file their blocks, or answers with errors.ErrUnsupported; nil: they are
	// written.
	Allocate func(f *os.File, bytes int64) error
}

// ErrNoSpace means that the disk of the money store is so full that writing on is not safe. Nothing is
// lost: what was not written was not promised either.
var ErrNoSpace = errors.New("the disk of the money store is full")

const (
	lastFree     = 96 << 20 // bytes: Badger's next files, and what it compacts
	measureEvery = time.Second
	reserveName  = "reserve"
)

// spaceGuard decides by the free space.
type spaceGuard struct {
	Space
	dir string
	log *slog.Logger

	mu     sync.Mutex
	scarce bool // nothing new begins
}

// newSpaceGuard makes the guard of a folder; without a folder or a minimum it guards nothing.
func newSpaceGuard(dir string, space Space, log *slog.Logger) *spaceGuard {
	return &spaceGuard{Space: space, dir: dir, log: log}
}

// Check refuses, with ErrNoSpace, to open the stores on a disk that is full: opening writes. dir is that of
// the money store.
func (s Space) Check(dir string, log *slog.Logger) error {
	g := newSpaceGuard(dir, s, log)
	if !g.on() {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make money store: %w", err)
	}
	return g.allow()
}

func (g *spaceGuard) on() bool {
	return g.dir != "" && (g.MinFree > 0 || g.MinFreePercent > 0) && g.Free != nil
}

// low tells that nothing new should begin.
func (g *spaceGuard) low() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.scarce
}

// allow is asked before each transaction, and answers with ErrNoSpace when there is no room for it.
func (g *spaceGuard) allow() error {
	if !g.on() {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	free, _, err := g.measure()
	if err == nil && free < lastFree {
		switch err = os.Remove(g.path()); {
		case err == nil:
			g.log.Error("alarm: the disk is full: the reserve of the money store is given up; make room at once", "dir", g.dir, "free_bytes", free)
			free, _, err = g.measure()
		case errors.Is(err, fs.ErrNotExist):
			err = nil
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("guard the space of the money store: %w", err)
	case free < lastFree:
		return fmt.Errorf("%w: %d MiB are free for %s, and the last %d are kept for closing it", ErrNoSpace, free>>20, g.dir, lastFree>>20)
	}
	return nil
}

// measure looks at the disk, and says when there begins to be too little room, and enough again. least is
// the minimum of this disk. g.mu is held.
func (g *spaceGuard) measure() (free, least uint64, err error) {
	free, total, err := g.Free(g.dir)
	if err != nil {
		return 0, 0, err
	}
	least = max(g.MinFree, uint64(g.MinFreePercent/100*float64(total)), lastFree)
	switch {
	case !g.scarce && free < least:
		g.scarce = true
		g.log.Error("alarm: the disk is nearly full: no new orders and no takes until there is room", "dir", g.dir, "free_bytes", free, "minimum_bytes", least)
	case g.scarce && free > least+least/16:
		g.scarce = false
		g.log.Warn("there is room on the disk again: new orders and takes go on", "dir", g.dir, "free_bytes", free)
	}
	return free, least, nil
}

// watch looks at the disk also while nothing is written, and puts the reserve back.
func (g *spaceGuard) watch(ctx context.Context) {
	if !g.on() {
		return
	}
	ticker := time.NewTicker(measureEvery)
	defer ticker.Stop()
	for {
		if err := g.keep(); err != nil {
			g.log.Error("guard the space of the money store", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// keep measures, and makes the reserve file when there is none and enough room for it.
func (g *spaceGuard) keep() error {
	g.mu.Lock()
	free, least, err := g.measure()
	g.mu.Unlock()
	if err != nil || g.Reserve == 0 || free < least+2*g.Reserve {
		return err
	}
	if _, err := os.Stat(g.path()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return g.reserve()
}

func (g *spaceGuard) path() string { return filepath.Join(g.dir, reserveName) }

// reserve makes the reserve file. Its blocks are really there: a hole would reserve nothing.
func (g *spaceGuard) reserve() (err error) {
	f, err := os.OpenFile(g.path()+".part", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make reserve: %w", err)
	}
	err = errors.ErrUnsupported
	if g.Allocate != nil {
		err = g.Allocate(f, int64(g.Reserve))
	}
	if errors.Is(err, errors.ErrUnsupported) {
		_, err = io.CopyN(f, zeros{}, int64(g.Reserve))
	}
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), g.path())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make reserve: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// zeros never end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
