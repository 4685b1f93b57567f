package escrow

import "testing"

// M19: seconds count only between two looks that both found the node ready, a little apart: not
// while the process was dead, while it slept, or while its Lightning node was away; and a clock
// that is set back takes nothing off.
func TestUptime(t *testing.T) {
	u := &uptime{}
	u.begin(100)
	for i, look := range []struct {
		now   int64
		ready bool
		want  int64
	}{
		{1000, true, 100}, {1015, true, 115}, {1030, false, 115}, {1040, true, 115}, {1050, true, 125},
		{1050 + longestTick, true, 125 + longestTick}, {5000, true, 125 + longestTick}, {5010, true, 135 + longestTick},
		{4000, true, 135 + longestTick}, {4010, true, 145 + longestTick},
	} {
		if got := u.tick(look.now, look.ready); got != look.want {
			t.Errorf("look %d: %d seconds, want %d", i, got, look.want)
		}
	}
	next := &uptime{}
	next.begin(u.total)
	if got := next.tick(9000, true); got != 145+longestTick {
		t.Errorf("after a restart %d seconds", got)
	}
}
