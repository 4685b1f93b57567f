package store

// table finds numbers by a hash of what they stand for: 4 bytes a slot, open addressing with
// linear probing. What a number stands for is kept elsewhere and looked at through functions.
type table struct {
	slots []uint32 // number + 1, 0 = empty; the length is a power of two
	used  int
}

const smallestTable = 64

// find returns the number for which same holds among those of this hash.
func (t *table) find(hash uint64, same func(uint32) bool) (uint32, bool) {
	if len(t.slots) == 0 {
		return 0, false
	}
	mask := uint64(len(t.slots) - 1)
	for at := hash & mask; t.slots[at] != 0; at = (at + 1) & mask {
		if n := t.slots[at] - 1; same(n) {
			return n, true
		}
	}
	return 0, false
}

// put adds a number that is not in the table.
func (t *table) put(n uint32, hashOf func(uint32) uint64) {
	if 4*(t.used+1) > 3*len(t.slots) {
		old := t.slots
		t.slots = make([]uint32, max(2*len(old), smallestTable))
		for _, slot := range old {
			if slot != 0 {
				t.place(slot, hashOf(slot-1))
			}
		}
	}
	t.place(n+1, hashOf(n))
	t.used++
}

func (t *table) place(slot uint32, hash uint64) {
	mask := uint64(len(t.slots) - 1)
	at := hash & mask
	for t.slots[at] != 0 {
		at = (at + 1) & mask
	}
	t.slots[at] = slot
}

// remove takes out a number that is in the table, and closes the gap.
func (t *table) remove(n uint32, hashOf func(uint32) uint64) {
	mask := uint64(len(t.slots) - 1)
	gap := hashOf(n) & mask
	for t.slots[gap] != n+1 {
		gap = (gap + 1) & mask
	}
	for at := (gap + 1) & mask; t.slots[at] != 0; at = (at + 1) & mask {
		home := hashOf(t.slots[at]-1) & mask
		// The slot may move into the gap unless its home lies between the gap and itself.
		if (at-home)&mask >= (at-gap)&mask {
			t.slots[gap] = t.slots[at]
			gap = at
		}
	}
	t.slots[gap] = 0
	t.used--
}
