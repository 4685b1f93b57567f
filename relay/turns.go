package relay

import "sync"

// turns are a number of places for work. When all are taken, addresses get the next free one in
// turn, and who waits at the same address in the order of arrival: however many connections an
// attacker opens, he gets as much as anybody else.
type turns struct {
	mu    sync.Mutex
	free  int
	lines map[string][]chan struct{} // who waits, by address
	order []string                   // addresses at which somebody waits, the next one first
}

func newTurns(places int) *turns {
	return &turns{free: places, lines: make(map[string][]chan struct{})}
}

// take waits for a place; give must follow.
func (t *turns) take(from string) {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return
	}
	mine := make(chan struct{})
	if len(t.lines[from]) == 0 {
		t.order = append(t.order, from)
	}
	t.lines[from] = append(t.lines[from], mine)
	t.mu.Unlock()
	<-mine
}

// give hands a place on.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.order) == 0 {
		t.free++
		return
	}
	from := t.order[0]
	t.order = t.order[1:]
	line := t.lines[from]
	if len(line) == 1 {
		delete(t.lines, from)
	} else {
		t.lines[from] = line[1:]
		t.order = append(t.order, from)
	}
	close(line[0])
}
