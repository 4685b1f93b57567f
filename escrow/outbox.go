package escrow

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// row is one thing to do: exactly one of its first three fields is set.
type row struct {
	Tell  *mostro.Outgoing `json:"tell,omitempty"`
	Event *nostr.Event     `json:"event,omitempty"` // to be signed and published
	Call  *order.Call      `json:"call,omitempty"`

	Tries int   `json:"tries,omitempty"` // of a call, counted before each try
	Since int64 `json:"since,omitempty"` // unix seconds of the first try
	// Uptime is how long this node had run, with its Lightning node ready, before the first try,
	// and one more; 0 = not known.
	Uptime int64 `json:"uptime,omitempty"`
	// Unheard is how often the node was told to send a payment and said nothing of it; SentUptime is
	// the uptime at the last time.
	Unheard    int   `json:"unheard,omitempty"`
	SentUptime int64 `json:"sent_uptime,omitempty"`

	lane string
	seq  uint64
	// mentioned: who waits for a call was told that it takes long.
	mentioned bool
	opens     *time.Timer // to the end of the patience with a hold invoice that is to be opened
	looks     int         // at a hold invoice before the first try to settle it
	epoch     uint64      // of the store, from which a payment was intended
}

func (r *row) key() []byte { return outboxKey(r.lane, r.seq) }

// owner is the order or the bond that a call is for.
func (r *row) owner() string { return strings.TrimSuffix(r.lane, "/"+laneCalls) }

// The two lanes of an order. Rows of a lane are done one after the other; lanes are
// independent, so that nobody waits for another's trade, and no message for the node.
const (
	laneTells = "t"
	laneCalls = "l"
)

func lane(id, which string) string { return id + "/" + which }

// laneOf is the lane of answers to an event: its order's, or its sender's where no order is
// concerned.
func laneOf(ev order.Event, id ...string) string {
	for _, each := range id {
		if each != "" {
			return lane(each, laneTells)
		}
	}
	if ev.Sender != "" {
		return lane(ev.Sender, laneTells)
	}
	return lane(ev.Order, laneTells)
}

// queue puts a row into the outbox, in the same transaction as what it follows from.
func (e *Engine) queue(w *writes, lane string, r row) error {
	e.seq++
	r.lane, r.seq = lane, e.seq
	if err := w.set(r.key(), r); err != nil {
		return err
	}
	w.then(func() { e.work.add(&r) })
	return nil
}

// workSet holds the rows that are on disk and not done, lane by lane.
type workSet struct {
	mu     sync.Mutex
	cond   *sync.Cond
	lanes  map[string]*laneRows
	ready  map[bool][]*laneRows // by kind: true for calls
	closed bool
	after  func(time.Duration, func()) // runs a function later
}

type laneRows struct {
	name  string
	rows  []*row
	busy  bool // a worker has it, or it waits to be tried again
	tries int  // of a tell lane
}

func (l *laneRows) calls() bool { return isCalls(l.name) }

func newWorkSet() *workSet {
	s := &workSet{lanes: map[string]*laneRows{}, ready: map[bool][]*laneRows{}}
	s.after = func(d time.Duration, f func()) { time.AfterFunc(d, f) }
	s.cond = sync.NewCond(&s.mu)
	return s
}

func (s *workSet) add(r *row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[r.lane]
	if l == nil {
		l = &laneRows{name: r.lane}
		s.lanes[r.lane] = l
	}
	l.rows = append(l.rows, r)
	if !l.busy {
		l.busy = true
		s.offer(l)
	}
}

func (s *workSet) offer(l *laneRows) {
	s.ready[l.calls()] = append(s.ready[l.calls()], l)
	s.cond.Broadcast()
}

// take waits for lanes with work and returns up to most of them; nil when the set is closed.
func (s *workSet) take(calls bool, most int) []*laneRows {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.ready[calls]) == 0 && !s.closed {
		s.cond.Wait()
	}
	if s.closed {
		return nil
	}
	return s.pick(calls, most)
}

// pick returns up to most of the lanes that have work now; the caller holds the lock.
func (s *workSet) pick(calls bool, most int) []*laneRows {
	n := min(most, len(s.ready[calls]))
	taken := s.ready[calls][:n:n]
	s.ready[calls] = s.ready[calls][n:]
	return taken
}

// rows returns what a lane has to do now; the lane is the caller's.
func (s *workSet) rows(l *laneRows) []*row {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*row(nil), l.rows...)
}

// finish takes done rows off a lane and gives it back.
func (s *workSet) finish(l *laneRows, done int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.rows, l.tries = l.rows[done:], 0
	if len(l.rows) > 0 {
		s.offer(l)
		return
	}
	delete(s.lanes, l.name)
}

// retry gives a lane back after a wait.
func (s *workSet) retry(l *laneRows, after time.Duration) {
	s.after(after, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.offer(l)
	})
}

func (s *workSet) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.cond.Broadcast()
}

// backoff doubles from a quarter of a second to a minute, with jitter.
func backoff(tries int) time.Duration {
	d := 250 * time.Millisecond << min(tries, 8)
	d = min(d, time.Minute)
	return d/2 + rand.N(d/2)
}

// sealers is how many workers seal messages: it is all computation.
func (e *Engine) sealers() int { return max(2, runtime.GOMAXPROCS(0)) }

// lanesAtOnce is how many lanes a worker seals before it publishes them together.
const lanesAtOnce = 16

// tellWorker seals messages, signs public events and publishes them. A row is done only
// once the event store has it; until then it is published again, as the same event.
func (e *Engine) tellWorker(ctx context.Context) {
	for {
		lanes := e.work.take(false, lanesAtOnce)
		if lanes == nil {
			return
		}
		e.tellLanes(ctx, lanes)
	}
}

func (e *Engine) tellLanes(ctx context.Context, lanes []*laneRows) {
	var events []nostr.Event
	var rows [][]*row
	for _, l := range lanes {
		todo := e.work.rows(l)
		rows = append(rows, todo)
		for _, r := range todo {
			ev, err := e.finish(r)
			if err != nil {
				// Sealing is pure: it would fail again. Nothing but a defect leads here.
				e.log.Error("a message cannot be sealed and is dropped", "lane", l.name, "error", err)
				continue
			}
			events = append(events, ev)
		}
	}
	publish, cancel := context.WithTimeout(ctx, publishTimeout)
	err := e.cfg.Publish(publish, events...)
	cancel()
	if err == nil {
		err = e.submit(ctx, "", func(_ *badger.Txn, w *writes) error {
			for _, todo := range rows {
				for _, r := range todo {
					w.delete(r.key())
				}
			}
			return nil
		})
	}
	if err != nil && len(lanes) > 1 {
		// One of them may be at fault: each on its own, so that it holds up nobody else.
		for _, l := range lanes {
			e.tellLanes(ctx, []*laneRows{l})
		}
		return
	}
	if err != nil {
		if ctx.Err() == nil {
			e.log.Warn("publish events, will try again", "events", len(events), "error", err)
		}
		for _, l := range lanes {
			l.tries++
			e.work.retry(l, backoff(l.tries))
		}
		return
	}
	for i, l := range lanes {
		e.work.finish(l, len(rows[i]))
	}
}

// seal makes the finished event of a row: always the same one.
func (e *Engine) seal(r *row) (nostr.Event, error) {
	if r.Tell != nil {
		return e.sealer.Seal(*r.Tell)
	}
	ev := *r.Event
	return ev, mostro.Sign(&ev, e.cfg.Key)
}

// load rebuilds the set of work and the set of live orders from the rows.
func (e *Engine) load() error {
	if err := e.holdLost(); err != nil {
		return err
	}
	return e.db.View(func(txn *badger.Txn) error {
		if err := e.loadGuards(txn); err != nil {
			return err
		}
		var up int64 // before anything is counted from it
		if _, err := get(txn, []byte{tableUptime}, &up); err != nil {
			return err
		}
		e.uptime.begin(up)
		err := scan(txn, []byte{tableOutbox, 0}, true, func(key, value []byte) error {
			e.seq = max(e.seq, binary.BigEndian.Uint64(key[len(key)-8:]))
			r, err := decodeOutbox(key, value)
			if err != nil {
				e.log.Error("alarm: an outbox row does not decode and is left alone", "key", fmt.Sprintf("%q", key), "error", err)
				return nil
			}
			e.work.add(r)
			return nil
		})
		if err != nil {
			return err
		}
		if err := e.loadBonds(txn); err != nil {
			return err
		}
		return scan(txn, []byte{tableLive, 0}, false, func(key, _ []byte) error {
			id := string(key[2:])
			if held, err := has(txn, rowKey(tableHeld, id)); err != nil || held {
				return err
			}
			var o order.Order
			if ok, err := get(txn, rowKey(tableOrder, id), &o); err != nil || !ok {
				e.log.Error("alarm: a live order cannot be read; it is held back", "order", id, "error", err)
				return nil
			}
			e.live.moved(&order.Order{}, &o)
			return nil
		})
	})
}
