// Package store keeps the events of a relay: durably on Badger, and found through an exact index
// in memory.
//
// Rules that it keeps:
//
//   - Add returns when the event is synced. One committer takes all that waits into one
//     transaction (group commit), so many writers share one sync.
//   - One writer decides: duplicates, versions of replaceable and addressable events (the newest,
//     and of one second the lowest id), deletions and expiration. Nothing races.
//   - What was deleted (NIP-09) or has vanished (NIP-62) does not come back, whatever the order of
//     arrival and across restarts: tombstones are rows of their own and outlive the deletion. When
//     there are too many, the oldest go, and with them the time in which events are taken (forget.go).
//   - An event is not served from the second of its expiration on (NIP-40).
//   - Every committed event has a serial number, and callbacks run in its order, so that a
//     subscription can join what is stored and what is live without loss and without doubles.
//   - Readers hold the index for short steps only and go on where they were; they never wait for
//     the disk of a writer, nor a writer for theirs.
//   - A commit that fails has an unknown outcome. The store takes nothing more, and the process is
//     meant to end and to recover by starting.
//
// The index takes less than 300 bytes an event. Events of the kinds that an escrow's clients ask
// for are always in it; of the others those for which its budget has room, the newest first, and
// older ones are indexed on disk (cold.go). Raw JSON stays on disk, with a bounded cache of what
// was used last.
//
// The package checks neither signatures nor limits nor who may read: that is the relay's part,
// which gives it predicates. It knows nothing of connections.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/fiatjaf/eventstore"
	"github.com/nbd-wtf/go-nostr"
)

// Options say how a store is kept. The zero value keeps events in memory only.
type Options struct {
	Dir string // folder, made when it is missing; "" keeps events in memory

	Log *slog.Logger
	Now func() time.Time

	// Committed is told each new event, in the order of serials and after its sync. While it
	// runs nothing else is told and no function given to Between runs, so it must not wait.
	Committed func(Commit)

	// Protected says which events no deletion and no request to vanish removes, not even their
	// author's.
	Protected func(kind int, author Key) bool

	// Vanishes says whether a request to vanish (kind 62) names this relay. nil means that none
	// does.
	Vanishes func(ev *nostr.Event) bool

	// Progress is told how far a long start is: done of about total events, while doing what.
	Progress func(doing string, done, total int)

	CacheBytes int // raw JSON kept in memory, 0 = 16 MiB
	IndexBytes int // the index in memory, 0 = 256 MiB; hot kinds may take it beyond

	// MaxTombstones is how many ids, addresses and keys are remembered as deleted, 0 = 2,000,000. When there are more, the
	// oldest are forgotten, but none of events that are younger than TombstonesStay, 0 = 4 days, and
	// events that they could mean are not taken any more.
	MaxTombstones  int
	TombstonesStay time.Duration

	Space Space
}

// Commit is an event that has just been stored.
type Commit struct {
	Event  *nostr.Event
	Raw    []byte // its JSON; not to be changed
	Serial uint64
}

const (
	defaultCache = 16 << 20
	defaultIndex = 256 << 20
	maxBatch     = 1024      // events in one transaction
	batchBytes   = 512 << 10 // raw JSON in one transaction, by which one event may go over
	maxEvent     = 512 << 10 // raw JSON of one event
	queueLength  = 4096      // calls waiting for the committer; more wait to get in
	txnRows      = 8000      // rows removed in one transaction
	sweepAtOnce  = 2000      // expired events removed in one go, of those in memory and of those on disk
	coolAtOnce   = 256       // events that become cold in one transaction
	coolPlaces   = 20_000    // in lists, of those that become cold after a batch, unless it has added more

	gatherTime    = time.Millisecond       // for more events, while they come fast
	fastPerSecond = 4000                   // events
	paceTime      = 100 * time.Millisecond // over which that is measured

	// Badger's own defaults are for big machines: five memtables of 64 MiB.
	memTableBytes = 16 << 20 // a transaction takes at most 15% of it
	memTables     = 2
	valueLogBytes = 64 << 20
)

// Store is an open store. Its methods can be used by many goroutines at once.
type Store struct {
	opts  Options
	log   *slog.Logger
	now   func() time.Time
	space *guard

	db    *badger.DB
	alive sync.RWMutex // held for reading around uses of db
	open  bool         // guarded by alive

	queue chan *request
	quit  chan struct{}
	ended chan struct{} // the committer has

	order  sync.Mutex // held while one commit becomes visible and is told
	mu     sync.RWMutex
	index  *index // changed by the committer under mu
	cold   cold
	last   atomic.Uint64 // serial of the last visible commit
	buried atomic.Int64  // tombstones on disk
	cache  *cache
	looked looked // belongs to Forget

	coldSteps spell // of searches on disk

	// The following belong to the committer.
	next       uint64
	pace       pace
	tombstones bool // there are rows of this sort; spares the look-up
	vanished   bool
	floor      int64 // second up to which no event is taken

	stale       []*cooled // cold events that are gone, and whose places are not
	stalePlaces int

	fatal  atomic.Pointer[error]
	failed chan struct{} // closed when fatal is set
}

var (
	// ErrClosed is the answer of a closed store.
	ErrClosed = errors.New("the event store is closed")
	// ErrFull is the answer to events that have no room: the disk is nearly full.
	ErrFull = errors.New("the disk is nearly full")
)

// New makes a store that Init opens. Open does both.
func New(opts Options) *Store {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Protected == nil {
		opts.Protected = func(int, Key) bool { return false }
	}
	if opts.Vanishes == nil {
		opts.Vanishes = func(*nostr.Event) bool { return false }
	}
	if opts.Progress == nil {
		opts.Progress = func(string, int, int) {}
	}
	if opts.CacheBytes == 0 {
		opts.CacheBytes = defaultCache
	}
	if opts.MaxTombstones == 0 {
		opts.MaxTombstones = defaultTombstones
	}
	if opts.TombstonesStay == 0 {
		opts.TombstonesStay = tombstonesStay
	}
	if opts.IndexBytes == 0 {
		opts.IndexBytes = defaultIndex
	}
	return &Store{opts: opts, log: opts.Log, now: opts.Now, coldSteps: spell(coldTime)}
}

// Open opens or creates a store, and moves one of the first releases into the present format.
func Open(opts Options) (*Store, error) {
	s := New(opts)
	if err := s.Init(); err != nil {
		return nil, err
	}
	return s, nil
}

// Init opens the store; it is called once.
func (s *Store) Init() error {
	dir := s.opts.Dir
	db, err := badger.Open(badger.DefaultOptions(dir).
		WithInMemory(dir == "").
		WithSyncWrites(dir != "").
		WithDetectConflicts(false). // there is one writer
		WithMemTableSize(memTableSize(dir)).WithNumMemtables(memTables).
		// Gift wraps do not compress, and blocks that need no unpacking need no cache either.
		WithCompression(options.None).WithBlockCacheSize(0).
		WithMetricsEnabled(false).
		WithValueLogFileSize(valueLogBytes).
		WithLogger(badgerLog{s.log}))
	if err != nil {
		return fmt.Errorf("open event store %q: %w", dir, err)
	}
	s.db, s.open = db, true
	s.index, s.cache = newIndex(), newCache(s.opts.CacheBytes)
	s.queue, s.quit, s.ended, s.failed = make(chan *request, queueLength), make(chan struct{}), make(chan struct{}), make(chan struct{})
	if s.space, err = newGuard(dir, s.opts.Space, s.log); err == nil {
		err = s.load()
	}
	if err != nil {
		db.Close()
		return fmt.Errorf("read event store %q: %w", dir, err)
	}
	go s.commit()
	return nil
}

// memTableSize is the size of memtables. What a crash of a release with larger ones has left must
// fit into one.
func memTableSize(dir string) int64 {
	size := int64(memTableBytes)
	files, _ := filepath.Glob(filepath.Join(dir, "*.mem")) // fails only for a bad pattern
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			size = max(size, info.Size()/2) // Badger makes them twice as large
		}
	}
	return size
}

// Close lets what waits be committed, and closes the store. Calls that come later get ErrClosed.
func (s *Store) Close() {
	s.alive.Lock()
	was := s.open
	s.open = false
	s.alive.Unlock()
	if !was {
		return
	}
	close(s.quit)
	<-s.ended
	if err := s.db.Close(); err != nil {
		s.log.Error("close event store", "error", err)
	}
}

// Err is why the store takes nothing more, nil while it does.
func (s *Store) Err() error {
	if err := s.fatal.Load(); err != nil {
		return *err
	}
	return nil
}

// Watch returns why the store takes nothing more, as soon as that is so, or nil at the end of ctx.
func (s *Store) Watch(ctx context.Context) error {
	select {
	case <-s.failed:
		return s.Err()
	case <-ctx.Done():
		return nil
	}
}

// Has reports whether the event with this id is stored, expired or not. What it reports is on
// disk.
func (s *Store) Has(id Key) bool {
	s.mu.RLock()
	_, ok := s.index.find(id)
	s.mu.RUnlock()
	if ok {
		return true
	}
	err := s.look(func(txn *badger.Txn) error {
		c, err := coldByID(txn, id)
		ok = c != nil
		return err
	})
	if err != nil && !errors.Is(err, ErrClosed) {
		s.log.Error("look up event", "id", id, "error", err)
	}
	return ok
}

// Len is the number of stored events.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.len() + s.cold.count
}

// Indexed is how many of the stored events are indexed in memory and how many on disk, and how many
// bytes the index in memory takes, about.
func (s *Store) Indexed() (inMemory, onDisk, bytes int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.len(), s.cold.count, s.index.bytes()
}

// Between runs f between two commits, and returns the serial of the last one: everything up to
// it is found by queries and has been told, nothing after it. f must not wait, nor use the
// store's other methods than Has.
func (s *Store) Between(f func()) (serial uint64) {
	s.order.Lock()
	defer s.order.Unlock()
	f()
	return s.last.Load()
}

var _ eventstore.Store = (*Store)(nil)

// SaveEvent stores ev. The error is eventstore.ErrDupEvent when it is stored already or when
// something newer has overtaken it.
func (s *Store) SaveEvent(ctx context.Context, ev *nostr.Event) error {
	switch out := s.Add(ctx, Item{Event: ev})[0]; out.Status {
	case Stored:
		return nil
	case Failed:
		return out.Err
	default:
		return eventstore.ErrDupEvent
	}
}

// ReplaceEvent is SaveEvent: every event of a kind with versions replaces older ones.
func (s *Store) ReplaceEvent(ctx context.Context, ev *nostr.Event) error {
	return s.SaveEvent(ctx, ev)
}

// DeleteEvent removes ev, which may come back. What is not there counts as removed.
func (s *Store) DeleteEvent(ctx context.Context, ev *nostr.Event) error {
	id, err := ParseKey(ev.ID)
	if err != nil {
		return fmt.Errorf("delete event: %w", err)
	}
	return s.Remove(ctx, id)
}

// QueryEvents answers f as Query does. The channel is closed at the end, also when ctx ends.
func (s *Store) QueryEvents(ctx context.Context, f nostr.Filter) (chan *nostr.Event, error) {
	if err := CheckFilter(f); err != nil {
		return nil, err
	}
	found := make(chan *nostr.Event)
	go func() {
		defer close(found)
		err := s.Query(ctx, []nostr.Filter{f}, QueryOptions{}, func(e Found) bool {
			ev, err := e.Event()
			if err != nil {
				s.log.Error("read event", "error", err)
				return true
			}
			select {
			case found <- ev:
				return true
			case <-ctx.Done():
				return false
			}
		})
		if err != nil && ctx.Err() == nil {
			s.log.Error("answer filter", "error", err)
		}
	}()
	return found, nil
}

// CountEvents counts what f matches, whatever its limit.
func (s *Store) CountEvents(ctx context.Context, f nostr.Filter) (int64, error) {
	n, err := s.Count(ctx, []nostr.Filter{f}, QueryOptions{})
	return int64(n), err
}
