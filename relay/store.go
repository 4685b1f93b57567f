package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/nbd-wtf/go-nostr"

	"mostro/policies"
	events "mostro/relay/store"
)

// store is the event store in the terms of this package's filters and records.
type store struct {
	*events.Store
	opts events.Options
}

func openStore(opts events.Options) (*store, error) {
	s, err := events.Open(opts)
	if err != nil {
		return nil, err
	}
	return &store{s, opts}, nil
}

// scan is f for the store, which takes its limit from it.
func (f *filter) scan() []nostr.Filter {
	scan := f.plain
	scan.Limit, scan.LimitZero = f.limit, f.limit == 0
	return []nostr.Filter{scan}
}

func visible(want func(*record) bool, pause func()) events.QueryOptions {
	rec := new(record)
	return events.QueryOptions{Pause: pause, Visible: func(_ int, m *events.Meta) bool {
		rec.set(m)
		return want(rec)
	}}
}

// answer gives the stored events that match f, and that want accepts, to send, newest first, each
// once, as the JSON that goes to clients. It ends early when send says so, and without an error
// with ctx. want must not wait; pause may, and is called now and then.
func (s *store) answer(ctx context.Context, f *filter, want func(*record) bool, pause func(), send func(rec *record, raw []byte) bool) error {
	rec := new(record)
	err := s.Query(ctx, f.scan(), visible(want, pause), func(found events.Found) bool {
		rec.set(&found.Meta)
		return send(rec, found.Raw)
	})
	return unlessEnded(ctx, err)
}

// list visits the records that match f and that want accepts, newest first, at most f.limit, until
// visit wants no more. It ends without an error with ctx.
func (s *store) list(ctx context.Context, f *filter, want func(*record) bool, pause func(), visit func(*record) bool) error {
	rec, left := new(record), f.limit
	if left == 0 {
		return nil
	}
	err := s.Scan(ctx, f.scan(), visible(want, pause), func(m *events.Meta) bool {
		rec.set(m)
		left--
		return visit(rec) && left > 0
	})
	return unlessEnded(ctx, err)
}

// unlessEnded leaves it to the one who ended ctx to say why.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// has reports whether the event is stored.
func (s *store) has(id key) bool { return s.Has(id) }

// sync runs f between two commits and returns the number of the last one.
func (s *store) sync(f func()) uint64 { return s.Between(f) }

// keep stores events, or only sends them on when they are ephemeral, in their order.
func (r *Relay) keep(ctx context.Context, items ...events.Item) []events.Outcome {
	out := make([]events.Outcome, 0, len(items))
	for len(items) > 0 {
		n := slices.IndexFunc(items, func(i events.Item) bool { return nostr.IsEphemeralKind(i.Event.Kind) })
		if n < 0 {
			n = len(items)
		}
		if n > 0 {
			out = append(out, r.store.Add(ctx, items[:n]...)...)
			items = items[n:]
			continue
		}
		ev := items[0].Event
		r.store.sync(func() { r.fanOut(ev, encodeEvent(ev)) })
		out = append(out, events.Outcome{Status: events.Stored})
		items = items[1:]
	}
	return out
}

// Indexed is how many events are indexed in memory and how many on disk, and how many bytes the
// index in memory takes, about.
func (r *Relay) Indexed() (inMemory, onDisk, bytes int) { return r.store.Indexed() }

// Watch returns what ended the event store, as soon as something does, or nil at the end of ctx.
// After it nothing is taken any more; starting anew recovers.
func (r *Relay) Watch(ctx context.Context) error { return r.store.Watch(ctx) }

// tradeKinds are the events that say how the node's trades stand. Whoever relies on them must be
// able to: a deletion does not take them away.
var tradeKinds = []int{8383, kindOrder, 38384, 38385, 38386}

func (r *Relay) undeletable(kind int, author key) bool {
	return r.cfg.Pubkey != "" && author == r.node && slices.Contains(tradeKinds, kind)
}

// OpenEvents opens the event store of a relay that is not running, for tools that read and write it. url is that of the
// relay, which requests to vanish name (NIP-62), "" = not known. Events of trades cannot be deleted there, whoever wrote them,
// since it is not known who the node is. The relay makes up for both when it starts. What does not leave the disk its
// space is refused.
func OpenEvents(dir, url string, space events.Space, log *slog.Logger, progress func(doing string, done, total int)) (*events.Store, error) {
	return events.Open(events.Options{
		Dir: dir, Log: log, Space: space, Progress: progress,
		Protected: func(kind int, _ key) bool { return slices.Contains(tradeKinds, kind) },
		Vanishes:  (&Relay{cfg: Config{ServiceURL: url}}).vanishes,
	})
}

// widest is the shape that settings can allow, and that the node's own events have whatever they say: who narrows
// down what clients may write must not silence his own node.
func widest() policies.ShapeLimits {
	return policies.ShapeLimits{Tags: 10_000, TagBytes: 250_000, ContentLength: 250_000}
}

// Importable is the rule for events that an operator takes from elsewhere: in shape and kind they are
// as those of clients must be, in size as settings can allow. The error has the form of NIP-01.
func Importable(ev *nostr.Event) error {
	for _, refuse := range []Policy{policies.Shape(widest()), policies.NotForRelays()} {
		if reject, msg := refuse(context.Background(), ev); reject {
			return errors.New(msg)
		}
	}
	return nil
}

// decode reads an event that the store has kept.
func decode(raw []byte) (*nostr.Event, error) {
	ev := new(nostr.Event)
	if err := ev.UnmarshalJSON(raw); err != nil {
		return nil, fmt.Errorf("decode stored event: %w", err)
	}
	return ev, nil
}
