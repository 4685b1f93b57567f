package store

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"mostro/policies"
)

// TestSpace fills a disk and empties it: outsiders are refused first, then the reserve goes, then
// the node is refused, and all comes back.
func TestSpace(t *testing.T) {
	const mib = 1 << 20
	dir := t.TempDir()
	free := uint64(5000 * mib)
	s := openTest(t, Options{Dir: dir, Now: newClock().now, Space: Space{
		Rule: policies.FreeSpace(10*mib, 5, mib, CriticalFree), Reserve: mib,
		Free: func(string) (uint64, uint64, error) {
			if free == 0 {
				return 0, 0, errors.New("no such disk")
			}
			return free, 20_000 * mib, nil
		},
	}})
	for i, c := range []struct {
		free           uint64
		outsiders, own error
		reserve        bool
	}{
		{5000 * mib, nil, nil, true},
		{1001 * mib, nil, nil, true},
		{999 * mib, ErrFull, nil, true},
		{CriticalFree - 1, ErrFull, nil, false}, // the node writes in place of the reserve
		{CriticalFree + mib - 1, ErrFull, nil, false},
		{CriticalFree - 1, ErrFull, ErrFull, false},
		{CriticalFree + 10*mib, ErrFull, nil, false},
		{1001 * mib, nil, nil, false},
		{1003 * mib, nil, nil, true},
	} {
		free = c.free
		for _, own := range []bool{false, true} {
			if !own { // the second of a pair finds what the first has measured
				s.space.written = measureBytes
			}
			want := c.outsiders
			if own {
				want = c.own
			}
			out := s.Add(t.Context(), Item{Event: unsigned(person(1), 1, start, strconv.Itoa(i)+strconv.FormatBool(own)), Own: own})[0]
			if out.Err != want {
				t.Errorf("%d bytes free, own %v: %v, want %v", c.free, own, out.Err, want)
			}
		}
		st, err := os.Stat(filepath.Join(dir, reserveName))
		if (err == nil) != c.reserve || err == nil && st.Size() != mib {
			t.Errorf("%d bytes free: reserve %v, %v", c.free, st, err)
		}
	}
	free = 0
	s.space.written = measureBytes
	if out := s.Add(t.Context(), Item{Event: unsigned(person(1), 1, start, "unknown")})[0]; out.Err == nil {
		t.Error("an event was taken without knowing the space")
	}
}

func TestDiskFree(t *testing.T) {
	free, total, err := DiskFree(t.TempDir())
	if err != nil || free == 0 || free > total && total > 0 {
		t.Errorf("%d of %d bytes, %v", free, total, err)
	}
}
