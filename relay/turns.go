package relay

import (
	"container/heap"
	"container/list"
	"sync"
	"time"
)

// turns are a number of places for work. When all are taken, the next free one goes to the address that has worked least
// of late, and of several like that to the one that has waited longest: however many connections an attacker opens, and
// from however many addresses he keeps the processors busy, who asks for little is next. But nobody is passed without end by
// those who have worked less: after so many turns for each address that waits (passes), he is next.
type turns struct {
	carries func(from string) bool // whether an address works for as many people as shareOfAll; nil = none does

	mu      sync.Mutex
	free    int
	workers map[string]*worker // by address
	waiting workers            // a heap
	order   list.List          // the same, those first who have waited longest
	came    int                // counts who came
	given   int                // counts places that were handed on
	halved  time.Time
}

// worker is an address that works or has worked, or waits to.
type worker struct {
	used time.Duration // of late: it is halved every halfLife, all at once
	has  int           // places
	line []chan struct{}
	came int // number of the one who is first in line
	at   int // place in the heap while somebody waits
	turn *list.Element
	seen int // what given was when he came
}

func newTurns(places int) *turns {
	return &turns{free: places, workers: make(map[string]*worker), halved: time.Now()}
}

// take waits for a place; give must follow.
func (t *turns) take(from string) {
	t.mu.Lock()
	w := t.workers[from]
	if w == nil {
		w = new(worker)
		t.workers[from] = w
	}
	if t.free > 0 {
		t.free--
		w.begin()
		t.mu.Unlock()
		return
	}
	mine := make(chan struct{})
	if w.line = append(w.line, mine); len(w.line) == 1 {
		t.wait(w)
	}
	t.mu.Unlock()
	<-mine
}

// begin counts a slice in advance, so that one address does not get all places at once.
func (w *worker) begin() {
	w.has++
	w.used += slice
}

func (w *worker) end(took time.Duration) {
	w.has--
	w.used = max(w.used+took-slice, 0)
}

// wait puts an address at the end of those that wait and have worked as much; the caller holds mu.
func (t *turns) wait(w *worker) {
	t.came++
	w.came, w.seen = t.came, t.given
	w.turn = t.order.PushBack(w)
	heap.Push(&t.waiting, w)
}

// next takes out the address whose turn it is.
func (t *turns) next() *worker {
	next := t.order.Front().Value.(*worker)
	if t.given-next.seen < passes*len(t.waiting) {
		next = t.waiting[0]
	}
	heap.Remove(&t.waiting, next.at)
	t.order.Remove(next.turn)
	t.given++
	return next
}

// give hands a place on that an address has had for some time.
func (t *turns) give(from string, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.workers[from]
	if t.carries != nil && t.carries(from) {
		took /= shareOfAll
	}
	w.end(took)
	if len(w.line) > 0 {
		heap.Fix(&t.waiting, w.at)
	}
	t.forget()
	if len(t.waiting) == 0 {
		t.free++
		return
	}
	next := t.next()
	first := next.line[0]
	next.begin()
	if next.line = next.line[1:]; len(next.line) > 0 {
		t.wait(next)
	} else {
		next.line = nil
	}
	close(first)
}

// taken reports whether no place is free.
func (t *turns) taken() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.free == 0
}

// forget halves what all have used once for each halfLife that has passed. Who has used nearly nothing and neither works
// nor waits is forgotten.
func (t *turns) forget() {
	now := time.Now()
	times := now.Sub(t.halved) / halfLife
	if times < 1 {
		return
	}
	t.halved = now
	for from, w := range t.workers {
		if w.used >>= times; w.used < slice/64 && w.has == 0 && len(w.line) == 0 {
			delete(t.workers, from)
		}
	}
	heap.Init(&t.waiting) // some have worked as much as others now
}

// workers are a heap, the next one first.
type workers []*worker

func (w workers) Len() int { return len(w) }

// Less compares in steps of a slice: who has worked next to nothing does not wait for all those who were never here before,
// which an attacker with many addresses can be without end.
func (w workers) Less(i, j int) bool {
	if a, b := w[i].used/slice, w[j].used/slice; a != b {
		return a < b
	}
	return w[i].came < w[j].came
}

func (w workers) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].at, w[j].at = i, j
}

func (w *workers) Push(x any) {
	one := x.(*worker)
	one.at = len(*w)
	*w = append(*w, one)
}

func (w *workers) Pop() any {
	last := len(*w) - 1
	one := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	return one
}
