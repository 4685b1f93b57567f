package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mostro/escrow"
)

// A backup is not begun that would leave too little to the money store, on whose disk it is; the
// oldest gives way to the next one, but the last is never deleted.
func TestBackupsLeaveRoom(t *testing.T) {
	b, now := written(t, 3)
	free := uint64(100 << 20)
	b.free = func(string) (uint64, uint64, error) { return free, 1 << 40, nil }
	b.spared = escrow.Space{MinFree: 50 << 20}
	for range 3 {
		b.mustOnce(t)
		*now = now.Add(24 * time.Hour)
	}
	free = 50<<20 + 10 // not enough for another full one
	err := b.once(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no room for a backup") || !strings.Contains(err.Error(), "50 stay free for the money store") {
		t.Fatalf("with no room: %v", err)
	}
	chains, err := backupChains(b.dir)
	if err != nil || len(chains) != 2 {
		t.Fatalf("one of three gives way to the next one: %v, %v", chains, err)
	}
	if len(chains[1]) != 2 {
		t.Errorf("meanwhile what has changed is kept: %v", chains)
	}
	if left, _ := filepath.Glob(filepath.Join(b.dir, ".new-*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	free = 100 << 20
	b.mustOnce(t)
	if chains, err := backupChains(b.dir); err != nil || len(chains) != 3 {
		t.Errorf("with room: %v, %v", chains, err)
	}

	// One that only has what changed is not begun either, and the chain goes on when there is room.
	free = 50<<20 - 1
	if err := b.once(t.Context()); err == nil || b.next.Seq != 1 {
		t.Errorf("one after the full one, with no room: %v, the next is number %d", err, b.next.Seq)
	}
	free = 100 << 20
	if b.mustOnce(t); b.next.Seq != 2 {
		t.Errorf("the next is number %d", b.next.Seq)
	}
	only, _ := written(t, 1)
	only.mustOnce(t)
	only.free, only.next = func(string) (uint64, uint64, error) { return 0, 1 << 40, nil }, escrow.Chain{}
	if err := only.once(t.Context()); err == nil {
		t.Error("with no room at all, a backup")
	}
	if chains, err := backupChains(only.dir); err != nil || len(chains) != 1 {
		t.Errorf("the only one: %v, %v", chains, err)
	}
}

// What this node was writing when it was killed is deleted before the next one takes its room.
func TestBackupsClearTheirOwnFirst(t *testing.T) {
	b, _ := written(t, 1)
	b.mustOnce(t)
	mine := filepath.Join(b.dir, unfinishedFile+backupName(b.store, b.began, 1, false)+"-123")
	if err := os.WriteFile(mine, nil, privateFile); err != nil {
		t.Fatal(err)
	}
	b.mustOnce(t)
	if _, err := os.Stat(mine); err == nil {
		t.Error("it is still there")
	}
}

// A disk that is not mounted is noticed: nothing is written to the directory that is there in its place.
func TestBackupsOfADiskThatIsNotMounted(t *testing.T) {
	b, now := written(t, 2)
	b.note = filepath.Join(filepath.Dir(b.dir), backupNote)
	b.mustOnce(t)
	disk := b.dir + ".disk"
	if err := errors.Join(os.Rename(b.dir, disk), os.Mkdir(b.dir, privateDir)); err != nil { // unmounted
		t.Fatal(err)
	}
	b.next = escrow.Chain{} // a start
	*now = now.Add(time.Hour)
	if err := b.once(t.Context()); err == nil || !strings.Contains(err.Error(), "is its disk mounted?") {
		t.Errorf("an empty directory in its place: %v", err)
	}
	if err := os.Remove(b.dir); err != nil { // nothing was written there
		t.Fatal(err)
	}
	if err := b.once(t.Context()); err == nil || !strings.Contains(err.Error(), "is its disk mounted?") {
		t.Errorf("no directory in its place: %v", err)
	}
	if err := os.Rename(disk, b.dir); err != nil {
		t.Fatal(err)
	}
	b.mustOnce(t)

	b.dir = filepath.Join(b.dir, "not", "there") // of a first start
	if err := b.once(t.Context()); err == nil || !strings.Contains(err.Error(), "is its disk mounted?") {
		t.Errorf("a parent that is missing: %v", err)
	}
}

// Whoever moves backups off the machine goes on getting them, and is told to move all: in the process that
// made them, and in the next by the mark that is left in the directory.
func TestBackupsThatAreMovedAway(t *testing.T) {
	b, now := written(t, 2)
	b.note = filepath.Join(filepath.Dir(b.dir), backupNote)
	var alarms []string
	b.alarm = func(what string) { alarms = append(alarms, what) }
	move := func(all bool) {
		entries, err := os.ReadDir(b.dir)
		if err != nil || len(entries) == 0 {
			t.Fatalf("nothing to move: %v", err)
		}
		for _, entry := range entries {
			if all || !strings.HasPrefix(entry.Name(), ".") {
				err = errors.Join(err, os.Remove(filepath.Join(b.dir, entry.Name())))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		*now = now.Add(time.Minute)
	}
	b.mustOnce(t)
	move(false) // as a shell's * takes them
	b.mustOnce(t)
	b.mustOnce(t)
	if len(alarms) != 1 || !strings.Contains(alarms[0], "-000000.backup, is not there any more") {
		t.Errorf("alarms %q", alarms)
	}
	move(true) // as rsync takes them
	b.mustOnce(t)
	move(false)
	b.next, b.seen, b.away = escrow.Chain{}, nil, "" // a start
	b.mustOnce(t)
	if b.next.Seq != 1 || len(alarms) != 2 {
		t.Errorf("after a start the next is number %d, alarms %q", b.next.Seq, alarms)
	}

	// The mark of a time when the disk was not mounted is not that of the disk.
	disk := b.dir + ".disk"
	if err := os.Rename(b.dir, disk); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(b.dir, privateDir), os.WriteFile(b.markFile(), []byte("of another time"), privateFile)); err != nil {
		t.Fatal(err)
	}
	b.next = escrow.Chain{}
	if err := b.once(t.Context()); err == nil || !strings.Contains(err.Error(), "is its disk mounted?") {
		t.Errorf("another directory in its place: %v", err)
	}
}

// A backup is cut off when the node ends, the chain goes on with the last one, and a disk that does not
// answer at all keeps nobody from closing the stores.
func TestBackupsEndWithTheNode(t *testing.T) {
	b, _ := written(t, 1)
	b.mustOnce(t)
	whole := b.make
	ctx, end := context.WithCancel(t.Context())
	b.make = func(w io.Writer, at escrow.Chain) (escrow.Chain, error) {
		end()
		return whole(w, at)
	}
	if err := b.try(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("one that is cut off: %v", err)
	}
	n := &node{cfg: nodeConfig{logger: slog.New(slog.DiscardHandler)}}
	b.make = whole
	if n.lastBackup(t.Context(), b); b.next.Seq != 2 {
		t.Errorf("after the last one the next is number %d", b.next.Seq)
	}

	var log bytes.Buffer
	n.cfg.logger = slog.New(slog.NewTextHandler(&log, nil))
	never := make(chan struct{})
	t.Cleanup(func() { close(never) })
	ended, end := context.WithCancel(t.Context())
	end()
	b.grace = time.Millisecond
	b.make = func(io.Writer, escrow.Chain) (escrow.Chain, error) { <-never; return escrow.Chain{}, io.EOF }
	n.lastBackup(ended, b)
	if !b.hangs || !strings.Contains(log.String(), "does not answer") {
		t.Errorf("a disk that hangs: %s", log.String())
	}
	n.lastBackup(ended, b) // returns
}

// A disk that stays full is not written to its end each minute.
func TestBackupsThatFailAreMadeMoreRarely(t *testing.T) {
	for failed, want := range map[int]time.Duration{0: time.Minute, 1: 2 * time.Minute, 3: 8 * time.Minute, 6: time.Hour, 1000: time.Hour} {
		if got := pauseAfter(failed, time.Minute); got != want {
			t.Errorf("after %d: %v, want %v", failed, got, want)
		}
	}
	if got := pauseAfter(9, 24*time.Hour); got != 24*time.Hour {
		t.Errorf("of one a day: %v", got)
	}
}

// An export that ends in the middle, or whose last bytes do not get to the disk, is an error, and leaves no
// file that looks whole.
func TestLargeFilesAreWholeOrNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	broken := errors.New("interrupted")
	for name, write := range map[string]func(io.Writer) error{
		"an error in the middle": func(w io.Writer) error { w.Write([]byte("half")); return broken },
		"an error at the end":    func(w io.Writer) error { return w.(*os.File).Close() }, // Sync and Close fail
	} {
		err := writeLarge(path, write)
		left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
		hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
		if err == nil || len(left)+len(hidden) > 0 {
			t.Errorf("%s: %v, left %v %v", name, err, left, hidden)
		}
	}
	if err := writeLarge(path, func(w io.Writer) error { _, err := w.Write([]byte("all")); return err }); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(filepath.Dir(path), "none")
	err := writeLarge(filepath.Join(none, "x"), func(io.Writer) error { return nil })
	if h := (hinted{}); !errors.As(err, &h) || !strings.Contains(h.hints[0], "mkdir -m 700 -p "+none) {
		t.Errorf("where there is no directory: %v", err)
	}
	if err := writeLarge(path, func(io.Writer) error { return nil }); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("over one that is there: %v", err)
	}
	if data, err := readSecretFile(path); err != nil || string(data) != "all" {
		t.Errorf("%q, %v", data, err)
	}
}

// A restore that runs out of room says so before Badger is killed, and leaves nothing behind.
func TestRestoreLeavesRoom(t *testing.T) {
	b, _ := written(t, 1)
	b.mustOnce(t)
	files, closeAll, err := openBackups([]string{b.dir}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll()
	dir, looks := t.TempDir(), 0
	full := func() error { looks++; return fmt.Errorf("%w: 95 MiB are free", escrow.ErrNoSpace) }
	_, err = escrow.Restore(filepath.Join(dir, escrowDir), escrow.StoreKey{}, whileRoom(files, full)...)
	if left, _ := os.ReadDir(dir); !errors.Is(err, escrow.ErrNoSpace) || looks == 0 || len(left) > 0 {
		t.Errorf("on a full disk, after %d looks: %v, left %v", looks, err, left)
	}
	looks = 0
	large := whileRoom([]io.Reader{io.LimitReader(zeros{}, 4*roomStep+1)}, func() error { looks++; return nil })
	if n, err := io.Copy(io.Discard, large[0]); err != nil || n != 4*roomStep+1 || looks < 5 {
		t.Errorf("%d bytes with %d looks, %v", n, looks, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
