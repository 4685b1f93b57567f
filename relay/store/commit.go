package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// Item is an event to store, whose shape, id and signature have been checked.
type Item struct {
	Event *nostr.Event
	Raw   []byte // JSON to keep and serve, nil = as go-nostr writes it
	Own   bool   // of the node itself: taken until the disk's reserve is used up
	Given bool   // by a relay that knows what was deleted: taken however old it is, and however much was deleted here
}

// Status is what became of an event.
type Status int

const (
	Failed     Status = iota // Outcome.Err says why
	Stored                   // and synced
	Duplicate                // it was here already
	Superseded               // a newer version was here
	Deleted                  // someone who may had deleted it
	Expired                  // its time was over
	TooOld                   // it is not known any more whether someone deleted it
)

func (s Status) String() string {
	return [...]string{"failed", "stored", "duplicate", "superseded", "deleted", "expired", "too old"}[s]
}

// Outcome is the answer for one item. An event that is stored and replaced within one batch has
// been told to Committed like any other.
type Outcome struct {
	Status Status
	Serial uint64 // of a stored event
	Err    error
}

// request is a call that waits for the committer.
type request struct {
	items []*addition
	ids   []Key    // to remove
	sweep bool     // to remove what has expired
	floor int64    // to take nothing of that second or before
	rows  [][]byte // tombstones to remove, below the floor
	out   []Outcome
	err   error // why nothing of it was done
	more  bool  // a sweep has not come to its end
	done  chan struct{}
}

// Add stores events, in their order, and waits until they are synced. Outcomes are in the order of
// items. When ctx ends first, the outcomes are its error, and the events may or may not be stored.
func (s *Store) Add(ctx context.Context, items ...Item) []Outcome {
	out := make([]Outcome, len(items))
	for from := 0; from < len(items); {
		r, n, bytes := new(request), from, 0
		var places []int
		for ; n < len(items) && len(r.items) < maxBatch && bytes < batchBytes; n++ {
			p, err := prepare(&items[n])
			if err != nil {
				out[n].Err = err
				continue
			}
			r.items, places = append(r.items, p), append(places, n)
			bytes += p.bytes()
		}
		r.out = make([]Outcome, len(r.items))
		if err := s.do(ctx, r); err != nil {
			for i := from; i < len(out); i++ {
				out[i] = Outcome{Err: err}
			}
			return out
		}
		for i, at := range places {
			out[at] = r.out[i]
		}
		from = n
	}
	return out
}

// prepare does what needs no look at the store.
func prepare(item *Item) (*addition, error) {
	ev := item.Event
	e, err := describe(ev)
	if err != nil {
		return nil, err
	}
	if nostr.IsEphemeralKind(ev.Kind) {
		return nil, fmt.Errorf("event %s of kind %d is not for storing", ev.ID, ev.Kind)
	}
	p := &addition{entry: e, ev: ev, raw: item.Raw, own: item.Own, given: item.Given}
	if p.raw == nil {
		if p.raw, err = ev.MarshalJSON(); err != nil {
			return nil, fmt.Errorf("encode event %s: %w", ev.ID, err)
		}
	}
	if len(p.raw) > maxEvent {
		return nil, fmt.Errorf("event %s has %d bytes, at most %d can be stored", ev.ID, len(p.raw), maxEvent)
	}
	e.size = uint32(len(p.raw))
	return p, nil
}

// Remove takes events away without a tombstone.
func (s *Store) Remove(ctx context.Context, ids ...Key) error {
	if err := s.do(ctx, &request{ids: ids}); err != nil {
		return fmt.Errorf("remove events: %w", err)
	}
	return nil
}

// Sweep removes from disk what has expired, a part at a time, and reports whether there is more.
func (s *Store) Sweep(ctx context.Context) (more bool, err error) {
	r := &request{sweep: true}
	if err := s.do(ctx, r); err != nil {
		return false, fmt.Errorf("remove expired events: %w", err)
	}
	return r.more, nil
}

// do hands a request to the committer and waits.
func (s *Store) do(ctx context.Context, r *request) error {
	r.done = make(chan struct{})
	s.alive.RLock()
	if !s.open {
		s.alive.RUnlock()
		return ErrClosed
	}
	select {
	case s.queue <- r:
		s.alive.RUnlock()
	case <-ctx.Done():
		s.alive.RUnlock()
		return ctx.Err()
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commit is the committer: it runs until the store is closed and nothing waits.
func (s *Store) commit() {
	defer close(s.ended)
	always := make(chan struct{})
	close(always)
	for {
		var idle chan struct{}
		if len(s.stale) > 0 && s.Err() == nil {
			idle = always
		}
		select {
		case r := <-s.queue:
			s.gather(r)
		case <-idle:
			s.fail(s.clean(cleanAtOnce))
		case <-s.quit:
			for {
				select {
				case r := <-s.queue:
					s.gather(r)
				default:
					for left := cleanAtEnd; left > 0 && len(s.stale) > 0 && s.Err() == nil; left -= cleanAtOnce {
						s.fail(s.clean(cleanAtOnce))
					}
					return
				}
			}
		}
	}
}

// gather handles a request with all that waits behind it, in one batch.
func (s *Store) gather(r *request) {
	b := newBatch(s)
	requests := []*request{r}
	wait := s.pace.fast
	for r.handle(b); b.room(); r.handle(b) {
		select {
		case r = <-s.queue:
			requests = append(requests, r)
			continue
		default:
		}
		if wait {
			wait = false
			time.Sleep(gatherTime)
			select {
			case r = <-s.queue:
				requests = append(requests, r)
				continue
			default:
			}
		}
		break
	}
	s.pace.count(len(b.added), s.opts.Dir != "")
	err := s.Err()
	if err == nil {
		err = b.write()
	}
	if err == nil {
		b.show()
		err = s.cool(max(coolAtOnce, 2*len(b.added)), max(coolPlaces, 2*b.places))
	}
	for err == nil && s.stalePlaces > mostStale {
		err = s.clean(cleanAtOnce)
	}
	s.fail(err)
	for _, r := range requests {
		r.err = errors.Join(r.err, err)
		close(r.done)
	}
}

// pace says whether events come so fast that waiting a moment for more of them pays: with a quick
// disk each sync is for a few events only, and costs more than they do.
type pace struct {
	since  time.Time
	events int
	fast   bool
}

// count adds the events of a batch. Without a disk there is no sync to save.
func (p *pace) count(events int, disk bool) {
	p.events += events
	if took := time.Since(p.since); took > paceTime {
		p.fast = disk && p.events > int(fastPerSecond*took.Seconds())
		p.since, p.events = time.Now(), 0
	}
}

func (r *request) handle(b *batch) {
	for i, p := range r.items {
		r.out[i] = b.add(p)
	}
	for _, id := range r.ids {
		if ref, ok := b.s.index.find(id); ok {
			b.remove(ref)
		} else if p := b.byID[id]; p != nil {
			p.gone = true
		} else {
			c, err := b.s.findCold(id)
			r.err = errors.Join(r.err, err)
			b.removeCold(c)
		}
	}
	b.raise(r.floor)
	r.err = errors.Join(r.err, b.forget(r.rows))
	if r.sweep {
		due := b.s.index.expired(b.now, sweepAtOnce)
		for _, ref := range due {
			b.remove(ref)
		}
		cold, err := b.s.coldExpired(b.now, sweepAtOnce)
		r.err = errors.Join(r.err, err)
		b.removeCold(cold...)
		r.more = len(due) == sweepAtOnce || len(cold) == sweepAtOnce
	}
}

// batch is what one transaction will change. Until it is written the index stays as it is, so
// that nobody sees what a crash could take back.
type batch struct {
	s      *Store
	now    int64
	bytes  int
	places int // of what is added, in lists

	silent    bool   // nobody is told
	moved     []byte // key of the last row of the first format that is in it, nil = of none
	added     []*addition
	byID      map[Key]*addition
	current   map[listKey]*addition // the newest version, of this batch
	removed   map[uint32]struct{}   // from the index in memory
	cold      map[uint64]*cooled    // removed cold events by serial
	tombs     map[string]int64      // rows of tombstones
	fresh     int                   // of them that are new
	forgotten map[string]struct{}   // rows of tombstones that go
	floor     int64
	failed    error // what was to be removed could not be found out
}

// addition is an event that will be stored.
type addition struct {
	*entry
	ev     *nostr.Event
	raw    []byte
	own    bool
	given  bool
	serial uint64
	gone   bool     // removed again by the same batch
	before []uint32 // what goes from the index when this becomes visible

	replaces []*cooled // older versions that are cold
}

// bytes is about what p takes in a transaction.
func (p *addition) bytes() int { return len(p.raw) + metaHead + len(p.keys)*len(listKey{}) }

func newBatch(s *Store) *batch {
	return &batch{
		s: s, now: s.now().Unix(),
		byID: make(map[Key]*addition), current: make(map[listKey]*addition),
		removed: make(map[uint32]struct{}), cold: make(map[uint64]*cooled), tombs: make(map[string]int64), forgotten: make(map[string]struct{}), floor: s.floor,
	}
}

func (b *batch) room() bool {
	return len(b.added) < maxBatch && b.bytes < batchBytes && len(b.removed)+len(b.cold)+len(b.tombs)+len(b.forgotten) < txnRows/2
}

// remove marks an event of the index for removal, once.
func (b *batch) remove(ref uint32) bool {
	_, twice := b.removed[ref]
	b.removed[ref] = struct{}{}
	return !twice
}

// removeCold marks cold events for removal.
func (b *batch) removeCold(events ...*cooled) {
	for _, c := range events {
		if c != nil {
			b.cold[c.serial] = c
		}
	}
}

// add decides what becomes of an event.
func (b *batch) add(p *addition) Outcome {
	if q := b.byID[p.id]; q != nil && !q.gone {
		return Outcome{Status: Duplicate}
	}
	old, again := b.s.index.find(p.id)
	if again {
		if _, gone := b.removed[old]; !gone {
			return Outcome{Status: Duplicate}
		}
	} else if c, err := b.s.findCold(p.id); err != nil {
		return Outcome{Err: err}
	} else if c != nil && b.cold[c.serial] == nil {
		return Outcome{Status: Duplicate}
	}
	if p.expires != 0 && int64(p.expires) <= b.now {
		return Outcome{Status: Expired}
	}
	if was, err := b.deleted(p); err != nil {
		return Outcome{Err: err}
	} else if was {
		return Outcome{Status: Deleted}
	}
	if !p.own && !p.given {
		switch {
		case p.created <= b.floor:
			return Outcome{Status: TooOld}
		case (p.kind == kindDeletion || p.kind == kindVanish) && b.tombstonesFull():
			return Outcome{Err: ErrTombstones}
		}
	}
	if err := b.s.space.allow(p.bytes(), p.own); err != nil {
		return Outcome{Err: err}
	}
	if first, err := b.supersede(p); err != nil {
		return Outcome{Err: err}
	} else if !first {
		return Outcome{Status: Superseded}
	}
	if again { // both have the same place in lists: the old one goes first
		p.before = append(p.before, old)
	}
	b.s.next++
	p.serial = b.s.next
	b.added = append(b.added, p)
	b.byID[p.id] = p
	b.bytes += p.bytes()
	b.places += len(p.keys)
	switch p.kind {
	case kindDeletion:
		b.failed = errors.Join(b.failed, b.delete(p))
	case kindVanish:
		if b.s.opts.Vanishes(p.ev) {
			b.failed = errors.Join(b.failed, b.vanish(p))
		}
	}
	return Outcome{Status: Stored, Serial: p.serial}
}

// supersede removes the older version of p, if p is of a kind with versions; false means that the
// newest is here already.
func (b *batch) supersede(p *addition) (first bool, err error) {
	if !hasVersions(p.kind) {
		return true, nil
	}
	x, address := b.s.index, p.keys[0]
	pos := position{p.created, p.id}
	if q := b.current[address]; q != nil && !q.gone {
		if pos.compare(&position{q.created, q.id}) < 0 {
			return false, nil
		}
		q.gone = true
	}
	for _, ref := range x.members(address) {
		if _, gone := b.removed[ref]; gone {
			continue
		}
		if pos.compare(&x.record(ref).position) < 0 {
			return false, nil
		}
		b.take(p, ref)
	}
	cold, err := b.s.coldMembers(address)
	if err != nil {
		return false, err
	}
	for _, c := range cold {
		if b.cold[c.serial] != nil {
			continue
		}
		if pos.compare(&position{c.created, c.id}) < 0 {
			return false, nil
		}
		b.removeCold(c)
		p.replaces = append(p.replaces, c)
	}
	b.current[address] = p
	return true, nil
}

// take removes an event of the index on behalf of p.
func (b *batch) take(p *addition, ref uint32) {
	if b.remove(ref) {
		p.before = append(p.before, ref)
	}
}

// hasVersions reports whether events of this kind replace each other. The first list of such an
// event is that of its versions.
func hasVersions(kind uint16) bool {
	return nostr.IsReplaceableKind(int(kind)) || nostr.IsAddressableKind(int(kind))
}
