package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/fiatjaf/eventstore"
	"github.com/fiatjaf/eventstore/badger"
	"github.com/nbd-wtf/go-nostr"
)

// store keeps events: bodies in eventstore's Badger backend, synced before an answer, and the
// index in memory. Of the backend it uses only what is exact there, saving, deleting and
// reading by id; its tag look-ups match prefixes, its replacing deletes neighbors, and its
// checks for duplicates race. So there is one writer, and the index decides.
type store struct {
	log *slog.Logger
	now func() time.Time
	// committed is told each new event under mu, in the order of commits.
	committed func(ev *nostr.Event)

	backend badger.BadgerBackend
	alive   sync.RWMutex // held for reading around each use of backend
	closed  bool

	write sync.Mutex   // the one writer
	mu    sync.RWMutex // guards index
	index *index
}

// outcome is what became of an event.
type outcome int

const (
	stored    outcome = iota
	duplicate         // it was here already
	stale             // a newer version was here
	deleted           // its author had deleted it
)

var errClosed = errors.New("the relay is shutting down")

const (
	maxRead   = 64  // events read in one transaction; each opens an iterator
	loadPage  = 500 // events per step of the first scan
	sweepSize = 256 // expired events removed in one go

	// Badger's own defaults are for big machines: a quarter of a gigabyte of cache and five
	// memtables of 64 MiB.
	memTableBytes   = 16 << 20
	memTables       = 2
	blockCacheBytes = 32 << 20
	valueLogBytes   = 64 << 20
)

// openStore opens or creates the store in dir, or in memory when dir is empty, and removes what
// a crash left behind: replaced versions, deleted and expired events.
func openStore(dir string, log *slog.Logger, now func() time.Time, committed func(*nostr.Event)) (*store, error) {
	s := &store{log: log, now: now, committed: committed, index: newIndex()}
	s.backend.Path = dir
	s.backend.MaxLimit = 1 << 30 // this package sets its own limits
	s.backend.BadgerOptionsModifier = func(o badgerdb.Options) badgerdb.Options {
		return o.WithInMemory(dir == "").
			WithSyncWrites(dir != "").
			WithDetectConflicts(false). // there is one writer
			WithMemTableSize(memTableBytes).WithNumMemtables(memTables).
			WithBlockCacheSize(blockCacheBytes).
			WithValueLogFileSize(valueLogBytes).
			WithLogger(badgerLog{log})
	}
	if err := s.backend.Init(); err != nil {
		return nil, fmt.Errorf("open event store %q: %w", dir, err)
	}
	if err := s.load(); err != nil {
		s.backend.Close()
		return nil, fmt.Errorf("read event store %q: %w", dir, err)
	}
	return s, nil
}

// add stores ev, whose shape, id and signature have been checked, and removes what it replaces
// or deletes. The event is on disk when add returns.
func (s *store) add(ctx context.Context, ev *nostr.Event) (outcome, error) {
	s.write.Lock()
	defer s.write.Unlock()
	s.alive.RLock()
	defer s.alive.RUnlock()
	if s.closed {
		return 0, errClosed
	}
	rec, err := newRecord(ev)
	if err != nil {
		return 0, err
	}
	// Only this goroutine changes the index, so it reads without the lock.
	replaced := s.index.current[address(ev)]
	switch {
	case s.index.byID[rec.id] != nil:
		return duplicate, nil
	case s.index.deleted(rec, ev):
		return deleted, nil
	case replaced != nil && compare(replaced, rec) > 0:
		return stale, nil
	}
	gone := s.targets(rec, ev)
	if replaced != nil {
		gone = append(gone, replaced)
	}
	bodies := s.read(ctx, gone)

	// A duplicate that the index does not know is what a failed removal left behind.
	if err := s.backend.SaveEvent(ctx, ev); err != nil && err != eventstore.ErrDupEvent {
		return 0, fmt.Errorf("save event %s: %w", ev.ID, err)
	}
	s.sync(func() {
		s.forget(gone, bodies)
		s.index.add(rec, ev)
		s.committed(ev)
	})
	s.erase(ctx, bodies)
	return stored, nil
}

// targets lists what the deletion ev (NIP-09) removes: events of its author, gift wraps
// addressed to its author, and the versions of its author's addresses up to its time.
func (s *store) targets(rec *record, ev *nostr.Event) []*record {
	if rec.kind != nostr.KindDeletion {
		return nil
	}
	var targets []*record
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		switch tag[0] {
		case "e":
			id, err := parseKey(tag[1])
			target := s.index.byID[id]
			if err != nil || target == nil || target.kind == nostr.KindDeletion {
				continue
			}
			received := target.kind == nostr.KindGiftWrap && s.index.byTag[newTagKey('p', ev.PubKey)].has(target)
			if target.author == rec.author || received {
				targets = append(targets, target)
			}
		case "a":
			target := s.index.current[tag[1]]
			if target != nil && target.author == rec.author && target.created <= rec.created {
				targets = append(targets, target)
			}
		}
	}
	return targets
}

// forget takes records out of the index; the caller holds mu. One whose body could not be read
// stays, since its tags are not known.
func (s *store) forget(records []*record, bodies map[key]*nostr.Event) {
	for _, rec := range records {
		if body := bodies[rec.id]; body != nil && s.index.byID[rec.id] == rec {
			s.index.remove(rec, body)
		}
	}
}

// erase removes bodies from disk. A failure is only logged: the index has forgotten them, and
// the next start removes what is left.
func (s *store) erase(ctx context.Context, bodies map[key]*nostr.Event) {
	for id, body := range bodies {
		if err := s.backend.DeleteEvent(ctx, body); err != nil {
			s.log.Error("remove event", "id", id.String(), "error", err)
		}
	}
}

// read gets the bodies of records from disk. One that is not there was removed meanwhile, or
// is damaged; it is left out.
func (s *store) read(ctx context.Context, records []*record) map[key]*nostr.Event {
	bodies := make(map[key]*nostr.Event, len(records))
	for chunk := range slices.Chunk(records, maxRead) {
		if s.readChunk(ctx, chunk, bodies); len(chunk) == 1 {
			continue
		}
		// The backend ends an answer without a word at the first entry that it cannot read.
		for i, rec := range chunk {
			if bodies[rec.id] == nil {
				s.readChunk(ctx, chunk[i:i+1], bodies)
			}
		}
	}
	return bodies
}

func (s *store) readChunk(ctx context.Context, records []*record, bodies map[key]*nostr.Event) {
	ids := make([]string, len(records))
	for i, rec := range records {
		ids[i] = rec.id.String()
	}
	found, err := s.backend.QueryEvents(ctx, nostr.Filter{IDs: ids})
	if err != nil {
		s.log.Error("read events", "error", err)
		return
	}
	for body := range found {
		if id, err := parseKey(body.ID); err == nil {
			bodies[id] = body
		}
	}
}

// answer gives the stored events that match f to send, newest first, each once. It
// ends early when send says so.
func (s *store) answer(ctx context.Context, f *filter, want func(*record) bool, send func(*nostr.Event) bool) error {
	s.mu.RLock()
	found := s.index.find(f, want)
	s.mu.RUnlock()
	for chunk := range slices.Chunk(found, maxRead) {
		s.alive.RLock()
		if s.closed {
			s.alive.RUnlock()
			return errClosed
		}
		bodies := s.read(ctx, chunk)
		s.alive.RUnlock()
		for _, rec := range chunk {
			body := bodies[rec.id]
			if body == nil || !f.plain.Matches(body) {
				continue
			}
			if !send(body) {
				return nil
			}
		}
	}
	return nil
}

// has reports whether the event is stored.
func (s *store) has(id key) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.byID[id] != nil
}

// sync runs f between two commits and returns the number of the last one.
func (s *store) sync(f func()) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	return s.index.seq
}

// sweep removes expired events, some at a time, and reports whether there may be more.
func (s *store) sweep(ctx context.Context) bool {
	s.write.Lock()
	defer s.write.Unlock()
	s.alive.RLock()
	defer s.alive.RUnlock()
	if s.closed {
		return false
	}
	var due []*record
	s.sync(func() { due = s.index.popExpired(s.now().Unix(), sweepSize) })
	s.drop(ctx, due)
	return len(due) == sweepSize
}

// drop removes records from index and disk. The caller is the writer.
func (s *store) drop(ctx context.Context, records []*record) {
	bodies := s.read(ctx, records)
	s.sync(func() { s.forget(records, bodies) })
	s.erase(ctx, bodies)
}

// close waits for what is being written and closes the backend.
func (s *store) close() {
	s.alive.Lock()
	defer s.alive.Unlock()
	if !s.closed {
		s.closed = true
		s.backend.Close()
	}
}
