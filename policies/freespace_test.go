package policies

import "testing"

// TestFreeSpace: outsiders are refused first, then the reserve goes, then everybody is refused.
func TestFreeSpace(t *testing.T) {
	rule := FreeSpace(100, 1, 20, 50) // of 30,000 bytes, 1% are more
	for _, c := range []struct {
		free                 uint64
		held                 bool
		outside, inside, own bool
	}{
		{30_000, true, true, true, true},
		{300, true, true, true, true},
		{299, true, false, true, true},
		{50, true, false, true, true},
		{49, true, false, true, false},
		{0, true, false, true, false},
		{49, false, false, false, false},
		{50, false, false, true, false},
		{300, false, true, true, false},
		{340, false, true, true, false},
		{341, false, true, true, true},
	} {
		if outside, inside, hold := rule(c.free, 30_000, c.held); outside != c.outside || inside != c.inside || hold != c.own {
			t.Errorf("%d free, held %v: %v %v %v", c.free, c.held, outside, inside, hold)
		}
	}
	if outside, _, _ := FreeSpace(100, 1, 0, 50)(99, 1000, false); outside {
		t.Error("the minimum in bytes does not count")
	}
	if _, inside, hold := FreeSpace(1, 0, 20, 50)(1000, 1000, false); !inside || !hold {
		t.Error("a low minimum")
	}
	if outside, inside, _ := FreeSpace(1, 0, 0, 50)(49, 1000, false); outside || inside {
		t.Error("a disk that is full, and a minimum below that")
	}
	if FreeSpace(0, 0, 20, 50) != nil {
		t.Error("no minimum is a rule")
	}
}
