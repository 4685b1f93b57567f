package store

import (
	"container/heap"
	"hash/maphash"
	"slices"
)

// index answers from memory which stored events a filter matches, but for cold ones. Records and
// lists lie in chunks without pointers from one to the other, only numbers: 170 to 290 bytes an
// event, and nothing for the garbage collector to follow. It does no locking.
type index struct {
	seed  maphash.Seed // keeps those who choose ids and tags from choosing collisions
	steps spell        // of searches, while nothing can change

	records  [][]record
	freeRecs []uint32
	byID     table
	hot      list // all events of hot kinds
	rest     list // all others
	places   int  // in lists

	lists     [][]list
	freeLists []uint32
	byKey     table
	usedRecs  uint32
	usedLists uint32

	runs     runs
	expiring expiring
	lasting  int // records without an expiration
}

// record is what the index knows of an event.
type record struct {
	position
	author  Key
	serial  uint64 // 0 = the slot is free
	expires uint32
	size    uint32
	run     uint32 // its lists, in runs
	lists   uint16 // how many
	kind    uint16
}

const (
	chunkSize = 4096
	maxKeys   = 4096 // lists of one event
	runChunk  = 1 << 16

	spareNumbers = 4 * runChunk // of runs that are free, beside as many as are in use
)

func newIndex() *index {
	return &index{seed: maphash.MakeSeed(), steps: spell(stepTime), runs: runs{free: make(map[int][]uint32)}}
}

func (x *index) record(ref uint32) *record { return &x.records[ref/chunkSize][ref%chunkSize] }
func (x *index) list(n uint32) *list       { return &x.lists[n/chunkSize][n%chunkSize] }

func (x *index) hashID(id *Key) uint64      { return maphash.Bytes(x.seed, id[:]) }
func (x *index) hashKey(k *listKey) uint64  { return maphash.Bytes(x.seed, k[:]) }
func (x *index) idHashOf(ref uint32) uint64 { return x.hashID(&x.record(ref).id) }
func (x *index) keyHashOf(n uint32) uint64  { return x.hashKey(&x.list(n).key) }
func (x *index) listsOf(r *record) []uint32 { return x.runs.at(r.run, int(r.lists)) }

// len is the number of events.
func (x *index) len() int { return int(x.hot.n + x.rest.n) }

// all is the list of all events of a kind's sort.
func (x *index) all(kind uint16) *list {
	if class(kind) == restClass {
		return &x.rest
	}
	return &x.hot
}

// bytes is about what the index takes: records and lists with their slots in the tables, and for
// each place in a list its number there and in the run of its record.
func (x *index) bytes() int {
	const perRecord, perList, perPlace = 96 + 6, 32 + 6, 4 + 5
	return x.len()*perRecord + (int(x.usedLists)-len(x.freeLists))*perList + x.places*perPlace
}

// find returns the record of an event.
func (x *index) find(id Key) (ref uint32, ok bool) {
	return x.byID.find(x.hashID(&id), func(ref uint32) bool { return x.record(ref).id == id })
}

// lookUp returns the number of a list.
func (x *index) lookUp(k listKey) (n uint32, ok bool) {
	return x.byKey.find(x.hashKey(&k), func(n uint32) bool { return x.list(n).key == k })
}

// members lists the references in a list, oldest first.
func (x *index) members(k listKey) []uint32 {
	n, ok := x.lookUp(k)
	if !ok {
		return nil
	}
	switch l := x.list(n); l.n {
	case 1:
		return []uint32{l.one}
	default:
		return slices.Concat(l.many.of...)
	}
}

// in reports whether a record is in a list.
func (x *index) in(ref uint32, k listKey) bool {
	n, ok := x.lookUp(k)
	return ok && slices.Contains(x.listsOf(x.record(ref)), n)
}

// add takes in an event that is not there.
func (x *index) add(e *entry, serial uint64) {
	x.link(x.place(e, serial))
}

// place makes a record; link must follow before it is found in lists.
func (x *index) place(e *entry, serial uint64) (ref uint32) {
	if last := len(x.freeRecs) - 1; last >= 0 {
		ref, x.freeRecs = x.freeRecs[last], x.freeRecs[:last]
	} else {
		ref = x.usedRecs
		if x.usedRecs++; ref%chunkSize == 0 {
			x.records = append(x.records, make([]record, chunkSize))
		}
	}
	run, lists := x.runs.take(len(e.keys))
	for i, k := range e.keys {
		lists[i] = x.intern(k)
	}
	*x.record(ref) = record{
		position: position{e.created, e.id}, author: e.author, serial: serial, expires: e.expires,
		size: e.size, run: run, lists: uint16(len(e.keys)), kind: e.kind,
	}
	x.byID.put(ref, x.idHashOf)
	if e.expires == 0 {
		x.lasting++
	} else {
		heap.Push(&x.expiring, expiry{e.expires, ref, serial})
	}
	return ref
}

// link puts a record into its lists.
func (x *index) link(ref uint32) {
	rec := x.record(ref)
	x.put(x.all(rec.kind), ref)
	for _, n := range x.listsOf(rec) {
		x.put(x.list(n), ref)
	}
	x.places += int(rec.lists) + 1
}

// intern returns the number of a list, and makes the list when there is none.
func (x *index) intern(k listKey) (n uint32) {
	if n, ok := x.lookUp(k); ok {
		return n
	}
	if last := len(x.freeLists) - 1; last >= 0 {
		n, x.freeLists = x.freeLists[last], x.freeLists[:last]
	} else {
		n = x.usedLists
		if x.usedLists++; n%chunkSize == 0 {
			x.lists = append(x.lists, make([]list, chunkSize))
		}
	}
	*x.list(n) = list{key: k}
	x.byKey.put(n, x.keyHashOf)
	return n
}

// remove takes an event out.
func (x *index) remove(ref uint32) {
	rec := x.record(ref)
	x.take(x.all(rec.kind), ref)
	x.places -= int(rec.lists) + 1
	for _, n := range x.listsOf(rec) {
		l := x.list(n)
		if x.take(l, ref); l.n == 0 {
			x.byKey.remove(n, x.keyHashOf)
			x.freeLists = append(x.freeLists, n)
		}
	}
	x.byID.remove(ref, x.idHashOf)
	x.runs.release(rec.run, int(rec.lists))
	if rec.expires == 0 {
		x.lasting--
	}
	*rec = record{}
	x.freeRecs = append(x.freeRecs, ref)
	if x.runs.spare > x.runs.size()/2+spareNumbers {
		x.closeRuns()
	}
	// What is removed before its time stays in the heap; not for ever, since orders are
	// replaced many times before they expire.
	if len(x.expiring) > 2*(x.len()-x.lasting)+chunkSize {
		x.expiring = slices.DeleteFunc(x.expiring, func(e expiry) bool { return x.record(e.ref).serial != e.serial })
		heap.Init(&x.expiring)
	}
}

// expired lists up to limit events whose time has come. They stay listed until removed.
func (x *index) expired(now int64, limit int) []uint32 {
	var due []uint32
	for len(x.expiring) > 0 && len(due) < limit && int64(x.expiring[0].at) <= now {
		e := heap.Pop(&x.expiring).(expiry)
		if x.record(e.ref).serial == e.serial {
			due = append(due, e.ref)
		}
	}
	return due
}

// expiry is an entry of a heap, the next to expire on top.
type expiry struct {
	at, ref uint32
	serial  uint64
}

type expiring []expiry

func (h expiring) Len() int           { return len(h) }
func (h expiring) Less(i, j int) bool { return h[i].at < h[j].at }
func (h expiring) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiring) Push(e any)        { *h = append(*h, e.(expiry)) }
func (h *expiring) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	*h = (*h)[:last]
	return e
}

// closeRuns moves all runs together, so that those who have events of one length after the other stored and removed
// do not make the index take ever more.
func (x *index) closeRuns() {
	old := x.runs
	x.runs = runs{free: make(map[int][]uint32)}
	for ref := range x.usedRecs {
		rec := x.record(ref)
		if rec.serial == 0 {
			continue
		}
		run, lists := x.runs.take(int(rec.lists))
		copy(lists, old.at(rec.run, int(rec.lists)))
		rec.run = run
	}
}

// runs keeps short runs of numbers in large chunks. A run does not cross chunks, and is used
// again for one of the same length.
type runs struct {
	chunks [][]uint32
	used   int // of the last chunk
	free   map[int][]uint32
	spare  int // numbers in free runs
}

// size is how many numbers there are, free ones included.
func (r *runs) size() int { return max(len(r.chunks)-1, 0)*runChunk + r.used }

func (r *runs) at(run uint32, n int) []uint32 {
	from := run % runChunk
	return r.chunks[run/runChunk][from : int(from)+n]
}

func (r *runs) take(n int) (run uint32, space []uint32) {
	if free := r.free[n]; len(free) > 0 {
		run = free[len(free)-1]
		r.free[n] = free[:len(free)-1]
		r.spare -= n
		return run, r.at(run, n)
	}
	if len(r.chunks) == 0 || r.used+n > runChunk {
		r.chunks = append(r.chunks, make([]uint32, runChunk))
		r.used = 0
	}
	run = uint32((len(r.chunks)-1)*runChunk + r.used)
	r.used += n
	return run, r.at(run, n)
}

func (r *runs) release(run uint32, n int) {
	r.free[n] = append(r.free[n], run)
	r.spare += n
}
