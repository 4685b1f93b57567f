package relay

import (
	"container/list"
	"sync"
)

// crowd knows who is there, by address and in the order of arrival. When there are more than may
// be, somebody of the address that has most of them goes: an attacker pushes out himself first.
type crowd[T comparable] struct {
	most int

	mu    sync.Mutex
	at    map[T]*list.Element
	froms map[T]string
	lines map[string]*list.List // by address, the oldest first
}

func newCrowd[T comparable](most int) *crowd[T] {
	return &crowd[T]{most: most, at: make(map[T]*list.Element), froms: make(map[T]string), lines: make(map[string]*list.List)}
}

// add takes in one, and returns who has to go for it: the oldest of the address that has most.
// What is there already is not added again.
func (c *crowd[T]) add(one T, from string) (gone T, full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at[one] != nil {
		return gone, false
	}
	c.push(one, from)
	if len(c.at) <= c.most {
		return gone, false
	}
	gone = c.longest(from).Front().Value.(T)
	c.drop(gone)
	return gone, true
}

// admit is add where who is there comes before a newcomer from the same address, or from one that
// would have as many: then it is the newcomer who has to go.
func (c *crowd[T]) admit(one T, from string) (gone T, full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.push(one, from)
	if len(c.at) <= c.most {
		return gone, false
	}
	if line := c.longest(from); line != c.lines[from] {
		gone = line.Front().Value.(T)
	} else {
		gone = one
	}
	c.drop(gone)
	return gone, true
}

func (c *crowd[T]) push(one T, from string) {
	if c.lines[from] == nil {
		c.lines[from] = list.New()
	}
	c.at[one], c.froms[one] = c.lines[from].PushBack(one), from
}

// longest is the line of the address that has most; of several, the given one.
func (c *crowd[T]) longest(from string) *list.List {
	longest := c.lines[from]
	for _, line := range c.lines {
		if line.Len() > longest.Len() {
			longest = line
		}
	}
	return longest
}

func (c *crowd[T]) remove(one T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(one)
}

// drop forgets one; the caller holds mu.
func (c *crowd[T]) drop(one T) {
	e := c.at[one]
	if e == nil {
		return
	}
	from := c.froms[one]
	delete(c.at, one)
	delete(c.froms, one)
	if c.lines[from].Remove(e); c.lines[from].Len() == 0 {
		delete(c.lines, from)
	}
}
