package escrow

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mostro/escrow/mostro"
)

// onDisk moves a world to a store in a folder, on a disk that has *free bytes beside the reserve.
func (w *world) onDisk(free *uint64) {
	w.check(w.e.Close())
	w.cfg.Dir = filepath.Join(w.t.TempDir(), "escrow")
	w.cfg.Space = Space{MinFree: 300 << 20, MinFreePercent: 5, Reserve: 1 << 20, Free: func(dir string) (uint64, uint64, error) {
		if w.reserve() {
			return *free, 20_000 << 20, nil
		}
		return *free + w.cfg.Space.Reserve, 20_000 << 20, nil
	}}
	w.open()
}

func (w *world) reserve() bool {
	info, err := os.Stat(filepath.Join(w.cfg.Dir, reserveName))
	return err == nil && info.Size() == int64(w.cfg.Space.Reserve)
}

// A disk fills up while a trade runs: nothing new begins, the trade goes on at the cost of the
// reserve, and then the node ends before it writes. With room again, the trade ends.
func TestDiskFills(t *testing.T) {
	const mib = 1 << 20
	w := newWorld(t)
	free := uint64(5000 * mib)
	w.onDisk(&free)
	w.check(w.e.space.keep())
	if !w.reserve() {
		t.Fatal("there is no reserve")
	}
	w.play(t, "alice new sell sats=100000\n carol new sell sats=50000\n bob take order=A invoice=99700")

	free = 999 * mib
	refused := func(command string) {
		t.Helper()
		w.out.Reset()
		w.play(t, command)
		if got := w.out.String(); !strings.Contains(got, "not_allowed_by_status") || !strings.Contains(got, "made room on its disk") {
			t.Errorf("%s is answered with %s", command, got)
		}
	}
	refused("dave new sell sats=50000")
	refused("erin take order=B")
	if n := strings.Count(w.logged.String(), "alarm: the disk is nearly full"); n != 1 {
		t.Errorf("%d alarms", n)
	}
	if s, err := w.e.Status(); err != nil || !strings.Contains(s.Closed, "room on its disk") {
		t.Errorf("the status says %q, %v", s.Closed, err)
	}
	w.play(t, "alice pay order=A")

	free = lastFree + mib/2
	w.play(t, "bob fiat-sent order=A")
	if !w.reserve() {
		t.Error("the reserve is gone too early")
	}
	free = lastFree - 1
	w.play(t, "alice release order=A")
	id := w.order(args{named: map[string]string{"order": "A"}})
	if w.reserve() || w.statusOf(id) != mostro.StatusSuccess {
		t.Errorf("the reserve is there: %v, and the trade is %s", w.reserve(), w.statusOf(id))
	}

	free = lastFree - mib - 1
	err := w.send2(w.person("carol"), mostro.Message{Action: mostro.Cancel, ID: w.order(args{named: map[string]string{"order": "B"}})})
	if !errors.Is(err, ErrNoSpace) {
		t.Errorf("a message on a full disk is answered with %v", err)
	}
	w.check(w.e.Close())
	if _, err := Open(w.cfg); !errors.Is(err, ErrNoSpace) {
		t.Errorf("opened on a full disk: %v", err)
	}
	free = 5000 * mib
	w.open()
	w.out.Reset()
	w.play(t, "carol cancel order=B")
	if got := w.out.String(); !strings.Contains(got, "canceled") {
		t.Errorf("with room again: %s", got)
	}
	w.check(w.e.space.keep())
	if !w.reserve() {
		t.Error("the reserve does not come back")
	}
}
