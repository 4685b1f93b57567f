package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"mostro/escrow"
	"mostro/relay/store"
)

const (
	roomEvery    = time.Second
	closeFree    = 48 << 20  // bytes that closing the three stores may write
	moneyReserve = 128 << 20 // bytes of disk, given up for running trades when it is full
)

// space is the guard of the money store. It shares its minimums with the event store, which is on
// the same disk and refuses events from outside then.
func (s *Settings) space() escrow.Space {
	return escrow.Space{MinFree: uint64(s.Relay.MinFreeMiB) << 20, MinFreePercent: float64(s.Relay.MinFreePercent), Reserve: moneyReserve, Free: store.DiskFree, Allocate: allocate}
}

// noRoom explains the error of a disk that is full.
func noRoom(err error) error {
	if !errors.Is(err, escrow.ErrNoSpace) {
		return err
	}
	return hint(err, "make room on that disk, then start again: nothing is lost, and running trades go on where they were")
}

// keepRoom sees to it that the files which the stores write their changes to have their blocks,
// until ctx ends. Badger makes these files as holes and maps them: written to on a full disk, a
// hole kills the process.
func (n *node) keepRoom(ctx context.Context) error {
	ticker := time.NewTicker(roomEvery)
	defer ticker.Stop()
	done := map[string]bool{}
	for {
		for _, dir := range []string{relayDir, escrowDir, mirrorDir} {
			files, _ := filepath.Glob(filepath.Join(n.cfg.dir, dir, "*.mem")) // fails only for a bad pattern
			for _, file := range files {
				if done[file] {
					continue
				}
				if err := allocateLog(file); err != nil {
					n.cfg.logger.Debug("keep room for a store", "file", file, "error", err) // the guards see it too
					continue
				}
				done[file] = true
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// allocateLog gives a file of Badger's its blocks. Badger makes it twice as large as what it begins
// the next one at.
func allocateLog(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := allocate(f, info.Size()*5/8); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("allocate %s: %w", path, err)
	}
	return nil
}

// close closes all parts. Stores on a disk that is full are left as a kill would leave them, since
// closing writes what the next start finds in their logs anyhow.
func (n *node) close(ctx context.Context) error {
	free, _, err := store.DiskFree(n.cfg.dir)
	if err == nil && free < closeFree && n.cfg.settings.Relay.space(0).Rule != nil {
		n.cfg.logger.Warn("the disk is too full to close the stores; the next start repairs them", "free_bytes", free)
		return n.ln.Close()
	}
	return errors.Join(n.relay.Close(ctx), n.engine.Close(), n.mirror.Close(), n.ln.Close())
}
