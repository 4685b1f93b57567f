package relay

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"
)

// load builds the index from all events on disk and finishes what a crash interrupted.
func (s *store) load() error {
	ctx := context.Background()
	replaced, err := s.scan(ctx)
	if err != nil {
		return err
	}
	s.index.sort()
	if on, in := s.countBodies(), len(s.index.byID); on != in {
		s.log.Error("event store is damaged: some events cannot be read", "unreadable", on-in)
	}
	s.drop(ctx, append(replaced, s.deletedLeft(ctx)...))
	for {
		due := s.index.popExpired(s.now().Unix(), sweepSize)
		if s.drop(ctx, due); len(due) < sweepSize {
			return nil
		}
	}
}

// scan puts every event on disk into the unsorted index, and returns those that a newer version
// has replaced. The backend answers a page at a time, newest first.
func (s *store) scan(ctx context.Context) (replaced []*record, err error) {
	until, page := nostr.Timestamp(math.MaxUint32-1), loadPage
	for {
		events, err := s.backend.QueryEvents(ctx, nostr.Filter{Until: &until, Limit: page})
		if err != nil {
			return nil, fmt.Errorf("read events until %d: %w", until, err)
		}
		count, oldest := 0, until
		for ev := range events {
			count++
			oldest = min(oldest, ev.CreatedAt)
			rec, err := newRecord(ev)
			if err != nil {
				s.log.Error("read event", "error", err)
				continue
			}
			if s.index.byID[rec.id] != nil {
				continue // from the second where the last page ended
			}
			current := s.index.current[address(ev)]
			s.index.insert(rec, ev, func(l list, r *record) list { return append(l, r) })
			switch {
			case current == nil:
			case compare(current, rec) > 0:
				s.index.current[address(ev)] = current
				replaced = append(replaced, rec)
			default:
				replaced = append(replaced, current)
			}
		}
		switch {
		case count < page:
			return replaced, nil
		case oldest == until: // a whole page within one second
			page *= 2
		}
		until = oldest
	}
}

// deletedLeft lists events that stored deletions name and that are still there.
func (s *store) deletedLeft(ctx context.Context) []*record {
	var named []*record
	for id := range s.index.deletedIDs {
		if rec := s.index.byID[id]; rec != nil {
			named = append(named, rec)
		}
	}
	for a := range s.index.deletedAddresses {
		if rec := s.index.current[a]; rec != nil {
			named = append(named, rec)
		}
	}
	bodies := s.read(ctx, named)
	return slices.DeleteFunc(named, func(rec *record) bool {
		body := bodies[rec.id]
		return body == nil || !s.index.deleted(rec, body)
	})
}

// countBodies counts the events on disk without reading them; eventstore keeps their bodies
// under the prefix 0.
func (s *store) countBodies() int {
	count := 0
	// View fails only when the database is closed.
	_ = s.backend.View(func(txn *badgerdb.Txn) error {
		it := txn.NewIterator(badgerdb.IteratorOptions{Prefix: []byte{0}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			count++
		}
		return nil
	})
	return count
}

// badgerLog gives Badger's own messages to the relay's logger, the routine ones for debugging
// only.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(format string, args ...any) { l.log.Error(line(format, args)) }

func (l badgerLog) Warningf(format string, args ...any) { l.log.Warn(line(format, args)) }

func (l badgerLog) Infof(format string, args ...any) { l.log.Debug(line(format, args)) }

func (l badgerLog) Debugf(format string, args ...any) { l.log.Debug(line(format, args)) }

func line(format string, args []any) string {
	return "badger: " + strings.TrimSpace(fmt.Sprintf(format, args...))
}
