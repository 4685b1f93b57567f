package policies

// FreeSpace is the rule of what a disk is used for by how much of it is free. A disk that is really full kills whoever has
// mapped files on it.
//
//   - Below the minimum, which is the larger of least bytes and percent of the disk, nothing is taken from outside, and what
//     comes from inside is.
//   - Below critical a reserve of so many bytes that is held is given up, and what comes from inside goes in its place.
//   - When that is used up too, nothing is taken.
//   - The reserve is held again when twice as much is free above the minimum.
//
// It asks for no event: whoever writes measures now and then, and asks what holds until he measures again. nil stands for no
// minimum at all.
func FreeSpace(least uint64, percent float64, reserve, critical uint64) func(free, total uint64, held bool) (outside, inside, hold bool) {
	if least == 0 && percent == 0 {
		return nil
	}
	return func(free, total uint64, held bool) (outside, inside, hold bool) {
		least := max(least, uint64(percent/100*float64(total)))
		inside = free >= critical || held
		if hold = held && free >= critical; !held {
			hold = reserve > 0 && inside && free > least+2*reserve
		}
		return inside && free >= least, inside, hold
	}
}
